package plan

// This file holds which routes this node's BGP sessions carry, and how that is told for every address.

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// BGPVerdict says of one address of one Service what this node does about it by BGP.
type BGPVerdict struct {
	Namespace, Name string // of the Service
	Address         netip.Addr
	// Peers are the BGPPeers to whose neighbors this node announces the address, by name. They are shared with other
	// verdicts and must not be changed.
	Peers []string
	verdict.Verdict
}

// bgpKey names a bgpScope: the positions of its advertisements in the Policy, and a family.
type bgpKey struct {
	ads    string
	family policy.Family
}

// bgpScope is some advertisements and what they come to on this node for one family.
type bgpScope struct {
	ads    []*policy.BGPAd
	grants []grant  // of those that are in force and select this node
	peers  []string // that receive anything, by name
	text   string   // how that is told
	// refusal is why nothing is announced from here, whatever the Service.
	refusal refusal
}

// grant is an advertisement and the sessions that it is for, by their places.
type grant struct {
	*policy.BGPAd
	sessions []int
}

// draft is a prefix's route for one session while advertisements and addresses add to it.
type draft struct {
	wanted      bool
	communities policy.Communities
	preferredBy *policy.BGPAd // the oldest advertisement that gives it a localPref, or nil
	weighted    bool
	endpoints   uint32
	counted     *Service // whose endpoints were counted last
}

// route drafts the routes for one address of a Service and says what becomes of it. It returns false for an address that
// no BGPAdvertisement is for.
func (b *builder) route(s *Service, a netip.Addr) (BGPVerdict, bool) {
	if len(b.Policy.BGPAds) == 0 {
		return BGPVerdict{}, false
	}
	pools := b.poolsOf(s, a)
	in := b.bgpScopeOf(s, pools, policy.FamilyOf(a))
	if len(in.ads) == 0 {
		return BGPVerdict{}, false
	}
	v := BGPVerdict{Namespace: s.Namespace, Name: s.Name, Address: a}
	if no := b.unreachable(s, a, in); no.is() {
		v.Verdict = say(no.Reason, "node %q does not announce %s with protocol \"bgp\", since %s", b.Node, a, no.why)
		return v, true
	}
	for i := range in.grants {
		g := &in.grants[i]
		for _, pool := range pools { // two where an address is in no pool any more
			if g.SelectsPool(pool) {
				b.draft(g, g.Prefix(a, pool), s)
			}
		}
	}
	v.Peers = in.peers
	v.Verdict = say(verdict.Announced, "announcing %s from node %q with protocol \"bgp\" to %s", a, b.Node, in.text)
	return v, true
}

// unreachable says why this node may not announce the address for the Service, if it may not.
func (b *builder) unreachable(s *Service, a netip.Addr, in *bgpScope) refusal {
	switch {
	case !s.Serving:
		return refusal{verdict.NoEndpoints, noEndpoint}
	case in.refusal.is():
		return in.refusal
	case s.Local && !slices.Contains(s.ServingNodes, b.Node):
		return because(verdict.NoLocalEndpoints, "externalTrafficPolicy is Local and no endpoint on this node is serving")
	case slices.Contains(s.Proxy, a) && !slices.Contains(b.Programmed[a], b.Node):
		return because(verdict.NotProgrammed, "ipMode is Proxy and its programmer does not report the address")
	}
	return refusal{}
}

// bgpScopeOf returns the advertisements that are for one of the pools and for the Service, and what they come to.
func (b *builder) bgpScopeOf(s *Service, pools []string, f policy.Family) *bgpScope {
	var room [64]byte
	key := room[:0]
	for i := range b.Policy.BGPAds {
		if ad := &b.Policy.BGPAds[i]; slices.ContainsFunc(pools, ad.SelectsPool) && ad.SelectsService(s.Labels) {
			key = binary.AppendUvarint(key, uint64(i))
		}
	}
	found, ok := b.speaking.scopes[bgpKey{string(key), f}]
	if !ok {
		found = b.newBGPScope(key, f)
		b.speaking.scopes[bgpKey{string(key), f}] = found
	}
	return found
}

func (b *builder) newBGPScope(key []byte, f policy.Family) *bgpScope {
	s := &bgpScope{}
	for len(key) > 0 {
		i, n := binary.Uvarint(key)
		s.ads, key = append(s.ads, &b.Policy.BGPAds[i]), key[n:]
	}
	why := b.nodeOut()
	if why != "" {
		s.refusal = refusal{verdict.NodeExcluded, why}
		return s
	}
	for _, ad := range s.ads {
		if !ad.InForce() || !ad.SelectsNode(b.own.Labels) {
			continue
		}
		g := grant{ad, b.speaking.carrying(ad, f)}
		if len(g.sessions) == 0 {
			continue
		}
		s.grants = append(s.grants, g)
		for _, i := range g.sessions {
			s.peers = append(s.peers, b.speaking.sessions[i].Peer)
		}
	}
	slices.Sort(s.peers)
	s.peers = slices.Compact(s.peers)
	s.text = listed(s.peers)
	if len(s.grants) == 0 {
		s.refusal = b.whyNoGrant(s, f)
	}
	return s
}

