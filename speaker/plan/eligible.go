package plan

// This file holds which nodes may announce an address, and why none may.

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
	ads   []*policy.L2Ad
	nodes []Candidate // by name
}

// bid is one Service's case for one of its addresses.
type bid struct {
	*Service
	ads     []*policy.L2Ad
	nodes   []Candidate     // that may announce the address for the Service, by name
	refusal verdict.Verdict // why there are none
}

// bid works out from which nodes the address may be announced for the Service.
func (b *builder) bid(s *Service, a netip.Addr) bid {
	pools := b.poolsOf(s, a)
	if len(pools) == 0 {
		return refuse(s, verdict.NoAdvertisement, "%s is in no pool, so nobody announces it", a)
	}
	in := b.scopeOf(s, pools)
	if len(in.ads) == 0 {
		return refuse(s, verdict.NoAdvertisement, "no advertisement selects pool %q and this Service, so nobody announces %s", strings.Join(pools, ","), a)
	}
	if !s.Serving {
		return refuse(s, verdict.NoEndpoints, "no endpoint of the Service is serving, so nobody announces %s for it", a)
	}
	x := bid{Service: s, ads: in.ads, nodes: in.nodes}
	if s.Local {
		x.nodes = within(in.nodes, s.ServingNodes)
	}
	if len(x.nodes) == 0 {
		return refuse(s, verdict.NoEligibleNode, b.whyNoNode(s), a)
	}
	return x
}

func refuse(s *Service, reason verdict.Reason, format string, args ...any) bid {
	return bid{Service: s, refusal: say(reason, format, args...)}
}

func say(reason verdict.Reason, format string, args ...any) verdict.Verdict {
	return verdict.Verdict{Reason: reason, Message: fmt.Sprintf(format, args...)}
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
	var key []byte
	var ads []*policy.L2Ad
	for i := range b.Policy.L2Ads {
		if ad := &b.Policy.L2Ads[i]; slices.ContainsFunc(pools, ad.SelectsPool) && ad.SelectsService(s.Labels) {
			key = binary.AppendUvarint(key, uint64(i))
			ads = append(ads, ad)
		}
	}
	found, ok := b.scopes[string(key)]
	if !ok {
		found = &scope{ads, b.candidates(ads)}
		b.scopes[string(key)] = found
	}
	return found
}

// candidates returns the live nodes that any of the advertisements selects, with the scores of those that do.
func (b *builder) candidates(ads []*policy.L2Ad) []Candidate {
	var out []Candidate
	for _, n := range b.live {
		c, selected := Candidate{Node: n.Name, Ready: n.Ready}, false
		for _, ad := range ads {
			if ad.SelectsNode(n.Labels) {
				selected = true
				c.Score += ad.Score(n.Labels)
			}
		}
		if selected {
			out = append(out, c)
		}
	}
	return out
}

func within(candidates []Candidate, nodes []string) []Candidate {
	var out []Candidate
	for _, c := range candidates {
		if slices.Contains(nodes, c.Node) {
			out = append(out, c)
		}
	}
	return out
}

// whyNoNode words, for the address, why no node may announce it for the Service.
func (b *builder) whyNoNode(s *Service) string {
	switch {
	case len(b.live) == 0:
		return "every node with a live speaker is excluded, out of service or without network, so nobody announces %s"
	case s.Local && len(s.ServingNodes) == 0:
		return "externalTrafficPolicy is Local and no serving endpoint names its node, so nobody announces %s"
	case s.Local:
		return "externalTrafficPolicy is Local and no selected node with a live speaker has a serving endpoint, so nobody announces %s"
	}
	return "the advertisements' nodeSelectors match no node with a live speaker, so nobody announces %s"
}

// eligible returns the nodes that may announce an address for all Services that share it and may be announced at all;
// where there is no such node, those of the first Service decide. Scores add up.
func eligible(bids []bid) []Candidate {
	var first, common []Candidate
	for _, x := range bids {
		switch {
		case len(x.nodes) == 0:
		case first == nil:
			first, common = x.nodes, x.nodes
		default:
			common = both(common, x.nodes)
		}
	}
	if len(common) > 0 {
		return common
	}
	return first
}

// both returns the candidates that stand in both lists, which are sorted by node, with the sum of their scores.
func both(a, b []Candidate) []Candidate {
	var out []Candidate
	for _, c := range a {
		if i, ok := find(b, c.Node); ok {
			c.Score += b[i].Score
			out = append(out, c)
		}
	}
	return out
}

func find(sorted []Candidate, node string) (int, bool) {
	return slices.BinarySearchFunc(sorted, node, func(c Candidate, n string) int { return cmp.Compare(c.Node, n) })
}
