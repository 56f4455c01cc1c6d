package explain

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/addrset"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

var update = flag.Bool("update", false, "write the expected texts in testdata anew")

// now is when the tests look.
var now = time.Unix(1_700_000_000, 0).UTC()

// healthy is a cluster in which one Service works by layer 2: two pools, two nodes, two speakers.
func healthy() *View {
	v := &View{Namespace: "metallb-system", Now: now}
	v.configure(policy.Objects{
		Pools:            []v1beta1.IPAddressPool{pool("first-pool", "10.0.0.1-10.0.0.4"), pool("second-pool", "10.0.1.0/24")},
		L2Advertisements: []v1beta1.L2Advertisement{{ObjectMeta: metav1.ObjectMeta{Name: "everything"}}},
	})
	v.add("web", "10.0.0.1", 2, 2)
	for _, name := range []string{"n1", "n2"} {
		v.Announcing.Nodes = append(v.Announcing.Nodes, plan.Node{Name: name, Ready: true})
		v.Announcing.Members = append(v.Announcing.Members, name)
		v.Speakers = append(v.Speakers, Speaker{name, v1alpha1.SpeakerStateStatus{
			Version: "v1", Settled: true, StartedAt: metav1.Time{Time: now.Add(-time.Hour)}, Links: []v1alpha1.SpeakerLink{{Name: "eth0", Up: true, MAC: "02:00:00:00:00:01"}},
		}})
	}
	v.publish()
	return v
}

func pool(name, addresses string) v1beta1.IPAddressPool {
	return v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{addresses}}}
}

func (v *View) configure(o policy.Objects) {
	v.Policy, v.Problems = policy.Compile(o, nil)
	v.Announcing.Policy = v.Policy
}

// add adds a Service of namespace default that holds an address, or "" for none.
func (v *View) add(name, address string, endpoints, serving int) *Service {
	s := Service{Type: "LoadBalancer", Ours: true, Endpoints: endpoints, Serving: serving}
	s.Key = allocator.Key{Namespace: "default", Name: name}
	s.UID, s.Families = name, []policy.Family{policy.IPv4}
	x := plan.Service{Namespace: "default", Name: name, Serving: serving > 0, Endpoints: endpoints > 0}
	if address != "" {
		s.Held, s.AssignedAt = []netip.Addr{netip.MustParseAddr(address)}, now.Add(-3*time.Hour)
		x.Addresses = s.Held
		v.Announcing.Services = append(v.Announcing.Services, x)
	}
	v.Services = append(v.Services, s)
	slices.SortFunc(v.Services, func(a, b Service) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	found, _ := v.service(s.Key)
	return found
}

// programmed lets the first Service be served by IPVS on those nodes, by its ipMode, too.
func (v *View) programmed(nodes ...string) {
	s := &v.Services[0]
	s.Dataplane, s.Proxied, v.Announcing.Services[0].Proxy = mode.IPVS, s.Held, s.Held
	s.ToldMode = verdict.Verdict{Reason: verdict.Programmed, Message: "every node that may announce the Service serves it by IPVS"}
	v.Dataplane, v.Announcing.Programmed = mode.Annotated, map[netip.Addr][]string{s.Held[0]: nodes}
	for _, n := range nodes {
		v.Programmers = append(v.Programmers, Programmer{Node: n, Serves: addrset.Of(s.Held), Renewed: now.Add(-time.Second), State: v1alpha1.ProgrammerStateStatus{
			Version: "v1", Ready: true, KubeProxy: "nftables", StartedAt: metav1.Time{Time: now.Add(-time.Hour)}, Counts: v1alpha1.ProgrammerCounts{Addresses: 1},
		}})
	}
}

// fail lets a programmer serve nothing, for a reason of its node, if there is one.
func (v *View) fail(at int, reason verdict.Reason, message string) {
	p := &v.Programmers[at]
	p.Serves, p.State.Ready, p.State.Counts.Addresses = addrset.Set{}, reason == "", 0
	if reason != "" {
		p.State.Problems = []v1alpha1.SpeakerProblem{{Reason: string(reason), Message: message}}
	}
	for a, nodes := range v.Announcing.Programmed {
		v.Announcing.Programmed[a] = slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == p.Node })
	}
}

// publish lets the speakers say that they do what the plan says.
func (v *View) publish() {
	for i := range v.Speakers {
		l := &v.Speakers[i].State
		l.Layer2.Addresses, l.Counts.Addresses = nil, 0
		for _, x := range plan.Build(&v.Announcing).Verdicts {
			if x.Owner == v.Speakers[i].Node && !slices.Contains(l.Layer2.Addresses, x.Address.String()) {
				l.Layer2.Addresses = append(l.Layer2.Addresses, x.Address.String())
				l.Counts.Addresses++
			}
		}
	}
}

