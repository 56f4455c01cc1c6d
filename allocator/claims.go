package allocator

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// Claim is an AddressClaim: who has an address, or had it last. Times are of whole seconds, as the object has them.
type Claim struct {
	Address netip.Addr
	Service Key
	UID     string // of the Service
	Pool    string

	ClaimedAt   time.Time
	ReleasedAt  time.Time // zero: a Service has the address, or is about to
	RetainUntil time.Time // until then only a Service of the same name gets it; zero: not retained
	ReuseAfter  time.Time // until then it rests; zero: it does not

	Version string // resourceVersion of the object as it was read
}

// ClaimWrite is one write that the claims need. The address makes the object's name.
type ClaimWrite struct {
	Op ClaimOp
	Claim
}

// ClaimOp says what is to be done with an AddressClaim.
type ClaimOp string

// The three writes. Update and Delete are for the version that was read and no other.
const (
	CreateClaim ClaimOp = "create"
	UpdateClaim ClaimOp = "update"
	DeleteClaim ClaimOp = "delete"
)

// maxHistory is how many released addresses of one pool LeastRecentlyUsed remembers; those before count as never used.
const maxHistory = 1000

// ClaimName returns the name of the AddressClaim for an address: the address itself, an IPv6 address written in full and
// with hyphens for colons, as "2001-0db8-0000-0000-0000-0000-0000-0001".
func ClaimName(a netip.Addr) string { return strings.ReplaceAll(a.StringExpanded(), ":", "-") }

