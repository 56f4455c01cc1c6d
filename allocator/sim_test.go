package allocator

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/policy"
)

// sim is a cluster in which every pass is carried out as a controller would.
type sim struct {
	pools        []v1beta1.IPAddressPool
	policies     []v1alpha1.AddressPolicy
	reservations []v1alpha1.AddressReservation
	services     []Service
	claims       map[netip.Addr]Claim
	now          time.Time

	outcome Outcome // of the last pass
	clock   int     // passes so far
	added   int     // Services so far
}

// view is what the next pass sees.
func (c *sim) view() View {
	if c.now.IsZero() {
		c.now = now
	}
	p, _ := policy.Compile(policy.Objects{Pools: c.pools, AddressPolicies: c.policies, AddressReservations: c.reservations}, nil)
	return View{Policy: p, Services: c.services, Claims: slices.Collect(maps.Values(c.claims)), Now: c.now, OrphanGrace: grace}
}

// pass decides and writes everything but the statuses of the Services for which a write fails.
func (c *sim) pass(fails func(Key) bool) {
	c.clock++
	c.outcome = Decide(c.view())
	if c.claims == nil {
		c.claims = map[netip.Addr]Claim{}
	}
	for _, w := range c.outcome.Claims {
		switch old, there := c.claims[w.Address]; {
		case w.Op == CreateClaim && there, w.Op != CreateClaim && (!there || old.Version != w.Version):
			panic(fmt.Sprintf("%v finds %v", w, old))
		case w.Op == DeleteClaim:
			delete(c.claims, w.Address)
		default:
			o := v1alpha1.AddressClaim{ObjectMeta: metav1.ObjectMeta{Name: ClaimName(w.Address), ResourceVersion: fmt.Sprint(c.clock)}, Spec: w.Spec()}
			claim, err := ClaimOf(&o)
			if err != nil {
				panic(err)
			}
			c.claims[w.Address] = claim
		}
	}
	for i, b := range c.outcome.Bindings {
		for k := range c.reservations {
			if r := &c.reservations[k]; r.Name == b.Name {
				r.Status.Address = ""
				if c.outcome.Bindings[i].Address.IsValid() {
					r.Status.Address = b.Address.String()
				}
			}
		}
	}
	services := slices.Clone(c.services)
	for i, d := range c.outcome.Decisions {
		if !services[i].Deleting && (fails == nil || !fails(services[i].Key)) {
			services[i] = after(services[i], d, 100+c.clock)
		}
	}
	c.services = services
}

// run passes until nothing changes any more, and returns what everybody has.
func (c *sim) run(t interface {
	Helper()
	Fatalf(string, ...any)
}) string {
	t.Helper()
	for range 2*len(c.services) + 6 {
		before := c.state()
		c.pass(nil)
		if c.state() == before {
			return c.has()
		}
	}
	t.Fatalf("no end of changes: %s", c.state())
	return ""
}

// state renders all that is written.
func (c *sim) state() string {
	var b strings.Builder
	for _, s := range c.services {
		fmt.Fprintln(&b, s.Key, s.Held, s.HeldFrom, s.OrphanedSince)
	}
	for _, a := range slices.SortedFunc(maps.Keys(c.claims), netip.Addr.Compare) {
		fmt.Fprintln(&b, c.claims[a])
	}
	for _, r := range c.reservations {
		fmt.Fprintln(&b, r.Name, r.Status.Address)
	}
	return b.String()
}

// has renders who has what: "web 10.0.0.1, api -".
func (c *sim) has() string {
	var out []string
	for _, s := range c.services {
		text := s.Name + " "
		if len(s.Held) == 0 {
			text += "-"
		}
		out = append(out, text+strings.Trim(fmt.Sprint(s.Held), "[]"))
	}
	return strings.Join(out, ", ")
}

// expect runs, and fails unless everybody has what is said.
func (c *sim) expect(t *testing.T, want string) {
	t.Helper()
	if got := c.run(t); got != want {
		t.Errorf("they have %s, want %s; it says %v", got, want, c.outcome.Decisions)
	}
}

// says fails unless this is the verdict on a Service.
func (c *sim) says(t *testing.T, name, want string) {
	t.Helper()
	for i, s := range c.services {
		if got := c.outcome.Decisions[i].String(); s.Name == name && got != want {
			t.Errorf("%s says\n%s, want\n%s", name, got, want)
		}
	}
}

