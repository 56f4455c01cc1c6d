package controllers

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// programming is a programmer whose cache has these objects.
func programming(t *testing.T, options ProgrammingOptions, objects ...client.Object) *Programming {
	t.Helper()
	p := &Programming{Namespace: "metallb-system", Node: "n1", Options: options, upkeep: newUpkeep()}
	p.kept = keepsAs(t, p.Configure, objects...)
	p.Client = fakeClient(t, slices.DeleteFunc(slices.Clone(objects), func(o client.Object) bool {
		switch o.(type) {
		case *corev1.Service, *discoveryv1.EndpointSlice:
			return true
		}
		return false
	})...).Build()
	return p
}

// byName sorts Services, which come in any order.
func byName(list []plan.Service) {
	slices.SortFunc(list, func(a, b plan.Service) int { return strings.Compare(a.Name, b.Name) })
}

// TestProgrammerGather: what a programmer serves, read of what its cache keeps.
func TestProgrammerGather(t *testing.T) {
	other, web, port, yes, node, tcp := "example.com/other", "web", int32(8080), true, "n2", corev1.ProtocolTCP
	timeout, local := int32(60), corev1.ServiceInternalTrafficPolicyLocal
	named := func(name string, changes ...func(*corev1.Service)) *corev1.Service {
		s := huazi()
		s.Name, s.ResourceVersion = name, ""
		s.Spec.ClusterIPs, s.Spec.ClusterIP = []string{"10.96.0.7"}, "10.96.0.7"
		s.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 80, NodePort: 30080}}
		for _, change := range changes {
			change(s)
		}
		return s
	}
	asks := annotated(mode.Annotation, mode.IPVS)
	whole := func(s *corev1.Service) { s.Labels = map[string]string{labelProxyName: proxyName} }
	proxy := func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = ingress(parse([]string{"172.25.254.53"}), parse([]string{"172.25.254.53"}))
	}
	objects := []client.Object{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "z"}}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.244.0.0/24"}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.244.1.0/24", "fd00:1::/64"}}},
		named("asks", func(s *corev1.Service) { s.Spec.HealthCheckNodePort = 32002 }, assigned("172.25.254.50", "fd00::50"), asks, annotated(plan.AnnotationScheduler, "mh"), annotated(portrange.Annotation, "21"), func(s *corev1.Service) {
			s.Spec.ExternalTrafficPolicy, s.Spec.InternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal, &local
			s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/24", " 10.0.0.1/8"}
			s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = corev1.ServiceAffinityClientIP, &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout}}
		}),
		named("asks-not", assigned("172.25.254.51")),
		named("has-no-address", asks),
		named("of-another", assigned("172.25.254.52"), asks, func(s *corev1.Service) { s.Spec.LoadBalancerClass = &other }),
		named("is-proxied", assigned("172.25.254.53"), proxy),
		named("whole", whole, func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalIPs = corev1.ServiceTypeNodePort, []string{"203.0.113.1"}
			s.Spec.HealthCheckNodePort = 32001
		}),
		named("headless", whole, func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ClusterIP = corev1.ServiceTypeClusterIP, corev1.ClusterIPNone
		}),
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "asks-1", Labels: map[string]string{discoveryv1.LabelServiceName: "asks"}, Annotations: map[string]string{"a": "b"}},
			Ports:      []discoveryv1.EndpointPort{{Name: &web, Port: &port, Protocol: &tcp}, {Name: &web}},
			Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.244.1.2"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes}, Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z"}}, ForNodes: []discoveryv1.ForNode{{Name: "n2"}}}},
				{Addresses: []string{"10.244.1.3"}, Conditions: discoveryv1.EndpointConditions{Ready: new(bool), Serving: &yes, Terminating: &yes}},
			},
		},
	}
	for _, o := range objects[:2] { // as they are in the cache
		if _, err := stripNode(o); err != nil {
			t.Fatal(err)
		}
	}
	p := programming(t, ProgrammingOptions{}, objects...)
	v, err := p.gather(context.Background(), plan.Local{Addresses: parse([]string{"10.0.0.1"})}, now)
	if err != nil {
		t.Fatal(err)
	}
	byName(v.Services)
	at := time.Date(2026, 11, 22, 10, 0, 0, 7, time.UTC)
	ports := []plan.Port{{Name: "web", Protocol: "TCP", Port: 80}}
	want := plan.View{
		Node: "n1", Zone: "z", Addresses: parse([]string{"10.0.0.1"}),
		Internal: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		Services: []plan.Service{
			{
				Namespace: "default", Name: "asks", UID: "u1", AssignedAt: at, LoadBalancer: parse([]string{"172.25.254.50", "fd00::50"}), Ports: ports,
				ExternalLocal: true, InternalLocal: true, Affinity: time.Minute, Scheduler: "mh", Ranges: "21",
				SourceRanges: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8")},
				Slices: []*plan.Slice{{Ports: []plan.Port{{Name: "web", Protocol: "TCP", Port: 8080}}, Endpoints: []plan.Endpoint{
					{Address: netip.MustParseAddr("10.244.1.2"), Node: "n2", Ready: true, Serving: true, Zones: []string{"z"}, Nodes: []string{"n2"}},
					{Address: netip.MustParseAddr("10.244.1.3"), Serving: true, Terminating: true},
				}}},
			},
			{Namespace: "default", Name: "is-proxied", UID: "u1", AssignedAt: at, LoadBalancer: parse([]string{"172.25.254.53"}), Ports: ports},
			{
				Namespace: "default", Name: "whole", UID: "u1", ClusterIPs: parse([]string{"10.96.0.7"}), ExternalIPs: parse([]string{"203.0.113.1"}),
				HealthPort: 32001, Ports: []plan.Port{{Name: "web", Protocol: "TCP", Port: 80, NodePort: 30080}},
			},
		},
	}
	if d := cmp.Diff(want, v, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestProgrammerGathersNodePorts: a port is served where a range has it, for whom the range admits, on the addresses that it
// names, of the nodes that it selects, whatever else the Service asks for.
func TestProgrammerGathersNodePorts(t *testing.T) {
	games := portRange("games", "33000-33999")
	games.Spec.Services = &v1alpha1.ServiceSelector{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"games": "yes"}}}
	more, other, front := portRange("more", "34000-34999"), portRange("other", "40000"), portRange("front", "50000-50001")
	other.Spec.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"other": "yes"}}
	front.Spec.NodeAddresses, front.Spec.ReserveLocally = []string{"192.0.2.0/24", "2001:db8::/32"}, true
	has := func(name, ports string, changes ...func(*corev1.Service)) *corev1.Service {
		s := inner(name, "auto")
		s.CreationTimestamp = metav1.Unix(1000, 0)
		holding(ports)(s)
		for _, change := range changes {
			change(s)
		}
		return s
	}
	foreign := has("foreign", "http=33335")
	foreign.Namespace = "other"
	objects := []client.Object{
		games, more, other, front, foreign,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"games": "yes"}}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.99"}, {Type: corev1.NodeExternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeHostName, Address: "n1"},
		}}},
		has("internal", "http=33333"), has("cidrs", "http=50000"), has("elsewhere", "http=40000"), has("outside", "http=31000"), has("unread", "nonsense"), has("forged", "http=33338", func(s *corev1.Service) { s.Status.Conditions = nil }), has("unknown", "web=33334"),
		has("several", "33998-34001/UDP,50001/TCP,http=33998"), has("over", "50001-50002/TCP"), has("no-range", "40000-40001/TCP"),
		has("of-another", "http=33337", annotated(allocator.AnnotationClass, "example.com/x")), has("headless", "http=33336", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }),
	}
	p := programming(t, ProgrammingOptions{}, objects...)
	v, err := p.gather(context.Background(), plan.Local{Addresses: parse([]string{"10.0.0.1", "192.0.2.1", "2001:db8::1"})}, now)
	if err != nil {
		t.Fatal(err)
	}
	byName(v.Services)
	var got []string
	for _, s := range v.Services {
		got = append(got, fmt.Sprint(s.Name, " ", s.NodePorts, s.NodeRanges, " ", s.AssignedAt.Unix(), " ", s.LoadBalancer, s.ClusterIPs))
	}
	want := []string{
		"cidrs [{http 50000 [192.0.2.1 2001:db8::1]}] [] 1000 [] []", "internal [{http 33333 [10.0.0.1]}] [] 1000 [] []",
		"over [] [192.0.2.1 50001/TCP 2001:db8::1 50001/TCP] 1000 [] []", // what no range has is not served
		"several [{http 33998 [10.0.0.1]}] [10.0.0.1 33998-33999/UDP 10.0.0.1 34000-34001/UDP 192.0.2.1 50001/TCP 2001:db8::1 50001/TCP] 1000 [] []",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if !slices.Equal(v.Reserved, []portrange.Range{{First: 50000, Last: 50001}}) {
		t.Errorf("reserved: %v", v.Reserved)
	}
}

