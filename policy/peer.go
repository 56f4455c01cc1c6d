package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// Peer is a BGPPeer: a BGP neighbor (RFC 4271) with which the selected nodes each hold a session.
type Peer struct {
	Ref
	Neighbor

	MyASN    uint32 // of this end
	LocalASN uint32 // shown to the neighbor in place of MyASN (RFC 7705), or 0
	PeerASN  uint32 // that the neighbor must show, or 0: ASN says which it may
	ASN      ASNKind
	RouterID netip.Addr // an IPv4 address; the zero value: each node chooses its own

	HoldTime      time.Duration // 0, or at least 3 s, in whole seconds
	KeepaliveTime time.Duration // whole seconds, at most HoldTime
	ConnectTime   time.Duration // between attempts to connect; whole seconds

	Password        Password // of the TCP MD5 signature option (RFC 2385), or ""
	MultiHop        bool     // the neighbor, of another AS, may be more than one hop away
	GracefulRestart bool     // RFC 4724
	IPv4, IPv6      bool     // families whose routes the session carries
	BFD             BFD

	Nodes []labels.Selector // any of them; none means every node
	// Waiting is why no node holds a session: the object is bad or names something that is missing, and there is no good
	// value from before. Its reason is empty where that is not so.
	Waiting verdict.Verdict
	// Yields are the older peers for the same neighbor, oldest first: a node that holds a session for one of them holds
	// none for this one.
	Yields []string
}

// Neighbor says where the other end of a session is. It is comparable: between a node and a neighbor there is one session.
type Neighbor struct {
	Address   netip.Addr // the zero value: it is found on Interface
	Interface string     // the link on which it is found by its link-local address, or ""
	VRF       string     // the VRF device through which it is reached, or ""
	Source    netip.Addr // the local address, or the zero value: the kernel chooses
	Port      uint16     // TCP
}

// String returns the address, or the interface, and what else tells the neighbor from others.
func (n Neighbor) String() string {
	text := n.Interface
	if n.Address.IsValid() {
		text = n.Address.String()
	}
	if n.Port != defaultPort {
		text += fmt.Sprintf(" port %d", n.Port)
	}
	if n.VRF != "" {
		text += " in VRF " + n.VRF
	}
	return text
}

const (
	defaultPort = 179
	maxPort     = 16384 // MetalLB's limit
)

// SelectsNode says whether a node with these labels is to hold a session.
func (p *Peer) SelectsNode(l labels.Set) bool { return len(p.Nodes) == 0 || matchesAny(p.Nodes, l) }

// InForce says whether sessions can be held.
func (p *Peer) InForce() bool { return p.Waiting.Reason == "" }

// Carries says whether the session carries routes of the family.
func (p *Peer) Carries(f Family) bool {
	if f == IPv4 {
		return p.IPv4
	}
	return p.IPv6
}

// Duplicate is the problem that this peer and an older one are for one neighbor on one node.
func (p *Peer) Duplicate(older *Peer) Problem {
	return Problem{p.Ref, verdict.Verdict{Reason: verdict.DuplicatePeer, Message: fmt.Sprintf(
		"%s has the same neighbor %s as the older %s, whose session alone is held where both select a node: remove one of the two, or keep their spec.nodeSelectors apart",
		p.Ref, p.Neighbor, older.Ref)}}
}

func (p *Peer) ref() Ref { return p.Ref }

// Peer returns the peer of that name.
func (p *Policy) Peer(name string) (*Peer, bool) { return named(p.Peers, name, (*Peer).ref) }

// peers compiles the BGPPeers.
func (c *compiler) peers(o Objects, p, last *Policy) []Peer {
	var out []Peer
	for _, x := range oldestFirst(o.BGPPeers) {
		peer := c.peer(&x, &o, p, last)
		for i := range out {
			if older := &out[i]; older.InForce() && peer.InForce() && older.Neighbor == peer.Neighbor {
				peer.Yields = append(peer.Yields, older.Name)
				if meet(older.Nodes, peer.Nodes) {
					c.problems = append(c.problems, peer.Duplicate(older))
				}
			}
		}
		out = append(out, peer)
	}
	sortByName(out, (*Peer).ref)
	return out
}

