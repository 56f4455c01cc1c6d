package allocator

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

func TestConsider(t *testing.T) {
	for name, c := range map[string]struct {
		pools []v1beta1.IPAddressPool
		of    Service
		want  string // a line for each pool
	}{
		"the first one that has one gives it": {
			pools: []v1beta1.IPAddressPool{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.0/24"), pool("c", "10.0.2.0/24")},
			of:    svc("web"),
			want: `a: no IPv4 address is free in pool "a": enlarge the pool or add another (PoolExhausted)
b, taken: it gave 10.0.1.0 (IPAllocated)
c: it has addresses to give, but the Service has 10.0.1.0 from pool "b" (PoolNotNeeded)`,
		},
		"those that are not asked": {
			pools: []v1beta1.IPAddressPool{pool("a", "10.0.0.1/32", onRequest), pool("b", "10.0.1.0/24", tenant(0, "y")), pool("c", "10.0.2.0/24", broken), pool("d", "fd00::/64")},
			of:    svc("web"),
			want: `c: pool "c" is invalid and gives nothing new until it is corrected: see its Events (PoolInvalid)
d: there is no IPv4 address in pool "d" (FamilyUnavailable)
a: it gives addresses to Services only that name it (autoAssign is false) (NoAutoAssign)
b: pool "b" does not admit this Service: see its serviceAllocation (PoolNotAllowed)`,
		},
		"a pool that is asked for": {
			pools: []v1beta1.IPAddressPool{pool("a", "10.0.0.0/24"), pool("b", "10.0.1.0/24", onRequest)},
			of:    svc("web", func(s *Service) { s.Pool = "b" }),
			want: `a: the Service asks for pool "b" (PoolNotRequested)
b, taken: it gave 10.0.1.0 (IPAllocated)`,
		},
		"an address that is asked for": {
			pools: []v1beta1.IPAddressPool{pool("a", "10.0.0.0/24"), pool("b", "10.0.1.0/24", onRequest)},
			of:    svc("web", func(s *Service) { s.Addresses = parse("10.0.0.1") }),
			want: `a: the requested address 10.0.0.1 is in use by x/other (AddressInUse)
b: the Service asks for 10.0.0.1, which it does not have (PoolNotRequested)`,
		},
		"a request that makes no sense": {
			pools: []v1beta1.IPAddressPool{pool("a", "10.0.0.0/24")},
			of:    svc("web", func(s *Service) { s.Invalid = "nonsense" }),
			want:  `a: it is not asked: nonsense (InvalidRequest)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			services := []Service{svc("other", holds("10.0.0.1", 1)), c.of}
			_, considered := Consider(viewOf(compile(c.pools...), services), 1)
			var lines []string
			for _, x := range considered {
				head := x.Pool
				if x.Taken {
					head += ", taken"
				}
				lines = append(lines, head+": "+x.String())
			}
			if d := cmp.Diff(c.want, strings.Join(lines, "\n")); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestConsiderAgreesWithDecide: what is said of the pools follows from the same decision.
func TestConsiderAgreesWithDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var services []Service
		for i := range rapid.IntRange(1, 8).Draw(t, "services") {
			s := svc(fmt.Sprintf("s%d", i))
			s.Pool = rapid.SampledFrom([]string{"", "", "", "a", "b", "none"}).Draw(t, "pool")
			if rapid.Bool().Draw(t, "holds") {
				s.Held = parse(rapid.SampledFrom([]string{"10.0.0.0", "10.0.0.1", "10.0.1.0", "10.9.9.9"}).Draw(t, "held"))
			}
			services = append(services, s)
		}
		v := viewOf(compile(pool("a", "10.0.0.0/31"), pool("b", "10.0.1.0/31"), pool("c", "10.0.2.0/31", onRequest)), services)
		decisions := Decide(v).Decisions
		for i := range services {
			d, considered := Consider(v, i)
			if diff := cmp.Diff(decisions[i], d, cmp.Comparer(func(a, b Decision) bool { return fmt.Sprint(a) == fmt.Sprint(b) })); diff != "" {
				t.Fatal(diff)
			}
			if len(considered) != len(v.Policy.Pools) {
				t.Fatalf("%d pools, want all", len(considered))
			}
			for _, x := range considered {
				p, _ := v.Policy.Pool(x.Pool)
				gave := false
				for _, a := range d.Addresses {
					home, ok := v.Policy.PoolOf(a)
					gave = gave || ok && home == p
				}
				if gave != x.Taken || x.Taken != (x.Reason == verdict.Assigned) {
					t.Fatalf("pool %s is taken: %v, for %v of %v", x.Pool, x.Taken, d.Addresses, policy.IPv4)
				}
				if len(d.Addresses) == 0 && services[i].Pool == "" && x.Reason == verdict.PoolNotNeeded {
					t.Fatalf("pool %s has addresses, and the Service has none: %s", x.Pool, d)
				}
			}
		}
	})
}
