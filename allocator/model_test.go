package allocator

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/policy"
)

// model judges decisions by what users rely on. It is deliberately dumb: it scans every address of every pool and
// compares every Service with every other one.
type model struct {
	View
	policy    *policy.Policy
	services  []Service
	decisions []Decision
	bindings  []Binding
	claims    []ClaimWrite
	rightful  [][]netip.Addr // what each Service held and no earlier holder disputes
}

func newModel(v View, o Outcome) *model {
	services := v.Services
	m := &model{v, v.Policy, services, o.Decisions, o.Bindings, o.Claims, make([][]netip.Addr, len(services))}
	order := make([]int, len(services))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := &services[i], &services[j]
		return cmp.Or(a.AssignedAt.Compare(b.AssignedAt), cmp.Compare(a.UID, b.UID))
	})
	for _, i := range order {
		for _, a := range services[i].Held {
			if !slices.Contains(m.rightful[i], a) && m.open(i, a, func(j int) []netip.Addr { return m.rightful[j] }) {
				m.rightful[i] = append(m.rightful[i], a)
			}
		}
	}
	return m
}

// open says whether no other Service that has the address, by the given account, stands against Service i having it.
func (m *model) open(i int, a netip.Addr, has func(j int) []netip.Addr) bool {
	for j := range m.services {
		if i != j && slices.Contains(has(j), a) && !m.mayShare(i, j, a) {
			return false
		}
	}
	return true
}

// final is what a Service has or may still show at the end of the pass.
func (m *model) final(j int) []netip.Addr {
	return append(slices.Clone(m.rightful[j]), m.decisions[j].Addresses...)
}

func (m *model) mayShare(i, j int, a netip.Addr) bool {
	s, o := &m.services[i], &m.services[j]
	for _, p := range s.Ports {
		for _, q := range o.Ports {
			for n := int(p.First); n <= int(p.Last); n++ {
				if q.Protocol == p.Protocol && int(q.First) <= n && n <= int(q.Last) {
					return false
				}
			}
		}
	}
	sameNamespace := s.Namespace == o.Namespace
	pool := m.poolOf(a)
	return s.SharingKey != "" && s.SharingKey == o.SharingKey &&
		(sameNamespace || pool == nil || pool.CrossNamespaceSharing) &&
		(!s.Local && !o.Local || s.Local && o.Local && sameNamespace && s.Backends == o.Backends)
}

func (m *model) poolOf(a netip.Addr) *policy.Pool {
	for i := range m.policy.Pools {
		if slices.Contains(m.addresses(&m.policy.Pools[i]), a) {
			return &m.policy.Pools[i]
		}
	}
	return nil
}

func (m *model) addresses(p *policy.Pool) (all []netip.Addr) {
	for _, r := range p.Ranges {
		for a := r.From; a.IsValid() && !r.To.Less(a); a = a.Next() {
			all = append(all, a)
		}
	}
	return all
}

// home is the pool that an address which Service i holds belongs to, or nil.
func (m *model) home(i int, a netip.Addr) *policy.Pool {
	if pool := m.poolOf(a); pool != nil {
		return pool
	}
	for _, name := range strings.Split(m.services[i].HeldFrom, ",") {
		if pool, ok := m.policy.Pool(name); ok && pool.Frozen {
			return pool
		}
	}
	return nil
}

// opened says whether the pool gives to Service i without being named by an address.
func (m *model) opened(i int, p *policy.Pool) bool {
	s := &m.services[i]
	return m.admits(i, p) && (p.AutoAssign && s.Pool == "" && (m.confines(i, p) || !m.confined(i)) || s.Pool == p.Name)
}

func (m *model) admits(i int, p *policy.Pool) bool { return !p.Stalled() && m.tenant(i, p) }

func (m *model) tenant(i int, p *policy.Pool) bool {
	return p.Tenants == nil || slices.Contains(p.Tenants.Namespaces, m.services[i].Namespace)
}

// confines says whether the pool is one that Service i may not fall through from.
func (m *model) confines(i int, p *policy.Pool) bool {
	return p.Tenants != nil && p.AutoAssign && p.Rules != nil && p.Rules.Exclusive && m.tenant(i, p)
}

