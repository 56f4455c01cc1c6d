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
	"time"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// View is everything that a decision depends on.
type View struct {
	Policy   *policy.Policy
	Services []Service // in any order
	Claims   []Claim   // in any order, at most one for an address
	Now      time.Time
	// OrphanGrace is how long a Service keeps an address that is in no pool any more where it can get no other; 0: not at
	// all.
	OrphanGrace time.Duration
}

// Outcome is what is to be, of everything.
type Outcome struct {
	Decisions []Decision // one for each Service, in their order
	// Claims are the writes that AddressClaims need, by address. They come before the Services' statuses: a status may
	// show an address only after the write for it succeeded.
	Claims   []ClaimWrite
	Bindings []Binding // one for each of the Policy's Reservations, in their order
	// RecheckAt is when time alone changes something; zero: never.
	RecheckAt time.Time
}

// Decision is what one Service is to have, and why.
type Decision struct {
	Addresses []netip.Addr // in the order of the Service's families, or as it holds them already
	Pool      string       // the pool that they came from; the names of two are joined by a comma
	Complete  bool         // the Service has what it asks for
	// OrphanedSince is what the annotation AnnotationOrphanedSince is to say; zero: it is to go.
	OrphanedSince time.Time
	verdict.Verdict

	// What happens to the Service now and is over when its status shows the decision: the addresses that it gives up at the
	// end of their time of grace, and those that another Service held earlier.
	Cleared []netip.Addr
	Lost    []Loss
}

// Loss is an address that a Service shows and that another one has, which held it earlier.
type Loss struct {
	Address netip.Addr
	To      Key
	Why     string // they cannot share it, as the end of a sentence
}

const poolSeparator = ","

// Decide decides for all Services. An address in use stays with its holder: nothing that is held is given to another
// Service in the same pass, not even when its holder gets a better one, since the write of that may fail. The result
// depends on the sets in the view, not on their order.
func Decide(v View) Outcome {
	st := newState(v)
	decisions := st.decideAll()
	out := Outcome{Decisions: decisions, Claims: st.claimWrites(), Bindings: st.bindings(decisions)}
	out.RecheckAt = st.next
	return out
}

// decideAll decides for all Services, in their order.
func (st *state) decideAll() []Decision {
	for i := range st.order {
		st.order[i].held = st.keep(st.order[i].Service)
	}
	st.readClaims()
	st.bind()
	decisions := make([]Decision, len(st.Services))
	var unmet []request
	for _, r := range st.order {
		if r.Invalid == "" && st.satisfied(r.Service, r.held.addresses) {
			decisions[r.index] = st.assigned(r.Service, r.held.addresses, verdict.Verdict{})
			decisions[r.index].Lost = r.held.lost
		} else {
			unmet = append(unmet, r)
		}
	}
	slices.SortFunc(unmet, earlierRequest)
	for _, r := range unmet {
		decisions[r.index] = st.decide(r.Service, r.held.addresses)
		decisions[r.index].Lost = r.held.lost
	}
	return decisions
}

// Rightful returns for each Service those addresses of its status that it rightfully has: where two Services that may not
// share an address both show it, the one that CompareHolders puts first has it, and nobody announces it for the other.
func Rightful(p *policy.Policy, services []Service) [][]netip.Addr {
	st := newState(View{Policy: p, Services: services})
	out := make([][]netip.Addr, len(services))
	for _, r := range st.order {
		out[r.index], _ = st.rightful(r.Service)
	}
	return out
}

// CompareHolders orders Services by who keeps an address that two of them show: the one it was assigned to earlier, where
// that is unknown before all others; of equal ones the lower UID.
func CompareHolders(a, b *Service) int {
	if c := a.AssignedAt.Compare(b.AssignedAt); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.UID, b.UID), compareKeys(a, b))
}

// request is one Service during one pass.
type request struct {
	*Service
	index int // in the order of the caller
	held  holding
}

// earlierRequest orders Services by who is served first: those that ask for addresses, for a pool, for anything.
func earlierRequest(a, b request) int {
	if c := cmp.Or(cmp.Compare(a.flexibility(), b.flexibility()), a.Created.Compare(b.Created)); c != 0 {
		return c
	}
	return compareKeys(a.Service, b.Service)
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
	lost      []Loss
}

// state is who holds what during one pass.
type state struct {
	View
	order   []request // by who keeps an address that two hold
	holders map[netip.Addr][]*Service
	blocks  map[netip.Addr]int      // how many addresses of a block of 256 have holders, by the block's first address
	shared  map[string][]netip.Addr // sharing key -> addresses held under it, in the order of the claims
	inUse   map[*policy.Quota]int   // what each quota counts; nil where there is none
	left    map[netip.Addr]bool     // addresses that their only holder leaves; where there are quotas

	claims   map[netip.Addr]*Claim
	claimsOf map[Key][]*Claim // by the Service's name, by address
	alive    map[string]bool  // the UIDs of the Services, where there are claims

	reservations       []reservation
	reserved           map[netip.Addr]*reservation
	reservedFor        map[Key][]*reservation
	reservedBySelector []*reservation

	searches map[searchKey]*search
	passed   map[sharer]int // how many of the key's shared addresses such a Service cannot use
	next     time.Time      // when time alone changes something
}