// TestTexts compares what people read with testdata.
func TestTexts(t *testing.T) {
	web := allocator.Key{Namespace: "default", Name: "web"}
	service := func(v *View) (Explanation, error) { return OfService(v, web) }
	for name, c := range map[string]struct {
		change func(*View)
		ask    func(*View) (Explanation, error)
	}{
		"service-works": {func(v *View) {
			v.Since = map[Announcement]time.Time{{web, "n1"}: now.Add(-time.Hour), {web, "n2"}: now.Add(-time.Hour)}
		}, service},
		"service-full": {func(v *View) {
			v.configure(policy.Objects{Pools: []v1beta1.IPAddressPool{pool("first-pool", "10.0.0.1/32"), pool("six", "fd00::/64")}})
			v.add("late", "", 1, 1)
		}, func(v *View) (Explanation, error) {
			return OfService(v, allocator.Key{Namespace: "default", Name: "late"})
		}},
		"service-unready": {func(v *View) { v.Services[0].Serving, v.Announcing.Services[0].Serving = 0, false; v.publish() }, service},
		"service-unadvertised": {func(v *View) {
			v.configure(policy.Objects{Pools: []v1beta1.IPAddressPool{pool("first-pool", "10.0.0.1-10.0.0.4")}})
			v.publish()
		}, service},
		"service-of-another-class": {func(v *View) { v.Services[0].Ours, v.Services[0].Class = false, "example.com/other" }, service},
		"service-of-no-balancer":   {func(v *View) { v.Services[0].Ours, v.Services[0].Type = false, "ClusterIP" }, service},
		"service-node-ports": {func(v *View) {
			v.Services[0].NodePorts = NodePorts{
				Asked: "http=33333", Assigned: "http=33333", Ours: true, OK: true,
				Told:  verdict.Verdict{Reason: verdict.NodePortsAssigned, Message: `assigned http=33333 from NodePortRange "games"`},
				Nodes: []ServedPort{{"n1", "33333/TCP", "192.0.2.1", false}, {"n2", "33333/TCP", "192.0.2.2", true}},
			}
		}, service},
		"service-node-ports-alone": {func(v *View) {
			v.Services[0].Ours, v.Services[0].Type = false, "ClusterIP"
			v.Services[0].NodePorts = NodePorts{Asked: "http=31000", Ours: true, Told: verdict.Verdict{Reason: verdict.NodePortOutside, Message: "31000/TCP is in no NodePortRange"}}
		}, service},
		"service-node-ports-of-another-class": {func(v *View) {
			v.Services[0].Ours, v.Services[0].Type = false, "ClusterIP"
			v.Services[0].NodePorts = NodePorts{Asked: "http=33333", Class: "example.com/other"}
		}, service},
		"service-not-written":  {func(v *View) { v.Services[0].Held = nil; v.Announcing.Services = nil }, service},
		"service-speaker-dead": {func(v *View) { v.Speakers[0].State.Layer2.Addresses, v.Speakers[1].State.Layer2.Addresses = nil, nil }, service},
		"service-conflict": {func(v *View) {
			v.Speakers[0].State.Layer2.Conflicts = []v1alpha1.SpeakerConflict{{Address: "10.0.0.1", Link: "eth0", MAC: "02:00:00:00:00:ff"}}
		}, service},
		"service-shared": {func(v *View) {
			v.Services[0].SharingKey, v.Services[0].Ports = "k", []portrange.Range{portrange.Port("TCP", 80)}
			o := v.add("other", "10.0.0.1", 1, 1)
			o.SharingKey, o.Ports = "k", []portrange.Range{portrange.Port("TCP", 81)}
		}, service},
		"service-by-bgp": {func(v *View) {
			v.configure(policy.Objects{
				Pools:             []v1beta1.IPAddressPool{pool("first-pool", "10.0.0.1-10.0.0.4")},
				BGPAdvertisements: []v1beta1.BGPAdvertisement{{ObjectMeta: metav1.ObjectMeta{Name: "routes"}}},
				BGPPeers:          []v1beta2.BGPPeer{{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Spec: v1beta2.BGPPeerSpec{MyASN: 64512, PeerASN: 64513, PeerAddress: "10.9.0.1"}}},
			})
			v.publish()
			v.Speakers[0].State.Sessions = []v1alpha1.BGPSession{{Peer: "tor", Address: "10.9.0.1", State: "established", Since: metav1.Time{Time: now.Add(-time.Hour)}, PrefixesSent: 1}}
			v.Speakers[1].State.Sessions = []v1alpha1.BGPSession{{Peer: "tor", Address: "10.9.0.1", State: "active", Since: metav1.Time{Time: now.Add(-time.Minute)}, LastError: "connection refused"}}
		}, service},
		"service-by-ipvs": {func(v *View) { v.programmed("n1", "n2") }, service},
		"service-by-ipvs-not-all": {func(v *View) {
			v.programmed("n1", "n2")
			v.fail(1, verdict.ModulesMissing, "the kernel of node n2 lacks ip_vs")
			v.publish()
		}, service},
		"service-by-ipvs-no-programmer": {func(v *View) { v.programmed("n1"); v.Services[0].Proxied, v.Announcing.Services[0].Proxy = nil, nil }, service},
		"service-by-ipvs-silent": {func(v *View) {
			v.programmed("n1", "n2")
			v.Programmers[0].Renewed = now.Add(-time.Minute)
			v.Programmers[1].Renewed = now.Add(-time.Minute)
		}, service},
		"service-by-ipvs-one-announces": {func(v *View) {
			v.programmed("n1", "n2")
			v.fail(0, "", "")
			v.publish()
		}, service},
		"service-by-ipvs-refused": {func(v *View) {
			v.programmed("n1", "n2")
			for i := range v.Programmers {
				v.Programmers[i].State.Problems = []v1alpha1.SpeakerProblem{
					{Kind: "Service", Name: "default/web", Reason: string(verdict.SchedulerUnavailable), Message: "the kernel of node n1 has no module ip_vs_mh; wlc is used"},
					{Kind: "Service", Name: "default/web", Reason: string(verdict.WrongFamily), Message: "10.0.0.1: the endpoints are all of the other family"},
					{Kind: "Service", Name: "default/other", Reason: string(verdict.PortConflict), Message: "of another one"},
				}
			}
		}, service},
		"service-ranges-unserved": {func(v *View) { v.Dataplane, v.Services[0].Ranges = mode.Annotated, "TCP:30000-31000" }, service},
		"service-left-to-kube-proxy": {func(v *View) {
			v.programmed("n1", "n2")
			v.Dataplane = mode.None
		}, service},
		"service-foreign-mode": {func(v *View) {
			v.Services[0].Proxied = v.Services[0].Held
		}, service},
		"service-by-ipvs-few-rights": {func(v *View) {
			v.programmed("n1", "n2")
			v.Gaps = []Gap{{Programmers, "leases.coordination.k8s.io", false}}
		}, service},
		"node-programmer": {func(v *View) {
			v.programmed("n1", "n2")
			v.fail(0, verdict.ProgrammingFailed, "adding virtual server 10.0.0.1:80/TCP: no buffer space available")
			p := &v.Programmers[0].State
			p.NodePorts = []v1alpha1.ProgrammerNodePort{{Service: "default/web", Port: "33333/TCP", Address: "10.1.1.1", Refused: true}}
			p.Problems = append(p.Problems, v1alpha1.SpeakerProblem{Reason: string(verdict.KubeProxyIPVS), Message: "kube-proxy runs in IPVS mode on node n1, so everything is served by firewall marks"})
		}, func(v *View) (Explanation, error) { return OfNode(v, "n1") }},
		"node-programmer-ebpf": {func(v *View) {
			v.programmed("n1", "n2")
			p := &v.Programmers[0].State
			p.KubeProxy = "Cilium"
			p.Problems = append(p.Problems, v1alpha1.SpeakerProblem{Reason: string(verdict.KubeProxyReplaced), Message: "Cilium serves Services by eBPF on node n1, so IPVS serves only what that leaves alone"})
		}, func(v *View) (Explanation, error) { return OfNode(v, "n1") }},
		"service-few-rights": {func(v *View) {
			v.Gaps = []Gap{{Services, "services in all namespaces", false}, {Nodes, "nodes", false}, {Speakers, "speakerstates.fairlead.io", true}}
			v.Services[0].Told = verdict.Verdict{Reason: verdict.Assigned, Message: `assigned 10.0.0.1 from pool "first-pool"`}
		}, service},
		"address-in-use":  {ask: func(v *View) (Explanation, error) { return OfAddress(v, netip.MustParseAddr("10.0.0.1")), nil }},
		"address-free":    {ask: func(v *View) (Explanation, error) { return OfAddress(v, netip.MustParseAddr("10.0.1.9")), nil }},
		"address-nowhere": {ask: func(v *View) (Explanation, error) { return OfAddress(v, netip.MustParseAddr("192.0.2.1")), nil }},
		"pool":            {ask: func(v *View) (Explanation, error) { return OfPool(v, "first-pool") }},
		"node":            {ask: func(v *View) (Explanation, error) { return OfNode(v, "n1") }},
		"node-excluded":   {func(v *View) { v.Announcing.Nodes[0].Excluded = true; v.publish() }, func(v *View) (Explanation, error) { return OfNode(v, "n1") }},
		"peer": {func(v *View) {
			v.configure(policy.Objects{BGPPeers: []v1beta2.BGPPeer{{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Spec: v1beta2.BGPPeerSpec{MyASN: 64512, PeerASN: 64513, PeerAddress: "10.9.0.1", Password: "hunter2"}}}})
			v.Speakers[0].State.Sessions = []v1alpha1.BGPSession{{Peer: "tor", Address: "10.9.0.1", State: "established", Since: metav1.Time{Time: now.Add(-time.Hour)}}}
		}, func(v *View) (Explanation, error) { return OfPeer(v, "tor") }},
	} {
		t.Run(name, func(t *testing.T) {
			v := healthy()
			if c.change != nil {
				c.change(v)
			}
			e, err := c.ask(v)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			if err := e.Write(&b, Style{}); err != nil {
				t.Fatal(err)
			}
			compare(t, name, b.String())
		})
	}
}

