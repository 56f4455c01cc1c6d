package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

// A pool of a test is the object that a user writes; options change it. It is as old as it says, else all are equal.
func pool(name, addresses string, options ...func(*v1beta1.IPAddressPool)) v1beta1.IPAddressPool {
	p := v1beta1.IPAddressPool{ObjectMeta: meta(name)}
	if addresses != "" {
		p.Spec.Addresses = strings.Split(addresses, ",")
	}
	for _, o := range options {
		o(&p)
	}
	return p
}

func ad(name string, options ...func(*v1beta1.L2Advertisement)) v1beta1.L2Advertisement {
	a := v1beta1.L2Advertisement{ObjectMeta: meta(name)}
	for _, o := range options {
		o(&a)
	}
	return a
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "metallb-system", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: at(0)}
}

func at(second int) metav1.Time { return metav1.NewTime(time.Unix(1_700_000_000+int64(second), 0)) }

func createdAt(second int) func(*v1beta1.IPAddressPool) {
	return func(p *v1beta1.IPAddressPool) { p.CreationTimestamp = at(second) }
}

func labelled(key, value string) func(*v1beta1.IPAddressPool) {
	return func(p *v1beta1.IPAddressPool) { p.Labels = map[string]string{key: value} }
}

func allocateTo(a v1beta1.ServiceAllocation) func(*v1beta1.IPAddressPool) {
	return func(p *v1beta1.IPAddressPool) { p.Spec.AllocateTo = &a }
}

func forPools(names ...string) func(*v1beta1.L2Advertisement) {
	return func(a *v1beta1.L2Advertisement) { a.Spec.IPAddressPools = names }
}

