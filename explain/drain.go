package explain

// This file holds what moves where when the speaker of a node ends.

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Drain is what becomes of what a node announces when its speaker and its pods are gone.
type Drain struct {
	Node     string         `json:"node"`
	Layer2   []Move         `json:"layer2"`   // by Service and address
	Sessions []DrainSession `json:"sessions"` // that end, by peer
	Routes   []Withdrawal   `json:"routes"`   // by prefix and peer
	Gaps     []string       `json:"gaps,omitempty"`
}

// Move is what becomes of one address that the node announces by layer 2.
type Move struct {
	Service string         `json:"service"`
	Address netip.Addr     `json:"address"`
	To      string         `json:"to,omitempty"` // "": nobody
	Reason  verdict.Reason `json:"reason,omitempty"`
	Message string         `json:"message,omitempty"` // why nobody
}

// DrainSession is a BGP session that ends.
type DrainSession struct {
	Peer  string `json:"peer"`
	State string `json:"state,omitempty"` // as the speaker says; "": it says nothing
}

// Withdrawal is one prefix that the node withdraws from one peer.
type Withdrawal struct {
	Prefix netip.Prefix `json:"prefix"`
	Peer   string       `json:"peer"`
	Others []string     `json:"others,omitempty"` // the nodes that go on announcing the prefix by BGP; none: it is gone
}

// OK says whether everything has somewhere to go.
func (d *Drain) OK() bool {
	return len(d.Gaps) == 0 &&
		!slices.ContainsFunc(d.Layer2, func(m Move) bool { return m.To == "" }) &&
		!slices.ContainsFunc(d.Routes, func(w Withdrawal) bool { return len(w.Others) == 0 })
}

// OfDrain says what moves where when a node is drained and its speaker ends.
func OfDrain(v *View, node string) (Drain, error) {
	d := Drain{Node: node, Layer2: []Move{}, Sessions: []DrainSession{}, Routes: []Withdrawal{}, Gaps: v.gaps()}
	if v.lacks(Nodes, Configuration, EndpointSlices) {
		return d, NotFoundError{"what the nodes announce cannot be said: " + strings.Join(d.Gaps, "; ")}
	}
	if !slices.ContainsFunc(v.Announcing.Nodes, func(n plan.Node) bool { return n.Name == node }) {
		return d, notFound("Node", node, namesOf(v.Announcing.Nodes))
	}
	after := drained(v.Announcing, node)
	d.layer2(v, &after)
	d.bgp(v, &after)
	return d, nil
}

// drained returns the view without the node's speaker and without its endpoints, of which nobody knows where they will be
// next.
func drained(v plan.View, node string) plan.View {
	is := func(name string) bool { return name == node }
	v.Members = slices.DeleteFunc(slices.Clone(v.Members), is)
	v.Nodes = slices.DeleteFunc(slices.Clone(v.Nodes), func(n plan.Node) bool { return n.Name == node })
	v.Services = slices.Clone(v.Services)
	for i := range v.Services { // one that serves from anywhere goes on: its pods start elsewhere
		s := &v.Services[i]
		s.ServingNodes = slices.DeleteFunc(slices.Clone(s.ServingNodes), is)
	}
	return v
}

// layer2 says who takes over what the node announces by layer 2.
func (d *Drain) layer2(v *View, after *plan.View) {
	type key struct {
		service string
		address netip.Addr
	}
	next := map[key]plan.Verdict{}
	for _, x := range plan.Build(after).Verdicts {
		next[key{x.Namespace + "/" + x.Name, x.Address}] = x
	}
	for _, x := range plan.Build(&v.Announcing).Verdicts {
		if x.Owner != d.Node || x.Reason == verdict.SharedElsewhere {
			continue
		}
		m := Move{Service: x.Namespace + "/" + x.Name, Address: x.Address}
		to := next[key{m.Service, m.Address}]
		if m.To = to.Owner; m.To == "" {
			m.Reason, m.Message = to.Reason, to.Message
		}
		d.Layer2 = append(d.Layer2, m)
	}
}

// bgp says which sessions end, and which prefixes others go on announcing.
func (d *Drain) bgp(v *View, after *plan.View) {
	own := v.Announcing
	own.Node = d.Node
	p := plan.Build(&own)
	speaker, known := v.speaker(d.Node)
	for _, s := range p.Sessions {
		x := DrainSession{Peer: s.Peer}
		if known {
			now, _ := speaker.session(s.Peer)
			x.State = now.State
		}
		d.Sessions = append(d.Sessions, x)
	}
	if len(p.Routes) == 0 {
		return
	}
	others := map[netip.Prefix][]string{}
	for i := range after.Nodes {
		after.Node = after.Nodes[i].Name
		for _, r := range plan.Build(after).Routes {
			if list := others[r.Prefix]; !slices.Contains(list, after.Node) {
				others[r.Prefix] = append(list, after.Node)
			}
		}
	}
	for _, r := range p.Routes {
		d.Routes = append(d.Routes, Withdrawal{r.Prefix, r.Peer, others[r.Prefix]})
	}
	slices.SortFunc(d.Routes, func(a, b Withdrawal) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(a.Peer, b.Peer))
	})
}

// Write writes it for people.
func (d *Drain) Write(w io.Writer, s Style) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Node %s announces %s by layer 2 and holds %s\n", clean(d.Node), counted(len(d.Layer2), "address"), counted(len(d.Sessions), "BGP session"))
	var moves, ends, routes [][]string
	for _, m := range d.Layer2 {
		to := s.in(green, "to "+clean(m.To))
		if m.To == "" {
			to = s.in(red, "to nobody: "+clean(m.Message)) + reason(string(m.Reason))
		}
		moves = append(moves, []string{m.Address.String(), clean(m.Service), to})
	}
	for _, x := range d.Sessions {
		ends = append(ends, []string{clean(x.Peer), or(clean(x.State), "its speaker says nothing of it")})
	}
	for _, r := range d.Routes {
		still := s.in(green, "goes on from "+clean(listed(r.Others, same)))
		if len(r.Others) == 0 {
			still = s.in(red, "no other node announces it")
		}
		routes = append(routes, []string{r.Prefix.String(), clean(r.Peer), still})
	}
	section(&b, s, "Addresses that move (layer 2)", moves)
	section(&b, s, "BGP sessions that end", ends)
	section(&b, s, "Routes that are withdrawn", routes)
	for _, g := range d.Gaps {
		fmt.Fprintf(&b, "\n%s %s\n", s.in(yellow, "not read:"), clean(g))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
