package statuspage

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/explain"
	"github.com/fairlead-lb/fairlead/internal/tokens"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// hostile is a text that does harm where it is not escaped.
const hostile = `<script>document.title="harmed"</script><img src=x onerror=alert(1)>`

// at is when the tests look.
var at = time.Unix(1_700_000_000, 0).UTC()

// sample is a cluster with some Services that work, one that waits, one that nobody announces, four nodes, two BGP peers, and a
// pool with a problem. Two of the nodes have an IPVS programmer, one of which serves nothing.
func sample(services int) *explain.View {
	v := &explain.View{Namespace: "metallb-system", Now: at}
	object := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	peer := func(name, address string) v1beta2.BGPPeer {
		return v1beta2.BGPPeer{ObjectMeta: object(name), Spec: v1beta2.BGPPeerSpec{MyASN: 64512, PeerASN: 64513, PeerAddress: address}}
	}
	v.Objects = policy.Objects{
		Pools: []v1beta1.IPAddressPool{
			{ObjectMeta: object("public"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"10.0.0.0/16", "2001:db8::/64"}}},
			{ObjectMeta: object("legacy"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.168.7.10-192.168.7.13"}, AutoAssign: new(bool)}},
			{ObjectMeta: object("mistyped"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"10.4.0.0/33"}}},
		},
		L2Advertisements:  []v1beta1.L2Advertisement{{ObjectMeta: object("office"), Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"legacy"}}}},
		BGPAdvertisements: []v1beta1.BGPAdvertisement{{ObjectMeta: object("fabric"), Spec: v1beta1.BGPAdvertisementSpec{IPAddressPools: []string{"public"}}}},
		BGPPeers:          []v1beta2.BGPPeer{peer("tor-1", "10.9.0.1"), peer("tor-2", "10.9.0.2")},
	}
	v.Policy, v.Problems = policy.Compile(v.Objects, nil)
	v.Announcing.Policy = v.Policy
	first := netip.MustParseAddr("10.0.0.0")
	for i := range services {
		first = first.Next()
		give(v, fmt.Sprintf("team-%d", i%7), fmt.Sprintf("service-%05d", i), first, 2)
	}
	for i, name := range []string{"mail", "printer", "scanner", "unready"} {
		give(v, "office", name, netip.AddrFrom4([4]byte{192, 168, 7, byte(10 + i)}), 1-i/3)
	}
	wish := give(v, "office", "one-too-many", netip.Addr{}, 1)
	wish.Pool, wish.ToldSince = "legacy", at.Add(-9*time.Minute)
	give(v, "office", "hostile", netip.Addr{}, 1).Invalid = "the annotation is " + hostile
	for i := range 4 {
		name := fmt.Sprintf("worker-%d", i+1)
		v.Announcing.Nodes = append(v.Announcing.Nodes, plan.Node{Name: name, Ready: true, Excluded: i == 3})
		v.Announcing.Members = append(v.Announcing.Members, name)
		state := v1alpha1.SpeakerStateStatus{Version: "v0.4.0", Settled: true, StartedAt: metav1.Time{Time: at.Add(-50 * time.Hour)}}
		for j, peer := range []string{"tor-1", "tor-2"} {
			x := v1alpha1.BGPSession{Peer: peer, Address: fmt.Sprintf("10.9.0.%d", j+1), State: "established", Since: metav1.Time{Time: at.Add(-49 * time.Hour)}, PrefixesSent: int32(services)}
			if i == 2 && j == 1 {
				x.State, x.LastError, x.Since = "active", "connection refused", metav1.Time{Time: at.Add(-4 * time.Minute)}
			} else {
				state.Counts.Established++
			}
			state.Sessions, state.Counts.Sessions = append(state.Sessions, x), state.Counts.Sessions+1
		}
		v.Speakers = append(v.Speakers, explain.Speaker{Node: name, State: state})
	}
	v.Programmers = []explain.Programmer{
		{Node: "worker-1", Renewed: at, State: v1alpha1.ProgrammerStateStatus{Version: "v0.4.0", Ready: true, KubeProxy: "nftables", Counts: v1alpha1.ProgrammerCounts{Addresses: 3}}},
		{Node: "worker-2", Renewed: at, State: v1alpha1.ProgrammerStateStatus{Version: "v0.4.0", Problems: []v1alpha1.SpeakerProblem{
			{Reason: string(verdict.ModulesMissing), Message: "the kernel of node worker-2 lacks ip_vs"},
		}}},
	}
	for _, x := range plan.Build(&v.Announcing).Verdicts {
		for i := range v.Speakers {
			if s := &v.Speakers[i]; s.Node == x.Owner {
				s.State.Layer2.Addresses = append(s.State.Layer2.Addresses, x.Address.String())
				s.State.Counts.Addresses++
			}
		}
	}
	return v
}

// give adds a Service; the zero address is none.
func give(v *explain.View, namespace, name string, a netip.Addr, serving int) *explain.Service {
	s := explain.Service{Type: "LoadBalancer", Ours: true, Endpoints: 2, Serving: serving}
	s.Key = allocator.Key{Namespace: namespace, Name: name}
	s.UID, s.Families, s.ToldSince = namespace+"/"+name, []policy.Family{policy.IPv4}, at.Add(-30*time.Hour)
	if a.IsValid() {
		s.Held, s.AssignedAt, s.HeldFrom = []netip.Addr{a}, at.Add(-30*time.Hour), "public"
		if a.As4()[0] == 192 {
			s.HeldFrom = "legacy"
		}
		s.Pool = s.HeldFrom
		s.Told = verdict.Verdict{Reason: verdict.Assigned}
		v.Announcing.Services = append(v.Announcing.Services, plan.Service{
			Namespace: namespace, Name: name, Addresses: s.Held, Serving: serving > 0, Endpoints: true, ServingNodes: []string{"worker-1", "worker-2"}[:serving],
		})
	}
	v.Services = append(v.Services, s)
	return &v.Services[len(v.Services)-1]
}

// started returns a page that shows a View.
func started(t testing.TB, v *explain.View, review tokens.Ask) *Page {
	t.Helper()
	p := &Page{
		Source: func(context.Context) (*explain.View, error) { return v, nil }, Review: review,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "v0.4.0", Now: func() time.Time { return at },
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.refresh(t.Context(), &History{Every: calm})
	return p
}