// TestAServiceThatAsksNoMoreIsServedForAMoment: kube-proxy needs a moment to begin; in IPVS mode it is seen when it has taken
// the addresses up, and waited for, but not forever.
func TestAServiceThatAsksNoMoreIsServedForAMoment(t *testing.T) {
	for name, c := range map[string]struct {
		local  plan.Local
		taken  time.Duration // when kube-proxy has taken the address up, after it is to; 0: that is not seen
		yields time.Duration
		log    string
	}{
		"nftables":            {local: plan.Local{Proxy: plan.ProxyNFTables}, yields: mode.Lingering},
		"IPVS":                {local: plan.Local{Proxy: plan.ProxyIPVS}, taken: 20 * time.Second, yields: 20*time.Second + mode.Lingering},
		"IPVS, never":         {local: plan.Local{Proxy: plan.ProxyIPVS}, taken: time.Hour, yields: mode.Patience, log: "service=default/huazi"},
		"another's addresses": {local: plan.Local{Proxy: plan.ProxyIPVS, TakenUp: parse([]string{"10.96.0.1", "172.25.254.49"})}, taken: time.Hour, yields: mode.Patience, log: "addresses=[172.25.254.50]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := huazi(assigned("172.25.254.50"), annotated(mode.Annotation, mode.IPVS))
			var log bytes.Buffer
			p := &Programming{Node: "n1", upkeep: newUpkeep(), Log: slog.New(slog.NewTextHandler(&log, nil))}
			var got []string
			note := func(after time.Duration) {
				serving := map[allocator.Key]mode.Leave{}
				v, served := p.served(keepServable(s, "", false), mode.Annotated, &c.local, givenPorts{}, serving, now.Add(after))
				p.serving = serving
				got = append(got, stands(v.Yields, served))
			}
			note(0)
			s.Annotations[mode.Annotation] = ""
			s.Status.LoadBalancer.Ingress = ingress(parse([]string{"172.25.254.50"}), parse([]string{"172.25.254.50"}))
			note(time.Hour)
			s.Status.LoadBalancer.Ingress = ingress(parse([]string{"172.25.254.50"}), nil)
			const left = 2 * time.Hour
			note(left)
			if c.taken < mode.Patience {
				note(left + c.taken)
				c.local.TakenUp = parse([]string{"10.96.0.1", "172.25.254.50", "172.25.254.51"})
				note(left + c.taken)
			}
			for _, after := range []time.Duration{c.yields - 1, c.yields, c.yields + mode.Lingering - 1, c.yields + mode.Lingering, time.Hour} {
				note(left + after)
			}
			s.Annotations[mode.Annotation] = mode.IPVS
			note(4 * time.Hour)
			want := "serves serves serves serves yields yields - - serves"
			if c.taken < mode.Patience {
				want = "serves serves " + want
			}
			if text := strings.Join(got, " "); text != want {
				t.Errorf("%s, want %s", text, want)
			}
			if n := strings.Count(log.String(), "has not taken up"); n > 1 || (n == 1) != (c.log != "") || !strings.Contains(log.String(), c.log) {
				t.Errorf("it logs %q, want %q once", &log, c.log)
			}
		})
	}
}

