package allocator

// This file holds how every pool stands to one Service, for who wants to know why its address is not from there.

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// Considered is how one pool stands to one Service. It is comparable.
type Considered struct {
	Pool  string
	Taken bool // the Service has an address of it
	verdict.Verdict
}

// Consider decides for all Services, as Decide does, and says of every pool how it stands to one of them: first those
// that it may draw from, in the order in which they are asked, then the others by name.
func Consider(v View, index int) (Decision, []Considered) {
	st := newState(v)
	d := st.decideAll()[index]
	s := &v.Services[index]
	order := st.candidates(s)
	for i := range v.Policy.Pools {
		if p := &v.Policy.Pools[i]; !slices.Contains(order, p) {
			order = append(order, p)
		}
	}
	out := make([]Considered, len(order))
	for i, p := range order {
		out[i] = Considered{Pool: p.Name, Taken: slices.Contains(strings.Split(d.Pool, poolSeparator), p.Name)}
		out[i].Verdict = st.consider(s, p, &d, out[i].Taken)
	}
	return d, out
}

// consider says how the pool stands to the Service, for which d was decided.
func (st *state) consider(s *Service, p *policy.Pool, d *Decision, taken bool) verdict.Verdict {
	switch {
	case taken:
		return no(verdict.Assigned, "it gave %s", join(d.Addresses))
	case s.Invalid != "":
		return no(verdict.InvalidRequest, "it is not asked: %s", s.Invalid)
	case len(s.Addresses) > 0:
		return st.considerAddresses(s, p)
	case s.Pool != "" && s.Pool != p.Name:
		return no(verdict.PoolNotRequested, "the Service asks for pool %q", s.Pool)
	}
	if why := st.mayDraw(s, p); why.Reason != "" {
		return why
	}
	switch {
	case s.Pool == "" && !p.AutoAssign:
		return no(verdict.NoAutoAssign, "it gives addresses to Services only that name it (autoAssign is false)")
	case s.Pool == "" && !slices.Contains(st.candidates(s), p):
		return no(verdict.PoolPassedOver, "another pool that admits the Service is exclusive")
	}
	got, why := st.from(s, []*policy.Pool{p})
	switch {
	case got == nil:
		return why
	case len(d.Addresses) == 0:
		return d.Verdict
	}
	return no(verdict.PoolNotNeeded, "it has addresses to give, but the Service has %s from %s", join(d.Addresses), poolList(strings.Split(d.Pool, poolSeparator), "and"))
}

// considerAddresses says how the pool stands to a Service that asks for addresses.
func (st *state) considerAddresses(s *Service, p *policy.Pool) verdict.Verdict {
	of := slices.IndexFunc(s.Addresses, func(a netip.Addr) bool { home, ok := st.Policy.PoolOf(a); return ok && home == p })
	if of < 0 {
		return no(verdict.PoolNotRequested, "the Service asks for %s, which it does not have", join(s.Addresses))
	}
	if why := st.requestedAddress(s, s.Addresses[of]); why.Reason != "" {
		return why
	}
	return no(verdict.PoolNotNeeded, "it has %s", s.Addresses[of])
}
