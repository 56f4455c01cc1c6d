package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

func drawAddress(t *rapid.T) netip.Addr {
	host := rapid.ByteRange(0, 15).Draw(t, "host")
	if rapid.Bool().Draw(t, "IPv4") {
		return netip.AddrFrom4([4]byte{10, 0, 0, host})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 15: host})
}

// drawObjects draws pools that overlap, some of them bad, and advertisements that may name them.
func drawObjects(t *rapid.T) (o Objects) {
	names := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	selectors := rapid.SliceOfN(rapid.SampledFrom([]metav1.LabelSelector{is("zone", "one"), is("zone", "two"), bad}), 0, 2)
	for _, name := range rapid.SliceOfNDistinct(names, 0, 5, rapid.ID).Draw(t, "pools") {
		ranges := rapid.SliceOfN(rapid.Custom(drawRange), 0, 4).Draw(t, "ranges")
		p := pool(name, strings.Join(ranges, ","), createdAt(rapid.IntRange(0, 2).Draw(t, "age")), labelled("zone", rapid.SampledFrom([]string{"one", "two"}).Draw(t, "zone")))
		if rapid.Bool().Draw(t, "tenants") {
			p.Spec.AllocateTo = &v1beta1.ServiceAllocation{NamespaceSelectors: selectors.Draw(t, "namespaces")}
		}
		o.Pools = append(o.Pools, p)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "ads") {
		a := ad(fmt.Sprint("ad-", i), forPools(rapid.SliceOfN(names, 0, 2).Draw(t, "named")...))
		a.Spec.IPAddressPoolSelectors = selectors.Draw(t, "selected")
		a.Spec.NodeSelectors = selectors.Draw(t, "nodes")
		o.L2Advertisements = append(o.L2Advertisements, a)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "policies") {
		a := rules(fmt.Sprint("p", i), of(rapid.SliceOfN(names, 0, 2).Draw(t, "named")...), where(selectors.Draw(t, "selected")...),
			priority(rapid.Int32Range(0, 1).Draw(t, "priority")), exclude(rapid.SliceOfN(rapid.Custom(drawRange), 0, 2).Draw(t, "exclude")...))
		o.AddressPolicies = append(o.AddressPolicies, a)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "reservations") {
		r := reserve(fmt.Sprint("r", i), age(rapid.IntRange(0, 1).Draw(t, "age")))
		if rapid.Bool().Draw(t, "named") {
			r.Spec.Address = drawAddress(t).String()
		} else {
			anyOf(names.Draw(t, "pool"), drawAddress(t).String())(&r)
		}
		o.AddressReservations = append(o.AddressReservations, r)
	}
	return o
}

func drawRange(t *rapid.T) string {
	from, to := drawAddress(t), drawAddress(t)
	if rapid.IntRange(0, 3).Draw(t, "CIDR") == 0 {
		return netip.PrefixFrom(from, from.BitLen()-rapid.IntRange(0, 3).Draw(t, "host bits")).String()
	}
	return from.String() + "-" + to.String() // at times it mixes families or ends before it starts
}

func TestRangesAreDisjointAndPoolOfFindsThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last, _ := Compile(drawObjects(t), nil)
		p, _ := Compile(drawObjects(t), last)
		a := drawAddress(t)
		var owners []string
		for i := range p.Pools {
			for _, r := range p.Pools[i].Ranges {
				if r.Contains(a) {
					owners = append(owners, p.Pools[i].Name)
				}
			}
		}
		got, ok := p.PoolOf(a)
		if len(owners) > 1 || ok != (len(owners) == 1) || ok && got.Name != owners[0] {
			t.Fatalf("PoolOf(%s) is %v; the ranges of %v hold it (%s)", a, got, owners, text(p))
		}
	})
}

func TestNothingIsLostWherePoolsOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := Compile(drawObjects(t), nil)
		a := drawAddress(t)
		declared := false
		for i := range p.Pools {
			for _, r := range p.Pools[i].declared {
				declared = declared || r.Contains(a)
			}
		}
		if _, ok := p.PoolOf(a); ok != declared {
			t.Fatalf("%s is declared: %v, owned: %v (%s)", a, declared, ok, text(p))
		}
	})
}

func TestCompileDoesNotDependOnTheOrder(t *testing.T) {
	equal := cmp.Options{
		cmp.AllowUnexported(Policy{}, Pool{}, owner{}, Space{}, AddressPolicy{}, Quota{}, Reservation{}),
		cmpopts.EquateComparable(netip.Addr{}),
		cmp.Comparer(func(a, b labels.Selector) bool { return fmt.Sprint(a) == fmt.Sprint(b) }),
	}
	rapid.Check(t, func(t *rapid.T) {
		last, _ := Compile(drawObjects(t), nil)
		objects := drawObjects(t)
		p, problems := Compile(objects, last)
		shuffled := Objects{
			Pools:               rapid.Permutation(objects.Pools).Draw(t, "pools"),
			L2Advertisements:    rapid.Permutation(objects.L2Advertisements).Draw(t, "ads"),
			AddressPolicies:     rapid.Permutation(objects.AddressPolicies).Draw(t, "policies"),
			AddressReservations: rapid.Permutation(objects.AddressReservations).Draw(t, "reservations"),
		}
		p2, problems2 := Compile(shuffled, last)
		if diff := cmp.Diff(p, p2, equal) + cmp.Diff(problems, problems2); diff != "" {
			t.Fatal(diff)
		}
		seen := map[Problem]bool{}
		for i, x := range problems {
			if seen[x] || i > 0 && problems[i-1].Object.Kind > x.Object.Kind || strings.Contains(x.Message, "\n") {
				t.Fatalf("problem %d is told twice, out of order or on two lines: %v", i, problems)
			}
			seen[x] = true
		}
	})
}

func TestTheSpaceIsWhatThePoolGives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := Compile(drawObjects(t), nil)
		a := drawAddress(t)
		for i := range p.Pools {
			pool := &p.Pools[i]
			in := slices.ContainsFunc(pool.Space(FamilyOf(a)).Ranges, func(r Range) bool { return r.Contains(a) })
			if !pool.Stalled() && pool.Gives(a) != in {
				t.Fatalf("pool %q gives %s: %v, and in its space is: %v", pool.Name, a, pool.Gives(a), in)
			}
		}
	})
}

func TestAnAddressHasOneReservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := Compile(drawObjects(t), nil)
		seen := map[netip.Addr]bool{}
		for _, r := range p.Reservations {
			if r.Address.IsValid() && seen[r.Address] {
				t.Fatalf("two hold %s", r.Address)
			}
			seen[r.Address] = true
		}
	})
}

func TestCompileLeavesItsInputsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		objects := drawObjects(t)
		last, _ := Compile(objects, nil)
		before := text(last)
		Compile(drawObjects(t), last)
		if text(last) != before {
			t.Fatalf("the last Policy was %s and is %s", before, text(last))
		}
	})
}
