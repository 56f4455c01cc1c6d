package controllers

import (
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/bgp"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Everything that is known of a session stands in the SpeakerState; of one without a connection, the address that is
// wanted does.
func TestSessionsInTheSpeakerState(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	var got v1alpha1.SpeakerStateStatus
	addSessions(&got, []bgp.SessionState{
		{
			Peer: "a", State: bgp.Established, Since: at, Local: netip.MustParseAddr("fe80::1"), Remote: netip.MustParseAddr("fe80::2"), Interface: "eth1",
			PeerASN: 4200000000, PeerRouterID: netip.MustParseAddr("10.0.0.2"), HoldTime: 9 * time.Second, Keepalive: 3 * time.Second,
			Capabilities: []string{"IPv4 unicast"}, Graceful: true, IPv4: true, IPv6: true, Prefixes4: 2, Prefixes6: 1, BFD: "is up",
		},
		{Peer: "b", State: bgp.Active, Since: at, Reason: "why", LastError: "why", LastErrorAt: at, Pending: 3},
	}, []plan.Session{{Peer: "a"}, {Peer: "b", Address: netip.MustParseAddr("192.0.2.2")}})
	shown := metav1.Time{Time: at.Truncate(time.Second)}
	want := v1alpha1.SpeakerStateStatus{
		Counts: v1alpha1.SpeakerCounts{Sessions: 2, Established: 1},
		Sessions: []v1alpha1.BGPSession{
			{
				Peer: "a", Address: "fe80::2", LocalAddress: "fe80::1", Interface: "eth1", State: "established", Since: shown, ASN: 4200000000,
				RouterID: "10.0.0.2", Families: []string{"ipv4", "ipv6"}, PrefixesSent: 3, HoldTime: metav1.Duration{Duration: 9 * time.Second},
				KeepaliveTime: metav1.Duration{Duration: 3 * time.Second}, Capabilities: []string{"IPv4 unicast"}, GracefulRestart: true, BFD: "is up",
			},
			{Peer: "b", Address: "192.0.2.2", State: "active", Since: shown, Reason: "why", LastError: "why", LastErrorAt: &shown, PrefixesPending: 3},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

// A BGPPeer's Events tell what is new of each session, once.
func TestEventsAboutSessions(t *testing.T) {
	compiled, problems := policy.Compile(policy.Objects{BGPPeers: []v1beta2.BGPPeer{{
		ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1beta2.BGPPeerSpec{MyASN: 1, PeerASN: 2, PeerAddress: "192.0.2.2"},
	}}}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	events := &recorder{}
	a := &Announcing{Node: "n1", Events: events, policy: compiled}
	at := time.Unix(1000, 0)
	const no, up = `SessionDown: node "n1" has no session with 192.0.2.2: `, `SessionEstablished: the session of node "n1" with 192.0.2.2 is established`
	for i, step := range []struct {
		state bgp.SessionState
		want  []string
	}{
		{bgp.SessionState{State: bgp.Connect}, nil},
		{bgp.SessionState{State: bgp.Active, LastError: "refused"}, []string{no + "refused"}},
		{bgp.SessionState{State: bgp.Connect, LastError: "refused"}, nil},
		{bgp.SessionState{State: bgp.Active, LastError: "no route"}, []string{no + "no route"}},
		{bgp.SessionState{State: bgp.Established, Since: at, LastError: "no route"}, []string{up}},
		{bgp.SessionState{State: bgp.Established, Since: at, LastError: "no route"}, nil},
		{bgp.SessionState{State: bgp.Established, Since: at.Add(time.Second), LastError: "BFD"}, []string{no + "BFD", up}},
		{bgp.SessionState{State: bgp.Active, LastError: "no route"}, []string{no + "no route"}},
	} {
		step.state.Peer = "a"
		a.sessions.tell(a, []bgp.SessionState{step.state})
		var got []string
		for _, e := range events.take() {
			got = append(got, e.reason+": "+e.note)
		}
		if !reflect.DeepEqual(got, step.want) {
			t.Errorf("step %d: %q, want %q", i+1, got, step.want)
		}
	}
}

// What the ServiceBGPStatus objects are to say, and that there are none where there would be too many.
func TestWantedBGPStatuses(t *testing.T) {
	b := &BGPStatuses{Log: slog.New(slog.DiscardHandler), Node: "n1", Limit: 4, upkeep: newUpkeep()}
	one, two := allocator.Key{Namespace: "x", Name: "one"}, allocator.Key{Namespace: "x", Name: "two"}
	verdicts := []plan.BGPVerdict{
		{Namespace: "x", Name: "none"},
		{Namespace: "x", Name: "one", Peers: []string{"a"}},
		{Namespace: "x", Name: "two", Peers: []string{"a", "c"}},
		{Namespace: "x", Name: "two", Peers: []string{"b", "c"}},
	}
	want := map[allocator.Key][]string{one: {"a"}, two: {"a", "b", "c"}}
	if why := b.tell(verdicts, 2); why != "" || !reflect.DeepEqual(b.want, want) {
		t.Errorf("%q, %v", why, b.want)
	}
	if why := b.tell(verdicts, 3); !strings.Contains(why, "about 6 would be needed on all nodes, and --bgp-status-limit is 4") || len(b.want) > 0 || b.want == nil {
		t.Errorf("%q, %v", why, b.want)
	}
	if why := b.tell(verdicts, 1); why != "" || len(b.want) != 2 {
		t.Errorf("%q, %v", why, b.want)
	}
	if b.name(one) == b.name(two) {
		t.Error("two Services have one object")
	}
}
