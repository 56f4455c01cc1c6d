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

// allocate looks for the addresses that the Service asks for, given the ones that it has. It claims nothing; without
// addresses the Verdict says why there are none, and beside one of two preferred ones it may say why it is alone.
func (st *state) allocate(s *Service, current []netip.Addr) ([]netip.Addr, verdict.Verdict) {
	if s.Invalid != "" {
		return nil, no(verdict.InvalidRequest, "%s", s.Invalid)
	}
	switch got, why := st.complement(s, current); {
	case got != nil || why.Reason != "":
		return got, why
	case s.Deleting:
		return nil, no(verdict.Deleting, "the Service is being deleted and gets no new address")
	case len(s.Addresses) > 0:
		return st.requestedAddresses(s, current)
	}
	if got, why := st.ownAddresses(s); got != nil {
		return got, why
	}
	if s.Pool != "" {
		return st.requestedPool(s)
	}
	return st.anyPool(s)
}

// complement adds to the one fitting address of a dual-stack Service the other family's. A Service that prefers both
// stays with the one where the other is not to be had: it never jumps to another pool. The zero values say that there is
// nothing to add to.
func (st *state) complement(s *Service, current []netip.Addr) ([]netip.Addr, verdict.Verdict) {
	i := slices.IndexFunc(current, func(a netip.Addr) bool { return st.fits(s, a) })
	if i < 0 || len(s.Families) != 2 || len(s.Addresses) > 0 || st.satisfied(s, current) {
		return nil, verdict.Verdict{}
	}
	other, why := st.other(s, current[i])
	switch {
	case why.Reason == "":
		return inOrder(s, current[i], other), verdict.Verdict{}
	case s.RequireDual:
		return nil, verdict.Verdict{} // another pool may have both
	case len(current) == 2:
		return nil, why
	}
	return current, why
}

// other looks for an address of the family that a dual-stack Service has none of: one that it has a right to, else one
// from the pool of the address that it has.
func (st *state) other(s *Service, has netip.Addr) (netip.Addr, verdict.Verdict) {
	name, _ := st.homeOf(s, has)
	missing := policy.FamilyOf(has).Other()
	none := no(verdict.PoolExhausted, "pool %q has no %s address to give", name, missing)
	if s.Deleting {
		return netip.Addr{}, none
	}
	a, ok := st.own(s, missing)
	if home, known := st.Policy.Pool(name); !ok && known && (home.AutoAssign || s.Pool == name) && st.mayDraw(s, home).Reason == "" {
		a, ok = st.take(s, home, missing)
	}
	if !ok {
		return netip.Addr{}, none
	}
	return a, st.overQuota(s, []netip.Addr{has, a})
}

// ownAddresses returns the addresses that the Service has a right to, and what it needs beside them. Nil: none, or they
// are of no use to it.
func (st *state) ownAddresses(s *Service) ([]netip.Addr, verdict.Verdict) {
	var got []netip.Addr
	for _, f := range s.Families {
		if a, ok := st.own(s, f); ok {
			got = append(got, a)
		}
	}
	if len(got) == 0 || st.overQuota(s, got).Reason != "" {
		return nil, verdict.Verdict{}
	}
	if len(got) == len(s.Families) {
		return got, verdict.Verdict{}
	}
	other, why := st.other(s, got[0])
	switch {
	case why.Reason == "":
		return inOrder(s, got[0], other), verdict.Verdict{}
	case s.RequireDual:
		return nil, verdict.Verdict{}
	}
	return got, why
}

// own returns the address of the family that the Service has a right to: by a reservation, or by a claim of its own or of
// a deleted Service of the same name.
func (st *state) own(s *Service, f policy.Family) (netip.Addr, bool) {
	for _, r := range st.reservedFor[s.Key] {
		if policy.FamilyOf(r.holds) == f && st.mayHave(s, r.holds) {
			return r.holds, true
		}
	}
	for _, r := range st.reservedBySelector {
		if policy.FamilyOf(r.holds) == f && r.isFor(s) && st.mayHave(s, r.holds) {
			return r.holds, true
		}
	}
	for _, c := range st.claimsOf[s.Key] {
		if policy.FamilyOf(c.Address) == f && st.promised(c, s) && st.mayHave(s, c.Address) {
			if pool, _ := st.Policy.PoolOf(c.Address); s.Pool != "" || slices.Contains(st.candidates(s), pool) {
				return c.Address, true
			}
		}
	}
	return netip.Addr{}, false
}

// mayHave says whether the Service, which does not have the address, may have it if it has a right to it.
func (st *state) mayHave(s *Service, a netip.Addr) bool {
	pool, ok := st.Policy.PoolOf(a)
	return ok && (s.Pool == "" || s.Pool == pool.Name) && st.mayDraw(s, pool).Reason == "" && pool.Gives(a) &&
		st.heldBack(s, a).Reason == "" && st.usable(s, a) && !slices.Contains(st.holders[a], s)
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
	if why := st.overQuota(s, got); why.Reason != "" {
		return nil, why
	}
	return inOrder(s, got...), verdict.Verdict{}
}

// requestedAddress says why the Service may not have an address that it names; no reason means that it may.
func (st *state) requestedAddress(s *Service, a netip.Addr) verdict.Verdict {
	pool, ok := st.Policy.PoolOf(a)
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
			return excluded(pool, a, "the requested address %s")
		}
		if why := st.heldBack(s, a); why.Reason != "" {
			return why
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
	case pool.Stalled():
		return stalled(pool)
	}
	return verdict.Verdict{}
}

