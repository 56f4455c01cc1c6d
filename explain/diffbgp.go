package explain

// This file holds what BGP neighbors would see of a change: sessions that begin, end or change, and routes that come, go or
// change.

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// SessionChange is what becomes of the sessions with one BGPPeer.
type SessionChange struct {
	Peer    string   `json:"peer"`
	Begin   []string `json:"begin,omitempty"`   // the nodes whose session would begin
	End     []string `json:"end,omitempty"`     // the nodes whose session would end
	Changed []string `json:"changed,omitempty"` // the nodes whose session would have other parameters
}

// RouteChange is what one BGPPeer would see of one prefix.
type RouteChange struct {
	Prefix netip.Prefix `json:"prefix"`
	Peer   string       `json:"peer"`
	Before []string     `json:"before,omitempty"` // the nodes that announce it; none: it is new
	After  []string     `json:"after,omitempty"`  // the nodes that would; none: it is withdrawn
	What   string       `json:"what,omitempty"`   // which attributes change, on nodes that go on
}

// spoken is what all nodes say by BGP.
type spoken struct {
	sessions map[string]map[string]plan.Session           // by peer and node
	routes   map[string]map[netip.Prefix][]announcedRoute // by peer and prefix; the nodes in the view's order
}

type announcedRoute struct {
	node string
	plan.Route
}

func (v *View) spoken() spoken {
	out := spoken{map[string]map[string]plan.Session{}, map[string]map[netip.Prefix][]announcedRoute{}}
	if len(v.Policy.Peers) == 0 {
		return out
	}
	view := v.Announcing
	for i := range view.Nodes {
		view.Node = view.Nodes[i].Name
		p := plan.Build(&view)
		for _, s := range p.Sessions {
			if out.sessions[s.Peer] == nil {
				out.sessions[s.Peer] = map[string]plan.Session{}
			}
			out.sessions[s.Peer][view.Node] = s
		}
		for _, r := range p.Routes {
			if out.routes[r.Peer] == nil {
				out.routes[r.Peer] = map[netip.Prefix][]announcedRoute{}
			}
			out.routes[r.Peer][r.Prefix] = append(out.routes[r.Peer][r.Prefix], announcedRoute{view.Node, r})
		}
	}
	return out
}

// bgp compares what the nodes say before and after.
func (d *Diff) bgp(before, after spoken) {
	for _, peer := range union(before.sessions, after.sessions) {
		c := SessionChange{Peer: peer}
		was, is := before.sessions[peer], after.sessions[peer]
		for _, node := range union(was, is) {
			old, had := was[node]
			fresh, has := is[node]
			switch {
			case !had:
				c.Begin = append(c.Begin, node)
			case !has:
				c.End = append(c.End, node)
			case old != fresh:
				c.Changed = append(c.Changed, node)
			}
		}
		if len(c.Begin)+len(c.End)+len(c.Changed) > 0 {
			d.Sessions = append(d.Sessions, c)
		}
	}
	for _, peer := range union(before.routes, after.routes) {
		for prefix, was := range before.routes[peer] {
			d.route(peer, prefix, was, after.routes[peer][prefix])
		}
		for prefix, is := range after.routes[peer] {
			if _, known := before.routes[peer][prefix]; !known {
				d.route(peer, prefix, nil, is)
			}
		}
	}
	slices.SortFunc(d.Routes, func(a, b RouteChange) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(a.Peer, b.Peer))
	})
}

// route notes what a peer would see of a prefix, if that changes.
func (d *Diff) route(peer string, prefix netip.Prefix, was, is []announcedRoute) {
	c := RouteChange{Prefix: prefix, Peer: peer}
	for _, x := range was {
		c.Before = append(c.Before, x.node)
		if i := slices.IndexFunc(is, func(y announcedRoute) bool { return y.node == x.node }); i >= 0 && c.What == "" {
			c.What = attributes(x.Route, is[i].Route)
		}
	}
	for _, x := range is {
		c.After = append(c.After, x.node)
	}
	if c.What != "" || !slices.Equal(c.Before, c.After) {
		d.Routes = append(d.Routes, c)
	}
}

// attributes says what differs in two announcements of a prefix to a peer.
func attributes(a, b plan.Route) string {
	var parts []string
	for _, x := range []struct{ name, a, b string }{
		{"local preference", fmt.Sprint(a.LocalPref), fmt.Sprint(b.LocalPref)},
		{"communities", fmt.Sprint(a.Communities), fmt.Sprint(b.Communities)},
		{"weight", fmt.Sprint(a.Weight), fmt.Sprint(b.Weight)},
	} {
		if x.a != x.b {
			parts = append(parts, fmt.Sprintf("%s %s -> %s", x.name, or(x.a, "none"), or(x.b, "none")))
		}
	}
	return strings.Join(parts, ", ")
}

// writeBGP writes what neighbors would see, the first of many routes.
func (d *Diff) writeBGP(b *strings.Builder, s Style) {
	for _, c := range d.Sessions {
		line := func(sign, colour, what string, nodes []string) {
			if len(nodes) > 0 {
				fmt.Fprintf(b, "%s BGPPeer %q: sessions %s: %s\n", s.in(colour, sign), clean(c.Peer), what, clean(listed(nodes, same)))
			}
		}
		line("+", green, "that begin", c.Begin)
		line("~", yellow, "that change, or begin anew", c.Changed)
		line("-", red, "that end", c.End)
	}
	for _, c := range d.Routes[:min(len(d.Routes), mostRows)] {
		b.WriteString(c.line(s) + "\n")
	}
	if rest := len(d.Routes) - mostRows; rest > 0 {
		fmt.Fprintf(b, "~ and %d more routes\n", rest)
	}
}

// line writes the change as one line.
func (c *RouteChange) line(s Style) string {
	sign, colour, text := "~", yellow, ""
	switch {
	case len(c.Before) == 0:
		sign, colour, text = "+", green, "announced by "+listed(c.After, quoted)
	case len(c.After) == 0:
		sign, colour, text = "-", red, "withdrawn by "+listed(c.Before, quoted)
	case !slices.Equal(c.Before, c.After):
		text = fmt.Sprintf("announced by %s instead of %s", listed(c.After, quoted), listed(c.Before, quoted))
	default:
		text = "still announced by " + listed(c.After, quoted)
	}
	if c.What != "" {
		text += ", " + c.What
	}
	return fmt.Sprintf("%s Route %s to %q: %s", s.in(colour, sign), c.Prefix, clean(c.Peer), clean(text))
}
