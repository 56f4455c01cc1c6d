package plan

// This file holds which BGP sessions this node is to hold, and why it holds none with the other peers.

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/policy"
)

// speaking is what this node has to do with BGP.
type speaking struct {
	sessions []Session
	standing []standing // one for each peer, by name
	scopes   map[bgpKey]*bgpScope
	drafts   map[netip.Prefix][]draft // one for each session
	problems map[policy.Problem]struct{}
	weighs   bool // some advertisement asks for weights, so endpoints are to be counted
}

// standing is how this node stands to a peer: it holds a session, or why not, as a clause.
type standing struct {
	*policy.Peer
	why string
}

func (b *builder) newSpeaking() *speaking {
	s := &speaking{scopes: map[bgpKey]*bgpScope{}, drafts: map[netip.Prefix][]draft{}, problems: map[policy.Problem]struct{}{}}
	s.weighs = slices.ContainsFunc(b.Policy.BGPAds, func(ad policy.BGPAd) bool { return ad.Weighted })
	for i := range b.Policy.Peers {
		p := &b.Policy.Peers[i]
		why := b.whyNoSession(p)
		s.standing = append(s.standing, standing{p, why})
		if why == "" {
			s.sessions = append(s.sessions, sessionWith(p))
		}
		if b.own == nil || !p.InForce() || !p.SelectsNode(b.own.Labels) {
			continue
		}
		for _, name := range p.Yields {
			if older, ok := b.holder(name); ok {
				s.problems[p.Duplicate(older)] = struct{}{}
			}
		}
	}
	return s
}

// whyNoSession says why this node holds no session with the peer, or "" where it does. The conditions that keep a node
// from announcing keep no session down: it has no routes then.
func (b *builder) whyNoSession(p *policy.Peer) string {
	switch {
	case b.own == nil:
		return "this node is not known"
	case !p.InForce():
		return p.Waiting.Message
	case !p.SelectsNode(b.own.Labels):
		return fmt.Sprintf("BGPPeer %q does not select this node", p.Name)
	}
	for _, name := range p.Yields {
		if older, ok := b.holder(name); ok {
			return fmt.Sprintf("BGPPeer %q yields to the older %s, which is for the same neighbor", p.Name, older.Ref)
		}
	}
	return ""
}

// holder returns the peer of that name if this node holds a session with its neighbor, for it or for an older one.
func (b *builder) holder(name string) (*policy.Peer, bool) {
	p, ok := b.Policy.Peer(name)
	return p, ok && p.InForce() && p.SelectsNode(b.own.Labels)
}

func sessionWith(p *policy.Peer) Session {
	return Session{
		Peer:            p.Name,
		Address:         p.Address,
		Interface:       p.Interface,
		VRF:             p.VRF,
		Source:          p.Source,
		Port:            p.Port,
		MyASN:           p.MyASN,
		LocalASN:        p.LocalASN,
		PeerASN:         p.PeerASN,
		ASN:             p.ASN,
		RouterID:        p.RouterID,
		HoldTime:        p.HoldTime,
		KeepaliveTime:   p.KeepaliveTime,
		ConnectTime:     p.ConnectTime,
		Password:        Secret(p.Password),
		MultiHop:        p.MultiHop,
		GracefulRestart: p.GracefulRestart,
		IPv4:            p.IPv4,
		IPv6:            p.IPv6,
		BFD:             BFD(p.BFD),
	}
}
