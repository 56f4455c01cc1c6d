package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

// rules is an AddressPolicy that a user writes; options change it.
func rules(name string, options ...func(*v1alpha1.AddressPolicy)) v1alpha1.AddressPolicy {
	a := v1alpha1.AddressPolicy{ObjectMeta: meta(name)}
	for _, o := range options {
		o(&a)
	}
	return a
}

func of(pools ...string) func(*v1alpha1.AddressPolicy) {
	return func(a *v1alpha1.AddressPolicy) { a.Spec.PoolNames = pools }
}
func where(s ...metav1.LabelSelector) func(*v1alpha1.AddressPolicy) {
	return func(a *v1alpha1.AddressPolicy) { a.Spec.PoolSelectors = s }
}
func priority(n int32) func(*v1alpha1.AddressPolicy) {
	return func(a *v1alpha1.AddressPolicy) { a.Spec.Priority = n }
}
func exclude(s ...string) func(*v1alpha1.AddressPolicy) {
	return func(a *v1alpha1.AddressPolicy) { a.Spec.Exclude = s }
}
func exclusive(a *v1alpha1.AddressPolicy) { a.Spec.Exclusive = true }
func retain(d time.Duration) func(*v1alpha1.AddressPolicy) {
	return func(a *v1alpha1.AddressPolicy) { a.Spec.Retain = &metav1.Duration{Duration: d} }
}
func quota(q v1alpha1.Quota) func(*v1alpha1.AddressPolicy) {
	return func(a *v1alpha1.AddressPolicy) { a.Spec.Quotas = append(a.Spec.Quotas, q) }
}

// conditions renders the conditions of every AddressPolicy.
func conditions(p *Policy) (lines []string) {
	for i := range p.AddressPolicies {
		for _, c := range p.AddressPolicies[i].Conditions() {
			lines = append(lines, fmt.Sprintf("%s %s=%v %s", p.AddressPolicies[i].Name, c.Type, c.True, c.Verdict))
		}
	}
	return lines
}

func TestAPoolObeysOnePolicy(t *testing.T) {
	abc := []v1beta1.IPAddressPool{pool("a", "10.0.0.1/32", labelled("zone", "one")), pool("b", "10.0.0.2/32", labelled("zone", "one")), pool("c", "10.0.0.3/32")}
	for _, c := range []struct {
		name     string
		policies []v1alpha1.AddressPolicy
		obeys    string // what a, b and c obey
		says     []string
	}{
		{"by name and by label", []v1alpha1.AddressPolicy{rules("p", of("c"), where(is("zone", "one")))}, "p p p", []string{
			`p Ready=true in force in pools "a", "b", "c" (InForce)`,
			`p Conflicting=false no pool that it selects obeys another AddressPolicy (NoConflict)`}},
		{"neither names nor selectors: no pool", []v1alpha1.AddressPolicy{rules("p")}, "- - -", []string{
			`p Ready=false it selects no pool: name one in spec.poolNames or select some in spec.poolSelectors (NoPool)`,
			`p Conflicting=false no pool that it selects obeys another AddressPolicy (NoConflict)`}},
		{"an empty selector: every pool", []v1alpha1.AddressPolicy{rules("p", where(metav1.LabelSelector{}))}, "p p p", nil},
		{"the highest priority wins", []v1alpha1.AddressPolicy{rules("low", of("a", "b")), rules("top", of("b"), priority(5)), rules("under", of("b"), priority(-1))}, "low top -", []string{
			`low Ready=true in force in pool "a" (InForce)`,
			`low Conflicting=true pool "b" obeys AddressPolicy "top", which has priority 5; this one has priority 0 (Conflicting)`,
			`top Ready=true in force in pool "b" (InForce)`,
			`top Conflicting=false no pool that it selects obeys another AddressPolicy (NoConflict)`,
			`under Ready=false every pool that it selects obeys another AddressPolicy (Conflicting)`,
			`under Conflicting=true pool "b" obeys AddressPolicy "top", which has priority 5; this one has priority -1 (Conflicting)`}},
		{"then the first by name", []v1alpha1.AddressPolicy{rules("y", of("a")), rules("x", of("a"))}, "x - -", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, problems := Compile(Objects{Pools: abc, AddressPolicies: c.policies}, nil)
			expect(t, problems)
			var obeys []string
			for i := range p.Pools {
				if r := p.Pools[i].Rules; r != nil {
					obeys = append(obeys, r.Name)
				} else {
					obeys = append(obeys, "-")
				}
			}
			if got := strings.Join(obeys, " "); got != c.obeys {
				t.Errorf("the pools obey %s, want %s", got, c.obeys)
			}
			if got := conditions(p); c.says != nil && !slices.Equal(got, c.says) {
				t.Errorf("conditions\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.says, "\n"))
			}
		})
	}
}