// TestARestartOnTheWayBackDisturbsNothing: what a new process finds bound of a load balancer that asks no more, it serves for a
// moment, as the one before it would have done; what is bound later, and by nobody, is not served.
func TestARestartOnTheWayBackDisturbsNothing(t *testing.T) {
	here := parse([]string{"172.25.254.50", "172.25.254.51"})
	for name, c := range map[string]struct {
		local plan.Local
		after []time.Duration
		want  string
	}{
		"bound":               {plan.Local{Bound: here}, []time.Duration{0, mode.Lingering, 2 * mode.Lingering}, "serves yields -"},
		"bound, in IPVS mode": {plan.Local{Bound: here, Proxy: plan.ProxyIPVS}, []time.Duration{0, mode.Patience - 1, mode.Patience}, "serves serves yields"},
		"another is bound":    {plan.Local{Bound: here[1:]}, []time.Duration{0}, "-"},
		"nothing is bound":    {plan.Local{}, []time.Duration{0}, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			s := huazi(assigned("172.25.254.50"))
			p := &Programming{Node: "n1", upkeep: newUpkeep(), Log: slog.New(slog.DiscardHandler)}
			var got []string
			for _, after := range c.after {
				serving := map[allocator.Key]mode.Leave{}
				v, served := p.served(keepServable(s, "", false), mode.Annotated, &c.local, givenPorts{}, serving, now.Add(after))
				p.serving = serving
				got = append(got, stands(v.Yields, served))
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("%s, want %s", text, c.want)
			}
			p.serving = map[allocator.Key]mode.Leave{}
			if _, served := p.served(keepServable(s, "", false), mode.Annotated, &c.local, givenPorts{}, map[allocator.Key]mode.Leave{}, now); served {
				t.Error("what is bound is taken up again though it was let go")
			}
		})
	}
}

