package allocator

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

func no(reason verdict.Reason, format string, args ...any) verdict.Verdict {
	return verdict.Verdict{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// allocate looks for the addresses that the Service asks for. It claims nothing; a Verdict with a reason says why
// there are none.
func (st *state) allocate(s *Service, current []netip.Addr) ([]netip.Addr, verdict.Verdict) {
	switch {
	case len(s.Addresses) > 0:
		return st.requestedAddresses(s)
	case s.Pool != "":
		return st.requestedPool(s, current)
	}
	return st.anyPool(s, current)
}

// requestedAddresses checks each address that the Service names.
func (st *state) requestedAddresses(s *Service) ([]netip.Addr, verdict.Verdict) {
	for _, a := range s.Addresses {
		pool, ok := st.policy.PoolOf(a)
		switch {
		case !ok && slices.Contains(s.Held, a) && st.obstacle(s, a) == nil:
			continue // an orphan that the Service names: it stays
		case !ok:
			return nil, no(verdict.AddressNotInPool, "the requested address %s is in no pool", a)
		case s.Pool != "" && s.Pool != pool.Name:
			return nil, no(verdict.InvalidRequest, "the requested address %s is in pool %q, but pool %q is requested", a, pool.Name, s.Pool)
		case slices.Contains(s.Held, a) && st.obstacle(s, a) == nil:
			continue // no new gift, so the pool's state and tenants do not matter
		}
		if v := st.mayDraw(s, pool); v.Reason != "" {
			return nil, v
		}
		if !pool.Gives(a) {
			return nil, no(verdict.AddressNotInPool, "the requested address %s is one that pool %q avoids (avoidBuggyIPs)", a, pool.Name)
		}
		if other := st.obstacle(s, a); other != nil {
			return nil, no(verdict.AddressInUse, "the requested address %s is in use by %s", a, other.Key)
		}
	}
	return slices.Clone(s.Addresses), verdict.Verdict{}
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

func (st *state) requestedPool(s *Service, current []netip.Addr) ([]netip.Addr, verdict.Verdict) {
	pool, ok := st.policy.Pool(s.Pool)
	if !ok {
		return nil, no(verdict.UnknownPool, "the requested pool %q does not exist", s.Pool)
	}
	if v := st.mayDraw(s, pool); v.Reason != "" {
		return nil, v
	}
	return st.from(s, []*policy.Pool{pool}, current)
}

func (st *state) anyPool(s *Service, current []netip.Addr) ([]netip.Addr, verdict.Verdict) {
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
		return st.from(s, pools, current)
	case frozen != nil:
		return nil, st.mayDraw(s, frozen)
	case len(st.policy.Pools) == 0:
		return nil, no(verdict.NoPool, "there is no IPAddressPool: create one")
	}
	return nil, no(verdict.NoPool, "no pool is open to this Service: every pool has autoAssign off or a serviceAllocation that does not admit it")
}

// from takes an address of every wanted family from the first pool that has them all. A Service that prefers both
// families is content with one: it keeps the one it has, or takes one of its first family, then of the other.
func (st *state) from(s *Service, pools []*policy.Pool, current []netip.Addr) ([]netip.Addr, verdict.Verdict) {
	if got, ok := st.complement(s, pools, current); ok {
		return got, verdict.Verdict{}
	}
	if got, ok := st.firstWith(s, pools, s.Families); ok {
		return got, verdict.Verdict{}
	}
	if len(s.Families) == 2 && !s.RequireDual {
		for _, f := range s.Families {
			if got, ok := st.firstWith(s, pools, []policy.Family{f}); ok {
				return got, verdict.Verdict{}
			}
		}
	}
	return nil, st.whyNone(s, pools)
}

// complement keeps the one address that a dual-stack Service holds in one of the pools, and adds the other family's
// from the same pool. One that prefers both stays with the one where the other is not to be had: it never jumps.
func (st *state) complement(s *Service, pools []*policy.Pool, current []netip.Addr) ([]netip.Addr, bool) {
	if len(s.Families) != 2 || len(current) != 1 {
		return nil, false
	}
	home, ok := st.policy.PoolOf(current[0])
	if !ok || !slices.Contains(pools, home) {
		return nil, false
	}
	held := policy.FamilyOf(current[0])
	if other, ok := st.take(s, home, held.Other()); ok {
		if held == s.Families[0] {
			return []netip.Addr{current[0], other}, true
		}
		return []netip.Addr{other, current[0]}, true
	}
	return current, !s.RequireDual
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
	if s.SharingKey != "" {
		for _, a := range st.shared[s.SharingKey] {
			if policy.FamilyOf(a) == f && pool.Gives(a) && st.obstacle(s, a) == nil {
				return a, true
			}
		}
	}
	key := cursorKey{pool.Name, f}
	c := st.cursors[key]
	if c == nil {
		c = newCursor(pool, f)
		st.cursors[key] = c
	}
	return c.next(func(a netip.Addr) bool { return len(st.holders[a]) > 0 || !pool.Gives(a) })
}

// whyNone says why none of the pools gave an address.
func (st *state) whyNone(s *Service, pools []*policy.Pool) verdict.Verdict {
	wanted := s.Families[:1]
	if s.RequireDual {
		wanted = s.Families
	}
	var names []string
	for _, pool := range pools {
		names = append(names, fmt.Sprintf("%q", pool.Name))
	}
	list := "pool " + names[0]
	if len(names) > 1 {
		list = "any of the pools " + strings.Join(names, ", ")
	}
	for _, f := range wanted {
		if !slices.ContainsFunc(pools, func(p *policy.Pool) bool { return p.Has(f) }) {
			return no(verdict.FamilyUnavailable, "there are no %s addresses in %s", f, list)
		}
	}
	if len(wanted) == 2 && !slices.ContainsFunc(pools, func(p *policy.Pool) bool { return p.Has(policy.IPv4) && p.Has(policy.IPv6) }) {
		return no(verdict.FamilyUnavailable, "the Service requires both families from one pool, and no pool has both")
	}
	return no(verdict.PoolExhausted, "no address is free in %s: enlarge the pool or add another", list)
}

// cursorKey names the addresses of one family of one pool. It is comparable.
type cursorKey struct {
	pool   string
	family policy.Family
}

// cursor walks upwards through the addresses of one family of a pool. During one pass nothing becomes free, so it
// never has to go back.
type cursor struct {
	ranges []policy.Range
	at     netip.Addr // the next address of ranges[0] to look at
}

func newCursor(pool *policy.Pool, f policy.Family) *cursor {
	c := &cursor{}
	for _, r := range pool.Ranges {
		if r.Family() == f {
			c.ranges = append(c.ranges, r)
		}
	}
	if len(c.ranges) > 0 {
		c.at = c.ranges[0].From
	}
	return c
}

// next returns the first address at or above the cursor that is not taken, without moving beyond it.
func (c *cursor) next(taken func(netip.Addr) bool) (netip.Addr, bool) {
	for len(c.ranges) > 0 {
		for c.at.IsValid() && c.ranges[0].Contains(c.at) {
			if !taken(c.at) {
				return c.at, true
			}
			c.at = c.at.Next()
		}
		c.ranges = c.ranges[1:]
		if len(c.ranges) > 0 {
			c.at = c.ranges[0].From
		}
	}
	return netip.Addr{}, false
}
