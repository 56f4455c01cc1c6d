package allocator

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/policy"
)

var (
	someDelay     = rapid.Map(rapid.IntRange(0, 3), func(n int) time.Duration { return time.Duration(n) * time.Minute })
	someNamespace = rapid.SampledFrom([]string{"x", "y"})
)

func drawPools(t *rapid.T) (pools []v1beta1.IPAddressPool) {
	for _, name := range rapid.SliceOfNDistinct(somePool, 0, 3, rapid.ID).Draw(t, "pools") {
		p := pool(name, strings.Join(rapid.SliceOfN(rapid.Custom(drawRange), 1, 3).Draw(t, "ranges"), ","), crossNamespace)
		for _, option := range []func(*v1beta1.IPAddressPool){onRequest, avoidBuggy, tenant(1, "x"), tenant(0, "y")} {
			if rarely.Draw(t, "option") {
				option(&p)
			}
		}
		pools = append(pools, p)
	}
	return pools
}

func drawAddressPolicies(t *rapid.T) (out []v1alpha1.AddressPolicy) {
	for i := range rapid.IntRange(0, 2).Draw(t, "policies") {
		a := rules(
			strategy(rapid.SampledFrom([]v1alpha1.Strategy{v1alpha1.LowestFirst, v1alpha1.LeastRecentlyUsed, v1alpha1.StableHash}).Draw(t, "strategy")),
			retain(someDelay.Draw(t, "retain")), reuseDelay(someDelay.Draw(t, "reuseDelay")),
		)[0]
		a.Name = fmt.Sprint("p", i)
		a.Spec.Exclusive = rarely.Draw(t, "exclusive")
		if rarely.Draw(t, "excludes") {
			exclude(drawRange(t))(&a.Spec)
		}
		if rarely.Draw(t, "limits") {
			quota(rapid.Int32Range(0, 3).Draw(t, "quota"), rapid.SliceOfN(someNamespace, 0, 1).Draw(t, "of")...)(&a.Spec)
		}
		if rarely.Draw(t, "for one pool") {
			onlyPools(somePool.Draw(t, "pool"))(&a.Spec)
		}
		if rarely.Draw(t, "bad") {
			exclude("nonsense")(&a.Spec)
		}
		out = append(out, a)
	}
	return out
}

func drawReservation(t *rapid.T, name string) v1alpha1.AddressReservation {
	r := reserve(name)
	r.Spec.Service = &v1alpha1.ServiceReference{Namespace: someNamespace.Draw(t, "namespace"), Name: "s1"}
	if rapid.Bool().Draw(t, "by label") {
		forLabel("app", "a", rapid.SliceOfN(someNamespace, 0, 1).Draw(t, "namespaces")...)(&r.Spec)
	}
	if rapid.Bool().Draw(t, "any of a pool") {
		anyOf(somePool.Draw(t, "pool"))(&r.Spec)
	} else {
		theAddress(someAddress.Draw(t, "address").String())(&r.Spec)
	}
	r.CreationTimestamp = metav1.NewTime(epoch.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "age")) * time.Second))
	return r
}

// drawNewService draws a Service that has nothing; its name may be that of one that was there before.
func drawNewService(t *rapid.T, c *sim) (Service, bool) {
	s := drawService(t, fmt.Sprintf("%s/s%d", someNamespace.Draw(t, "namespace"), rapid.IntRange(0, 4).Draw(t, "number")))
	s.Held, s.HeldFrom, s.AssignedAt, s.Deleting = nil, "", time.Time{}, false
	if rapid.Bool().Draw(t, "labelled") {
		s.Labels = map[string]string{"app": "a"}
	}
	return s, !slices.ContainsFunc(c.services, func(o Service) bool { return o.Key == s.Key })
}