// recheck fails unless time changes something after so many seconds; 0: never.
func (c *sim) recheck(t *testing.T, want time.Duration) {
	t.Helper()
	if at := c.outcome.RecheckAt; want == 0 && !at.IsZero() || want != 0 && !at.Equal(c.now.Add(want)) {
		t.Errorf("time changes something at %s, want %s after %s", at, want, c.now)
	}
}

// claimed fails unless these are the claims: "10.0.0.1 x/web", and "(released)" behind those that are.
func (c *sim) claimed(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, a := range slices.SortedFunc(maps.Keys(c.claims), netip.Addr.Compare) {
		text := a.String() + " " + c.claims[a].Service.String()
		if claim := c.claims[a]; !claim.ReleasedAt.IsZero() {
			text += " (released)"
		}
		got = append(got, text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the claims are %q, want %q", got, want)
	}
}

// bound fails unless this is said of a reservation.
func (c *sim) bound(t *testing.T, name, want string) {
	t.Helper()
	for _, b := range c.outcome.Bindings {
		if got := fmt.Sprintf("%v %v: %s", b.Bound, b.Service.Name, b.Verdict); b.Name == name && got != want {
			t.Errorf("reservation %s says\n%s, want\n%s", name, got, want)
		}
	}
}

// add adds Services, one after the other; a later one of the same name is another one.
func (c *sim) add(services ...Service) {
	for _, s := range services {
		c.added++
		s.UID = fmt.Sprintf("%s-%d", s.UID, c.added)
		s.Created = epoch.Add(time.Duration(c.added) * time.Second)
		c.services = append(c.services, s)
	}
}

// remove deletes Services.
func (c *sim) remove(names ...string) {
	c.services = slices.DeleteFunc(slices.Clone(c.services), func(s Service) bool { return slices.Contains(names, s.Name) })
}

func (c *sim) service(name string) *Service {
	return &c.services[slices.IndexFunc(c.services, func(s Service) bool { return s.Name == name })]
}

func (c *sim) wait(d time.Duration) { c.now = c.now.Add(d) }

// rules is an AddressPolicy for all pools, unless options say otherwise.
func rules(options ...func(*v1alpha1.AddressPolicySpec)) []v1alpha1.AddressPolicy {
	a := v1alpha1.AddressPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "uid-p"}}
	a.Spec.PoolSelectors = []metav1.LabelSelector{{}}
	for _, o := range options {
		o(&a.Spec)
	}
	return []v1alpha1.AddressPolicy{a}
}

type spec = v1alpha1.AddressPolicySpec

func strategy(s v1alpha1.Strategy) func(*spec) { return func(a *spec) { a.Strategy = s } }
func exclude(s ...string) func(*spec)          { return func(a *spec) { a.Exclude = s } }
func retain(d time.Duration) func(*spec) {
	return func(a *spec) { a.Retain = &metav1.Duration{Duration: d} }
}
func reuseDelay(d time.Duration) func(*spec) {
	return func(a *spec) { a.ReuseDelay = &metav1.Duration{Duration: d} }
}
func exclusive(a *spec) { a.Exclusive = true }
func onlyPools(names ...string) func(*spec) {
	return func(a *spec) { a.PoolSelectors, a.PoolNames = nil, names }
}
func quota(addresses int32, namespaces ...string) func(*spec) {
	return func(a *spec) {
		a.Quotas = append(a.Quotas, v1alpha1.Quota{Addresses: addresses, Namespaces: namespaces})
	}
}

// reserve is an AddressReservation for x/web, unless options say otherwise.
func reserve(name string, options ...func(*v1alpha1.AddressReservationSpec)) v1alpha1.AddressReservation {
	r := v1alpha1.AddressReservation{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)}}
	r.Spec.Service = &v1alpha1.ServiceReference{Namespace: "x", Name: "web"}
	for _, o := range options {
		o(&r.Spec)
	}
	return r
}

type reserveSpec = v1alpha1.AddressReservationSpec

func theAddress(a string) func(*reserveSpec) { return func(r *reserveSpec) { r.Address = a } }
func anyOf(pool string) func(*reserveSpec)   { return func(r *reserveSpec) { r.Pool = pool } }
func ofFamily(f v1alpha1.Family) func(*reserveSpec) {
	return func(r *reserveSpec) { r.Family = f }
}
func forLabel(key, value string, namespaces ...string) func(*reserveSpec) {
	return func(r *reserveSpec) {
		r.Service = nil
		r.Selector = &v1alpha1.ServiceSelector{Namespaces: namespaces, Labels: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}}
	}
}

func labelled(key, value string) func(*Service) {
	return func(s *Service) { s.Labels = map[string]string{key: value} }
}
