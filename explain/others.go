package explain

// This file holds the explanations of what is not a Service: an address, a pool, a node, a peer.

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// OfAddress explains an address: its pool, who has it, whether it can be given, and who announces it.
func OfAddress(v *View, a netip.Addr) Explanation {
	e := Explanation{Kind: kindAddress, Name: a.String()}
	pool, inPool := v.Policy.PoolOf(a)
	switch {
	case v.lacks(Configuration):
		e.add("pool", Unknown, "", "the pools could not be read")
	case !inPool:
		e.add("pool", No, verdict.AddressNotInPool, "%s is in no pool", a)
	default:
		e.add("pool", Yes, "", "pool %q has it", pool.Name)
		e.given(v, pool, a)
	}
	holders := v.holders(a)
	e.claims(v, a)
	summary := fmt.Sprintf("%s is free: no Service has it", a)
	if len(holders) == 0 {
		e.add("holder", Fact, "", "no Service has it")
	} else {
		e.add("holder", Yes, verdict.Assigned, "%s has it", listed(holders, func(s *Service) string { return s.Key.String() }))
		summary = fmt.Sprintf("%s belongs to Service %s", a, holders[0].Key)
		if how := e.announcements(v, holders[0]); how != "" {
			summary += ": " + how
		}
	}
	e.conclude(v, "", "%s", summary)
	if len(holders) > 0 {
		e.Next = "fairlead explain svc " + holders[0].Key.String()
	}
	return e
}

// given says whether the pool gives the address to just anyone.
func (e *Explanation) given(v *View, pool *policy.Pool, a netip.Addr) {
	switch {
	case pool.Avoids(a):
		e.add("given", Fact, verdict.AddressNotInPool, "pool %q avoids it (avoidBuggyIPs)", pool.Name)
	case pool.Rules.Excludes(a):
		e.add("given", Fact, verdict.AddressExcluded, "AddressPolicy %q excludes it", pool.Rules.Name)
	case pool.Stalled():
		e.add("given", Fact, verdict.PoolInvalid, "the pool is invalid and gives nothing new until it is corrected")
	case !pool.AutoAssign:
		e.add("given", Fact, verdict.NoAutoAssign, "the pool gives addresses to Services only that ask for it (autoAssign is false)")
	}
	for i := range v.Policy.Reservations {
		if r := &v.Policy.Reservations[i]; r.Address == a {
			e.add("reserved", Fact, verdict.AddressReserved, "AddressReservation %q holds it", r.Name)
		}
	}
}

// claims tells the AddressClaim of the address.
func (e *Explanation) claims(v *View, a netip.Addr) {
	for _, c := range v.Claims {
		if c.Address == a {
			e.add("claim", Fact, verdict.AddressReserved, "an AddressClaim keeps it for Service %s", c.Service)
		}
	}
}

// holders returns the Services that show the address, those that are served alone.
func (v *View) holders(a netip.Addr) (out []*Service) {
	for i := range v.Services {
		if s := &v.Services[i]; s.Ours && slices.Contains(s.Held, a) {
			out = append(out, s)
		}
	}
	return out
}

// OfPool explains a pool: what of it is in use, who may draw from it, which advertisements are for it, what is wrong.
func OfPool(v *View, name string) (Explanation, error) {
	p, ok := v.Policy.Pool(name)
	if !ok {
		if v.lacks(Configuration) {
			return Explanation{}, NotFoundError{"the pools could not be read: " + strings.Join(v.gaps(), "; ")}
		}
		var names []string
		for i := range v.Policy.Pools {
			names = append(names, v.Policy.Pools[i].Name)
		}
		return Explanation{}, notFound("IPAddressPool", name, names)
	}
	e := Explanation{Kind: kindPool, Name: name}
	e.add("ranges", yes(len(p.Ranges) > 0), "", "%s", or(listed(p.Ranges, policy.Range.String), "no range of it is in force"))
	e.told(v, kindPool, name)
	e.rules(p)
	use := v.pools()[slices.IndexFunc(v.pools(), func(x PoolStatus) bool { return x.Name == name })]
	e.use(p, &use)
	e.advertisements(v, p)
	e.conclude(v, "", "%s of its addresses are in use, by %s", inUse(&use), counted(int(use.Services), "Service"))
	return e, nil
}