func (m *model) confined(i int) bool {
	return slices.ContainsFunc(m.policy.Pools, func(p policy.Pool) bool { return m.confines(i, &p) })
}

// holder is the reservation that holds the address, or nil.
func (m *model) holder(a netip.Addr) *policy.Reservation {
	for k, b := range m.bindings {
		if b.Address == a {
			return &m.policy.Reservations[k]
		}
	}
	return nil
}

// claim is the claim to the address, or nil.
func (m *model) claim(a netip.Addr) *Claim {
	for k := range m.Claims {
		if m.Claims[k].Address == a {
			return &m.Claims[k]
		}
	}
	return nil
}

// right says whether the address is held for Service i and for nobody else.
func (m *model) right(i int, a netip.Addr) bool {
	s := &m.services[i]
	if r := m.holder(a); r != nil {
		return r.For(s.Namespace, s.Name, s.NamespaceLabels, s.Labels) && !m.waits(i, a, false)
	}
	c, pool := m.claim(a), m.poolOf(a)
	if c == nil || pool == nil || c.Service != s.Key {
		return false
	}
	alive := slices.ContainsFunc(m.services, func(o Service) bool { return o.UID == c.UID })
	retained := pool.Rules != nil && pool.Rules.Retain > 0
	return c.ReleasedAt.IsZero() && (c.UID == s.UID || !alive && retained) || !c.ReleasedAt.IsZero() && m.Now.Before(c.RetainUntil)
}

// waits says whether a claim stands against the address for Service i; what is given in this pass may be shared in it,
// but need not.
func (m *model) waits(i int, a netip.Addr, thisPass bool) bool {
	c := m.claim(a)
	if c == nil || c.over(m.Now) {
		return false
	}
	shared := slices.ContainsFunc(m.rightful, func(has []netip.Addr) bool { return slices.Contains(has, a) })
	for j, d := range m.decisions {
		shared = shared || thisPass && j != i && slices.Contains(d.Addresses, a)
	}
	if shared {
		return false
	}
	saved := m.bindings
	m.bindings = nil // a reservation is no right against a claim
	defer func() { m.bindings = saved }()
	return !m.right(i, a)
}

// barred says whether Service i may not have the address although no other Service stands against that.
func (m *model) barred(i int, a netip.Addr, thisPass bool) bool {
	pool, r, s := m.poolOf(a), m.holder(a), &m.services[i]
	switch {
	case pool != nil && pool.Rules != nil && slices.ContainsFunc(pool.Rules.Exclude, func(r policy.Range) bool { return r.Contains(a) }):
		return true
	case r != nil && !r.For(s.Namespace, s.Name, s.NamespaceLabels, s.Labels):
		return true
	}
	return m.waits(i, a, thisPass)
}

// available says whether the pool has an address of the family that Service i does not hold and could have.
func (m *model) available(i int, p *policy.Pool, f policy.Family) bool {
	return slices.ContainsFunc(m.addresses(p), func(a netip.Addr) bool {
		return policy.FamilyOf(a) == f && !buggy(p, a) && !slices.Contains(m.services[i].Held, a) && m.open(i, a, m.final) &&
			!m.barred(i, a, false) && m.holder(a) == nil && !m.right(i, a)
	})
}

func buggy(p *policy.Pool, a netip.Addr) bool {
	return p.AvoidBuggyIPs && a.Is4() && (a.As4()[3] == 0 || a.As4()[3] == 255)
}

// judge returns what is wrong with the decisions, or nil.
func (m *model) judge() error {
	for i := range m.services {
		for _, rule := range []func(int) error{m.exclusive, m.sticky, m.given, m.tried, m.righted} {
			if err := rule(i); err != nil {
				return fmt.Errorf("%s holds %v, has %s: %w", m.services[i].Key, m.services[i].Held, m.decisions[i].Verdict, err)
			}
		}
	}
	return nil
}

