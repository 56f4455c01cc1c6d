//go:build linux

package peering

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fairlead-lb/fairlead/speaker/bfd"
	"github.com/fairlead-lb/fairlead/speaker/bgp"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// How BFD is bound follows the neighbor's address: a link-local one means nothing without its link.
func TestWhatASessionIsBoundTo(t *testing.T) {
	for _, x := range []struct {
		remote, device string
		want           bfd.Path
	}{
		{"192.0.2.2", "", bfd.Path{}},
		{"192.0.2.2", "red", bfd.Path{VRF: "red"}},
		{"2001:db8::2", "red", bfd.Path{VRF: "red"}},
		{"fe80::2", "eth1", bfd.Path{Interface: "eth1"}},
	} {
		x.want.Peer = netip.MustParseAddr(x.remote)
		s := sessionOf(bgp.BFDSession{Remote: x.want.Peer, Device: x.device, BFD: plan.BFD{
			Enabled: true, TransmitInterval: time.Second, ReceiveInterval: time.Second, DetectMultiplier: 3,
		}})
		if s.Path != x.want {
			t.Errorf("%s on %q: path is %+v", x.remote, x.device, s.Path)
		}
		if err := s.Validate(); err != nil {
			t.Errorf("%s on %q: %v", x.remote, x.device, err)
		}
	}
}

// AdminDown of either end is no failure; a session that is not up says why.
func TestPhases(t *testing.T) {
	for _, x := range []struct {
		state  bfd.State
		want   bgp.BFDPhase
		reason string
	}{
		{bfd.State{Local: bfd.Up, Remote: bfd.Up}, bgp.BFDUp, ""},
		{bfd.State{Local: bfd.Down, Remote: bfd.AdminDown, Diagnostic: bfd.NeighborDown}, bgp.BFDAdminDown, "neighbor signaled session down"},
		{bfd.State{Local: bfd.Down, Remote: bfd.Down, Diagnostic: bfd.DetectionExpired}, bgp.BFDDown, "control detection time expired"},
		{bfd.State{Local: bfd.Down, Remote: bfd.Down}, bgp.BFDDown, "the peer is not heard"},
		{bfd.State{Local: bfd.Down, Remote: bfd.Down, Fault: "network is unreachable"}, bgp.BFDDown, "packets cannot be sent: network is unreachable"},
		{bfd.State{Local: bfd.Init, Remote: bfd.Down, RemoteDiscriminator: 7}, bgp.BFDInit, ""},
	} {
		if p, r := phase(x.state), reason(x.state); p != x.want || r != x.reason {
			t.Errorf("%+v: %s, %q; want %s, %q", x.state, p, r, x.want, x.reason)
		}
	}
}

// Two BGP sessions with one router, on different ports, share a BFD session, which counts for both. Its metrics have
// MetalLB's names.
func TestSharedPath(t *testing.T) {
	registry := prometheus.NewRegistry()
	p := New(Config{Log: slog.New(slog.DiscardHandler), Registerer: registry})
	ctx := t.Context()
	go p.monitor.Run(ctx)
	g := &guards{Monitor: p.monitor}
	local, remote := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	how := plan.BFD{Enabled: true, TransmitInterval: time.Second, ReceiveInterval: time.Second, DetectMultiplier: 3}
	if err := g.Apply(ctx, []bgp.BFDSession{{Peer: "a", Local: local, Remote: remote, BFD: how}, {Peer: "b", Local: local, Remote: remote, BFD: how}}); err != nil {
		t.Fatal(err)
	}
	states := g.States()
	if len(states) != 2 || states[0].Peer != "a" || states[1].Peer != "b" || states[0].State != bgp.BFDDown {
		t.Errorf("states are %+v", states)
	}
	for _, name := range []string{
		"metallb_bfd_session_up", "metallb_bfd_control_packet_input", "metallb_bfd_control_packet_output", "metallb_bfd_echo_packet_input",
		"metallb_bfd_echo_packet_output", "metallb_bfd_session_up_events", "metallb_bfd_session_down_events",
	} {
		if n, err := testutil.GatherAndCount(registry, name); err != nil || n != 1 {
			t.Errorf("%s: %d series, %v", name, n, err)
		}
	}
}