// peer compiles one BGPPeer. A bad one, or one that names something missing, keeps its last good value; without one it
// waits.
func (c *compiler) peer(o *v1beta2.BGPPeer, objects *Objects, p, last *Policy) Peer {
	id, before := ref("BGPPeer", o), len(c.problems)
	s := &o.Spec
	out := Peer{
		Ref:             id,
		Neighbor:        c.neighbor(id, s),
		MyASN:           s.MyASN,
		LocalASN:        s.LocalASN,
		PeerASN:         s.PeerASN,
		ASN:             ASNKind(s.DynamicASN),
		RouterID:        c.routerID(id, s.RouterID),
		ConnectTime:     c.connectTime(id, s.ConnectTime),
		Password:        c.password(id, o, objects),
		MultiHop:        s.EBGPMultiHop,
		GracefulRestart: s.EnableGracefulRestart,
		BFD:             c.bfdOf(id, s.BFDProfile, p),
	}
	out.HoldTime, out.KeepaliveTime = c.holdTimers(id, s)
	out.IPv4 = s.DualStackAddressFamily || !out.Address.Is6()
	out.IPv6 = s.DualStackAddressFamily || !out.Address.Is4()
	out.Nodes, _ = c.selectors(id, "spec.nodeSelectors", s.NodeSelectors)
	c.checkASNs(id, s)
	if len(c.problems) > before {
		return lastPeer(last, id, c.problems[before].Verdict)
	}
	if _, isSecret := SecretOf(o); isSecret && objects.SecretsUnread {
		out.Waiting = verdict.Verdict{Reason: verdict.UnusableSecret, Message: fmt.Sprintf("%s names a Secret, and Secrets were not read", id)}
	}
	c.explainPeer(&out, s)
	return out
}

// lastPeer returns the last good value of a bad peer, or one that waits.
func lastPeer(last *Policy, id Ref, why verdict.Verdict) Peer {
	if last != nil {
		if good, ok := find(last.Peers, id, (*Peer).ref); ok && good.InForce() {
			kept := *good
			kept.Yields = nil
			return kept
		}
	}
	return Peer{Ref: id, Waiting: why}
}

// explainPeer tells what a good peer says in vain. BFD echo packets come back only from a neighbor on the link, and for
// IPv4 alone; elsewhere BFD does without them.
func (c *compiler) explainPeer(p *Peer, s *v1beta2.BGPPeerSpec) {
	if s.DisableMP {
		c.report(p.Ref, verdict.NoEffect, "%s, spec.disableMP: it is deprecated and has no effect, since a session carries routes of its own address family only: remove it, and see spec.dualStackAddressFamily", p.Ref)
	}
	if p.LocalASN == p.MyASN {
		c.report(p.Ref, verdict.NoEffect, "%s, spec.localASN: it is the same as spec.myASN and has no effect: remove it", p.Ref)
		p.LocalASN = 0
	}
	if ns := s.PasswordSecret.Namespace; s.PasswordSecret.Name != "" && ns != "" && ns != p.Namespace {
		c.report(p.Ref, verdict.NoEffect, "%s, spec.passwordSecret.namespace: %q has no effect, since the Secret is read in namespace %q: remove it", p.Ref, ns, p.Namespace)
	}
	if p.BFD.Echo && (p.MultiHop || !p.Address.Is4()) {
		c.report(p.Ref, verdict.NoEffect, "%s names BFDProfile %q, whose echoMode has no effect here, since it is for IPv4 neighbors on the link: give this peer a profile without it", p.Ref, s.BFDProfile)
		p.BFD.Echo = false
	}
}