// TestStatus compares the cluster at a glance with testdata.
func TestStatus(t *testing.T) {
	v := healthy()
	v.configure(policy.Objects{
		Pools:            []v1beta1.IPAddressPool{pool("first-pool", "10.0.0.1/32"), pool("six", "fd00::/64"), pool("wrong", "10.0.3.0/33")},
		L2Advertisements: []v1beta1.L2Advertisement{{ObjectMeta: metav1.ObjectMeta{Name: "everything"}}},
	})
	v.add("late", "", 0, 0).Told = verdict.Verdict{Reason: verdict.PoolExhausted}
	v.add("unready", "10.0.0.1", 1, 0)
	v.Services[0].ToldSince = now.Add(-5 * time.Minute)
	v.Announcing.Nodes = append(v.Announcing.Nodes, plan.Node{Name: "n3"})
	v.Speakers[1].State.Sessions = []v1alpha1.BGPSession{{Peer: "tor", Address: "10.9.0.1", State: "active", LastError: "\x1b[31mrefused\x1b[0m"}}
	v.Speakers[1].State.Counts.Sessions = 1
	v.Programmers = []Programmer{
		{Node: "n1", Renewed: now, State: v1alpha1.ProgrammerStateStatus{Ready: true, Version: "v1", Counts: v1alpha1.ProgrammerCounts{Addresses: 3}}},
		{Node: "n2", Renewed: now.Add(-time.Minute), State: v1alpha1.ProgrammerStateStatus{Version: "v1", Problems: []v1alpha1.SpeakerProblem{
			{Kind: "Service", Name: "default/late", Reason: string(verdict.PortConflict), Message: "port 80 of 10.0.0.1 is another Service's"},
		}}},
	}
	s := OfCluster(v)
	var b strings.Builder
	if err := s.Write(&b, Style{}); err != nil {
		t.Fatal(err)
	}
	compare(t, "status", b.String())
	var coloured strings.Builder
	if err := s.Write(&coloured, Style{Colours: true}); err != nil || !strings.Contains(coloured.String(), green) || strings.Contains(b.String(), "\x1b") {
		t.Error("colours are where they should not be, or not where they should")
	}
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%v; got:\n%s\nwant:\n%s", err, got, want)
	}
}

// TestNames: a name that is not there is told with the nearest that is.
func TestNames(t *testing.T) {
	v := healthy()
	for want, ask := range map[string]func() error{
		`there is no load balancer "default/wbe" (did you mean "default/web"?)`:     func() error { _, err := OfService(v, allocator.Key{Namespace: "default", Name: "wbe"}); return err },
		`there is no Service "web" in namespace "x", but there is one in "default"`: func() error { _, err := OfService(v, allocator.Key{Namespace: "x", Name: "web"}); return err },
		`there is no IPAddressPool "frist-pool" (did you mean "first-pool"?)`:       func() error { _, err := OfPool(v, "frist-pool"); return err },
		`there is no Node "m1" (did you mean "n1"?)`:                                func() error { _, err := OfNode(v, "m1"); return err },
		`there is no BGPPeer "tor"`:                                                 func() error { _, err := OfPeer(v, "tor"); return err },
	} {
		if err := ask(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 3 * time.Hour: "3h", 48 * time.Hour: "2d"} {
		if got := Age(now, now.Add(-d)); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}
