// Package allocator decides which Service gets which address, for all Services at once, and says why. It is pure: the
// record of what is assigned is the Services' own status, so that there are no books to fall out of step.
package allocator

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// Decision is what one Service is to have, and why.
type Decision struct {
	Addresses []netip.Addr // in the order of the Service's families, or as it holds them already
	Pool      string       // the pool that they came from; two pools' names are joined by a comma
	Complete  bool         // the Service has what it asks for
	verdict.Verdict
}

// Decide returns one Decision for each Service, in their order. An address in use stays with its holder: nothing that
// is held is given to another Service in the same pass, not even when its holder gets a better one, since the write of
// that may fail. The result depends on the set of Services, not on their order.
func Decide(p *policy.Policy, services []Service) []Decision {
	st := &state{policy: p, holders: map[netip.Addr][]*Service{}, shared: map[string][]netip.Addr{}, cursors: map[cursorKey]*cursor{}}
	byAge := make([]*Service, len(services))
	for i := range services {
		byAge[i] = &services[i]
	}
	slices.SortFunc(byAge, earlierHolder)
	kept := make(map[*Service]holding, len(services))
	for _, s := range byAge {
		kept[s] = st.keep(s)
	}
	slices.SortFunc(byAge, earlierRequest)
	decisions := make(map[*Service]Decision, len(services))
	for _, s := range byAge {
		decisions[s] = st.decide(s, kept[s])
	}
	out := make([]Decision, len(services))
	for i := range services {
		out[i] = decisions[&services[i]]
	}
	return out
}

// earlierHolder orders Services by who keeps an address that two of them hold.
func earlierHolder(a, b *Service) int {
	return cmp.Or(a.AssignedAt.Compare(b.AssignedAt), cmp.Compare(a.UID, b.UID), compareKeys(a, b))
}

// earlierRequest orders Services by who is served first: those that ask for addresses, for a pool, for anything.
func earlierRequest(a, b *Service) int {
	return cmp.Or(cmp.Compare(a.flexibility(), b.flexibility()), a.Created.Compare(b.Created), compareKeys(a, b))
}

func compareKeys(a, b *Service) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func (s *Service) flexibility() int {
	switch {
	case len(s.Addresses) > 0:
		return 0
	case s.Pool != "":
		return 1
	}
	return 2
}

// holding is what a Service keeps of what its status shows.
type holding struct {
	addresses []netip.Addr
	lost      string // why it lost an address, or ""
}

// state is who holds what during one pass.
type state struct {
	policy  *policy.Policy
	holders map[netip.Addr][]*Service
	shared  map[string][]netip.Addr // sharing key -> addresses held under it, in the order of the claims
	cursors map[cursorKey]*cursor
}

// keep claims what the Service holds, unless an earlier holder is in the way or its family is no longer wanted.
func (st *state) keep(s *Service) holding {
	var h holding
	for _, a := range s.Held {
		wanted := slices.Contains(s.Families, policy.FamilyOf(a))
		other := st.obstacle(s, a)
		switch {
		case other != nil && wanted:
			h.lost = fmt.Sprintf("lost %s to %s, which held it earlier", a, other.Key)
		case other == nil:
			st.claim(s, a) // even if unwanted: it is free only when the status no longer shows it
		}
		if other == nil && wanted {
			h.addresses = append(h.addresses, a)
		}
	}
	return h
}

func (st *state) claim(s *Service, a netip.Addr) {
	if slices.Contains(st.holders[a], s) {
		return
	}
	st.holders[a] = append(st.holders[a], s)
	if s.SharingKey != "" && !slices.Contains(st.shared[s.SharingKey], a) {
		st.shared[s.SharingKey] = append(st.shared[s.SharingKey], a)
	}
}

// obstacle returns a holder of the address that the Service cannot share it with, or nil.
func (st *state) obstacle(s *Service, a netip.Addr) *Service {
	for _, h := range st.holders[a] {
		if h != s && !st.shareable(s, h, a) {
			return h
		}
	}
	return nil
}

// shareable says whether two Services may hold the same address: they carry the same key and no common port, and both
// are served by every node or both by the same pods. Across namespaces the address's pool must allow it.
func (st *state) shareable(a, b *Service, address netip.Addr) bool {
	if a.SharingKey == "" || a.SharingKey != b.SharingKey || a.Local != b.Local || a.Local && a.Backends != b.Backends {
		return false
	}
	if a.Namespace != b.Namespace {
		if pool, ok := st.policy.PoolOf(address); !ok || !pool.CrossNamespaceSharing {
			return false
		}
	}
	return !slices.ContainsFunc(a.Ports, func(p Port) bool { return slices.Contains(b.Ports, p) })
}