func TestBadAddressPolicy(t *testing.T) {
	objects := func(a v1alpha1.AddressPolicy) Objects {
		return Objects{Pools: []v1beta1.IPAddressPool{pool("a", "10.0.0.0/24")}, AddressPolicies: []v1alpha1.AddressPolicy{a}}
	}
	spoilt := rules("p", of("a", "gone"), retain(-time.Second), exclude("10.0.0.7", "10.0.0.300"), quota(v1alpha1.Quota{Addresses: -1, NamespaceSelector: &bad}), func(a *v1alpha1.AddressPolicy) {
		a.Spec.Strategy = "Dice"
	})
	says := []string{
		`AddressPolicy "p" names pool "gone", which does not exist: create it or correct the name (UnknownReference)`,
		`AddressPolicy "p", spec.exclude[1]: "10.0.0.300" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20 (InvalidAddresses)`,
		`AddressPolicy "p", spec.quotas[0].addresses: -1 is negative (InvalidValue)`,
		`AddressPolicy "p", spec.quotas[0].namespaceSelector: ` + badText + ` (InvalidSelector)`,
		`AddressPolicy "p", spec.retain: -1s is negative (InvalidValue)`,
		`AddressPolicy "p", spec.strategy: there is no strategy "Dice" (InvalidValue)`,
	}
	check := func(t *testing.T, last *Policy, excluded, free string) {
		t.Helper()
		p, problems := Compile(objects(spoilt), last)
		expect(t, problems, says...)
		a := p.Pools[0]
		if !a.Rules.Excludes(netip.MustParseAddr(excluded)) || a.Rules.Excludes(netip.MustParseAddr(free)) {
			t.Errorf("it excludes %v", a.Rules.Exclude)
		}
		if !a.Stalled() || a.Frozen || a.Gives(netip.MustParseAddr(free)) {
			t.Error("its pool goes on giving")
		}
		if got := conditions(p)[0]; got != `p Ready=false AddressPolicy "p", spec.retain: -1s is negative (InvalidValue)` {
			t.Error(got)
		}
	}
	t.Run("after a restart what is good is in force, and its pools give nothing new", func(t *testing.T) { check(t, nil, "10.0.0.7", "10.0.0.9") })
	t.Run("it keeps its last value, and its pools give nothing new", func(t *testing.T) {
		last, problems := Compile(objects(rules("p", of("a"), exclude("10.0.0.9"))), nil)
		expect(t, problems)
		check(t, last, "10.0.0.9", "10.0.0.7")
	})
	t.Run("one of the same name but another UID has no last value", func(t *testing.T) {
		other := rules("p", of("a"), exclude("10.0.0.9"))
		other.UID = "other"
		last, _ := Compile(objects(other), nil)
		check(t, last, "10.0.0.7", "10.0.0.9")
	})
}

