// Package allocator decides which Service gets which address, for all Services at once, and says why. It is pure: the
// record of what is assigned is the Services' own status, so that there are no books to fall out of step.
package allocator

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// Decision is what one Service is to have, and why.
type Decision struct {
	Addresses []netip.Addr // in the order of the Service's families, or as it holds them already
	Pool      string       // the pool that they came from; the names of two are joined by a comma
	Complete  bool         // the Service has what it asks for
	verdict.Verdict
}

const poolSeparator = ","

// Decide returns one Decision for each Service, in their order. An address in use stays with its holder: nothing that
// is held is given to another Service in the same pass, not even when its holder gets a better one, since the write of
// that may fail. The result depends on the set of Services, not on their order.
func Decide(p *policy.Policy, services []Service) []Decision {
	st := &state{
		policy:  p,
		holders: make(map[netip.Addr][]*Service, len(services)),
		shared:  map[string][]netip.Addr{},
		cursors: map[cursorKey]*cursor{},
		passed:  map[sharer]int{},
	}
	all := make([]request, len(services))
	for i := range services {
		all[i] = request{Service: &services[i], index: i}
	}
	slices.SortFunc(all, earlierHolder)
	for i := range all {
		all[i].held = st.keep(all[i].Service)
	}
	decisions := make([]Decision, len(services))
	var unmet []request
	for _, r := range all {
		if r.Invalid == "" && st.satisfied(r.Service, r.held.addresses) {
			decisions[r.index] = st.assigned(r.Service, r.held.addresses)
		} else {
			unmet = append(unmet, r)
		}
	}
	slices.SortFunc(unmet, earlierRequest)
	for _, r := range unmet {
		decisions[r.index] = st.decide(r.Service, r.held)
	}
	return decisions
}

// request is one Service during one pass.
type request struct {
	*Service
	index int // in the order of the caller
	held  holding
}

// earlierHolder orders Services by who keeps an address that two of them hold.
func earlierHolder(a, b request) int {
	if c := a.AssignedAt.Compare(b.AssignedAt); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.UID, b.UID), compareKeys(a, b))
}

// earlierRequest orders Services by who is served first: those that ask for addresses, for a pool, for anything.
func earlierRequest(a, b request) int {
	if c := cmp.Or(cmp.Compare(a.flexibility(), b.flexibility()), a.Created.Compare(b.Created)); c != 0 {
		return c
	}
	return compareKeys(a, b)
}

func compareKeys(a, b request) int {
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
	passed  map[sharer]int // how many of the key's shared addresses such a Service cannot use
}

// keep claims what the Service holds, unless an earlier holder is in the way, and keeps one address of each family
// that it wants. The others are claimed too: they are free only when the status no longer shows them.
func (st *state) keep(s *Service) holding {
	var h holding
	for _, a := range s.Held {
		other, conflict := st.obstacle(s, a)
		if other == nil {
			st.claim(s, a)
		}
		switch f := policy.FamilyOf(a); {
		case !slices.Contains(s.Families, f) || hasFamily(h.addresses, f):
		case other == nil:
			h.addresses = append(h.addresses, a)
		default:
			h.lost = fmt.Sprintf("lost %s to %s, which held it earlier%s", a, other.Key, conflict)
		}
	}
	return h
}

func hasFamily(addresses []netip.Addr, f policy.Family) bool {
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool { return policy.FamilyOf(a) == f })
}

func (st *state) claim(s *Service, a netip.Addr) {
	if slices.Contains(st.holders[a], s) {
		return
	}
	if s.SharingKey != "" && len(st.holders[a]) == 0 { // later holders carry the same key
		st.shared[s.SharingKey] = append(st.shared[s.SharingKey], a)
	}
	st.holders[a] = append(st.holders[a], s)
}

// decide looks for what the Service asks for and has not, or keeps what it has and says why.
func (st *state) decide(s *Service, h holding) Decision {
	got, fail := st.allocate(s, h.addresses)
	if fail.Reason == "" {
		for _, a := range got {
			st.claim(s, a)
		}
		return st.assigned(s, got)
	}
	if h.lost != "" {
		fail = verdict.Verdict{Reason: verdict.AddressConflict, Message: h.lost + "; " + fail.Message}
	}
	if len(h.addresses) > 0 {
		return st.keptDespite(s, h.addresses, fail)
	}
	return Decision{Verdict: fail}
}

