package explain

// This file holds the chain from an address to the wire.

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// announcements explains who announces the Service's addresses, and returns that as a sentence.
func (e *Explanation) announcements(v *View, s *Service) string {
	if len(s.Held) == 0 {
		return ""
	}
	if v.lacks(Configuration, Nodes) {
		e.publishedOnly(v, s)
		return fmt.Sprintf("the Service has %s", addresses(s.Held))
	}
	view := v.around(s)
	byBGP := v.byBGP(view, s)
	var sentences []string
	for _, c := range plan.Explain(&view, s.Namespace, s.Name) {
		routes := byBGP[c.Address]
		text := ""
		if len(c.Ads) > 0 || len(routes) == 0 {
			text = e.layer2(v, s, &c, len(routes) > 0)
		}
		if len(routes) > 0 {
			text = strings.Join(slices.DeleteFunc([]string{text, e.bgp(v, c.Address, routes)}, func(s string) bool { return s == "" }), ", and ")
		}
		sentences = append(sentences, fmt.Sprintf("%s is announced %s", c.Address, text))
	}
	return strings.Join(sentences, "; ")
}

// publishedOnly says what the speakers say, where the plan cannot be made.
func (e *Explanation) publishedOnly(v *View, s *Service) {
	for _, a := range s.Held {
		nodes := v.announcers(a)
		switch {
		case v.lacks(Speakers):
			e.add("announced", Unknown, "", "neither the Nodes nor the SpeakerStates could be read")
		case len(nodes) == 0:
			e.add("announced", Unknown, "", "no speaker says that it announces %s by layer 2", a)
		default:
			e.add("announced", Yes, verdict.Announced, "%s is announced by %s by layer 2", a, listed(nodes, quoted))
		}
	}
}

// announcers returns the nodes whose speakers say that they announce the address by layer 2.
func (v *View) announcers(a netip.Addr) (nodes []string) {
	for i := range v.Speakers {
		if s := &v.Speakers[i]; s.Announces(a) {
			nodes = append(nodes, s.Node)
		}
	}
	return nodes
}

// around returns the view with only those Services that share an address with this one, which are all that its verdicts
// depend on.
func (v *View) around(s *Service) plan.View {
	out := v.Announcing
	out.Services = nil
	for _, x := range v.Announcing.Services {
		if slices.ContainsFunc(x.Addresses, func(a netip.Addr) bool { return slices.Contains(s.Held, a) }) {
			out.Services = append(out.Services, x)
		}
	}
	return out
}

// layer2 explains one address by layer 2, and returns who announces it as the end of a sentence. Where BGP announces it
// too, that nobody does is no fault.
func (e *Explanation) layer2(v *View, s *Service, c *plan.Case, elsewhere bool) string {
	answer, message := No, c.Message
	if c.Owner != "" && c.Reason != verdict.SharedElsewhere {
		answer, message = Yes, fmt.Sprintf("node %q is to announce %s", c.Owner, c.Address)
	} else if elsewhere {
		answer = Fact
	}
	reason := c.Reason
	if answer == Yes {
		reason = verdict.Announced
	}
	step := e.add("layer 2", answer, reason, "%s", message)
	if len(c.Ads) > 0 {
		step.add("advertisements", Fact, "", "%s", listed(c.Ads, func(name string) string { return fmt.Sprintf("L2Advertisement %q", name) }))
	}
	for _, n := range c.Nodes {
		name := n.Node
		if n.Rank > 0 {
			name = fmt.Sprintf("%d. %s", n.Rank, n.Node)
		}
		step.add(name, yes(n.Rank > 0), n.Reason, "%s", n.Message)
	}
	e.published(v, s, c, answer == Yes)
	return fmt.Sprintf("by node %q by layer 2", c.Owner)
}