// stands words how a load balancer is served.
func stands(yields, served bool) string {
	switch {
	case yields:
		return "yields"
	case served:
		return "serves"
	}
	return "-"
}

// TestReleaseWaitsForProgrammers: those that still report what kube-proxy is to serve are waited for, but not forever; what is
// served whole, and what is served where there is no kube-proxy, stays.
func TestReleaseWaitsForProgrammers(t *testing.T) {
	web := huazi(assigned("172.25.254.50"))
	whole := huazi(assigned("172.25.254.51"))
	whole.Name, whole.Labels = "whole", map[string]string{labelProxyName: proxyName}
	for name, c := range map[string]struct {
		proxy     plan.Proxy
		addresses []string
		yields    time.Duration // when the programmer yields; 0: not at all
		want      time.Duration
	}{
		"it yields":       {plan.ProxyIPVS, []string{"172.25.254.50-172.25.254.51"}, 20500 * time.Millisecond, 21*time.Second + mode.Lingering},
		"nothing is left": {plan.ProxyIPVS, []string{"172.25.254.51"}, 0, 2 * mode.Lingering},
		"no kube-proxy":   {plan.ProxyNone, []string{"172.25.254.50"}, 0, 2 * mode.Lingering},
		"a silent one":    {plan.ProxyIPVS, []string{"172.25.254.50"}, 0, mode.Patience + time.Second + 2*mode.Lingering},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				state := &v1alpha1.ProgrammerState{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "n1"},
					Status: v1alpha1.ProgrammerStateStatus{KubeProxy: string(c.proxy), Addresses: c.addresses}}
				web, whole := web.DeepCopy(), whole.DeepCopy()
				web.ResourceVersion, whole.ResourceVersion = "", ""
				client := fakeClient(t, state, web, whole, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}).Build()
				if c.yields > 0 {
					time.AfterFunc(c.yields, func() {
						state.Status.Addresses = []string{"172.25.254.51"}
						if err := client.Update(context.Background(), state); err != nil {
							t.Error(err)
						}
					})
				}
				began := time.Now()
				if err := Release(t.Context(), client, slog.New(slog.NewTextHandler(t.Output(), nil)), "metallb-system"); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != c.want {
					t.Errorf("it took %s, want %s", took, c.want)
				}
			})
		})
	}
}

