package allocator

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// Binding is what the status of one AddressReservation is to say.
type Binding struct {
	Name, UID string     // of the AddressReservation
	Address   netip.Addr // that is held, or an invalid one
	Service   Key        // that has it, one that it is held for; or zero
	Bound     bool       // nobody else has it
	verdict.Verdict
}

// reservation is an AddressReservation during one pass.
type reservation struct {
	*policy.Reservation
	holds netip.Addr      // the address, or an invalid one
	why   verdict.Verdict // there is none
}

// bind finds an address for every reservation that is content with any of a pool. Those that have one keep it.
func (st *state) bind() {
	if len(st.Policy.Reservations) == 0 {
		return
	}
	st.reservations = make([]reservation, len(st.Policy.Reservations))
	st.reserved = make(map[netip.Addr]*reservation, len(st.reservations))
	st.reservedFor = map[Key][]*reservation{}
	for i := range st.reservations {
		r := &st.reservations[i]
		r.Reservation = &st.Policy.Reservations[i]
		if st.stays(r) {
			st.reserve(r, r.Address)
		}
	}
	for i := range st.reservations {
		if r := &st.reservations[i]; r.Pool != "" && !r.holds.IsValid() {
			a, why := st.anyAddress(r)
			if r.why = why; a.IsValid() {
				st.reserve(r, a)
			}
		}
	}
}

// stays says whether the reservation goes on holding the address that it has. While its pool is gone it does: the pool
// may come back.
func (st *state) stays(r *reservation) bool {
	if !r.Address.IsValid() || r.Pool == "" {
		return r.Address.IsValid()
	}
	wanted, ok := st.Policy.Pool(r.Pool)
	if !ok {
		return true
	}
	pool, ok := st.Policy.PoolOf(r.Address)
	return ok && pool == wanted && policy.FamilyOf(r.Address) == familyOf(r, wanted)
}

// familyOf returns the family of the address that the reservation wants from the pool.
func familyOf(r *reservation, pool *policy.Pool) policy.Family {
	switch {
	case r.Family != 0:
		return r.Family
	case pool.Has(policy.IPv4):
		return policy.IPv4
	}
	return policy.IPv6
}

func (st *state) reserve(r *reservation, a netip.Addr) {
	r.holds = a
	st.reserved[a] = r
	if r.Service == "" {
		st.reservedBySelector = append(st.reservedBySelector, r)
		return
	}
	k := Key{r.Namespace, r.Service}
	st.reservedFor[k] = append(st.reservedFor[k], r)
}

// anyAddress returns an address of the pool that the reservation names: one that a Service has which it is for, else a
// free one.
func (st *state) anyAddress(r *reservation) (netip.Addr, verdict.Verdict) {
	pool, ok := st.Policy.Pool(r.Pool)
	if !ok {
		return netip.Addr{}, no(verdict.UnknownPool, "pool %q does not exist", r.Pool)
	}
	f := familyOf(r, pool)
	for _, s := range st.order {
		if !r.isFor(s.Service) {
			continue
		}
		for _, a := range s.Held {
			home, ok := st.Policy.PoolOf(a)
			if ok && home == pool && policy.FamilyOf(a) == f && st.reserved[a] == nil && slices.Contains(st.holders[a], s.Service) {
				return a, verdict.Verdict{}
			}
		}
	}
	if pool.Stalled() {
		return netip.Addr{}, stalled(pool)
	}
	name := Key{r.Namespace, r.Service}
	if r.Service == "" {
		name.Name = r.Name
	}
	if a, ok := st.free(pool, f, name); ok {
		return a, verdict.Verdict{}
	}
	return netip.Addr{}, no(verdict.PoolExhausted, "no %s address is free in pool %q: enlarge the pool", f, pool.Name)
}

// isFor says whether the reservation is for the Service.
func (r *reservation) isFor(s *Service) bool {
	return r.For(s.Namespace, s.Name, s.NamespaceLabels, s.Labels)
}

// bindings returns what the reservations' statuses are to say, once everything is decided.
func (st *state) bindings(decisions []Decision) []Binding {
	if len(st.reservations) == 0 {
		return nil
	}
	decided := make(map[*Service]*Decision, len(decisions))
	for i := range decisions {
		decided[&st.Services[i]] = &decisions[i]
	}
	out := make([]Binding, len(st.reservations))
	for i := range st.reservations {
		r := &st.reservations[i]
		b := Binding{Name: r.Name, UID: r.UID, Address: r.holds}
		var other *Service
		for _, s := range st.holders[r.holds] {
			switch {
			case !r.isFor(s):
				other = s
			case b.Service == Key{} && slices.Contains(decided[s].Addresses, r.holds):
				b.Service = s.Key
			}
		}
		b.Bound, b.Verdict = st.told(r, b.Service, other)
		out[i] = b
	}
	return out
}

// told says whether the reservation is bound and why, given who has its address of those that it is for and of others.
func (st *state) told(r *reservation, holder Key, other *Service) (bool, verdict.Verdict) {
	pool, inPool := st.Policy.PoolOf(r.holds)
	switch {
	case r.Problem.Reason != "":
		return false, r.Problem
	case !r.holds.IsValid():
		return false, r.why
	case !inPool && r.Pool != "":
		return false, no(verdict.UnknownPool, "pool %q, which %s came from, does not exist", r.Pool, r.holds)
	case !inPool:
		return false, no(verdict.AddressNotInPool, "%s is in no pool", r.holds)
	case holder != Key{}:
		return true, no(verdict.Bound, "%s is held for %s, and %s has it", r.holds, r.whom(), holder)
	case other != nil:
		return false, no(verdict.AddressInUse, "%s is in use by %s; once that lets it go it is held for %s", r.holds, other.Key, r.whom())
	case pool.Avoids(r.holds) || pool.Rules.Excludes(r.holds):
		return false, excluded(pool, r.holds, "%s")
	}
	return true, no(verdict.Bound, "%s is held for %s", r.holds, r.whom())
}

// whom says whom the reservation is for.
func (r *reservation) whom() string {
	if r.Service == "" {
		return "the Services that spec.selector describes"
	}
	return fmt.Sprintf("%s/%s", r.Namespace, r.Service)
}