// newState returns the state in which nobody holds anything yet.
func newState(v View) *state {
	st := &state{
		View:     v,
		order:    make([]request, len(v.Services)),
		holders:  make(map[netip.Addr][]*Service, len(v.Services)),
		blocks:   map[netip.Addr]int{},
		shared:   map[string][]netip.Addr{},
		searches: map[searchKey]*search{},
		passed:   map[sharer]int{},
	}
	for i := range v.Services {
		st.order[i] = request{Service: &v.Services[i], index: i}
	}
	slices.SortFunc(st.order, func(a, b request) int { return CompareHolders(a.Service, b.Service) })
	if slices.ContainsFunc(v.Policy.AddressPolicies, func(a policy.AddressPolicy) bool { return len(a.Quotas) > 0 }) {
		st.inUse = map[*policy.Quota]int{}
		st.left = map[netip.Addr]bool{}
	}
	return st
}

// recheck notes a time at which time alone changes something.
func (st *state) recheck(t time.Time) {
	if t.After(st.Now) && (st.next.IsZero() || t.Before(st.next)) {
		st.next = t
	}
}

// rightful claims what the Service shows, unless an earlier holder is in the way. That includes what it does not want any
// more: it is free only when the status no longer shows it.
func (st *state) rightful(s *Service) (has []netip.Addr, lost []Loss) {
	for _, a := range s.Held {
		if other, why := st.obstacle(s, a); other != nil {
			lost = append(lost, Loss{a, other.Key, string(why)})
			continue
		}
		st.claim(s, a)
		has = append(has, a)
	}
	return has, lost
}

// keep claims what the Service rightfully has and keeps one address of each family that it wants.
func (st *state) keep(s *Service) holding {
	has, lost := st.rightful(s)
	h := holding{lost: lost}
	for _, a := range has {
		if f := policy.FamilyOf(a); slices.Contains(s.Families, f) && !hasFamily(h.addresses, f) {
			h.addresses = append(h.addresses, a)
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
	if st.unused(a) {
		st.count(s, a, 1)
		delete(st.left, a)
	}
	if len(st.holders[a]) == 0 {
		st.blocks[ending(a, 0)]++
		if s.SharingKey != "" { // later holders carry the same key
			st.shared[s.SharingKey] = append(st.shared[s.SharingKey], a)
		}
	}
	st.holders[a] = append(st.holders[a], s)
}

// decide looks for what the Service asks for and has not, or keeps what it has and says why.
func (st *state) decide(s *Service, current []netip.Addr) Decision {
	got, why := st.allocate(s, current)
	switch {
	case got == nil && len(current) == 0:
		return Decision{Verdict: why}
	case got == nil:
		return st.keptDespite(s, current, why)
	}
	returned := st.returned(s, got)
	for _, a := range got {
		st.claim(s, a)
	}
	st.leave(s, returned)
	return st.assigned(s, got, why)
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
	if pool, ok := st.Policy.PoolOf(a); ok {
		return pool.Name, true
	}
	for name := range strings.SplitSeq(s.HeldFrom, poolSeparator) {
		if pool, ok := st.Policy.Pool(name); ok && pool.Frozen {
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

// assigned tells what the Service has; why tells, where that is known already, what stands against a second address.
func (st *state) assigned(s *Service, addresses []netip.Addr, why verdict.Verdict) Decision {
	pools := st.poolsOf(s, addresses)
	d := Decision{Addresses: addresses, Pool: strings.Join(pools, poolSeparator), Complete: true}
	d.Verdict = no(verdict.Assigned, "assigned %s from %s", join(addresses), poolList(pools, "and"))
	if len(addresses) < len(s.Families) && len(s.Addresses) == 0 {
		if why.Reason == "" {
			_, why = st.other(s, addresses[0])
		}
		d.Reason = verdict.PartlyAssigned
		d.Message += fmt.Sprintf(", which has no %s address to give", policy.FamilyOf(addresses[0]).Other())
		if why.Reason == verdict.QuotaExceeded {
			d.Message += ": " + why.Message
		}
	}
	return d
}

// keptDespite keeps an address that is not, or no longer, what the Service should have. One in no pool is kept for a
// time of grace only.
func (st *state) keptDespite(s *Service, current []netip.Addr, why verdict.Verdict) Decision {
	var orphans, others []netip.Addr
	for _, a := range current {
		if _, ok := st.homeOf(s, a); ok {
			others = append(others, a)
		} else {
			orphans = append(orphans, a)
		}
	}
	d := Decision{Addresses: current, Pool: strings.Join(st.poolsOf(s, current), poolSeparator)}
	if len(orphans) == 0 {
		d.Verdict = no(why.Reason, "keeps %s: %s", join(current), why.Message)
		return d
	}
	d.OrphanedSince = s.OrphanedSince
	if d.OrphanedSince.IsZero() || d.OrphanedSince.After(st.Now) {
		d.OrphanedSince = st.Now
	}
	until := d.OrphanedSince.Add(st.OrphanGrace)
	if !s.Deleting && !st.Now.Before(until) {
		d = st.decide(s, others)
		d.Cleared = orphans
		return d
	}
	which := join(orphans)
	if len(current) == 1 {
		which = "it"
	}
	d.Verdict = no(verdict.Orphaned, "keeps %s until %s although no pool has %s any more: %s", join(current), instant(until), which, why.Message)
	if !s.Deleting {
		st.recheck(until)
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
