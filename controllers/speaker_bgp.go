package controllers

// This file holds what is told of a node's BGP sessions.

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/bgp"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// BGP is what announcing needs of speaker/peering, beside what the speaker does.
type BGP interface {
	speaker.Applier
	Sessions() []bgp.SessionState
}

// protocol is a way to announce addresses, as metrics name it.
type protocol string

const (
	layer2Protocol protocol = "layer2"
	bgpProtocol    protocol = "bgp"
)

// establishedWith returns the peers whose session is established.
func establishedWith(sessions []bgp.SessionState) map[string]bool {
	out := make(map[string]bool, len(sessions))
	for i := range sessions {
		if sessions[i].State == bgp.Established {
			out[sessions[i].Peer] = true
		}
	}
	return out
}

// sessionLog remembers what was told of each session, so that Events on BGPPeers tell what is new: that a session is
// established, that it is down, and why one cannot be established, once for each reason until it is.
type sessionLog struct{ told map[string]sessionTold }

// sessionTold is what was told last of one session.
type sessionTold struct {
	up    bool
	since time.Time // when it was established
	why   string    // it is not
}

// tell records Events about what is new.
func (l *sessionLog) tell(a *Announcing, sessions []bgp.SessionState) {
	next := make(map[string]sessionTold, len(sessions))
	for i := range sessions {
		s := &sessions[i]
		was := l.told[s.Peer]
		switch {
		case s.State == bgp.Established && (!was.up || was.since != s.Since):
			if was.up && s.LastError != "" { // it was down for less than a look
				a.tellOfPeer(s.Peer, corev1.EventTypeWarning, verdict.SessionDown, s.LastError)
			}
			a.tellOfPeer(s.Peer, corev1.EventTypeNormal, verdict.SessionEstablished, "")
			was = sessionTold{up: true, since: s.Since}
		case s.State != bgp.Established && s.LastError != "" && (was.up || was.why != s.LastError):
			a.tellOfPeer(s.Peer, corev1.EventTypeWarning, verdict.SessionDown, s.LastError)
			was = sessionTold{why: s.LastError}
		}
		next[s.Peer] = was
	}
	l.told = next
}

// tellOfPeer records an Event on a BGPPeer.
func (a *Announcing) tellOfPeer(name, kind string, reason verdict.Reason, why string) {
	p, ok := a.policy.Peer(name)
	if !ok {
		return
	}
	message := fmt.Sprintf("the session of node %q with %s is established", a.Node, p.Neighbor)
	if why != "" {
		message = fmt.Sprintf("node %q has no session with %s: %s", a.Node, p.Neighbor, why)
	}
	record(a.Events, &corev1.ObjectReference{
		APIVersion: v1beta2.GroupVersion.String(), Kind: "BGPPeer", Namespace: p.Namespace, Name: p.Name, UID: types.UID(p.UID),
	}, kind, reason, "Peer", message)
}

// addSessions adds the BGP sessions to what a speaker says of itself; wanted are those of the plan.
func addSessions(s *v1alpha1.SpeakerStateStatus, sessions []bgp.SessionState, wanted []plan.Session) {
	addresses := make(map[string]netip.Addr, len(wanted))
	for i := range wanted {
		addresses[wanted[i].Peer] = wanted[i].Address
	}
	for i := range sessions {
		x := sessionOf(&sessions[i])
		if a := addresses[x.Peer]; x.Address == "" && a.IsValid() {
			x.Address = a.String()
		}
		if sessions[i].State == bgp.Established {
			s.Counts.Established++
		}
		s.Sessions = append(s.Sessions, x)
	}
	s.Counts.Sessions = int32(len(sessions))
}

// sessionOf words a session's state.
func sessionOf(s *bgp.SessionState) v1alpha1.BGPSession {
	out := v1alpha1.BGPSession{
		Peer: s.Peer, State: string(s.State), Since: seconds(s.Since), Interface: s.Interface,
		Reason: cut(s.Reason, maxProblemMessage), LastError: cut(s.LastError, maxProblemMessage),
		ASN: int64(s.PeerASN), PrefixesSent: int32(s.Prefixes4 + s.Prefixes6), PrefixesPending: int32(s.Pending),
		HoldTime: metav1.Duration{Duration: s.HoldTime}, KeepaliveTime: metav1.Duration{Duration: s.Keepalive},
		Capabilities: s.Capabilities, GracefulRestart: s.Graceful, BFD: cut(s.BFD, maxProblemMessage),
	}
	if !s.LastErrorAt.IsZero() {
		at := seconds(s.LastErrorAt)
		out.LastErrorAt = &at
	}
	for _, x := range []struct {
		to *string
		a  netip.Addr
	}{{&out.Address, s.Remote}, {&out.LocalAddress, s.Local}, {&out.RouterID, s.PeerRouterID}} {
		if x.a.IsValid() {
			*x.to = x.a.String()
		}
	}
	if s.IPv4 {
		out.Families = append(out.Families, "ipv4")
	}
	if s.IPv6 {
		out.Families = append(out.Families, "ipv6")
	}
	return out
}

// seconds is a time as the API shows it.
func seconds(t time.Time) metav1.Time { return metav1.Time{Time: t.Truncate(time.Second)} }