// exclusive: nobody has what another one has, or what its status still shows, without the right to share it.
func (m *model) exclusive(i int) error {
	for _, a := range m.decisions[i].Addresses {
		if !m.open(i, a, m.final) {
			return fmt.Errorf("%s is another one's", a)
		}
	}
	return nil
}

// sticky: what a Service rightfully holds stays, unless it asks for something else or no pool has it, and it has
// something better.
func (m *model) sticky(i int) error {
	s, d := &m.services[i], m.decisions[i]
	stays := m.mayStay(i)
	for _, a := range stays {
		if slices.Contains(d.Addresses, a) {
			continue
		}
		if m.home(i, a) == nil && slices.Contains(d.Cleared, a) && !s.OrphanedSince.IsZero() && !m.Now.Before(s.OrphanedSince.Add(m.OrphanGrace)) {
			continue
		}
		if !d.Complete {
			return fmt.Errorf("%s is taken away for nothing", a)
		}
		if !m.mayLeave(i, a, len(stays)) {
			return fmt.Errorf("%s is taken away without need", a)
		}
	}
	for _, f := range []policy.Family{policy.IPv4, policy.IPv6} {
		n := 0
		for _, a := range d.Addresses {
			if policy.FamilyOf(a) == f {
				n++
			}
		}
		if n > 1 || n == 1 && !slices.Contains(s.Families, f) {
			return fmt.Errorf("%d addresses are %s", n, f)
		}
	}
	return nil
}

// mayStay returns the first address of each family that the Service wants and rightfully holds.
func (m *model) mayStay(i int) (stays []netip.Addr) {
	for _, f := range m.services[i].Families {
		for _, a := range m.rightful[i] {
			if policy.FamilyOf(a) == f {
				stays = append(stays, a)
				break
			}
		}
	}
	return stays
}

// mayLeave says whether there is a reason to give a Service another address than a, one of n that it has.
func (m *model) mayLeave(i int, a netip.Addr, n int) bool {
	s, home := &m.services[i], m.home(i, a)
	asksOther := slices.ContainsFunc(s.Addresses, func(x netip.Addr) bool { return x != a && x.Is4() == a.Is4() })
	othersGone := slices.ContainsFunc(m.mayStay(i), func(x netip.Addr) bool { return m.home(i, x) == nil })
	return home == nil || s.Pool != "" && s.Pool != home.Name || asksOther ||
		s.RequireDual && (n < 2 || othersGone)
}

// given: what is new comes from a pool that may give it to this Service.
func (m *model) given(i int) error {
	s, d := &m.services[i], m.decisions[i]
	for _, a := range d.Addresses {
		if slices.Contains(s.Held, a) {
			continue
		}
		pool := m.poolOf(a)
		switch {
		case s.Deleting || s.Invalid != "":
			return fmt.Errorf("%s is new, to a Service that must not get anything", a)
		case pool == nil:
			return fmt.Errorf("%s is new, and in no pool", a)
		case buggy(pool, a), !m.admits(i, pool), s.Pool != "" && s.Pool != pool.Name,
			len(s.Addresses) == 0 && !m.opened(i, pool) && m.holder(a) == nil && !m.adds(i, pool):
			return fmt.Errorf("%s is new, and pool %q may not give it", a, pool.Name)
		case m.barred(i, a, true):
			return fmt.Errorf("%s is new, and excluded, reserved, retained or resting", a)
		case len(s.Addresses) > 0 && !slices.Contains(s.Addresses, a):
			return fmt.Errorf("%s is new, and not what was asked for", a)
		}
	}
	return nil
}

// adds says whether the pool is one that Service i has another address of, or a right to one.
func (m *model) adds(i int, p *policy.Pool) bool {
	return p.AutoAssign && slices.ContainsFunc(m.decisions[i].Addresses, func(a netip.Addr) bool {
		return m.poolOf(a) == p && (slices.Contains(m.services[i].Held, a) || m.holder(a) != nil)
	})
}