// decide gives the Service what it asks for, or keeps what it has and says why.
func (st *state) decide(s *Service, h holding) Decision {
	current := h.addresses
	var fail verdict.Verdict
	switch {
	case s.Invalid != "":
		fail = verdict.Verdict{Reason: verdict.InvalidRequest, Message: s.Invalid}
	case st.satisfied(s, current):
		return st.assigned(s, current)
	case s.Deleting:
		fail = verdict.Verdict{Reason: verdict.InvalidRequest, Message: "the Service is being deleted and gets no address any more"}
	default:
		var got []netip.Addr
		if got, fail = st.allocate(s, current); fail.Reason == "" {
			for _, a := range got {
				st.claim(s, a)
			}
			return st.assigned(s, got)
		}
	}
	if len(current) > 0 {
		return st.keptDespite(s, current, fail)
	}
	if h.lost != "" {
		fail = verdict.Verdict{Reason: verdict.AddressConflict, Message: h.lost + "; " + fail.Message}
	}
	return Decision{Verdict: fail}
}

// satisfied says whether what the Service holds is what it asks for, so that nothing is to be looked for.
func (st *state) satisfied(s *Service, current []netip.Addr) bool {
	if len(current) == 0 || !st.coversFamilies(s, current) {
		return false
	}
	for _, a := range s.Addresses {
		if !slices.Contains(current, a) {
			return false
		}
	}
	for _, a := range current {
		pool, ok := st.homeOf(s, a)
		if !ok || s.Pool != "" && pool != s.Pool {
			return false
		}
	}
	return true
}

// coversFamilies says whether the Service has an address of every family that it could have now.
func (st *state) coversFamilies(s *Service, current []netip.Addr) bool {
	return len(current) >= len(s.Families)
}

// homeOf returns the pool of an address that the Service holds: the pool that has it, or the one it came from where
// that pool is bad now and may have lost its range by a mistake.
func (st *state) homeOf(s *Service, a netip.Addr) (string, bool) {
	if pool, ok := st.policy.PoolOf(a); ok {
		return pool.Name, true
	}
	if pool, ok := st.policy.Pool(s.HeldFrom); ok && pool.Frozen {
		return pool.Name, true
	}
	return "", false
}

// poolsOf names the pools of the addresses; an address in no pool goes by the pool that it came from.
func (st *state) poolsOf(s *Service, addresses []netip.Addr) string {
	var names []string
	for _, a := range addresses {
		name, ok := st.homeOf(s, a)
		if !ok {
			name = s.HeldFrom
		}
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

func (st *state) assigned(s *Service, addresses []netip.Addr) Decision {
	d := Decision{Addresses: addresses, Pool: st.poolsOf(s, addresses), Complete: true}
	d.Verdict = verdict.Verdict{Reason: verdict.Assigned, Message: fmt.Sprintf("assigned %s from pool %q", join(addresses), d.Pool)}
	if len(addresses) < len(s.Families) {
		missing := policy.FamilyOf(addresses[0]).Other()
		d.Reason = verdict.PartlyAssigned
		d.Message += fmt.Sprintf("; no %s address is free there", missing)
	}
	return d
}

// keptDespite keeps an address that is not, or no longer, what the Service should have.
func (st *state) keptDespite(s *Service, current []netip.Addr, fail verdict.Verdict) Decision {
	d := Decision{Addresses: current, Pool: st.poolsOf(s, current)}
	for _, a := range current {
		if _, ok := st.homeOf(s, a); !ok && len(s.Addresses) == 0 && s.Pool == "" {
			fail.Reason = verdict.Orphaned
			d.Verdict = verdict.Verdict{Reason: verdict.Orphaned, Message: fmt.Sprintf("keeps %s, which is in no pool any more, since %s", join(current), fail.Message)}
			return d
		}
	}
	d.Verdict = verdict.Verdict{Reason: fail.Reason, Message: fmt.Sprintf("keeps %s: %s", join(current), fail.Message)}
	return d
}

func join(addresses []netip.Addr) string {
	var parts []string
	for _, a := range addresses {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, " and ")
}