// ClaimOf reads an AddressClaim. One that does not say which address it is for, or is named after another, is an error:
// it was not made by a controller and means nothing.
func ClaimOf(o *v1alpha1.AddressClaim) (Claim, error) {
	a, err := netip.ParseAddr(o.Spec.Address)
	switch {
	case err != nil || a.Zone() != "":
		return Claim{}, fmt.Errorf("AddressClaim %q: spec.address %q is not an IP address", o.Name, o.Spec.Address)
	case o.Name != ClaimName(a):
		return Claim{}, fmt.Errorf("AddressClaim %q is for %s, so its name should be %q", o.Name, a, ClaimName(a))
	}
	return Claim{
		Address:     a,
		Service:     Key{o.Spec.Service.Namespace, o.Spec.Service.Name},
		UID:         string(o.Spec.Service.UID),
		Pool:        o.Spec.Pool,
		ClaimedAt:   o.Spec.ClaimedAt.Time,
		ReleasedAt:  timeOf(o.Spec.ReleasedAt),
		RetainUntil: timeOf(o.Spec.RetainUntil),
		ReuseAfter:  timeOf(o.Spec.ReuseAfter),
		Version:     o.ResourceVersion,
	}, nil
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// Spec returns what the object says.
func (c *Claim) Spec() v1alpha1.AddressClaimSpec {
	optional := func(t time.Time) *metav1.Time {
		if t.IsZero() {
			return nil
		}
		return &metav1.Time{Time: t}
	}
	return v1alpha1.AddressClaimSpec{
		Address:     c.Address.String(),
		Pool:        c.Pool,
		Service:     v1alpha1.ClaimingService{Namespace: c.Service.Namespace, Name: c.Service.Name, UID: types.UID(c.UID)},
		ClaimedAt:   metav1.Time{Time: c.ClaimedAt},
		ReleasedAt:  optional(c.ReleasedAt),
		RetainUntil: optional(c.RetainUntil),
		ReuseAfter:  optional(c.ReuseAfter),
	}
}

// over says whether the claim keeps nobody from the address any more.
func (c *Claim) over(now time.Time) bool {
	return !c.ReleasedAt.IsZero() && !now.Before(c.RetainUntil) && !now.Before(c.ReuseAfter)
}

// readClaims notes what is claimed, and when that changes by itself.
func (st *state) readClaims() {
	if len(st.Claims) == 0 {
		return
	}
	st.claims = make(map[netip.Addr]*Claim, len(st.Claims))
	st.claimsOf = make(map[Key][]*Claim, len(st.Claims))
	st.alive = make(map[string]bool, len(st.Services))
	for i := range st.Services {
		st.alive[st.Services[i].UID] = true
	}
	for i := range st.Claims {
		c := &st.Claims[i]
		st.claims[c.Address] = c
		st.claimsOf[c.Service] = append(st.claimsOf[c.Service], c)
		if !c.ReleasedAt.IsZero() {
			st.recheck(c.RetainUntil)
			st.recheck(c.ReuseAfter)
		}
	}
	for _, claims := range st.claimsOf {
		slices.SortFunc(claims, func(a, b *Claim) int { return a.Address.Compare(b.Address) })
	}
}

// promised says whether the claim keeps its address for the Service: it is the Service's own, or that of a deleted one of
// the same name whose address is retained.
func (st *state) promised(c *Claim, s *Service) bool {
	switch {
	case c.Service != s.Key:
		return false
	case !c.ReleasedAt.IsZero():
		return st.Now.Before(c.RetainUntil)
	case c.UID == s.UID:
		return true
	}
	rules := st.rulesFor(c)
	return !st.alive[c.UID] && rules != nil && rules.Retain > 0
}

// rulesFor returns the AddressPolicy that a claim's address obeys, or nil.
func (st *state) rulesFor(c *Claim) *policy.AddressPolicy {
	pool, ok := st.Policy.PoolOf(c.Address)
	if !ok {
		pool, ok = st.Policy.Pool(c.Pool)
	}
	if !ok {
		return nil
	}
	return pool.Rules
}

// heldBack says why the Service may not have an address, though no other Service stands against that; no reason means
// that it may.
func (st *state) heldBack(s *Service, a netip.Addr) verdict.Verdict {
	if r := st.reserved[a]; r != nil && !r.isFor(s) {
		return no(verdict.AddressReserved, "the requested address %s is held for others by AddressReservation %q", a, r.Name)
	}
	c := st.claims[a]
	switch {
	case c == nil || len(st.holders[a]) > 0 || c.over(st.Now) || st.promised(c, s):
		return verdict.Verdict{}
	case c.ReleasedAt.IsZero():
		return no(verdict.AddressReserved, "the requested address %s is claimed by %s", a, c.Service)
	case st.Now.Before(c.RetainUntil):
		return no(verdict.AddressReserved, "the requested address %s is retained for %s until %s", a, c.Service, instant(c.RetainUntil))
	}
	return no(verdict.AddressResting, "the requested address %s was released a short time ago and rests until %s", a, instant(c.ReuseAfter))
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// claimWrites returns what the claims need, by address, once everything is decided.
func (st *state) claimWrites() []ClaimWrite {
	if len(st.Claims) == 0 && !slices.ContainsFunc(st.Policy.Pools, func(p policy.Pool) bool { return p.Rules.Claimed() }) {
		return nil
	}
	var out []ClaimWrite
	for a, holders := range st.holders {
		if w, ok := st.claimFor(a, holders); ok {
			out = append(out, w)
		}
	}
	history := map[string][]*Claim{}
	for i := range st.Claims {
		c := &st.Claims[i]
		if len(st.holders[c.Address]) > 0 {
			continue
		}
		rules := st.rulesFor(c)
		remembered := rules != nil && rules.Strategy == v1alpha1.LeastRecentlyUsed
		switch {
		case c.ReleasedAt.IsZero():
			out = append(out, st.releaseOf(*c, rules, remembered))
		case !c.over(st.Now):
		case remembered:
			history[c.Pool] = append(history[c.Pool], c)
		default:
			out = append(out, ClaimWrite{DeleteClaim, *c})
		}
	}
	for _, claims := range history {
		slices.SortFunc(claims, func(a, b *Claim) int { return cmp.Or(b.ReleasedAt.Compare(a.ReleasedAt), a.Address.Compare(b.Address)) })
		for _, c := range claims[min(maxHistory, len(claims)):] {
			out = append(out, ClaimWrite{DeleteClaim, *c})
		}
	}
	slices.SortFunc(out, func(a, b ClaimWrite) int { return a.Address.Compare(b.Address) })
	return out
}

// claimFor returns the write that makes the claim of an address in use say so, if one is needed. The claim stays with
// the holder that has it; otherwise it goes to the first holder.
func (st *state) claimFor(a netip.Addr, holders []*Service) (ClaimWrite, bool) {
	pool, ok := st.Policy.PoolOf(a)
	c := st.claims[a]
	switch {
	case len(holders) == 0 || !ok: // what is in no pool keeps what claim it has: the pool may come back
		return ClaimWrite{}, false
	case !pool.Rules.Claimed():
		if c == nil {
			return ClaimWrite{}, false
		}
		return ClaimWrite{DeleteClaim, *c}, true
	case c != nil && c.ReleasedAt.IsZero() && c.Pool == pool.Name && slices.ContainsFunc(holders, func(s *Service) bool { return s.UID == c.UID }):
		return ClaimWrite{}, false
	}
	w := ClaimWrite{CreateClaim, Claim{Address: a, Service: holders[0].Key, UID: holders[0].UID, Pool: pool.Name, ClaimedAt: st.Now.UTC().Truncate(time.Second)}}
	if c != nil {
		w.Op, w.Version = UpdateClaim, c.Version
	}
	return w, true
}

// releaseOf returns the write that notes that nobody has the address any more.
func (st *state) releaseOf(c Claim, rules *policy.AddressPolicy, remembered bool) ClaimWrite {
	c.ReleasedAt = st.Now.UTC().Truncate(time.Second)
	if rules != nil && rules.Retain > 0 && !st.alive[c.UID] {
		c.RetainUntil = wholeSeconds(st.Now.Add(rules.Retain))
	}
	if rules != nil && rules.ReuseDelay > 0 {
		c.ReuseAfter = wholeSeconds(st.Now.Add(rules.ReuseDelay))
	}
	if c.over(st.Now) && !remembered {
		return ClaimWrite{DeleteClaim, c}
	}
	st.recheck(c.RetainUntil)
	st.recheck(c.ReuseAfter)
	return ClaimWrite{UpdateClaim, c}
}

// wholeSeconds rounds a time up.
func wholeSeconds(t time.Time) time.Time {
	whole := t.UTC().Truncate(time.Second)
	if whole.Before(t) {
		whole = whole.Add(time.Second)
	}
	return whole
}