// stalled says why the pool gives nothing new.
func stalled(pool *policy.Pool) verdict.Verdict {
	if pool.Frozen {
		return no(verdict.PoolInvalid, "pool %q is invalid and gives nothing new until it is corrected: see its Events", pool.Name)
	}
	return no(verdict.PoolInvalid, "pool %q obeys AddressPolicy %q, which is invalid, and gives nothing new until that is corrected: see its Events", pool.Name, pool.Rules.Name)
}

// excluded says why the pool never gives the address; the format has room for that.
func excluded(pool *policy.Pool, a netip.Addr, format string) verdict.Verdict {
	if pool.Avoids(a) {
		return no(verdict.AddressNotInPool, format+" is one that pool %q avoids (avoidBuggyIPs)", a, pool.Name)
	}
	return no(verdict.AddressExcluded, format+" is one that AddressPolicy %q excludes from pool %q", a, pool.Rules.Name, pool.Name)
}

func (st *state) requestedPool(s *Service) ([]netip.Addr, verdict.Verdict) {
	pool, ok := st.Policy.Pool(s.Pool)
	if !ok {
		return nil, no(verdict.UnknownPool, "the requested pool %q does not exist", s.Pool)
	}
	if fail := st.mayDraw(s, pool); fail.Reason != "" {
		return nil, fail
	}
	return st.from(s, []*policy.Pool{pool})
}

func (st *state) anyPool(s *Service) ([]netip.Addr, verdict.Verdict) {
	var idle *policy.Pool
	var pools []*policy.Pool
	for _, pool := range st.candidates(s) {
		if pool.Stalled() {
			idle = pool
			continue
		}
		pools = append(pools, pool)
	}
	switch {
	case len(pools) > 0:
		return st.from(s, pools)
	case idle != nil:
		return nil, stalled(idle)
	case len(st.Policy.Pools) == 0:
		return nil, no(verdict.NoPool, "there is no IPAddressPool: create one")
	}
	return nil, no(verdict.NoPool, "no pool is open to this Service: every pool has autoAssign off or a serviceAllocation that does not admit it")
}

func (st *state) candidates(s *Service) []*policy.Pool {
	return st.Policy.Candidates(s.Namespace, s.NamespaceLabels, s.Labels)
}

// from takes an address of every wanted family from the first pool that has them all; pools that hold an address which
// the Service can share come before the others. A Service that prefers both families is content with one: of its first
// family, else of the other.
func (st *state) from(s *Service, pools []*policy.Pool) ([]netip.Addr, verdict.Verdict) {
	if s.SharingKey != "" {
		slices.SortStableFunc(pools, func(a, b *policy.Pool) int { return cmp.Compare(st.shareable(s, b), st.shareable(s, a)) })
	}
	got, denied := st.firstWith(s, pools, s.Families)
	if len(s.Families) == 2 && !s.RequireDual {
		for i := 0; got == nil && i < len(s.Families); i++ {
			got, denied = st.firstWith(s, pools, s.Families[i:i+1])
		}
	}
	switch {
	case got != nil:
		return got, verdict.Verdict{}
	case denied.Reason != "":
		return nil, denied
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

// firstWith returns what the first pool gives that has all the families; without any, the Verdict may say which quota
// stands against that.
func (st *state) firstWith(s *Service, pools []*policy.Pool, families []policy.Family) (got []netip.Addr, denied verdict.Verdict) {
	for _, pool := range pools {
		got = nil
		for _, f := range families {
			if a, ok := st.take(s, pool, f); ok {
				got = append(got, a)
			}
		}
		if len(got) < len(families) {
			continue
		}
		why := st.overQuota(s, got)
		if why.Reason == "" {
			return got, verdict.Verdict{}
		}
		denied = why
	}
	return nil, denied
}

// take returns an address of the pool: one that is held under the Service's sharing key, else a free one.
func (st *state) take(s *Service, pool *policy.Pool, f policy.Family) (netip.Addr, bool) {
	if a, ok := st.takeShared(s, pool, f); ok {
		return a, true
	}
	return st.free(pool, f, s.Key)
}

// takeShared returns an address of the pool that is held under the Service's sharing key and that it can share.
func (st *state) takeShared(s *Service, pool *policy.Pool, f policy.Family) (netip.Addr, bool) {
	if s.SharingKey == "" {
		return netip.Addr{}, false
	}
	kind := sharer{s.SharingKey, s.Namespace, s.Backends, fmt.Sprint(s.Ports), s.Local, searchKey{pool.Name, f}}
	for i, a := range st.shared[s.SharingKey][st.passed[kind]:] {
		if policy.FamilyOf(a) == f && pool.Gives(a) && st.heldBack(s, a).Reason == "" && st.usable(s, a) && !slices.Contains(st.holders[a], s) {
			st.passed[kind] += i
			return a, true
		}
	}
	st.passed[kind] = len(st.shared[s.SharingKey])
	return netip.Addr{}, false
}

// sharer is all that decides which shared addresses of a pool a Service can use, apart from its reservations, which are
// looked at before. It is comparable. During one pass an address that one such Service cannot use becomes usable for none
// of them, so that nobody looks at it again.
type sharer struct {
	key, namespace, backends, ports string
	local                           bool
	searchKey
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
