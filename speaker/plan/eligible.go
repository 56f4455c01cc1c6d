package plan

// This file holds which nodes may announce an address by layer 2 for one Service, and why none may.

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

// scope is some advertisements, and the nodes that any of them selects.
type scope struct {
	ads     []*policy.L2Ad
	nodes   []candidate // by name
	subnets []subnet    // of their links that may carry announcements
	refusal refusal     // why there are no nodes
}

// subnet is an on-link prefix and the nodes that have it.
type subnet struct {
	netip.Prefix
	nodes []int // places among the nodes of the view
}

// bid is one Service's case for one of its addresses.
type bid struct {
	*Service
	*scope
	nodes   []candidate // that may announce the address for the Service, by name
	refusal refusal     // why there are none
}

// refusal says why nobody may announce an address: "" and "", or a reason and a clause.
type refusal struct {
	verdict.Reason
	why string
}

func (r refusal) is() bool { return r.Reason != "" }

func because(reason verdict.Reason, format string, args ...any) refusal {
	return refusal{reason, fmt.Sprintf(format, args...)}
}

func say(reason verdict.Reason, format string, args ...any) verdict.Verdict {
	return verdict.Verdict{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// bid works out from which nodes the address may be announced for the Service.
func (b *builder) bid(s *Service, a netip.Addr) bid {
	pools := b.poolsOf(s, a)
	in := b.scopeOf(s, pools)
	x := bid{Service: s, scope: in}
	switch {
	case len(pools) == 0:
		x.refusal = because(verdict.NoAdvertisement, "%s is in no pool", a)
	case len(in.ads) == 0:
		x.refusal = because(verdict.NoAdvertisement, "no advertisement selects pool %q and this Service", strings.Join(pools, ","))
	case !s.Serving:
		x.refusal = refusal{verdict.NoEndpoints, noEndpoint}
	case in.refusal.is():
		x.refusal = in.refusal
	default:
		x.nodes, x.refusal = b.able(s, a, in.nodes)
	}
	return x
}

const noEndpoint = "no endpoint of the Service is serving"

// able returns those of the nodes on which the Service can be reached at the address.
func (b *builder) able(s *Service, a netip.Addr, nodes []candidate) ([]candidate, refusal) {
	if s.Local {
		if nodes = within(nodes, s.ServingNodes); len(nodes) == 0 {
			if len(s.ServingNodes) == 0 {
				return nil, because(verdict.NoEligibleNode, "externalTrafficPolicy is Local and no serving endpoint names its node")
			}
			return nil, because(verdict.NoEligibleNode, "externalTrafficPolicy is Local and no selected node with a live speaker has a serving endpoint")
		}
	}
	if slices.Contains(s.Proxy, a) {
		if nodes = within(nodes, b.Programmed[a]); len(nodes) == 0 {
			return nil, because(verdict.NotProgrammed, "ipMode is Proxy and no programmer of a node that may announce it reports it")
		}
	}
	return nodes, refusal{}
}

// poolsOf names the pool that has the address or, where none has it any more, those that the Service's came from.
func (b *builder) poolsOf(s *Service, a netip.Addr) []string {
	if pool, ok := b.Policy.PoolOf(a); ok {
		return []string{pool.Name}
	}
	return strings.FieldsFunc(s.Pool, func(r rune) bool { return r == ',' })
}

// scopeOf returns the advertisements that are for one of the pools and for the Service, and the nodes that they select.
func (b *builder) scopeOf(s *Service, pools []string) *scope {
	var room [64]byte
	key := room[:0]
	for i := range b.Policy.L2Ads {
		if ad := &b.Policy.L2Ads[i]; slices.ContainsFunc(pools, ad.SelectsPool) && ad.SelectsService(s.Labels) {
			key = binary.AppendUvarint(key, uint64(i))
		}
	}
	found, ok := b.scopes[string(key)]
	if !ok {
		found = b.newScope(key)
		b.scopes[string(key)] = found
	}
	return found
}

// newScope works out which nodes may announce for the advertisements whose positions the key holds: live ones with
// network that any of them selects and that have a link for it, with the scores of those that do.
func (b *builder) newScope(key []byte) *scope {
	s := &scope{}
	for len(key) > 0 {
		i, n := binary.Uvarint(key)
		s.ads, key = append(s.ads, &b.Policy.L2Ads[i]), key[n:]
	}
	selected, connected := false, false
	subnets := map[netip.Prefix]int{} // place in s.subnets
	for at, n := range b.present {
		links, known := carriers(s.ads, n)
		switch {
		case !selects(s.ads, n):
			continue
		case known && len(links) == 0:
			selected = true
			continue
		case n.NetworkUnavailable:
			selected, connected = true, true
			continue
		}
		back := known && !slices.ContainsFunc(links, func(l *NodeLink) bool { return !l.Unsettled })
		s.nodes = append(s.nodes, newCandidate(s.ads, n, at, back))
		for _, l := range links {
			if back || !l.Unsettled { // a link that came back draws nothing to a node that has another one
				s.note(subnets, l.Subnets, at)
			}
		}
	}
	s.refusal = b.whyNoNode(s, selected, connected)
	return s
}

// note notes that a node has the subnets.
func (s *scope) note(places map[netip.Prefix]int, prefixes []netip.Prefix, node int) {
	for _, p := range prefixes {
		i, ok := places[p]
		if !ok {
			i = len(s.subnets)
			places[p] = i
			s.subnets = append(s.subnets, subnet{Prefix: p})
		}
		s.subnets[i].nodes = append(s.subnets[i].nodes, node)
	}
}

func selects(ads []*policy.L2Ad, n *Node) bool {
	return slices.ContainsFunc(ads, func(ad *policy.L2Ad) bool { return ad.SelectsNode(n.Labels) })
}

// newCandidate returns the case of a node; back says that every link that it may announce on came back a short time ago.
func newCandidate(ads []*policy.L2Ad, n *Node, at int, back bool) candidate {
	c := candidate{node: n.Name, hash: hashNode(n.Name), draining: n.Draining, unsettled: n.Unsettled || back, ready: n.Ready, at: at}
	for _, ad := range ads {
		if ad.SelectsNode(n.Labels) {
			c.score += ad.Score(n.Labels)
		}
	}
	return c
}

// carriers returns the node's links that are up and that an advertisement for the node allows; they may not be known.
func carriers(ads []*policy.L2Ad, n *Node) (links []*NodeLink, known bool) {
	for i := range n.Links {
		l := &n.Links[i]
		if l.Up && allow(ads, n, l.Name) {
			links = append(links, l)
		}
	}
	return links, n.Links != nil
}

// allow says whether an advertisement for the node allows the interface.
func allow(ads []*policy.L2Ad, n *Node, link string) bool {
	return slices.ContainsFunc(ads, func(ad *policy.L2Ad) bool { return ad.SelectsNode(n.Labels) && ad.SelectsInterface(link) })
}

// whyNoNode says why a scope has no nodes, if it has none: whether nodes are selected that lack an interface or, beyond
// that, network.
func (b *builder) whyNoNode(s *scope, selected, connected bool) refusal {
	switch {
	case len(s.nodes) > 0 || len(s.ads) == 0:
		return refusal{}
	case selected && !connected:
		names, _ := b.linkNames(nil)
		return because(verdict.NoInterface, "no selected node with a live speaker has an interface that is up and that the advertisements allow (there are %s)", listed(names))
	case selected || len(b.present) == 0:
		return because(verdict.NoEligibleNode, "every selected node with a live speaker is excluded, out of service or without network")
	}
	return because(verdict.NoEligibleNode, "the advertisements' nodeSelectors match no node with a live speaker")
}

// within returns the candidates that are among the nodes.
func within(candidates []candidate, nodes []string) []candidate {
	places := make([]int, 0, len(nodes))
	for _, n := range nodes {
		if i, ok := find(candidates, n); ok {
			places = append(places, i)
		}
	}
	slices.Sort(places)
	places = slices.Compact(places)
	out := make([]candidate, len(places))
	for i, place := range places {
		out[i] = candidates[place]
	}
	return out
}

// both returns the candidates that stand in both lists, which are sorted by node, with the sum of their scores.
func both(a, b []candidate) []candidate {
	var out []candidate
	for _, c := range a {
		if i, ok := find(b, c.node); ok {
			c.score += b[i].score
			c.unsettled = c.unsettled || b[i].unsettled
			out = append(out, c)
		}
	}
	return out
}

func find(sorted []candidate, node string) (int, bool) {
	return slices.BinarySearchFunc(sorted, node, func(c candidate, n string) int { return cmp.Compare(c.node, n) })
}
