package plan

// This file holds how every node stands to the addresses of one Service, for who wants to know why it is not another one.

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// Standing is how one node stands to one address of one Service by layer 2. It is comparable.
type Standing struct {
	Node string
	Rank int // 1: it is to announce the address, 2: it takes over from that one, and so on; 0: it may not
	verdict.Verdict
}

// Case is one address of one Service, and how all nodes stand to it.
type Case struct {
	Verdict            // by layer 2, as a node that is none of the cluster's would see it
	Ads     []string   // the L2Advertisements that are for it, by name
	Nodes   []Standing // by rank, those that may not last and by name
}

// Explain returns the addresses of one Service, in their order.
func Explain(v *View, namespace, name string) []Case {
	b := newBuilder(v)
	var out []Case
	for _, sharers := range b.claims() {
		at := slices.IndexFunc(sharers, func(c claim) bool { return c.Namespace == namespace && c.Name == name })
		if at < 0 {
			continue
		}
		var bids []bid
		for _, s := range sharers {
			bids = append(bids, b.bid(s.Service, sharers[at].address))
		}
		out = append(out, b.explain(sharers[at].address, bids, at))
	}
	return out
}

// explain explains the case of one of the Services that share an address.
func (b *builder) explain(a netip.Addr, bids []bid, at int) Case {
	x, d := &bids[at], b.decide(a, bids)
	c := Case{Verdict: b.told(x, &d)}
	for _, ad := range x.ads {
		c.Ads = append(c.Ads, ad.Name)
	}
	nodes, _ := eligible(bids)
	key := keyOf(a, bids)
	nodes = slices.Clone(b.nearer(key, nodes, bids))
	hash := hashAddress(key)
	slices.SortFunc(nodes, func(p, q candidate) int { return q.compare(&p, mix(hash, q.hash), mix(hash, p.hash)) })
	for i := range b.Nodes {
		n := &b.Nodes[i]
		s := Standing{Node: n.Name}
		rank := slices.IndexFunc(nodes, func(c candidate) bool { return c.node == n.Name })
		why := b.whyNot(n, x, a)
		switch {
		case rank >= 0 && !why.is():
			s.Rank, s.Verdict = rank+1, nodes[rank].standing(rank+1)
		case d.kept && d.owner() == n.Name:
			s.Rank, s.Verdict = 1, say(verdict.Announced, "goes on announcing it, although %s", why.why)
		case !why.is():
			s.Verdict = say(verdict.SharedElsewhere, "may not announce it for a Service that shares it and had it first")
		default:
			s.Verdict = say(why.Reason, "%s", why.why)
		}
		c.Nodes = append(c.Nodes, s)
	}
	slices.SortFunc(c.Nodes, func(p, q Standing) int {
		return cmp.Or(cmp.Compare(uint(p.Rank-1), uint(q.Rank-1)), cmp.Compare(p.Node, q.Node)) // 0 comes last
	})
	return c
}

// whyNot says why a node may not announce the address for a Service, if it may not.
func (b *builder) whyNot(n *Node, x *bid, a netip.Addr) refusal {
	links, known := carriers(x.ads, n)
	switch {
	case !slices.Contains(b.Members, n.Name):
		return because(verdict.NoSpeaker, "no speaker is alive there")
	case b.excluded(n):
		return because(verdict.NodeExcluded, "it is labelled node.kubernetes.io/exclude-from-external-load-balancers")
	case n.OutOfService:
		return because(verdict.NodeExcluded, "it is tainted node.kubernetes.io/out-of-service")
	case len(x.ads) == 0:
		return because(verdict.NoAdvertisement, "no L2Advertisement is for the address and the Service")
	case !selects(x.ads, n):
		return because(verdict.NodeNotSelected, "no L2Advertisement for the address selects it")
	case known && len(links) == 0:
		return because(verdict.NoInterface, "it has no interface that is up and that the advertisements allow")
	case n.NetworkUnavailable:
		return because(verdict.NodeExcluded, "its condition NetworkUnavailable is True")
	case !x.Serving:
		return refusal{verdict.NoEndpoints, noEndpoint}
	case x.Local && !slices.Contains(x.ServingNodes, n.Name):
		return because(verdict.NoLocalEndpoints, "externalTrafficPolicy is Local and no endpoint there is serving")
	case slices.Contains(x.Proxy, a) && !slices.Contains(b.Programmed[a], n.Name):
		return because(verdict.NotProgrammed, "ipMode is Proxy and its programmer does not report the address")
	}
	return refusal{}
}

// standing words the place of a candidate, and what of it counts in the election.
func (c *candidate) standing(rank int) verdict.Verdict {
	var facts []string
	note := func(is bool, text string) {
		if is {
			facts = append(facts, text)
		}
	}
	note(c.draining, "it is draining")
	note(c.unsettled, "its speaker or interface came up a short time ago")
	note(!c.ready, "it is not Ready")
	note(c.score != 0, fmt.Sprintf("preferred with weight %d", c.score))
	note(c.near, "it has the address in a subnet")
	reason, text := verdict.Candidate, "takes over if those before it are lost"
	if rank == 1 {
		reason, text = verdict.Announced, "is to announce it"
	}
	if len(facts) > 0 {
		text += ": " + strings.Join(facts, ", ")
	}
	return say(reason, "%s", text)
}
