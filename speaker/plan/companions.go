package plan

import (
	"cmp"
	"net/netip"
	"slices"
)

// Companion is another node that ranks, with this one, for some address that is announced by layer 2: they watch each
// other by heartbeats.
type Companion struct {
	Node    string
	Address netip.Addr // where its speaker is reached
	// Watched: it owns an address for which this node is a candidate, and so may have to take over from it.
	Watched bool
	// Mates are the other candidates for the addresses that it owns and this node may take over, by name.
	Mates []string
	// Links are those of this node on which it can be asked whether it is there, at most maxAsked.
	Links []Link
}

// Equal says whether two are the same.
func (c Companion) Equal(o Companion) bool {
	return c.Node == o.Node && c.Address == o.Address && c.Watched == o.Watched && slices.Equal(c.Mates, o.Mates) && slices.Equal(c.Links, o.Links)
}

// maxAsked is on how many links a companion is asked whether it is there.
const maxAsked = 4

// Companions returns the companions of the view's node by its plan, sorted by node; members says where they are reached.
func Companions(v *View, p *Plan, members []Member) []Companion {
	reached := make(map[string]netip.Addr, len(members))
	for _, m := range members {
		reached[m.Node] = m.Address
	}
	found := map[string]*Companion{}
	for i := range p.Verdicts {
		x := &p.Verdicts[i]
		ranked := append([]string{x.Owner}, x.Next[:]...)
		if x.Owner == "" || !slices.Contains(ranked, v.Node) {
			continue
		}
		for at, node := range ranked {
			if node == "" || node == v.Node || !reached[node].IsValid() {
				continue
			}
			c, ok := found[node]
			if !ok {
				c = &Companion{Node: node, Address: reached[node]}
				found[node] = c
			}
			if at == 0 {
				c.watch(v.Node, x.Next[:])
			}
		}
	}
	out := make([]Companion, 0, len(found))
	for _, c := range found {
		slices.Sort(c.Mates)
		c.Links = v.shared(c)
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Companion) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// watch notes that the companion owns an address, and who the candidates for it are.
func (c *Companion) watch(self string, candidates []string) {
	c.Watched = true
	for _, node := range candidates {
		if node != "" && node != self && !slices.Contains(c.Mates, node) {
			c.Mates = append(c.Mates, node)
		}
	}
}

// shared returns this node's links on which the companion is: its address, or a subnet that it published, lies there.
func (v *View) shared(c *Companion) []Link {
	var theirs []netip.Prefix
	for i := range v.Nodes {
		if v.Nodes[i].Name != c.Node {
			continue
		}
		for _, l := range v.Nodes[i].Links {
			theirs = append(theirs, l.Subnets...)
		}
	}
	var out []Link
	for i := range v.Links {
		l := &v.Links[i]
		if len(out) < maxAsked && slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool {
			return p.Contains(c.Address) || slices.Contains(theirs, p.Masked())
		}) {
			out = append(out, l.Link)
		}
	}
	return out
}