// told tells the problems of an object.
func (e *Explanation) told(v *View, kind, name string) {
	for _, x := range v.Problems {
		if x.Object.Kind == kind && x.Object.Name == name {
			a := No
			if x.Reason.Warns() {
				a = Fact
			}
			e.add("problem", a, x.Reason, "%s", x.Message)
		}
	}
}

// rules says who may draw from the pool and how.
func (e *Explanation) rules(p *policy.Pool) {
	if p.Rules != nil {
		e.add("policy", Fact, "", "it obeys AddressPolicy %q", p.Rules.Name)
	}
	if !p.AutoAssign {
		e.add("for", Fact, verdict.NoAutoAssign, "Services only that ask for it (autoAssign is false)")
	}
	switch t := p.Tenants; {
	case t == nil && p.AutoAssign:
		e.add("for", Fact, "", "every Service")
	case t != nil:
		e.add("for", Fact, "", "Services that its serviceAllocation admits: %s", tenants(t))
	}
}

func tenants(t *policy.Tenants) string {
	text := ""
	for _, x := range []string{
		part("namespaces", listed(t.Namespaces, same)), part("namespaces labelled", listed(t.NamespaceSelectors, selector)),
		part("Services labelled", listed(t.ServiceSelectors, selector)), part("priority", fmt.Sprint(t.Priority)),
	} {
		if x != "" && text != "" {
			text += ", "
		}
		text += x
	}
	return text
}

func part(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func selector(s labels.Selector) string { return s.String() }

// use says how much of the pool is in use.
func (e *Explanation) use(p *policy.Pool, u *PoolStatus) {
	for _, x := range []struct {
		policy.Family
		Count
	}{{policy.IPv4, u.IPv4}, {policy.IPv6, u.IPv6}} {
		if p.Has(x.Family) {
			full := x.Assigned >= x.Total
			var reason verdict.Reason
			if full {
				reason = verdict.PoolExhausted
			}
			e.add(x.Family.String(), yes(!full), reason, "%d of %d addresses are in use", x.Assigned, x.Total)
		}
	}
}

func inUse(u *PoolStatus) string {
	return fmt.Sprintf("%d of %d", u.IPv4.Assigned+u.IPv6.Assigned, u.IPv4.Total+min(u.IPv6.Total, maxTotal))
}

// advertisements names those that are for the pool.
func (e *Explanation) advertisements(v *View, p *policy.Pool) {
	var names []string
	for i := range v.Policy.L2Ads {
		if ad := &v.Policy.L2Ads[i]; ad.SelectsPool(p.Name) {
			names = append(names, ad.String())
		}
	}
	for i := range v.Policy.BGPAds {
		if ad := &v.Policy.BGPAds[i]; ad.SelectsPool(p.Name) {
			names = append(names, ad.String())
		}
	}
	if len(names) == 0 {
		e.add("announced", No, verdict.NoAdvertisement, "no L2Advertisement and no BGPAdvertisement is for pool %q: its addresses are given, and nobody answers for them", p.Name)
		return
	}
	e.add("announced", Yes, "", "by %s", listed(names, same))
}

// OfNode explains a node: whether it may announce anything, what it announces, its sessions and problems.
func OfNode(v *View, name string) (Explanation, error) {
	at := slices.IndexFunc(v.Announcing.Nodes, func(n plan.Node) bool { return n.Name == name })
	if at < 0 {
		if v.lacks(Nodes) {
			return Explanation{}, NotFoundError{"the Nodes could not be read: ask for the right to list them"}
		}
		return Explanation{}, notFound("Node", name, namesOf(v.Announcing.Nodes))
	}
	e := Explanation{Kind: kindNode, Name: name}
	_, wanted := table(v)
	n := v.node(&v.Announcing.Nodes[at], wanted)
	e.add("ready", yes(n.Ready), "", "%s", map[bool]string{true: "the Node is Ready", false: "the Node is not Ready: it announces only what no other node can"}[n.Ready])
	if n.Excluded != "" {
		e.add("allowed", No, verdict.NodeExcluded, "it announces nothing: it is %s", n.Excluded)
	}
	s, ok := v.speaker(name)
	switch {
	case v.lacks(Speakers):
		e.add("speaker", Unknown, "", "the SpeakerStates could not be read")
	case !ok:
		e.add("speaker", No, verdict.NoSpeaker, "no speaker has said anything of itself on this node")
	default:
		e.speaking(v, s, &n)
	}
	e.programming(v, name)
	e.conclude(v, "", "it announces %s by layer 2 and has %d of %s established", counted(n.Announces, "address"), n.Established, counted(n.Sessions, "BGP session"))
	return e, nil
}

// speaking says what the speaker of a node says of itself.
func (e *Explanation) speaking(v *View, s *Speaker, n *NodeStatus) {
	settled := "settled"
	if !n.Settled {
		settled = "not settled yet, so that it takes addresses only where no other node can have them"
	}
	e.add("speaker", Yes, "", "version %s, for %s, %s", or(n.Version, "unknown"), Age(v.Now, n.Since), settled)
	step := e.add("links", yes(len(s.State.Links) > 0), "", "%s", counted(len(s.State.Links), "interface"))
	for _, l := range s.State.Links {
		up := "up"
		if !l.Up {
			up = "down"
		} else if l.Unsettled {
			up = "up for a short time, so that it draws addresses only where no other node can have them"
		}
		step.add(l.Name, yes(l.Up), "", "%s, %s, %s", up, or(l.MAC, "without hardware address"), or(listed(l.Subnets, same), "without a subnet"))
	}
	layer2 := e.add("layer 2", yes(n.Announces == n.Wanted), "", "it announces %s, and is to announce %d", counted(n.Announces, "address"), n.Wanted)
	for _, a := range s.State.Layer2.Addresses[:min(10, len(s.State.Layer2.Addresses))] {
		layer2.add(a, Yes, verdict.Announced, "%s", v.ownersOf(a))
	}
	for _, x := range s.State.Layer2.Conflicts {
		e.add("conflict", No, verdict.AddressUsedTwice, "%s uses %s on %s, for %s", or(x.Node, "another host, "+x.MAC+","), x.Address, x.Link, Age(v.Now, x.Since.Time))
	}
	for _, x := range s.State.Sessions {
		e.add(x.Peer, yes(x.State == stateEstablished), "", "BGP: %s", v.session(x))
	}
	for _, x := range s.State.Problems {
		e.add("problem", No, verdict.Reason(x.Reason), "%s", x.Message)
	}
}

// ownersOf names the Services that have an address.
func (v *View) ownersOf(text string) string {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return "?"
	}
	return or(listed(v.holders(a), func(s *Service) string { return s.Key.String() }), "of no Service that was read")
}