// is selects what carries the label key=value.
func is(key, value string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

// bad is a selector that does not parse.
var bad = metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Like", Values: []string{"re%"}}}}

const badText = `"Like" is not a valid label selector operator`

func pools(p ...v1beta1.IPAddressPool) Objects { return Objects{Pools: p} }

// expect fails unless the problems are exactly these, as "reason: message".
func expect(t *testing.T, problems []Problem, want ...string) {
	t.Helper()
	for i := range max(len(problems), len(want)) {
		switch {
		case i >= len(problems):
			t.Errorf("missing problem: %s", want[i])
		case i >= len(want):
			t.Errorf("unexpected problem: %s", problems[i].Verdict)
		case problems[i].String() != want[i]:
			t.Errorf("problem\n%s, want\n%s", problems[i].Verdict, want[i])
		}
	}
}

// text renders the ranges in force of every pool.
func text(p *Policy) string {
	var lines []string
	for i := range p.Pools {
		line := p.Pools[i].Name + ": " + list(p.Pools[i].Ranges)
		if p.Pools[i].Frozen {
			line += " (frozen)"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

func TestPoolDefaults(t *testing.T) {
	off := false
	p, problems := Compile(pools(pool("a", "10.0.0.0/31,fd00::/127"), pool("b", "10.0.1.0/24", func(o *v1beta1.IPAddressPool) {
		o.Spec.AutoAssign, o.Spec.AvoidBuggyIPs = &off, true
		o.Annotations = map[string]string{AnnotationCrossNamespaceSharing: "true"}
	})), nil)
	expect(t, problems)
	a, _ := p.Pool("a")
	if !a.AutoAssign || a.AvoidBuggyIPs || a.Tenants != nil || a.CrossNamespaceSharing || a.Frozen || a.UID != "uid-a" || !a.Has(IPv4) || !a.Has(IPv6) {
		t.Errorf("pool a is %+v", a)
	}
	b, _ := p.Pool("b")
	if b.AutoAssign || !b.AvoidBuggyIPs || !b.CrossNamespaceSharing || b.Has(IPv6) {
		t.Errorf("pool b is %+v", b)
	}
	if _, ok := p.Pool("c"); ok {
		t.Error("there is a pool that nobody made")
	}
	if _, ok := new(Policy).PoolOf(span("10.0.0.1/32").From); ok {
		t.Error("the zero Policy has an address")
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects Objects
		want    string
		says    []string
	}{
		{"the older pool owns the overlap", pools(pool("a", "10.0.0.0/24", createdAt(2)), pool("b", "10.0.0.10-10.0.0.19", createdAt(1))),
			"a: 10.0.0.0-10.0.0.9, 10.0.0.20-10.0.0.255; b: 10.0.0.10-10.0.0.19",
			[]string{`IPAddressPool "a": range 10.0.0.0-10.0.0.255 overlaps the older pool "b", which keeps 10.0.0.10-10.0.0.19: remove that from one of the two (OverlappingAddresses)`}},
		{"pools of the same age: the first by name", pools(pool("b", "10.0.0.0/31"), pool("a", "10.0.0.1/32")),
			"a: 10.0.0.1; b: 10.0.0.0",
			[]string{`IPAddressPool "b": range 10.0.0.0-10.0.0.1 overlaps the older pool "a", which keeps 10.0.0.1: remove that from one of the two (OverlappingAddresses)`}},
		{"a pool that is covered has no range left", pools(pool("a", "10.0.0.0/24"), pool("b", "10.0.0.7/32")),
			"a: 10.0.0.0-10.0.0.255; b: ",
			[]string{`IPAddressPool "b": range 10.0.0.7 overlaps the older pool "a", which keeps 10.0.0.7: remove that from one of the two (OverlappingAddresses)`}},
		{"within a pool the first range has it", pools(pool("a", "10.0.0.4-10.0.0.9,10.0.0.0/29")),
			"a: 10.0.0.4-10.0.0.9, 10.0.0.0-10.0.0.3",
			[]string{`IPAddressPool "a" lists 10.0.0.4-10.0.0.7 twice: remove it from 10.0.0.0-10.0.0.7 (OverlappingAddresses)`}},
		{"a range that stands three times is told once", pools(pool("a", "10.0.0.1/32,10.0.0.1/32,10.0.0.1/32")),
			"a: 10.0.0.1",
			[]string{`IPAddressPool "a" lists 10.0.0.1 twice: remove it from 10.0.0.1 (OverlappingAddresses)`}},
		{"one problem for each range and each older pool, however many pieces", pools(
			pool("old", "10.0.0.2/32,10.0.0.4/32", createdAt(1)), pool("older", "10.0.0.6/32", createdAt(0)), pool("young", "10.0.0.0/29,10.0.0.0/30", createdAt(2))),
			"old: 10.0.0.2, 10.0.0.4; older: 10.0.0.6; young: 10.0.0.0-10.0.0.1, 10.0.0.3, 10.0.0.5, 10.0.0.7",
			[]string{
				`IPAddressPool "young" lists 10.0.0.0-10.0.0.1, 10.0.0.3 twice: remove it from 10.0.0.0-10.0.0.3 (OverlappingAddresses)`,
				`IPAddressPool "young": range 10.0.0.0-10.0.0.3 overlaps the older pool "old", which keeps 10.0.0.2: remove that from one of the two (OverlappingAddresses)`,
				`IPAddressPool "young": range 10.0.0.0-10.0.0.7 overlaps the older pool "old", which keeps 10.0.0.2, 10.0.0.4: remove that from one of the two (OverlappingAddresses)`,
				`IPAddressPool "young": range 10.0.0.0-10.0.0.7 overlaps the older pool "older", which keeps 10.0.0.6: remove that from one of the two (OverlappingAddresses)`,
			}},
		{"families do not overlap", pools(pool("a", "0.0.0.0/0"), pool("b", "::/0")), "a: 0.0.0.0-255.255.255.255; b: ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, problems := Compile(c.objects, nil)
			if got := text(p); got != c.want {
				t.Errorf("ranges are %s, want %s", got, c.want)
			}
			expect(t, problems, c.says...)
		})
	}
}

func TestBadPool(t *testing.T) {
	recreated := func(p *v1beta1.IPAddressPool) { p.UID = "another" }
	good := pools(pool("a", "10.0.0.0/31,10.0.1.0/31"))
	const garbled = `IPAddressPool "a", spec.addresses[1]: range "10.0.9.9-10.0.9.0" ends before it starts (InvalidAddresses)`
	for _, c := range []struct {
		name    string
		last    Objects
		objects Objects
		want    string
		says    []string
	}{
		{"with no last value the ranges that parse stay", Objects{}, pools(pool("a", "10.0.0.0/31,10.0.9.9-10.0.9.0")), "a: 10.0.0.0-10.0.0.1 (frozen)", []string{garbled}},
		{"it keeps its last good value", good, pools(pool("a", "10.0.2.0/31,10.0.9.9-10.0.9.0")), "a: 10.0.0.0-10.0.0.1, 10.0.1.0-10.0.1.1 (frozen)", []string{garbled}},
		{"corrected, it has its new value", pools(pool("a", "nonsense")), pools(pool("a", "10.0.2.0/31")), "a: 10.0.2.0-10.0.2.1", nil},
		{"re-created under its name it inherits nothing", good, pools(pool("a", "10.0.2.0/31,10.0.9.9-10.0.9.0", recreated)), "a: 10.0.2.0-10.0.2.1 (frozen)", []string{garbled}},
		{"deleted, it is gone", good, Objects{}, "", nil},
		{"the others go on", good, pools(pool("a", ""), pool("b", "10.0.3.0/31")), "a: 10.0.0.0-10.0.0.1, 10.0.1.0-10.0.1.1 (frozen); b: 10.0.3.0-10.0.3.1",
			[]string{`IPAddressPool "a" has no addresses: list at least one CIDR or range in spec.addresses (InvalidAddresses)`}},
		{"what it keeps, a younger pool does not get", good, pools(pool("a", "nonsense"), pool("b", "10.0.0.0/30")), "a: 10.0.0.0-10.0.0.1, 10.0.1.0-10.0.1.1 (frozen); b: 10.0.0.2-10.0.0.3", []string{
			`IPAddressPool "a", spec.addresses[0]: "nonsense" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20 (InvalidAddresses)`,
			`IPAddressPool "b": range 10.0.0.0-10.0.0.3 overlaps the older pool "a", which keeps 10.0.0.0-10.0.0.1: remove that from one of the two (OverlappingAddresses)`}},
		{"what an older pool took is back once that is gone", pools(pool("a", "10.0.0.0/31"), pool("older", "10.0.0.0/32", createdAt(-1))), pools(pool("a", "nonsense")), "a: 10.0.0.0-10.0.0.1 (frozen)",
			[]string{`IPAddressPool "a", spec.addresses[0]: "nonsense" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20 (InvalidAddresses)`}},
		{"every fault is told, one by one", Objects{}, pools(pool("a", "x/1,10.0.0.0/32,y/2", allocateTo(v1beta1.ServiceAllocation{
			NamespaceSelectors: []metav1.LabelSelector{bad, is("a", "b"), bad}, ServiceSelectors: []metav1.LabelSelector{bad}}))), "a: 10.0.0.0 (frozen)", []string{
			`IPAddressPool "a", spec.addresses[0]: "x/1" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20 (InvalidAddresses)`,
			`IPAddressPool "a", spec.addresses[2]: "y/2" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20 (InvalidAddresses)`,
			`IPAddressPool "a", spec.serviceAllocation.namespaceSelectors[0]: ` + badText + ` (InvalidSelector)`,
			`IPAddressPool "a", spec.serviceAllocation.namespaceSelectors[2]: ` + badText + ` (InvalidSelector)`,
			`IPAddressPool "a", spec.serviceAllocation.serviceSelectors[0]: ` + badText + ` (InvalidSelector)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			last, _ := Compile(c.last, nil)
			p, problems := Compile(c.objects, last)
			if got := text(p); got != c.want {
				t.Errorf("ranges are %s, want %s", got, c.want)
			}
			expect(t, problems, c.says...)
			if again, _ := Compile(c.objects, p); text(again) != c.want {
				t.Errorf("compiled again, ranges are %s, want %s", text(again), c.want)
			}
			for i := range p.Pools {
				if a := &p.Pools[i]; a.Frozen && a.Gives(a.Ranges[0].From) {
					t.Errorf("the bad pool gives %s", a.Ranges[0].From)
				}
			}
		})
	}
}

func TestBadPoolKeepsWhomItAdmits(t *testing.T) {
	last, _ := Compile(pools(pool("a", "10.0.0.0/31", allocateTo(v1beta1.ServiceAllocation{Namespaces: []string{"x"}}))), nil)
	p, _ := Compile(pools(pool("a", "10.0.0.0/31", allocateTo(v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{bad}}))), last)
	if a, _ := p.Pool("a"); !a.Frozen || !a.Admits("x", nil, nil) || a.Admits("y", nil, nil) {
		t.Errorf("the bad pool is %+v", a)
	}
}

func TestTenants(t *testing.T) {
	type allocation = v1beta1.ServiceAllocation
	selectors := func(s ...metav1.LabelSelector) []metav1.LabelSelector { return s }
	red, web := labels.Set{"team": "red"}, labels.Set{"app": "web"}
	for _, c := range []struct {
		name      string
		to        *allocation
		namespace string
		ns, svc   labels.Set
		want      bool
	}{
		{"without serviceAllocation everybody", nil, "x", nil, nil, true},
		{"a priority alone admits everybody", &allocation{Priority: 5}, "x", nil, nil, true},
		{"a namespace by name", &allocation{Namespaces: []string{"x", "y"}}, "y", nil, nil, true},
		{"another namespace", &allocation{Namespaces: []string{"x", "y"}}, "z", nil, nil, false},
		{"a namespace by label", &allocation{NamespaceSelectors: selectors(is("team", "blue"), is("team", "red"))}, "x", red, nil, true},
		{"a namespace selector that matches nothing admits nothing", &allocation{NamespaceSelectors: selectors(is("team", "blue"))}, "x", red, nil, false},
		{"a namespace by name or by label", &allocation{Namespaces: []string{"x"}, NamespaceSelectors: selectors(is("team", "red"))}, "y", red, nil, true},
		{"an empty selector is for all", &allocation{NamespaceSelectors: selectors(metav1.LabelSelector{})}, "x", nil, nil, true},
		{"a Service by label", &allocation{ServiceSelectors: selectors(is("app", "db"), is("app", "web"))}, "x", nil, web, true},
		{"a service selector that matches nothing admits nothing", &allocation{ServiceSelectors: selectors(is("app", "db"))}, "x", nil, web, false},
		{"namespace and Service", &allocation{Namespaces: []string{"x"}, ServiceSelectors: selectors(is("app", "web"))}, "x", nil, web, true},
		{"the right Service in the wrong namespace", &allocation{Namespaces: []string{"x"}, ServiceSelectors: selectors(is("app", "web"))}, "y", nil, web, false},
		{"the wrong Service in the right namespace", &allocation{Namespaces: []string{"x"}, ServiceSelectors: selectors(is("app", "web"))}, "x", nil, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, problems := Compile(pools(pool("a", "10.0.0.0/31", func(o *v1beta1.IPAddressPool) { o.Spec.AllocateTo = c.to })), nil)
			expect(t, problems)
			if got := p.Pools[0].Admits(c.namespace, c.ns, c.svc); got != c.want {
				t.Errorf("admitted: %v, want %v", got, c.want)
			}
			if got := len(p.Candidates(c.namespace, c.ns, c.svc)) == 1; got != c.want {
				t.Errorf("a candidate: %v, want %v", got, c.want)
			}
		})
	}
}

func TestCandidates(t *testing.T) {
	to := func(priority int, namespaces ...string) func(*v1beta1.IPAddressPool) {
		return allocateTo(v1beta1.ServiceAllocation{Priority: priority, Namespaces: namespaces})
	}
	off := false
	p, _ := Compile(pools(
		pool("open-b", "10.0.0.0/32"), pool("open-a", "10.0.0.1/32"),
		pool("none-b", "10.0.0.2/32", to(0, "x")), pool("none-a", "10.0.0.3/32", to(0, "x")),
		pool("ten-b", "10.0.0.4/32", to(10)), pool("ten-a", "10.0.0.5/32", to(10, "x")),
		pool("two", "10.0.0.6/32", to(2, "x")), pool("minus", "10.0.0.7/32", to(-1, "x")),
		pool("others", "10.0.0.8/32", to(1, "y")),
		pool("asked", "10.0.0.9/32", func(o *v1beta1.IPAddressPool) { o.Spec.AutoAssign = &off }),
	), nil)
	var got []string
	for _, c := range p.Candidates("x", nil, nil) {
		got = append(got, c.Name)
	}
	if want := "minus two ten-a ten-b none-a none-b open-a open-b"; strings.Join(got, " ") != want {
		t.Errorf("pools are asked in the order %v, want %s", got, want)
	}
}

func TestAvoidBuggyIPs(t *testing.T) {
	p, _ := Compile(pools(pool("a", "10.0.0.0/24,fd00::/120", func(o *v1beta1.IPAddressPool) { o.Spec.AvoidBuggyIPs = true })), nil)
	for address, want := range map[string]bool{
		"10.0.0.0": false, "10.0.0.1": true, "10.0.0.254": true, "10.0.0.255": false, "10.0.1.1": false, "fd00::": true, "fd00::ff": true,
	} {
		if got := p.Pools[0].Gives(span(address + "-" + address).From); got != want {
			t.Errorf("%s is given: %v, want %v", address, got, want)
		}
	}
}

func TestL2Advertisements(t *testing.T) {
	three := []v1beta1.IPAddressPool{pool("a", "10.0.0.1/32", labelled("zone", "one")), pool("b", "10.0.0.2/32", labelled("zone", "two")), pool("c", "10.0.0.3/32")}
	selecting := func(s ...metav1.LabelSelector) func(*v1beta1.L2Advertisement) {
		return func(a *v1beta1.L2Advertisement) { a.Spec.IPAddressPoolSelectors = s }
	}
	unknown := func(name string) string {
		return fmt.Sprintf(`L2Advertisement "x" names pool %q, which does not exist: create it or correct the name (UnknownReference)`, name)
	}
	for _, c := range []struct {
		name string
		ad   v1beta1.L2Advertisement
		want string // the pools that it selects
		says []string
	}{
		{"neither named nor selected: all pools", ad("x"), "a b c", nil},
		{"by name", ad("x", forPools("c", "a")), "a c", nil},
		{"by label", ad("x", selecting(is("zone", "one"), is("zone", "two"))), "a b", nil},
		{"by name or label", ad("x", forPools("c"), selecting(is("zone", "two"))), "b c", nil},
		{"a selector that matches no pool", ad("x", selecting(is("zone", "three"))), "", nil},
		{"an unknown pool does not harm the others", ad("x", forPools("typo", "a", "typo", "lost")), "a", []string{unknown("lost"), unknown("typo")}},
		{"a bad selector and no last value: nothing", ad("x", forPools("a", "typo"), selecting(bad)), "", []string{
			unknown("typo"), `L2Advertisement "x", spec.ipAddressPoolSelectors[0]: ` + badText + ` (InvalidSelector)`}},
		{"every bad selector is told", ad("x", func(a *v1beta1.L2Advertisement) {
			a.Spec.NodeSelectors = []metav1.LabelSelector{is("a", "b"), bad}
			a.Spec.ServiceSelectors = []metav1.LabelSelector{bad}
			a.Spec.PreferredNodeSelectors = []v1beta1.PreferredNodeSelector{{Weight: 1, Preference: bad}}
		}), "", []string{
			`L2Advertisement "x", spec.nodeSelectors[1]: ` + badText + ` (InvalidSelector)`,
			`L2Advertisement "x", spec.preferredNodeSelectors[0].preference: ` + badText + ` (InvalidSelector)`,
			`L2Advertisement "x", spec.serviceSelectors[0]: ` + badText + ` (InvalidSelector)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, problems := Compile(Objects{Pools: three, L2Advertisements: []v1beta1.L2Advertisement{c.ad}}, nil)
			expect(t, problems, c.says...)
			var got []string
			for i := range p.Pools {
				if p.L2Ads[0].SelectsPool(p.Pools[i].Name) {
					got = append(got, p.Pools[i].Name)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("selects %v, want %s", got, c.want)
			}
		})
	}
}

func TestAdvertisementNamesAPoolThatIsGone(t *testing.T) {
	p, _ := Compile(Objects{L2Advertisements: []v1beta1.L2Advertisement{ad("x", forPools("gone"))}}, nil)
	if !p.L2Ads[0].SelectsPool("gone") {
		t.Error("addresses that are still in use from a pool that was deleted are not advertised any more")
	}
}

func TestBadAdvertisementKeepsItsLastValue(t *testing.T) {
	objects := func(uid types.UID, options ...func(*v1beta1.L2Advertisement)) Objects {
		x := ad("x", options...)
		x.UID = uid
		return Objects{
			Pools:            []v1beta1.IPAddressPool{pool("a", "10.0.0.1/32"), pool("b", "10.0.0.2/32")},
			L2Advertisements: []v1beta1.L2Advertisement{ad("w"), x, ad("y")},
		}
	}
	spoil := func(a *v1beta1.L2Advertisement) { a.Spec.NodeSelectors = []metav1.LabelSelector{bad} }
	last, _ := Compile(objects("1", forPools("a")), nil)
	kept, problems := Compile(objects("1", forPools("b"), spoil), last)
	expect(t, problems, `L2Advertisement "x", spec.nodeSelectors[0]: `+badText+` (InvalidSelector)`)
	if x := kept.L2Ads[1]; x.Name != "x" || !x.SelectsPool("a") || x.SelectsPool("b") {
		t.Errorf("the bad advertisement is %+v", x)
	}
	if x := first(Compile(objects("1", spoil), kept)).L2Ads[1]; !x.SelectsPool("a") {
		t.Errorf("bad for the second time, the advertisement is %+v", x)
	}
	if x := first(Compile(objects("2", forPools("a"), spoil), kept)).L2Ads[1]; x.SelectsPool("a") {
		t.Errorf("re-created under its name, the bad advertisement is %+v", x)
	}
}

func first(p *Policy, _ []Problem) *Policy { return p }

func TestAdvertisementSelects(t *testing.T) {
	p, problems := Compile(Objects{L2Advertisements: []v1beta1.L2Advertisement{ad("all"), ad("some", func(a *v1beta1.L2Advertisement) {
		a.Spec.NodeSelectors = []metav1.LabelSelector{is("rack", "1"), is("rack", "2")}
		a.Spec.ServiceSelectors = []metav1.LabelSelector{is("app", "web")}
		a.Spec.Interfaces = []string{"eth0", "bond0"}
		a.Spec.PreferredNodeSelectors = []v1beta1.PreferredNodeSelector{
			{Weight: 10, Preference: is("rack", "1")}, {Weight: 5, Preference: is("disk", "ssd")}, {Weight: 1, Preference: metav1.LabelSelector{}}}
	})}}, nil)
	expect(t, problems)
	all, some := &p.L2Ads[0], &p.L2Ads[1]
	rack2 := labels.Set{"rack": "2"}
	if !all.SelectsNode(nil) || !all.SelectsService(nil) || !all.SelectsInterface("any") || all.Score(rack2) != 0 {
		t.Error("an advertisement without selectors is not for everything")
	}
	if !some.SelectsNode(rack2) || some.SelectsNode(labels.Set{"rack": "3"}) || some.SelectsNode(nil) {
		t.Error("nodeSelectors")
	}
	if !some.SelectsService(labels.Set{"app": "web"}) || some.SelectsService(nil) {
		t.Error("serviceSelectors")
	}
	if !some.SelectsInterface("bond0") || some.SelectsInterface("bond") {
		t.Error("interfaces")
	}
	if got := some.Score(labels.Set{"rack": "1", "disk": "ssd"}); got != 16 {
		t.Errorf("the preferences add up to %d, want 16", got)
	}
}