// nodeOut says why this node announces nothing by BGP, or "". They are MetalLB's conditions, and the taint that says that
// the node is shut down; unlike in an election, no other node need be there to take over.
func (b *builder) nodeOut() string {
	switch n := b.own; {
	case n == nil:
		return "this node is not known"
	case b.excluded(n):
		return "this node is labelled node.kubernetes.io/exclude-from-external-load-balancers"
	case n.OutOfService:
		return "this node is tainted node.kubernetes.io/out-of-service"
	case n.NetworkUnavailable:
		return "this node's condition NetworkUnavailable is True"
	}
	return ""
}

// carrying returns the places of the sessions that are for the advertisement and carry the family.
func (s *speaking) carrying(ad *policy.BGPAd, f policy.Family) []int {
	var out []int
	for i, x := range s.sessions {
		if ad.SelectsPeer(x.Peer) && (f == policy.IPv4 && x.IPv4 || f == policy.IPv6 && x.IPv6) {
			out = append(out, i)
		}
	}
	return out
}

// whyNoGrant says why no advertisement announces anything from here.
func (b *builder) whyNoGrant(s *bgpScope, f policy.Family) refusal {
	var here []*policy.BGPAd
	for _, ad := range s.ads {
		if ad.InForce() && ad.SelectsNode(b.own.Labels) {
			here = append(here, ad)
		}
	}
	waits := slices.IndexFunc(s.ads, func(ad *policy.BGPAd) bool { return !ad.InForce() })
	switch {
	case len(here) > 0:
		return b.speaking.whyNoPeer(here, f)
	case waits >= 0:
		return refusal{verdict.AdvertisementWaits, s.ads[waits].Waiting.Message}
	}
	return because(verdict.NodeNotSelected, "no BGPAdvertisement for it selects this node")
}

// whyNoPeer says why there is no session for any of the advertisements.
func (s *speaking) whyNoPeer(ads []*policy.BGPAd, f policy.Family) refusal {
	var clauses []string
	for _, x := range s.standing {
		switch {
		case !slices.ContainsFunc(ads, func(ad *policy.BGPAd) bool { return ad.SelectsPeer(x.Name) }):
		case x.why != "":
			clauses = append(clauses, x.why)
		case !x.Carries(f):
			clauses = append(clauses, fmt.Sprintf("the session with BGPPeer %q carries no %s routes (see its spec.dualStackAddressFamily)", x.Name, f))
		}
	}
	const most = 3
	switch {
	case len(s.standing) == 0:
		return because(verdict.NoPeer, "there is no BGPPeer")
	case len(clauses) == 0:
		return because(verdict.NoPeer, "no BGPPeer that the advertisements name exists")
	case len(clauses) > most:
		clauses = append(clauses[:most], fmt.Sprintf("and so on for %d more", len(clauses)-most))
	}
	return refusal{verdict.NoPeer, strings.Join(clauses, "; ")}
}

// draft lets a grant add to the routes of a prefix for a Service. What advertisements say adds up; of two that contradict
// each other the older one decides.
func (b *builder) draft(g *grant, prefix netip.Prefix, service *Service) {
	s := b.speaking
	drafts := s.drafts[prefix]
	if drafts == nil {
		drafts = make([]draft, len(s.sessions))
		s.drafts[prefix] = drafts
	}
	for _, i := range g.sessions {
		d := &drafts[i]
		d.wanted = true
		d.communities = d.communities.Union(g.Communities)
		d.weighted = d.weighted || g.Weighted
		if g.LocalPref != 0 {
			s.prefer(d, g.BGPAd)
		}
		if s.weighs && d.counted != service {
			d.counted = service
			d.endpoints += service.on(b.Node)
		}
	}
}

// on returns the number of serving endpoints on a node.
func (s *Service) on(node string) (n uint32) {
	for _, x := range s.ServingNodes {
		if x == node {
			n++
		}
	}
	return n
}

// prefer lets an advertisement set the localPref of a route.
func (s *speaking) prefer(d *draft, ad *policy.BGPAd) {
	older, younger := d.preferredBy, ad
	switch {
	case older == nil:
		d.preferredBy = ad
		return
	case ad.Age < older.Age:
		older, younger = ad, older
		d.preferredBy = ad
	}
	if older.LocalPref != younger.LocalPref {
		s.problems[younger.Conflict(older)] = struct{}{}
	}
}

// table returns the routes, by peer and prefix.
func (s *speaking) table() []Route {
	if len(s.drafts) == 0 {
		return nil
	}
	prefixes := make([]netip.Prefix, 0, len(s.drafts))
	for p := range s.drafts {
		prefixes = append(prefixes, p)
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	out := make([]Route, 0, len(prefixes)*len(s.sessions))
	for i := range s.sessions {
		for _, p := range prefixes {
			if d := &s.drafts[p][i]; d.wanted {
				out = append(out, d.route(s.sessions[i].Peer, p))
			}
		}
	}
	return out
}

func (d *draft) route(peer string, p netip.Prefix) Route {
	r := Route{Peer: peer, Prefix: p, Communities: d.communities}
	if d.preferredBy != nil {
		r.LocalPref = d.preferredBy.LocalPref
	}
	if d.weighted { // routers disregard all weights where one route has none, and a node without endpoints passes traffic on
		r.Weight = max(d.endpoints, 1)
	}
	return r
}