func TestExcludedIsNotInTheSpace(t *testing.T) {
	for _, c := range []struct{ pool, exclude, v4, v6 string }{
		{"10.0.0.0/29", "", "10.0.0.0-10.0.0.7", ""},
		{"10.0.0.0/29", "10.0.0.3", "10.0.0.0-10.0.0.2, 10.0.0.4-10.0.0.7", ""},
		{"10.0.0.0/29,fd00::/126", "10.0.0.0/30,fd00::1-fd00::2", "10.0.0.4-10.0.0.7", "fd00::, fd00::3"},
		{"10.0.0.8-10.0.0.9,10.0.0.0-10.0.0.4", "10.0.0.2,10.0.0.8", "10.0.0.9, 10.0.0.0-10.0.0.1, 10.0.0.3-10.0.0.4", ""},
		{"10.0.0.0/29", "10.0.0.2-10.0.0.5,10.0.0.4-10.0.0.6,10.0.0.7", "10.0.0.0-10.0.0.1", ""},
		{"10.0.0.0/29", "0.0.0.0/0,::/0", "", ""},
		{"0.0.0.0/31,255.255.255.254/31", "0.0.0.0,255.255.255.255", "0.0.0.1, 255.255.255.254", ""},
	} {
		t.Run(c.pool+" without "+c.exclude, func(t *testing.T) {
			a := rules("p", of("a"))
			if c.exclude != "" {
				a.Spec.Exclude = strings.Split(c.exclude, ",")
			}
			p, problems := Compile(Objects{Pools: []v1beta1.IPAddressPool{pool("a", c.pool)}, AddressPolicies: []v1alpha1.AddressPolicy{a}}, nil)
			expect(t, problems)
			for f, want := range map[Family]string{IPv4: c.v4, IPv6: c.v6} {
				space := p.Pools[0].Space(f)
				if got := list(space.Ranges); got != want {
					t.Errorf("%s: %s, want %s", f, got, want)
				}
				var n uint64
				for _, r := range space.Ranges {
					for x := r.From; x.IsValid() && !r.To.Less(x); x = x.Next() {
						if a := space.At(n); a != x || !p.Pools[0].Gives(x) {
							t.Errorf("address %d is %s, want %s", n, a, x)
						}
						n++
					}
				}
				if space.Size() != n {
					t.Errorf("%s: size %d, want %d", f, space.Size(), n)
				}
			}
		})
	}
	t.Run("more than can be counted", func(t *testing.T) {
		p, _ := Compile(pools(pool("a", "fd00::/64,fd01::/48")), nil)
		space := p.Pools[0].Space(IPv6)
		if a := space.At(1 << 63); space.Size() != 1<<64-1 || a != netip.MustParseAddr("fd00::8000:0:0:0") {
			t.Errorf("size %d, in the middle %s", space.Size(), a)
		}
	})
}

func TestQuotaIsForNamespaces(t *testing.T) {
	shop, front := is("tier", "front"), labels.Set{"tier": "front"}
	p, problems := Compile(Objects{AddressPolicies: []v1alpha1.AddressPolicy{rules("p",
		quota(v1alpha1.Quota{Addresses: 1}),
		quota(v1alpha1.Quota{Addresses: 1, Namespaces: []string{"x"}}),
		quota(v1alpha1.Quota{Addresses: 1, NamespaceSelector: &shop}),
		quota(v1alpha1.Quota{Addresses: 1, Namespaces: []string{"x"}, NamespaceSelector: &shop}),
	)}}, nil)
	expect(t, problems)
	for _, c := range []struct {
		namespace string
		labels    labels.Set
		want      string
	}{
		{"x", nil, "[true true false true]"},
		{"y", nil, "[true false false false]"},
		{"y", front, "[true false true true]"},
	} {
		var got []bool
		for _, q := range p.AddressPolicies[0].Quotas {
			got = append(got, q.For(c.namespace, c.labels))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s %v: %v, want %s", c.namespace, c.labels, got, c.want)
		}
	}
}

func TestExclusivePoolsAreTheOnlyCandidates(t *testing.T) {
	to := func(namespaces ...string) func(*v1beta1.IPAddressPool) {
		return allocateTo(v1beta1.ServiceAllocation{Namespaces: namespaces})
	}
	p, problems := Compile(Objects{
		Pools: []v1beta1.IPAddressPool{
			pool("open", "10.0.0.0/24"), pool("x1", "10.0.1.0/24", to("x")), pool("x2", "10.0.2.0/24", to("x", "y")), pool("mild", "10.0.3.0/24", to("x", "y")),
		},
		AddressPolicies: []v1alpha1.AddressPolicy{rules("p", of("x1", "x2", "open"), exclusive)},
	}, nil)
	expect(t, problems)
	for namespace, want := range map[string]string{"x": "x1 x2", "y": "x2", "z": "open"} {
		var names []string
		for _, c := range p.Candidates(namespace, nil, nil) {
			names = append(names, c.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("a Service in %s may draw from %s, want %s", namespace, got, want)
		}
	}
}