func TestStateOfProgrammer(t *testing.T) {
	balancers := map[netip.Addr]struct{}{}
	r := ipvs.Report{Node: "n1", Ready: true, Proxy: plan.ProxyNFTables, Addresses: parse([]string{"10.96.0.1"}),
		Problems: []verdict.Verdict{{Reason: verdict.ProgrammingFailed, Message: strings.Repeat("x", 1000)}},
		Verdicts: []plan.Verdict{{Namespace: "a", Name: "b", Verdict: verdict.Verdict{Reason: verdict.PortConflict, Message: "taken"}}}}
	for i := range 5 {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		r.Addresses, balancers[a] = append(r.Addresses, a), struct{}{}
	}
	port := func(n uint16, refused bool) plan.Held {
		return plan.Held{Namespace: "a", Name: "b", Refused: refused, Ports: plan.Ports{Address: netip.MustParseAddr("10.0.0.1"), Range: portrange.Port("TCP", n)}}
	}
	r.NodePorts = []plan.Held{port(33333, false), port(33334, true)}
	got := stateOfProgrammer(&r, balancers, now)
	want := v1alpha1.ProgrammerStateStatus{
		StartedAt: metav1.NewTime(now.Truncate(time.Second)), Ready: true, KubeProxy: "nftables", Addresses: []string{"192.0.2.0-192.0.2.4"},
		NodePorts: []v1alpha1.ProgrammerNodePort{{Service: "a/b", Port: "33334/TCP", Address: "10.0.0.1", Refused: true}, {Service: "a/b", Port: "33333/TCP", Address: "10.0.0.1"}},
		Problems: []v1alpha1.SpeakerProblem{
			{Reason: "ProgrammingFailed", Message: strings.Repeat("x", maxProblemMessage)}, {Kind: "Service", Name: "a/b", Reason: "PortConflict", Message: "taken"},
		},
		Counts: v1alpha1.ProgrammerCounts{Addresses: 5, NodePorts: 1, Refused: 1, Problems: 2},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}

	// What the list of node ports leaves out is told as ranges.
	many := ipvs.Report{Node: "n1", Ready: true, NodePorts: []plan.Held{port(33334, true)}}
	for i := range 1500 {
		many.NodePorts = append(many.NodePorts, port(uint16(40000+i), false))
	}
	got = stateOfProgrammer(&many, balancers, now)
	if len(got.NodePorts) != v1alpha1.MaxProgrammerNodePorts || !slices.Equal(got.MorePorts, []string{"40999-41499/TCP"}) || got.Truncated || got.Counts.NodePorts != 1500 {
		t.Errorf("of 1,500 node ports %d are listed, and %q; %+v", len(got.NodePorts), got.MorePorts, got.Counts)
	}

	// However much there is, the object stays well below what etcd takes.
	for i := range 20000 {
		a := netip.AddrFrom16([16]byte{0: 0x20, 13: byte(i >> 8), 14: byte(i), 15: 1})
		r.Addresses, balancers[a] = append(r.Addresses, a), struct{}{}
		r.NodePorts = append(r.NodePorts, port(33333, true))
		r.Verdicts = append(r.Verdicts, r.Verdicts[0])
	}
	got = stateOfProgrammer(&r, balancers, now)
	if n := len(got.Addresses) + len(got.NodePorts) + len(got.Problems); n != v1alpha1.MaxProgrammerRanges+v1alpha1.MaxProgrammerNodePorts+maxProgrammerProblems || !got.Truncated || got.Counts.Addresses != 20005 {
		t.Errorf("%d entries, counts %+v", n, got.Counts)
	}
	if !slices.IsSortedFunc(got.NodePorts, func(a, b v1alpha1.ProgrammerNodePort) int { return last(a.Refused) - last(b.Refused) }) {
		t.Error("node ports that are refused are not first")
	}
}