// published compares what the plan says of an address with what the speakers say.
func (e *Explanation) published(v *View, s *Service, c *plan.Case, wanted bool) {
	nodes := v.announcers(c.Address)
	others := slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == c.Owner })
	owner, known := v.speaker(c.Owner)
	switch {
	case v.lacks(Speakers), len(v.Speakers) == 0 && !wanted:
	case len(v.Speakers) == 0:
		e.add("speakers", Unknown, "", "no speaker says anything of itself: none has run yet, or none is of a version that does")
	case !wanted && len(nodes) == 0:
	case !wanted:
		e.add("speakers", No, "", "%s still announces %s", listed(nodes, quoted), c.Address)
	case len(others) > 0:
		e.add("speakers", No, verdict.NotOwner, "%s says that it announces %s, but %q is to do so: wait a few seconds, and if it stays see whether the speaker of %q runs", listed(others, quoted), c.Address, c.Owner, c.Owner)
	case !known:
		e.add("speakers", No, verdict.NoSpeaker, "the speaker of %q says nothing of itself: see whether it runs", c.Owner)
	case len(nodes) == 0 && owner.State.Layer2.Truncated:
		e.add("speakers", Unknown, "", "%q announces more addresses than it lists", c.Owner)
	case len(nodes) == 0:
		e.add("speakers", No, verdict.NoSpeaker, "%q is to announce %s, but its speaker does not say that it does: wait a few seconds, and if it stays see whether it runs", c.Owner, c.Address)
	default:
		step := e.add("speakers", Yes, verdict.Announced, "the speaker of %q says that it announces %s", c.Owner, c.Address)
		if since, ok := v.Since[Announcement{s.Key, c.Owner}]; ok {
			step.Message += ", for " + Age(v.Now, since)
		}
	}
	e.conflicts(v, c.Address)
}

// conflicts tells other hosts that use the address.
func (e *Explanation) conflicts(v *View, a netip.Addr) {
	for i := range v.Speakers {
		for _, x := range v.Speakers[i].State.Layer2.Conflicts {
			if x.Address == a.String() && x.Node == "" {
				e.add("conflict", No, verdict.AddressUsedTwice, "another host, %s, uses %s on %s of node %q: find it by its hardware address", x.MAC, a, x.Link, v.Speakers[i].Node)
			}
		}
	}
}

// route is how one node stands to one address by BGP.
type route struct {
	node string
	plan.BGPVerdict
}

// byBGP returns how all nodes stand to the Service's addresses by BGP, those that no BGPAdvertisement is for left out.
func (v *View) byBGP(view plan.View, s *Service) map[netip.Addr][]route {
	out := map[netip.Addr][]route{}
	for i := range view.Nodes {
		view.Node = view.Nodes[i].Name
		for _, x := range plan.Build(&view).BGP {
			if x.Namespace == s.Namespace && x.Name == s.Name {
				out[x.Address] = append(out[x.Address], route{view.Node, x})
			}
		}
	}
	return out
}

// bgp explains one address by BGP, and returns who announces it as the end of a sentence.
func (e *Explanation) bgp(v *View, a netip.Addr, routes []route) string {
	var nodes []string
	established, told := 0, 0
	step := e.add("BGP", No, routes[0].Reason, "no node announces %s by BGP", a)
	for _, r := range routes {
		node := step.add(r.node, yes(len(r.Peers) > 0), r.Reason, "%s", r.Message)
		if len(r.Peers) == 0 {
			continue
		}
		nodes = append(nodes, r.node)
		speaker, ok := v.speaker(r.node)
		for _, peer := range r.Peers {
			if !ok {
				continue
			}
			if x, ok := speaker.session(peer); ok {
				told++
				if x.State == stateEstablished {
					established++
				}
				node.add(peer, yes(x.State == stateEstablished), "", "%s", v.session(x))
			}
		}
	}
	switch {
	case len(nodes) == 0:
		return ""
	case told == 0:
		step.Answer, step.Reason = Unknown, ""
		step.Message = fmt.Sprintf("%s is to be announced by %s by BGP, but no speaker says how its sessions are", a, listed(nodes, quoted))
	case established == 0:
		step.Reason = verdict.NoPeer
		step.Message = fmt.Sprintf("%s is to be announced by %s by BGP, but none of the sessions is established", a, listed(nodes, quoted))
	default:
		step.Answer, step.Reason = Yes, verdict.Announced
		step.Message = fmt.Sprintf("%s is announced by %s by BGP, over %s", a, listed(nodes, quoted), counted(established, "established session"))
	}
	return fmt.Sprintf("by %s by BGP", listed(nodes, quoted))
}