func (c *compiler) checkASNs(id Ref, s *v1beta2.BGPPeerSpec) {
	if s.MyASN == 0 {
		c.report(id, verdict.InvalidValue, "%s, spec.myASN: set the AS number of this end, 1 to 4294967295", id)
	}
	internal := s.PeerASN != 0 && s.PeerASN == s.MyASN
	switch s.DynamicASN {
	case "":
		if s.PeerASN == 0 {
			c.report(id, verdict.InvalidValue, "%s: set either spec.peerASN or spec.dynamicASN", id)
		}
	case v1beta2.DynamicASNInternal, v1beta2.DynamicASNExternal:
		if s.PeerASN != 0 {
			c.report(id, verdict.InvalidValue, "%s has both spec.peerASN and spec.dynamicASN: remove one of the two", id)
		}
		internal = internal || s.DynamicASN == v1beta2.DynamicASNInternal
	default:
		c.report(id, verdict.InvalidValue, "%s, spec.dynamicASN: %q is neither %q nor %q", id, s.DynamicASN, v1beta2.DynamicASNInternal, v1beta2.DynamicASNExternal)
	}
	if internal && s.EBGPMultiHop {
		c.report(id, verdict.InvalidValue, "%s, spec.ebgpMultiHop: the peer is of the own AS, for which distance does not matter: remove it", id)
	}
}

func (c *compiler) neighbor(id Ref, s *v1beta2.BGPPeerSpec) Neighbor {
	out := Neighbor{Interface: s.Interface, VRF: s.VRFName, Port: defaultPort}
	switch {
	case (s.PeerAddress == "") == (s.Interface == ""):
		c.report(id, verdict.InvalidValue, "%s: set either spec.peerAddress or spec.interface", id)
	case s.PeerAddress != "":
		out.Address = c.unicast(id, "spec.peerAddress", s.PeerAddress)
		if out.Address.IsLinkLocalUnicast() && out.Address.Is6() {
			c.report(id, verdict.InvalidValue, "%s, spec.peerAddress: %s means nothing without a link: set spec.interface in its place", id, out.Address)
		}
	default:
		c.checkDevice(id, "spec.interface", s.Interface)
	}
	if s.VRFName != "" {
		c.checkDevice(id, "spec.vrf", s.VRFName)
	}
	if s.SourceAddress != "" {
		out.Source = c.unicast(id, "spec.sourceAddress", s.SourceAddress)
		if six := !out.Address.Is4(); out.Source.IsValid() && out.Source.Is6() != six {
			c.report(id, verdict.InvalidValue, "%s, spec.sourceAddress: %s is not of the neighbor's address family", id, out.Source)
		}
	}
	switch {
	case s.PeerPort > maxPort:
		c.report(id, verdict.InvalidValue, "%s, spec.peerPort: %d is not from 1 to %d", id, s.PeerPort, maxPort)
	case s.PeerPort != 0:
		out.Port = s.PeerPort
	}
	return out
}

// unicast reads an address of one host.
func (c *compiler) unicast(id Ref, field, text string) netip.Addr {
	a, err := parseAddr(text)
	switch {
	case err != nil:
		c.report(id, verdict.InvalidValue, "%s, %s: %v", id, field, err)
	case a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		c.report(id, verdict.InvalidValue, "%s, %s: %s is not the address of a host", id, field, a)
	default:
		return a
	}
	return netip.Addr{}
}

// routerID reads a BGP identifier, which is written as an IPv4 address and not 0 (RFC 6286).
func (c *compiler) routerID(id Ref, text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	a, err := parseAddr(text)
	if err != nil || !a.Is4() || a.IsUnspecified() {
		c.report(id, verdict.InvalidValue, "%s, spec.routerID: %q is not an IPv4 address such as 192.0.2.1", id, text)
		return netip.Addr{}
	}
	return a
}

// checkDevice says whether Linux could have a network device of that name.
func (c *compiler) checkDevice(id Ref, field, name string) {
	const longest = 15 // IFNAMSIZ with its zero byte is 16
	strange := strings.ContainsAny(name, "/:") || strings.ContainsFunc(name, unicode.IsSpace)
	if strange || len(name) > longest || slices.Contains([]string{".", ".."}, name) {
		c.report(id, verdict.InvalidValue, "%s, %s: %q cannot be the name of a network device", id, field, name)
	}
}
