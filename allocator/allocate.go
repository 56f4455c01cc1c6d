package allocator

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

func no(reason verdict.Reason, format string, args ...any) verdict.Verdict {
	return verdict.Verdict{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// allocate looks for the addresses that the Service asks for, given the ones that it has. It claims nothing; a Verdict
// with a reason says why there are none.
func (st *state) allocate(s *Service, current []netip.Addr) ([]netip.Addr, verdict.Verdict) {
	if s.Invalid != "" {
		return nil, no(verdict.InvalidRequest, "%s", s.Invalid)
	}
	switch got, fail := st.complement(s, current); {
	case got != nil || fail.Reason != "":
		return got, fail
	case s.Deleting:
		return nil, no(verdict.InvalidRequest, "the Service is being deleted and gets no new address")
	case len(s.Addresses) > 0:
		return st.requestedAddresses(s, current)
	case s.Pool != "":
		return st.requestedPool(s)
	}
	return st.anyPool(s)
}

// complement adds to the one fitting address of a dual-stack Service the other family's from the same pool. A Service
// that prefers both stays with the one where the other is not to be had: it never jumps to another pool. The zero
// values say that there is nothing to add to.
func (st *state) complement(s *Service, current []netip.Addr) ([]netip.Addr, verdict.Verdict) {
	i := slices.IndexFunc(current, func(a netip.Addr) bool { return st.fits(s, a) })
	if i < 0 || len(s.Families) != 2 || len(s.Addresses) > 0 || st.satisfied(s, current) {
		return nil, verdict.Verdict{}
	}
	name, _ := st.homeOf(s, current[i])
	home, _ := st.policy.Pool(name)
	missing := policy.FamilyOf(current[i]).Other()
	if !s.Deleting && (home.AutoAssign || s.Pool == name) && st.mayDraw(s, home).Reason == "" {
		if other, ok := st.take(s, home, missing); ok {
			return inOrder(s, current[i], other), verdict.Verdict{}
		}
	}
	switch {
	case s.RequireDual:
		return nil, verdict.Verdict{} // another pool may have both
	case len(current) == 2:
		return nil, no(verdict.PoolExhausted, "pool %q has no %s address to give", name, missing)
	}
	return current, verdict.Verdict{}
}

// inOrder returns addresses in the order of the Service's families.
func inOrder(s *Service, addresses ...netip.Addr) []netip.Addr {
	slices.SortFunc(addresses, func(a, b netip.Addr) int {
		return cmp.Compare(slices.Index(s.Families, policy.FamilyOf(a)), slices.Index(s.Families, policy.FamilyOf(b)))
	})
	return addresses
}

// requestedAddresses returns the addresses that the Service names, if it may have them all. What it has of a family
// that it does not name stays.
func (st *state) requestedAddresses(s *Service, current []netip.Addr) ([]netip.Addr, verdict.Verdict) {
	for _, a := range s.Addresses {
		if fail := st.requestedAddress(s, a); fail.Reason != "" {
			return nil, fail
		}
	}
	got := slices.Clone(s.Addresses)
	for _, a := range current {
		if !hasFamily(got, policy.FamilyOf(a)) && st.fits(s, a) {
			got = append(got, a)
		}
	}
	return inOrder(s, got...), verdict.Verdict{}
}

// requestedAddress says why the Service may not have an address that it names; no reason means that it may.
func (st *state) requestedAddress(s *Service, a netip.Addr) verdict.Verdict {
	pool, ok := st.policy.PoolOf(a)
	switch {
	case !ok:
		return no(verdict.AddressNotInPool, "the requested address %s is in no pool", a)
	case s.Pool != "" && s.Pool != pool.Name:
		return no(verdict.InvalidRequest, "the requested address %s is in pool %q, but pool %q is requested", a, pool.Name, s.Pool)
	}
	if !slices.Contains(s.Held, a) { // otherwise nothing is given, so the pool's state and tenants do not matter
		if fail := st.mayDraw(s, pool); fail.Reason != "" {
			return fail
		}
		if !pool.Gives(a) {
			return no(verdict.AddressNotInPool, "the requested address %s is one that pool %q avoids (avoidBuggyIPs)", a, pool.Name)
		}
	}
	if other, why := st.obstacle(s, a); other != nil {
		return no(verdict.AddressInUse, "the requested address %s is in use by %s%s", a, other.Key, why)
	}
	return verdict.Verdict{}
}

// mayDraw says why the Service may not draw from the pool that it names; no reason means that it may.
func (st *state) mayDraw(s *Service, pool *policy.Pool) verdict.Verdict {
	switch {
	case !pool.Admits(s.Namespace, s.NamespaceLabels, s.Labels):
		return no(verdict.PoolNotAllowed, "pool %q does not admit this Service: see its serviceAllocation", pool.Name)
	case pool.Frozen:
		return no(verdict.PoolInvalid, "pool %q is invalid and gives nothing new until it is corrected: see its Events", pool.Name)
	}
	return verdict.Verdict{}
}

func (st *state) requestedPool(s *Service) ([]netip.Addr, verdict.Verdict) {
	pool, ok := st.policy.Pool(s.Pool)
	if !ok {
		return nil, no(verdict.UnknownPool, "the requested pool %q does not exist", s.Pool)
	}
	if fail := st.mayDraw(s, pool); fail.Reason != "" {
		return nil, fail
	}
	return st.from(s, []*policy.Pool{pool})
}

func (st *state) anyPool(s *Service) ([]netip.Addr, verdict.Verdict) {
	var frozen *policy.Pool
	var pools []*policy.Pool
	for _, pool := range st.policy.Candidates(s.Namespace, s.NamespaceLabels, s.Labels) {
		if pool.Frozen {
			frozen = pool
			continue
		}
		pools = append(pools, pool)
	}
	switch {
	case len(pools) > 0:
		return st.from(s, pools)
	case frozen != nil:
		return nil, st.mayDraw(s, frozen)
	case len(st.policy.Pools) == 0:
		return nil, no(verdict.NoPool, "there is no IPAddressPool: create one")
	}
	return nil, no(verdict.NoPool, "no pool is open to this Service: every pool has autoAssign off or a serviceAllocation that does not admit it")
}

// from takes an address of every wanted family from the first pool that has them all; pools that hold an address which
// the Service can share come before the others. A Service that prefers both families is content with one: of its first
// family, else of the other.
func (st *state) from(s *Service, pools []*policy.Pool) ([]netip.Addr, verdict.Verdict) {
	slices.SortStableFunc(pools, func(a, b *policy.Pool) int { return cmp.Compare(st.shareable(s, b), st.shareable(s, a)) })
	if got, ok := st.firstWith(s, pools, s.Families); ok {
		return got, verdict.Verdict{}
	}
	if len(s.Families) == 2 && !s.RequireDual {
		for i := range s.Families {
			if got, ok := st.firstWith(s, pools, s.Families[i:i+1]); ok {
				return got, verdict.Verdict{}
			}
		}
	}
	return nil, st.whyNone(s, pools)
}

// shareable counts the Service's families of which the pool has an address that is in use and that it can share.
func (st *state) shareable(s *Service, pool *policy.Pool) int {
	n := 0
	for _, f := range s.Families {
		if _, ok := st.takeShared(s, pool, f); ok {
			n++
		}
	}
	return n
}

func (st *state) firstWith(s *Service, pools []*policy.Pool, families []policy.Family) ([]netip.Addr, bool) {
	for _, pool := range pools {
		var got []netip.Addr
		for _, f := range families {
			if a, ok := st.take(s, pool, f); ok {
				got = append(got, a)
			}
		}
		if len(got) == len(families) {
			return got, true
		}
	}
	return nil, false
}

// take returns an address of the pool: one that is held under the Service's sharing key, else the lowest free one in
// the order of the pool's ranges.
func (st *state) take(s *Service, pool *policy.Pool, f policy.Family) (netip.Addr, bool) {
	if a, ok := st.takeShared(s, pool, f); ok {
		return a, true
	}
	key := cursorKey{pool.Name, f}
	c := st.cursors[key]
	if c == nil {
		c = newCursor(pool, f)
		st.cursors[key] = c
	}
	return c.next(func(a netip.Addr) bool { return len(st.holders[a]) > 0 || !pool.Gives(a) })
}

// takeShared returns an address of the pool that is held under the Service's sharing key and that it can share.
func (st *state) takeShared(s *Service, pool *policy.Pool, f policy.Family) (netip.Addr, bool) {
	if s.SharingKey == "" {
		return netip.Addr{}, false
	}
	kind := sharer{s.SharingKey, s.Namespace, s.Backends, fmt.Sprint(s.Ports), s.Local, cursorKey{pool.Name, f}}
	for i, a := range st.shared[s.SharingKey][st.passed[kind]:] {
		if policy.FamilyOf(a) == f && pool.Gives(a) && st.usable(s, a) && !slices.Contains(st.holders[a], s) {
			st.passed[kind] += i
			return a, true
		}
	}
	st.passed[kind] = len(st.shared[s.SharingKey])
	return netip.Addr{}, false
}

// sharer is all that decides which shared addresses of a pool a Service can use. It is comparable. During one pass an
// address that one such Service cannot use becomes usable for none of them, so that nobody looks at it again.
type sharer struct {
	key, namespace, backends, ports string
	local                           bool
	cursorKey
}

// whyNone says why none of the pools gave an address.
func (st *state) whyNone(s *Service, pools []*policy.Pool) verdict.Verdict {
	names := make([]string, len(pools))
	for i, pool := range pools {
		names[i] = pool.Name
	}
	slices.Sort(names)
	what, list := s.wants(), poolList(names, "or")
	if !slices.ContainsFunc(pools, func(p *policy.Pool) bool { return s.servedBy(p) }) {
		return no(verdict.FamilyUnavailable, "there is no %s in %s", what, list)
	}
	return no(verdict.PoolExhausted, "no %s is free in %s: enlarge the pool or add another", what, list)
}

// wants says in words what addresses the Service needs at least.
func (s *Service) wants() string {
	switch {
	case len(s.Families) == 1:
		return s.Families[0].String() + " address"
	case s.RequireDual:
		return "pair of an IPv4 and an IPv6 address"
	}
	return "IPv4 or IPv6 address"
}

// servedBy says whether the pool has addresses of the families that the Service needs at least.
func (s *Service) servedBy(pool *policy.Pool) bool {
	if s.RequireDual {
		return pool.Has(policy.IPv4) && pool.Has(policy.IPv6)
	}
	return slices.ContainsFunc(s.Families, pool.Has)
}
