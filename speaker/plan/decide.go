package plan

// This file holds who announces an address by layer 2, given every sharing Service's case, and how that is told.

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// decision is who announces one address by layer 2, and on which links where it is this node.
type decision struct {
	address netip.Addr
	ranks   [Ranks]string // the owner and those who take over, or "" for none
	among   int           // how many may announce it
	kept    bool          // no node may announce it, but its owner keeps it
	by      *Service      // the Service that decided, where it is shared
	links   []Link
}

func (d *decision) owner() string { return d.ranks[0] }

// decide decides about one address. The bids come by seniority.
func (b *builder) decide(a netip.Addr, bids []bid) decision {
	d := decision{address: a}
	nodes, by := eligible(bids)
	d.by, d.among = by, len(nodes)
	if len(nodes) > 0 {
		key := keyOf(a, bids)
		d.ranks = rank(key, b.nearer(key, nodes, bids))
	} else if keeper := b.keeper(a, bids); keeper != "" {
		d.ranks[0], d.kept = keeper, true
	}
	if d.owner() != "" && d.owner() == b.Node {
		d.links = b.linksFor(&d, bids)
	}
	return d
}

// eligible returns the nodes that may announce an address for the first Service that may be announced at all and, as far
// as that leaves any, for each of the next ones. Scores add up. It also returns that first Service.
func eligible(bids []bid) (nodes []candidate, by *Service) {
	for i := range bids {
		x := &bids[i]
		switch {
		case len(x.nodes) == 0:
		case by == nil:
			nodes, by = x.nodes, x.Service
		default:
			if common := both(nodes, x.nodes); len(common) > 0 {
				nodes = common
			}
		}
	}
	return nodes, by
}

// nearer returns the nodes with near set where one of their links has the address in a subnet.
func (b *builder) nearer(a netip.Addr, nodes []candidate, bids []bid) []candidate {
	clear(b.near)
	some := false
	for i := range bids {
		if i > 0 && bids[i].scope == bids[i-1].scope {
			continue
		}
		for _, s := range bids[i].subnets {
			if s.Contains(a) {
				some = true
				for _, at := range s.nodes {
					b.near[at] = true
				}
			}
		}
	}
	if !some {
		return nodes
	}
	b.ranked = append(b.ranked[:0], nodes...)
	for i := range b.ranked {
		b.ranked[i].near = b.near[b.ranked[i].at]
	}
	return b.ranked
}

// keyOf returns the address that the election hashes: a dual-stack Service's IPv4 address for both of its families, so
// that one node speaks for both.
func keyOf(a netip.Addr, bids []bid) netip.Addr {
	key := a
	if a.Is4() {
		return key
	}
	for i := range bids {
		for _, x := range bids[i].Addresses {
			if x.Is4() && (!key.Is4() || x.Less(key)) {
				key = x
			}
		}
	}
	return key
}

// keeper returns the node that keeps an address that it announces although no node may, by what the API server says of
// networks, endpoints and programmers: what that says may be wrong, and to be silent helps nobody. What users chose
// counts all the same, and so do live speakers and links.
func (b *builder) keeper(a netip.Addr, bids []bid) string {
	held := b.Held[a]
	if held == "" {
		return ""
	}
	at := slices.IndexFunc(b.present, func(n *Node) bool { return n.Name == held })
	if at < 0 || !slices.ContainsFunc(bids, func(x bid) bool { return mayKeep(&x, b.present[at]) }) {
		return ""
	}
	return held
}

// mayKeep says whether a node may go on announcing an address for a Service.
func mayKeep(x *bid, n *Node) bool {
	links, known := carriers(x.ads, n)
	return (x.Serving || x.Endpoints) && selects(x.ads, n) && (!known || len(links) > 0)
}

// from says whether the address is announced for the Service by its owner.
func (d *decision) from(x *bid, n *Node) bool {
	if d.kept {
		return mayKeep(x, n)
	}
	_, ok := find(x.nodes, d.owner())
	return ok
}

// linksFor returns this node's links that an advertisement for this node allows, of those for the Services that the
// address is announced for.
func (b *builder) linksFor(d *decision, bids []bid) []Link {
	var out []Link
	for i := range b.Links {
		l := b.Links[i].Link
		if slices.ContainsFunc(bids, func(x bid) bool { return d.from(&x, b.own) && allow(x.ads, b.own, l.Name) }) {
			out = append(out, l)
		}
	}
	return out
}

// told words what becomes of an address for one Service.
func (b *builder) told(x *bid, d *decision) Verdict {
	v := Verdict{Namespace: x.Namespace, Name: x.Name, Address: d.address}
	keeps := d.kept && (x.Serving || x.Endpoints) && len(x.ads) > 0
	if x.refusal.is() && !keeps {
		v.Verdict = say(x.refusal.Reason, "%s, so nobody announces %s for it", x.refusal.why, d.address)
		return v
	}
	v.Owner, v.Candidates = d.owner(), d.among
	copy(v.Next[:], d.ranks[1:])
	v.Verdict = b.announced(x, d)
	return v
}

// announced words what becomes of an address that has an owner.
func (b *builder) announced(x *bid, d *decision) verdict.Verdict {
	although := ""
	if d.kept {
		although = ", which goes on although " + x.refusal.why
	} else if _, ours := find(x.nodes, d.owner()); !ours {
		return say(verdict.SharedElsewhere, "%s is announced by node %q for Service %s, which had it first, and this Service may not be announced from there", d.address, d.owner(), d.by)
	}
	switch {
	case d.owner() != b.Node:
		return say(verdict.NotOwner, "%s is announced by node %q%s", d.address, d.owner(), although)
	case len(d.links) == 0:
		return say(verdict.NoInterface, "node %q was elected for %s, but has no usable interface that the advertisements allow: it has %s", b.Node, d.address, b.ownLinks())
	}
	return say(verdict.Announced, "announcing %s from node %q with protocol \"layer2\"%s", d.address, b.Node, although)
}

func (b *builder) ownLinks() string {
	names := map[string]struct{}{}
	for i := range b.Links {
		names[b.Links[i].Name] = struct{}{}
	}
	return listed(sortedKeys(names))
}

// listed quotes names for people, the first few of many.
func listed(names []string) string {
	const most = 10
	if len(names) == 0 {
		return "none"
	}
	text := ""
	for i, n := range names[:min(len(names), most)] {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%q", n)
	}
	if rest := len(names) - most; rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	return text
}