// TestAReportEndsWithTheBoot: what a programmer reported before its node started anew is served no more.
func TestAReportEndsWithTheBoot(t *testing.T) {
	for name, c := range map[string]struct {
		report, node string
		want         string
	}{
		"the same boot":           {"b1", "b1", "192.0.2.1"},
		"the node started anew":   {"b1", "b2", ""},
		"the node does not tell":  {"b1", "", "192.0.2.1"},
		"the report has no boot":  {"", "b2", "192.0.2.1"},
		"neither says which boot": {"", "", "192.0.2.1"},
	} {
		s := v1alpha1.ProgrammerState{Status: v1alpha1.ProgrammerStateStatus{BootID: c.report, Addresses: []string{"192.0.2.1"}}}
		n := corev1.Node{Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{BootID: c.node}}}
		if got := strings.Join(servedBy(&s, &n).Texts(), " "); got != c.want {
			t.Errorf("%s: it serves %q, want %q", name, got, c.want)
		}
	}
}

// TestComplaints: what programmers do not serve is told on the Service, once for each reason, however many nodes say so.
func TestComplaints(t *testing.T) {
	state := func(node string, problems ...v1alpha1.SpeakerProblem) *v1alpha1.ProgrammerState {
		return &v1alpha1.ProgrammerState{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: node}, Status: v1alpha1.ProgrammerStateStatus{Problems: problems}}
	}
	of := func(service string, reason verdict.Reason, message string) v1alpha1.SpeakerProblem {
		return v1alpha1.SpeakerProblem{Kind: "Service", Name: service, Reason: string(reason), Message: message}
	}
	b := state("b", of("default/huazi", verdict.SchedulerUnavailable, "node b has no mh"), of("default/gone", verdict.PortConflict, "who"))
	a := state("a", of("default/huazi", verdict.SchedulerUnavailable, "node a has no mh"), of("default/huazi", verdict.InvalidRequest, "bad weights"),
		v1alpha1.SpeakerProblem{Reason: string(verdict.ProgrammingFailed), Message: "of the node"})
	c := fakeClient(t, b, a).Build()
	p := &Programmers{Namespace: "metallb-system", client: c}
	tells := func(want ...string) {
		t.Helper()
		var got []string
		err := p.complaints(context.Background(), []*corev1.Service{huazi()}, func(s *corev1.Service, e event) {
			got = append(got, s.Name+" "+e.kind+" "+string(e.Reason)+" "+e.Message)
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, told %q, want %q", err, got, want)
		}
	}
	tells("huazi Warning SchedulerUnavailable node a has no mh", "huazi Warning InvalidRequest bad weights")
	tells()
	if err := c.Delete(context.Background(), a); err != nil {
		t.Fatal(err)
	}
	tells() // node b still says so, in other words
	b.Status.Problems = nil
	if err := c.Update(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	tells()
	b.Status.Problems = []v1alpha1.SpeakerProblem{of("default/huazi", verdict.SchedulerUnavailable, "node b has no mh")}
	if err := c.Update(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	tells("huazi Warning SchedulerUnavailable node b has no mh")
}

// TestAllServices: a programmer stands in for kube-proxy only where nothing does its work.
func TestAllServices(t *testing.T) {
	for proxy, want := range map[plan.Proxy]string{
		plan.ProxyNone:     "",
		plan.ProxyIPTables: "one runs on node n1 (mode iptables): remove it, or the flag",
		plan.ProxyNFTables: "one runs on node n1 (mode nftables)",
		plan.ProxyIPVS:     "one runs on node n1 in IPVS mode, or has left its device there: remove it and run kube-proxy --cleanup, or remove the flag",
		plan.ProxyCilium:   "Cilium does so already on node n1: have it leave that, or remove the flag",
		plan.ProxyCalico:   "Calico does so already on node n1",
	} {
		if err := alone("n1", proxy); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("beside %q: %v, want %q", proxy, err, want)
		}
	}
}

// TestANodeThatIsToGoSaysSo: who asks it by kube-proxy's health check is told once its Node says so.
func TestANodeThatIsToGoSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Node)
		stays  bool
	}{
		"it stays":         {func(*corev1.Node) {}, true},
		"another taint":    {func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "node.kubernetes.io/unschedulable"}} }, true},
		"the autoscaler's": {func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: taintToBeDeleted}} }, false},
		"being deleted": {func(n *corev1.Node) {
			n.DeletionTimestamp, n.Finalizers = &metav1.Time{Time: now}, []string{"example.com/waits"}
		}, false},
	} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		c.change(n)
		p := programming(t, ProgrammingOptions{}, n)
		p.programmer = &ipvs.Programmer{}
		if _, err := p.gather(context.Background(), plan.Local{}, now); err != nil {
			t.Fatal(err)
		}
		if serves, _, stays := p.proxyState(); serves || stays != c.stays {
			t.Errorf("%s: it serves %v though nothing was programmed, and stays %v, want %v", name, serves, stays, c.stays)
		}
	}
}

