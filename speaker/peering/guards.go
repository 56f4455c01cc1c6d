//go:build linux

package peering

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/fairlead-lb/fairlead/speaker/bfd"
	"github.com/fairlead-lb/fairlead/speaker/bgp"
)

// guards lets BGP use BFD: it implements bgp.BFD. BGP sessions that go the same way, as two with one router on different
// ports do, share one BFD session, with the parameters of the first.
type guards struct {
	*bfd.Monitor
	guarded atomic.Pointer[map[bfd.Path][]string] // the peers of each path, sorted; the value is not modified
}

// Apply implements bgp.BFD.
func (g *guards) Apply(ctx context.Context, want []bgp.BFDSession) error {
	guarded := map[bfd.Path][]string{}
	var sessions []bfd.Session
	for _, w := range want {
		s := sessionOf(w)
		if guarded[s.Path] == nil {
			sessions = append(sessions, s)
		}
		guarded[s.Path] = append(guarded[s.Path], w.Peer)
	}
	g.guarded.Store(&guarded)
	return g.Monitor.Apply(ctx, sessions)
}

// States implements bgp.BFD.
func (g *guards) States() []bgp.BFDState {
	guarded := g.guarded.Load()
	if guarded == nil {
		return nil
	}
	states := g.Monitor.States()
	var out []bgp.BFDState
	for _, path := range slices.SortedFunc(maps.Keys(states), func(a, b bfd.Path) int { return a.Compare(b) }) {
		s := states[path]
		for _, peer := range (*guarded)[path] {
			out = append(out, bgp.BFDState{Peer: peer, MultiHop: path.Multihop, State: phase(s), Reason: reason(s), Downs: s.Downs})
		}
	}
	return out
}

// sessionOf is the BFD session that BGP wants. A link-local neighbor is bound to its link, any other to its VRF.
func sessionOf(w bgp.BFDSession) bfd.Session {
	s := bfd.Session{
		Path: bfd.Path{Peer: w.Remote, Local: w.Local, Multihop: w.MultiHop},
		Parameters: bfd.Parameters{
			DesiredMinTx: w.BFD.TransmitInterval, RequiredMinRx: w.BFD.ReceiveInterval, DetectMultiplier: w.BFD.DetectMultiplier,
			Echo: w.BFD.Echo, EchoInterval: w.BFD.EchoInterval, Passive: w.BFD.Passive, MinimumTTL: w.BFD.MinimumTTL,
		},
	}
	if w.Remote.Is6() && w.Remote.IsLinkLocalUnicast() {
		s.Interface = w.Device
	} else {
		s.VRF = w.Device
	}
	return s
}

func phase(s bfd.State) bgp.BFDPhase {
	switch {
	case s.Local == bfd.AdminDown, s.Remote == bfd.AdminDown:
		return bgp.BFDAdminDown
	case s.Local == bfd.Up:
		return bgp.BFDUp
	case s.Local == bfd.Init:
		return bgp.BFDInit
	default:
		return bgp.BFDDown
	}
}

// reason says why a session is not up.
func reason(s bfd.State) string {
	switch {
	case s.Local == bfd.Up:
		return ""
	case s.Fault != "":
		return fmt.Sprintf("packets cannot be sent: %s", s.Fault)
	case s.Diagnostic != bfd.NoDiagnostic:
		return s.Diagnostic.String()
	case s.RemoteDiscriminator == 0:
		return "the peer is not heard"
	}
	return ""
}