// righted: a Service that lacks an address of its one family has one that it has a right to, if there is any.
func (m *model) righted(i int) error {
	s, d := &m.services[i], m.decisions[i]
	if s.Deleting || s.Invalid != "" || d.Complete && !slices.ContainsFunc(d.Addresses, func(a netip.Addr) bool { return !slices.Contains(s.Held, a) }) ||
		len(s.Families) > 1 || len(s.Addresses) > 0 || m.limited(i) {
		return nil
	}
	var rights []netip.Addr
	for k := range m.policy.Pools {
		p := &m.policy.Pools[k]
		for _, a := range m.addresses(p) {
			if policy.FamilyOf(a) == s.Families[0] && m.right(i, a) && !m.barred(i, a, false) && !buggy(p, a) && m.open(i, a, m.final) && !slices.Contains(s.Held, a) &&
				(m.opened(i, p) || m.holder(a) != nil && m.admits(i, p) && s.Pool == "") {
				rights = append(rights, a)
			}
		}
	}
	if len(rights) > 0 && !slices.ContainsFunc(d.Addresses, func(a netip.Addr) bool { return slices.Contains(rights, a) || m.holder(a) != nil }) {
		return fmt.Errorf("it has a right to one of %v", rights)
	}
	return nil
}

// limited says whether a quota is for Service i.
func (m *model) limited(i int) bool {
	for _, a := range m.policy.AddressPolicies {
		for _, q := range a.Quotas {
			if q.For(m.services[i].Namespace, m.services[i].NamespaceLabels) {
				return true
			}
		}
	}
	return false
}

// tried: a Service is without what it asks for only where that cannot be had.
func (m *model) tried(i int) error {
	s, d := &m.services[i], m.decisions[i]
	partly := len(d.Addresses) < len(s.Families) && len(s.Addresses) == 0
	switch {
	case s.Deleting || s.Invalid != "" || d.Complete && !partly || m.limited(i):
		return nil
	case len(s.Addresses) > 0:
		if !slices.ContainsFunc(s.Addresses, func(a netip.Addr) bool { return !m.grantable(i, a) }) {
			return fmt.Errorf("it could have had all that it asks for: %v", s.Addresses)
		}
		return nil
	}
	return m.exhausted(i)
}

// grantable says whether Service i could have the address that it names.
func (m *model) grantable(i int, a netip.Addr) bool {
	s, pool := &m.services[i], m.poolOf(a)
	if pool == nil || s.Pool != "" && s.Pool != pool.Name || !m.open(i, a, m.final) {
		return false
	}
	return slices.Contains(s.Held, a) || m.admits(i, pool) && !buggy(pool, a) && !m.barred(i, a, false)
}

// exhausted says which pool could have given Service i, which names no address, more than it has.
func (m *model) exhausted(i int) error {
	s, d := &m.services[i], m.decisions[i]
	tied := false // to the pool of the one address that it has
	for _, a := range d.Addresses {
		home := m.home(i, a)
		if home == nil || s.Pool != "" && s.Pool != home.Name {
			continue
		}
		other := policy.FamilyOf(a).Other()
		byRight := m.holder(a) != nil || m.claim(a) != nil && m.claim(a).Service == s.Key
		tied = tied || (slices.Contains(s.Held, a) || byRight) && !s.RequireDual
		if slices.Contains(s.Families, other) && !m.opened(i, home) {
			continue
		}
		if slices.Contains(s.Families, other) && m.available(i, home, other) {
			return fmt.Errorf("pool %q has an %s address for it", home.Name, other)
		}
	}
	if tied {
		return nil
	}
	for k := range m.policy.Pools {
		p := &m.policy.Pools[k]
		if !m.opened(i, p) {
			continue
		}
		n := 0
		for _, f := range s.Families {
			if m.available(i, p, f) {
				n++
			}
		}
		first := m.available(i, p, s.Families[0])
		switch {
		case n == len(s.Families):
			return fmt.Errorf("pool %q has all that it wants", p.Name)
		case len(d.Addresses) == 0 && n > 0 && !s.RequireDual:
			return fmt.Errorf("pool %q has an address for it", p.Name)
		case d.Complete && first && policy.FamilyOf(d.Addresses[0]) != s.Families[0]:
			return fmt.Errorf("pool %q has an address of its first family", p.Name)
		}
	}
	return nil
}