func namesOf(nodes []plan.Node) (names []string) {
	for i := range nodes {
		names = append(names, nodes[i].Name)
	}
	return names
}

// OfPeer explains a BGPPeer: whether it is in force, and the session of every node with it.
func OfPeer(v *View, name string) (Explanation, error) {
	p, ok := v.Policy.Peer(name)
	if !ok {
		if v.lacks(Configuration) {
			return Explanation{}, NotFoundError{"the BGPPeers could not be read: " + strings.Join(v.gaps(), "; ")}
		}
		var names []string
		for i := range v.Policy.Peers {
			names = append(names, v.Policy.Peers[i].Name)
		}
		return Explanation{}, notFound("BGPPeer", name, names)
	}
	e := Explanation{Kind: kindPeer, Name: name}
	e.add("neighbor", Fact, "", "%s, AS %d from AS %d", p.Neighbor, p.PeerASN, p.MyASN)
	e.told(v, kindPeer, name)
	if !p.InForce() {
		e.add("in force", No, p.Waiting.Reason, "%s", p.Waiting.Message)
	}
	established, wanted := e.sessionsWith(v, p)
	e.conclude(v, "", "%d of %s established", established, counted(wanted, "session"))
	return e, nil
}

// sessionsWith tells the session of every node with the peer.
func (e *Explanation) sessionsWith(v *View, p *policy.Peer) (established, wanted int) {
	for i := range v.Announcing.Nodes {
		n := &v.Announcing.Nodes[i]
		if !p.SelectsNode(n.Labels) {
			e.add(n.Name, Fact, verdict.NodeNotSelected, "the peer's nodeSelectors do not select it")
			continue
		}
		wanted++
		s, ok := v.speaker(n.Name)
		if !ok {
			e.add(n.Name, Unknown, verdict.NoSpeaker, "the speaker of %q says nothing of itself", n.Name)
			continue
		}
		x, ok := s.session(p.Name)
		switch {
		case !ok:
			e.add(n.Name, No, verdict.NoPeer, "the speaker of %q holds no session with it", n.Name)
		default:
			if x.State == stateEstablished {
				established++
			}
			e.add(n.Name, yes(x.State == stateEstablished), "", "%s", v.session(x))
		}
	}
	return established, wanted
}
