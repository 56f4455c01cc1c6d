package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// speakerState returns what the speaker of a node published.
func speakerState(node string, status v1alpha1.SpeakerStateStatus) *v1alpha1.SpeakerState {
	return &v1alpha1.SpeakerState{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: node}, Status: status}
}

// TestGatherReadsWhatSpeakersSay: links from SpeakerStates, less those of which the digest says that they went down; who
// is settled from the members; who holds an address from those that live.
func TestGatherReadsWhatSpeakersSay(t *testing.T) {
	eth0 := plan.LinkState{Link: plan.Link{Index: 2, Name: "eth0", MAC: [6]byte{2, 0, 0, 0, 0, 1}}, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("fe80::1/64")}}
	eth1 := plan.LinkState{Link: plan.Link{Index: 3, Name: "eth1", MAC: [6]byte{2, 0, 0, 0, 1, 1}}}
	both := stateOfSpeaker(speaker.Report{Local: speaker.Local{Links: []plan.LinkState{eth0, eth1}}}, nil, nil)
	returns := eth0
	returns.Unsettled = true
	back := stateOfSpeaker(speaker.Report{Local: speaker.Local{Links: []plan.LinkState{returns}}}, nil, nil)
	held := func(s v1alpha1.SpeakerStateStatus, addresses ...string) v1alpha1.SpeakerStateStatus {
		s.Layer2.Addresses = addresses
		return s
	}
	node := func(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	cordoned := node("n2")
	cordoned.Spec.Unschedulable = true
	a := &Announcing{Namespace: "metallb-system", Node: "n1", Options: AnnouncingOptions{DrainCordoned: true, IgnoreExcludeLabel: true}, Client: fakeClient(t,
		node("n1"), cordoned, node("n3"), node("n4"), node("n5"), node("n6"),
		speakerState("n1", held(both, "192.0.2.50", "192.0.2.99")),
		speakerState("n2", held(both, "192.0.2.51", "192.0.2.52", "garbage")),
		speakerState("n3", held(both, "192.0.2.53")),
		speakerState("n5", back), speakerState("n6", back),
	).Build(), kept: keeps(t)}
	started := time.UnixMilli(1)
	v, err := a.gather(context.Background(), speaker.Local{
		Links:     []plan.LinkState{eth0, eth1},
		Announced: []plan.Announcement{{Address: netip.MustParseAddr("192.0.2.52")}},
		Members: []plan.Member{
			{Node: "n1", Facts: plan.Facts{Settled: true, CameUp: started, Settling: 8 * time.Second, Started: started, Links: plan.DigestOf([]plan.LinkState{eth0, eth1})}},
			{Node: "n2", Facts: plan.Facts{Settled: false, Started: started, Links: plan.DigestOf([]plan.LinkState{eth0})}},
			{Node: "n4"},
			{Node: "n5", Facts: plan.Facts{CameUp: time.UnixMilli(2_001), Settling: 8 * time.Second, Started: started, Links: plan.DigestOf([]plan.LinkState{returns})}},
			{Node: "n6", Facts: plan.Facts{CameUp: time.UnixMilli(2_002), Settling: 8 * time.Second, Started: started, Links: plan.DigestOf([]plan.LinkState{returns})}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	link := func(name string, up bool, subnets ...netip.Prefix) plan.NodeLink {
		return plan.NodeLink{Name: name, Up: up, Subnets: subnets}
	}
	subnet := netip.MustParsePrefix("192.0.2.0/24")
	want := []plan.Node{
		{Name: "n1", Links: []plan.NodeLink{link("eth0", true, subnet), link("eth1", true)}},
		{Name: "n2", Links: []plan.NodeLink{link("eth0", true, subnet), link("eth1", false)}, Unsettled: true, Draining: true},
		{Name: "n3", Links: []plan.NodeLink{link("eth0", true, subnet), link("eth1", true)}}, // dead: what it said last
		{Name: "n4"}, // its links are not known
		{Name: "n5", Links: []plan.NodeLink{link("eth0", true, subnet)}},                                                                  // together with n1
		{Name: "n6", Links: []plan.NodeLink{{Name: "eth0", Up: true, Subnets: []netip.Prefix{subnet}, Unsettled: true}}, Unsettled: true}, // too late for that
	}
	if diff := cmp.Diff(want, v.Nodes, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if v.Nodes[3].Links != nil {
		t.Error("the links of a node that published nothing are known")
	}
	wantHeld := map[netip.Addr]string{netip.MustParseAddr("192.0.2.51"): "n2", netip.MustParseAddr("192.0.2.52"): "n1"}
	if diff := cmp.Diff(wantHeld, v.Held, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	if !v.IgnoreExcludeLabel || len(v.Members) != 5 || len(v.Links) != 2 {
		t.Errorf("gathered %+v", v)
	}
	if node, ok := a.PeerOf(eth0.MAC); !ok || node == "" {
		t.Errorf("the node of %s is %q", eth0.HardwareAddr(), node)
	}
	if node, ok := a.PeerOf([6]byte{9}); ok {
		t.Errorf("a foreign host is taken for %q", node)
	}
}

func TestAddressesWithModeProxy(t *testing.T) {
	proxy, vip := corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP
	s := huazi(assigned("172.25.254.50", "172.25.254.51", "172.25.254.52"))
	s.Status.LoadBalancer.Ingress[0].IPMode = &proxy
	s.Status.LoadBalancer.Ingress[1].IPMode = &vip
	if got := proxied(s, parse([]string{"172.25.254.50", "172.25.254.51"})); len(got) != 1 || got[0].String() != "172.25.254.50" {
		t.Errorf("addresses with ipMode Proxy: %v", got)
	}
}

func TestStateOfSpeaker(t *testing.T) {
	started := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	eth0 := plan.Link{Index: 2, Name: "eth0", MAC: [6]byte{2, 0, 0, 0, 0, 1}}
	v4 := netip.MustParseAddr("192.0.2.50")
	got := stateOfSpeaker(speaker.Report{
		Local: speaker.Local{
			Facts:     plan.Facts{Settled: true, Started: started},
			Links:     []plan.LinkState{{Link: eth0, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("fe80::1/64")}}},
			Announced: []plan.Announcement{{Address: v4, Link: eth0}, {Address: v4, Link: plan.Link{Index: 3}}},
		},
		Plan:   plan.Plan{Problems: []policy.Problem{{Object: policy.Ref{Kind: "L2Advertisement", Name: "example"}, Verdict: verdict.Verdict{Reason: verdict.UnknownReference, Message: "names eth7"}}}},
		Failed: errors.New("no socket"),
	}, []layer2.Conflict{{Address: v4, Link: eth0, MAC: [6]byte{2, 0, 0, 0, 0, 9}, Since: started}}, []string{"the kernel answers"})
	at := metav1.Time{Time: started.Truncate(time.Second)}
	want := v1alpha1.SpeakerStateStatus{
		StartedAt: at, Settled: true,
		Links: []v1alpha1.SpeakerLink{{Name: "eth0", Up: true, MAC: "02:00:00:00:00:01", Subnets: []string{"192.0.2.0/24"}}},
		Layer2: v1alpha1.SpeakerLayer2{
			Addresses: []string{"192.0.2.50"}, Digest: got.Layer2.Digest,
			Conflicts: []v1alpha1.SpeakerConflict{{Address: "192.0.2.50", Link: "eth0", MAC: "02:00:00:00:00:09", Since: at}},
		},
		Problems: []v1alpha1.SpeakerProblem{
			{Kind: "L2Advertisement", Name: "example", Reason: "UnknownReference", Message: "names eth7"},
			{Reason: "NotCarriedOut", Message: "no socket"},
			{Reason: "KernelAnswers", Message: "the kernel answers"},
		},
		Counts: v1alpha1.SpeakerCounts{Addresses: 1, Conflicts: 1, Problems: 3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestASpeakerStateStaysSmall: 512 addresses at most, and under 64 KiB whatever there is to tell.
func TestASpeakerStateStaysSmall(t *testing.T) {
	var local speaker.Local
	for i := range 5000 {
		local.Announced = append(local.Announced, plan.Announcement{Address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})
	}
	many := stateOfSpeaker(speaker.Report{Local: local}, nil, nil)
	if len(many.Layer2.Addresses) != 512 || !many.Layer2.Truncated || many.Counts.Addresses != 5000 {
		t.Errorf("%d addresses, truncated %t, %d counted", len(many.Layer2.Addresses), many.Layer2.Truncated, many.Counts.Addresses)
	}
	fewer := stateOfSpeaker(speaker.Report{Local: speaker.Local{Announced: local.Announced[:4999]}}, nil, nil)
	if fewer.Layer2.Digest == many.Layer2.Digest {
		t.Error("the digest does not tell what the list leaves out")
	}
	for i := range 500 {
		many.Problems = append(many.Problems, v1alpha1.SpeakerProblem{Reason: "R", Message: strings.Repeat("x", 500)})
		many.Sessions = append(many.Sessions, v1alpha1.BGPSession{Peer: fmt.Sprint(i), State: "idle", LastError: strings.Repeat("y", 300)})
		many.Links = append(many.Links, v1alpha1.SpeakerLink{Name: fmt.Sprint("eth", i), Subnets: []string{"2001:db8:1111:2222:3333:4444:5555:6666/128"}})
	}
	fit(&many, speakerStateBytes)
	text, err := json.Marshal(many)
	if err != nil || len(text) > 64<<10 || len(many.Links) == 0 {
		t.Errorf("%d bytes with %d links, %v", len(text), len(many.Links), err)
	}
}

// TestASpeakerStateIsWrittenOnChangeOnly: once for one content, again for another one, and anew where it was deleted.
func TestASpeakerStateIsWrittenOnChangeOnly(t *testing.T) {
	c := fakeClient(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-1"}}).Build()
	s := &SpeakerStates{Log: slog.New(slog.DiscardHandler), Namespace: "metallb-system", Node: "n1", Version: "v1", client: c, upkeep: newUpkeep()}
	s.reachedAt(netip.MustParseAddr("192.0.2.1"))
	ctx := context.Background()
	step := func(settled, wrote bool) {
		t.Helper()
		s.tell(v1alpha1.SpeakerStateStatus{Settled: settled, StartedAt: metav1.Time{Time: time.Unix(1, 0)}})
		if got, err := s.write(ctx); err != nil || got != wrote {
			t.Errorf("wrote %t, %v, want %t", got, err, wrote)
		}
	}
	step(false, true)
	step(false, false)
	step(true, true)
	step(true, false)
	var o v1alpha1.SpeakerState
	if err := c.Get(ctx, client.ObjectKey{Namespace: "metallb-system", Name: "n1"}, &o); err != nil {
		t.Fatal(err)
	}
	if o.OwnerReferences[0].UID != "node-1" || !o.Status.Settled || o.Status.Address != "192.0.2.1" || o.Status.Version != "v1" {
		t.Errorf("wrote %+v", o)
	}
	if err := c.Delete(ctx, &o); err != nil {
		t.Fatal(err)
	}
	step(true, true)
}

// TestASpeakerStateIsWrittenOnceInFiveSeconds: however often there is something new to tell, and the last of it is written.
func TestASpeakerStateIsWrittenOnceInFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		var last int32
		wrote := func(o client.Object) {
			at = append(at, time.Now())
			last = o.(*v1alpha1.SpeakerState).Status.Counts.Addresses
		}
		c := fakeClient(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}).WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				wrote(o)
				return c.Create(ctx, o, opts...)
			},
			Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
				wrote(o)
				return c.Update(ctx, o, opts...)
			},
		}).Build()
		s := &SpeakerStates{Log: slog.New(slog.DiscardHandler), Namespace: "metallb-system", Node: "n1", client: c, upkeep: newUpkeep()}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Start(ctx) }()
		const times = 200
		for i := range times { // ten a second
			s.tell(v1alpha1.SpeakerStateStatus{Counts: v1alpha1.SpeakerCounts{Addresses: int32(i)}})
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if len(at) != 5 || last != times-1 {
			t.Errorf("%d writes in 20 s, the last of %d; want 5, the last of %d", len(at), last, times-1)
		}
		for i := 1; i < len(at); i++ {
			if gap := at[i].Sub(at[i-1]); gap < 5*time.Second {
				t.Errorf("two writes within %s", gap)
			}
		}
	})
}