// satisfied says whether what the Service holds is what it asks for, so that nothing is to be looked for.
func (st *state) satisfied(s *Service, current []netip.Addr) bool {
	wanted := len(s.Families)
	if len(s.Addresses) > 0 {
		wanted = len(s.Addresses)
	}
	return len(current) >= wanted &&
		!slices.ContainsFunc(s.Addresses, func(a netip.Addr) bool { return !slices.Contains(current, a) }) &&
		!slices.ContainsFunc(current, func(a netip.Addr) bool { return !st.fits(s, a) })
}

// fits says whether an address that the Service holds lies in a pool, and in the one that it asks for.
func (st *state) fits(s *Service, a netip.Addr) bool {
	pool, ok := st.homeOf(s, a)
	return ok && (s.Pool == "" || s.Pool == pool)
}

// homeOf returns the pool of an address that the Service holds: the pool that has it, or one it came from where that
// pool is bad now and may have lost its range by a mistake.
func (st *state) homeOf(s *Service, a netip.Addr) (string, bool) {
	if pool, ok := st.policy.PoolOf(a); ok {
		return pool.Name, true
	}
	for name := range strings.SplitSeq(s.HeldFrom, poolSeparator) {
		if pool, ok := st.policy.Pool(name); ok && pool.Frozen {
			return name, true
		}
	}
	return "", false
}

// poolsOf names the pools of the addresses; an address in no pool goes by what the Service's annotation says.
func (st *state) poolsOf(s *Service, addresses []netip.Addr) []string {
	var names []string
	for _, a := range addresses {
		if name, ok := st.homeOf(s, a); ok {
			names = addOnce(names, name)
			continue
		}
		for name := range strings.SplitSeq(s.HeldFrom, poolSeparator) {
			names = addOnce(names, name)
		}
	}
	return names
}

func addOnce(names []string, name string) []string {
	if name == "" || slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

func (st *state) assigned(s *Service, addresses []netip.Addr) Decision {
	pools := st.poolsOf(s, addresses)
	d := Decision{Addresses: addresses, Pool: strings.Join(pools, poolSeparator), Complete: true}
	d.Verdict = verdict.Verdict{Reason: verdict.Assigned, Message: fmt.Sprintf("assigned %s from %s", join(addresses), poolList(pools, "and"))}
	if len(addresses) < len(s.Families) && len(s.Addresses) == 0 {
		d.Reason = verdict.PartlyAssigned
		d.Message += fmt.Sprintf(", which has no %s address to give", policy.FamilyOf(addresses[0]).Other())
	}
	return d
}

// keptDespite keeps an address that is not, or no longer, what the Service should have.
func (st *state) keptDespite(s *Service, current []netip.Addr, fail verdict.Verdict) Decision {
	d := Decision{Addresses: current, Pool: strings.Join(st.poolsOf(s, current), poolSeparator)}
	var orphans []netip.Addr
	for _, a := range current {
		if _, ok := st.homeOf(s, a); !ok {
			orphans = append(orphans, a)
		}
	}
	d.Verdict = verdict.Verdict{Reason: fail.Reason, Message: fmt.Sprintf("keeps %s: %s", join(current), fail.Message)}
	if len(orphans) > 0 {
		which := join(orphans)
		if len(current) == 1 {
			which = "it"
		}
		d.Verdict = no(verdict.Orphaned, "keeps %s although no pool has %s any more: %s", join(current), which, fail.Message)
	}
	return d
}

// join lists addresses in a sentence.
func join(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return strings.Join(texts, " and ")
}

// poolList lists pools in a sentence; the word stands before the last one.
func poolList(names []string, word string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	last := len(quoted) - 1
	if last == 0 {
		return "pool " + quoted[0]
	}
	return "pools " + strings.Join(quoted[:last], ", ") + " " + word + " " + quoted[last]
}