// TestPoliciesWithstandTheModel lets everything come, go and change while time passes and writes fail, and judges every
// pass.
func TestPoliciesWithstandTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &sim{pools: drawPools(t), policies: drawAddressPolicies(t)}
		t.Repeat(map[string]func(*rapid.T){
			"a Service comes": func(t *rapid.T) {
				if s, isNew := drawNewService(t, c); isNew {
					c.add(s)
				}
			},
			"a Service goes and comes again": func(t *rapid.T) {
				if len(c.services) > 0 {
					k := rapid.IntRange(0, len(c.services)-1).Draw(t, "which")
					s := c.services[k]
					c.services = slices.Delete(slices.Clone(c.services), k, k+1)
					if rapid.Bool().Draw(t, "again") {
						s.Held, s.HeldFrom, s.AssignedAt, s.OrphanedSince = nil, "", time.Time{}, time.Time{}
						c.add(s)
					}
				}
			},
			"a Service asks for something else": func(t *rapid.T) {
				if len(c.services) > 0 {
					c.services = slices.Clone(c.services)
					s := &c.services[rapid.IntRange(0, len(c.services)-1).Draw(t, "which")]
					s.Pool, s.Addresses, s.Invalid, s.RequireDual = "", nil, "", false
					drawRequest(t)(s)
				}
			},
			"the policies change": func(t *rapid.T) { c.policies = drawAddressPolicies(t) },
			"the pools change":    func(t *rapid.T) { c.pools = drawPools(t) },
			"a reservation comes or goes": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "comes") {
					c.added++
					c.reservations = append(c.reservations, drawReservation(t, fmt.Sprint("r", c.added)))
				} else if len(c.reservations) > 0 {
					c.reservations = c.reservations[1:]
				}
			},
			"time passes": func(t *rapid.T) {
				c.view() // starts the clock
				c.wait(time.Duration(rapid.IntRange(1, 200).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) {
				v := c.view()
				c.pass(func(Key) bool { return rarely.Draw(t, "write fails") })
				m := newModel(v, c.outcome)
				for _, rule := range []func() error{m.judge, m.quotas, m.bound, m.claimed} {
					if err := rule(); err != nil {
						t.Fatalf("%v\nit saw\n%+v\nand says\n%+v", err, m.View, c.outcome)
					}
				}
			},
		})
		if len(c.services) > 0 {
			c.run(t) // it settles
		}
	})
}

func TestPoliciesDoNotDependOnTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &sim{pools: drawPools(t), policies: drawAddressPolicies(t)}
		for i := range 3 {
			for range rapid.IntRange(1, 4).Draw(t, "services") {
				if s, isNew := drawNewService(t, c); isNew {
					c.add(s)
				}
			}
			c.reservations = append(c.reservations, drawReservation(t, fmt.Sprint("r", i)))
			c.pass(func(Key) bool { return rarely.Draw(t, "write fails") })
			if len(c.services) > 0 {
				c.services = c.services[1:]
			}
			c.wait(time.Minute)
		}
		v := c.view()
		want := Decide(v)
		shuffled := v
		shuffled.Services = rapid.Permutation(v.Services).Draw(t, "services")
		shuffled.Claims = rapid.Permutation(v.Claims).Draw(t, "claims")
		got := Decide(shuffled)
		if a, b := byKey(v.Services, want.Decisions), byKey(shuffled.Services, got.Decisions); !slices.Equal(a, b) {
			t.Fatalf("shuffled, it says\n%v, before\n%v", b, a)
		}
		if !reflect.DeepEqual(got.Claims, want.Claims) || !slices.Equal(got.Bindings, want.Bindings) || !got.RecheckAt.Equal(want.RecheckAt) {
			t.Fatalf("shuffled, it says\n%v %v %v, before\n%v %v %v", got.Claims, got.Bindings, got.RecheckAt, want.Claims, want.Bindings, want.RecheckAt)
		}
	})
}

// quotas: no namespace has more addresses than its quota allows, or than it had.
func (m *model) quotas() error {
	for k := range m.policy.AddressPolicies {
		a := &m.policy.AddressPolicies[k]
		for n := range a.Quotas {
			before := m.counted(a, &a.Quotas[n], func(i int) []netip.Addr { return m.rightful[i] })
			after := m.counted(a, &a.Quotas[n], func(i int) []netip.Addr { return m.decisions[i].Addresses })
			if after > max(before, a.Quotas[n].Addresses) {
				return fmt.Errorf("quota %d of %s is %d: %d were in use, %d are", n, a.Name, a.Quotas[n].Addresses, before, after)
			}
		}
	}
	return nil
}