// TestProgrammerGathersWhole: with --all-services a programmer serves whole whatever names no other service proxy.
func TestProgrammerGathersWhole(t *testing.T) {
	of := func(name string, kind corev1.ServiceType, proxy string) *corev1.Service {
		s := huazi()
		s.Name, s.ResourceVersion, s.Spec.Type = name, "", kind
		s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.7", []string{"10.96.0.7"}
		s.Spec.Ports = []corev1.ServicePort{{Port: 80, NodePort: 30080}}
		if proxy != "" {
			s.Labels = map[string]string{labelProxyName: proxy}
		}
		return s
	}
	external := of("external", corev1.ServiceTypeExternalName, "")
	balancer := of("balancer", corev1.ServiceTypeLoadBalancer, "")
	assigned("172.25.254.50")(balancer)
	p := programming(t, ProgrammingOptions{AllServices: true}, of("cluster", corev1.ServiceTypeClusterIP, ""), of("node", corev1.ServiceTypeNodePort, ""), balancer, external,
		of("ours", corev1.ServiceTypeClusterIP, proxyName), of("theirs", corev1.ServiceTypeClusterIP, "example.com"))
	v, err := p.gather(context.Background(), plan.Local{}, now)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range v.Services {
		got = append(got, fmt.Sprint(s.Name, " ", s.ClusterIPs, s.Ports[0].NodePort, s.LoadBalancer))
	}
	want := []string{"balancer [10.96.0.7] 30080 [172.25.254.50]", "cluster [10.96.0.7] 30080 []", "node [10.96.0.7] 30080 []", "ours [10.96.0.7] 30080 []"}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestProgrammerServesOrphans: a port that no range gives its Service any more is served where it was, until the controller
// takes it away; a programmer that starts meanwhile does not know where that was.
func TestProgrammerServesOrphans(t *testing.T) {
	games := portRange("games", "33000-33999")
	games.Spec.NodeAddresses = []string{"192.0.2.0/24"}
	web := inner("web", "http=33333,ranges")
	web.ResourceVersion = ""
	holding("http=33333,33990-33999/UDP")(web)
	objects := []client.Object{games, web, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}}
	serves := func(p *Programming, want string) {
		t.Helper()
		v, err := p.gather(context.Background(), plan.Local{Addresses: parse([]string{"10.0.0.1", "192.0.2.1"})}, now)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, s := range v.Services {
			got += fmt.Sprint(s.NodePorts, s.NodeRanges)
		}
		if got != want {
			t.Errorf("served are %s, want %s", got, want)
		}
	}
	p := programming(t, ProgrammingOptions{}, objects...)
	serves(p, "[{http 33333 [192.0.2.1]}] [192.0.2.1 33990-33999/UDP]")
	games.Spec.Ports, games.Spec.NodeAddresses = []string{"33995-33999"}, []string{"10.0.0.0/8"} // it has only a part any more
	if err := p.Client.Update(context.Background(), games); err != nil {
		t.Fatal(err)
	}
	const there = "[{http 33333 [192.0.2.1]}] [10.0.0.1 33995-33999/UDP 192.0.2.1 33990-33994/UDP]"
	serves(p, there)
	if err := p.Client.Delete(context.Background(), games); err != nil {
		t.Fatal(err)
	}
	serves(p, there)
	serves(p, there)
	serves(programming(t, ProgrammingOptions{}, objects[1:]...), "")
	delete(web.Annotations, allocator.AnnotationNodePortsAssigned)
	if err := p.kept.services.Update(web.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	serves(p, "")
}
