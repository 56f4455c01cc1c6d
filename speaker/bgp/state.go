//go:build linux

package bgp

import (
	"net/netip"
	"slices"
	"time"
)

// State is the state of a session (RFC 4271, section 8.2.2).
type State string

// The states, as they are shown.
const (
	// Idle: something is waited for before a connection is opened: a neighbor on the interface, or the end of a back-off.
	Idle State = "idle"
	// Connect: a TCP connection is being opened.
	Connect State = "connect"
	// Active: no connection could be opened or the last one has ended; the next attempt follows.
	Active State = "active"
	// OpenSent: connected, the neighbor's OPEN is waited for.
	OpenSent State = "opensent"
	// OpenConfirm: its OPEN was accepted, its KEEPALIVE is waited for.
	OpenConfirm State = "openconfirm"
	// Established: routes are sent.
	Established State = "established"
)

// SessionState is how a session is. What stands after Remote is of the current connection, or zero.
type SessionState struct {
	Peer        string // name of the BGPPeer
	State       State
	Since       time.Time // when State was entered
	Reason      string    // why it is not established, in words; "" while it is
	LastError   string    // why the last connection or attempt ended, in words; kept while established
	LastErrorAt time.Time

	Local, Remote netip.Addr // of the connection; without a zone
	Interface     string     // that a link-local address belongs to, or ""

	PeerASN      uint32
	PeerRouterID netip.Addr
	HoldTime     time.Duration // negotiated; 0: the neighbor's silence ends nothing
	Keepalive    time.Duration // negotiated
	Capabilities []string      // of the neighbor, in words, sorted
	Graceful     bool          // graceful restart is negotiated: the neighbor keeps the routes over a restart
	IPv4, IPv6   bool          // families that are negotiated

	Prefixes4, Prefixes6 int    // sent, by family
	Pending              int    // routes that wait for the session or that no negotiated family carries
	BFD                  string // state of BFD in words, or "" if the session is not guarded
}

// Sessions returns the state of every session, sorted by peer.
func (s *Speaker) Sessions() []SessionState {
	var out []SessionState
	for _, x := range s.all() {
		now := x.current()
		s.mu.Lock()
		now.BFD = s.guarded[x.peer]
		s.mu.Unlock()
		out = append(out, now)
	}
	return out
}

// current returns the session's state.
func (x *session) current() SessionState {
	x.mu.Lock()
	out := x.state
	x.mu.Unlock()
	out.Capabilities = slices.Clone(out.Capabilities)
	v4, v6 := x.rib.count()
	if out.State == Established && out.IPv4 {
		out.Prefixes4, v4 = v4, 0
	}
	if out.State == Established && out.IPv6 {
		out.Prefixes6, v6 = v6, 0
	}
	out.Pending = v4 + v6
	return out
}

// set changes the session's state and tells the speaker.
func (x *session) set(change func(*SessionState)) {
	x.mu.Lock()
	before := x.state.State
	change(&x.state)
	if x.state.State != before {
		x.state.Since = time.Now()
	}
	x.mu.Unlock()
	x.speaker.notify()
}

// enter changes the state of a session that is not established, and why.
func (x *session) enter(s State, reason string) {
	x.set(func(now *SessionState) { now.State, now.Reason = s, reason })
}

// fail records why a connection or an attempt has ended.
func (x *session) fail(s State, why string) {
	x.set(func(now *SessionState) {
		*now = SessionState{Peer: now.Peer, State: s, Since: now.Since, Reason: why, LastError: why, LastErrorAt: time.Now()}
	})
}