// counted is how many addresses count for the quota: those that counted for it before, where that holder or only its
// namespaces are left, and new ones that only its namespaces have.
func (m *model) counted(a *policy.AddressPolicy, q *policy.Quota, has func(int) []netip.Addr) int {
	n := 0
	for k := range m.policy.Pools {
		p := &m.policy.Pools[k]
		if p.Rules != a {
			continue
		}
		for _, address := range m.addresses(p) {
			first, all, used := -1, true, false
			for i := range m.services {
				if slices.Contains(has(i), address) {
					used = true
					all = all && q.For(m.services[i].Namespace, nil)
				}
				if slices.Contains(m.rightful[i], address) && (first < 0 || CompareHolders(&m.services[i], &m.services[first]) < 0) {
					first = i
				}
			}
			stays := first >= 0 && slices.Contains(has(first), address)
			if used && (stays || all) && (first < 0 || q.For(m.services[first].Namespace, nil)) {
				n++
			}
		}
	}
	return n
}

// bound: every reservation has its own address, and one that is told as bound is no stranger's.
func (m *model) bound() error {
	for k, b := range m.bindings {
		r := &m.policy.Reservations[k]
		if b.Address.IsValid() && m.holder(b.Address) != r {
			return fmt.Errorf("two reservations hold %s", b.Address)
		}
		if r.Address.IsValid() && r.Pool == "" && b.Address != r.Address {
			return fmt.Errorf("%s is for %s and holds %s", r.Name, r.Address, b.Address)
		}
		mine := false
		for i, s := range m.services {
			isFor := r.For(s.Namespace, s.Name, s.NamespaceLabels, s.Labels)
			mine = mine || isFor && s.Key == b.Service && slices.Contains(m.decisions[i].Addresses, b.Address)
		}
		if b.Service != (Key{}) && !mine {
			return fmt.Errorf("%s is told to be with %s", b.Name, b.Service)
		}
		for i, s := range m.services {
			if b.Bound && !mine && slices.Contains(m.rightful[i], b.Address) && !r.For(s.Namespace, s.Name, s.NamespaceLabels, s.Labels) {
				return fmt.Errorf("%s is told as bound, and %s is with %s", b.Name, b.Address, s.Key)
			}
		}
	}
	return nil
}

// claimed: once the writes are made, every address of a pool that wants claims has one, of a Service that has it or had
// it; what is retained or rests loses no claim.
func (m *model) claimed() error {
	after := map[netip.Addr]Claim{}
	for _, c := range m.Claims {
		after[c.Address] = c
	}
	for _, w := range m.claims {
		before, there := after[w.Address]
		if w.Op == DeleteClaim {
			delete(after, w.Address)
			if pool := m.poolOf(w.Address); !before.ReleasedAt.IsZero() && !before.over(m.Now) && !m.used(w.Address) {
				return fmt.Errorf("the claim %v in pool %v is forgotten too early", before, pool)
			}
			continue
		}
		if there && before.Version != w.Version {
			return fmt.Errorf("%v is written over %v", w, before)
		}
		after[w.Address] = w.Claim
	}
	for i, d := range m.decisions {
		for _, a := range d.Addresses {
			pool := m.poolOf(a)
			if pool == nil {
				continue
			}
			c, ok := after[a]
			if ok != pool.Rules.Claimed() || ok && (!c.ReleasedAt.IsZero() || !m.sharedBy(a, c.UID)) {
				return fmt.Errorf("%s has %s, and the claim is %v", m.services[i].Key, a, c)
			}
		}
	}
	return nil
}

// used says whether a Service has the address, or still shows it.
func (m *model) used(a netip.Addr) bool {
	return slices.ContainsFunc(m.services, func(s Service) bool { return m.sharedBy(a, s.UID) })
}

func (m *model) sharedBy(a netip.Addr, uid string) bool {
	for i, s := range m.services {
		if s.UID == uid && slices.Contains(m.final(i), a) {
			return true
		}
	}
	return false
}
