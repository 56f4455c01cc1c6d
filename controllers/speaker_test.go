package controllers

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

func TestServingEndpoints(t *testing.T) {
	yes, no := true, false
	on := func(node string, ready, serving *bool) discoveryv1.Endpoint {
		e := discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving}}
		if node != "" {
			e.NodeName = &node
		}
		return e
	}
	for name, c := range map[string]struct {
		endpoints []discoveryv1.Endpoint
		serving   bool
		nodes     []string
	}{
		"none":                         {nil, false, nil},
		"ready":                        {[]discoveryv1.Endpoint{on("n1", &yes, &yes)}, true, []string{"n1"}},
		"ready, nothing said of it":    {[]discoveryv1.Endpoint{on("n1", nil, nil)}, true, []string{"n1"}},
		"ready, no word of serving":    {[]discoveryv1.Endpoint{on("n1", &yes, nil)}, true, []string{"n1"}},
		"terminating, still answering": {[]discoveryv1.Endpoint{on("n1", &no, &yes)}, true, []string{"n1"}},
		"terminating, silent":          {[]discoveryv1.Endpoint{on("n1", &no, &no)}, false, nil},
		"not ready":                    {[]discoveryv1.Endpoint{on("n1", &no, nil)}, false, nil},
		"ready, on no known node":      {[]discoveryv1.Endpoint{on("", &yes, &yes)}, true, nil},
		"some of several":              {[]discoveryv1.Endpoint{on("n1", &no, &no), on("n2", &yes, &yes), on("n3", &no, &yes)}, true, []string{"n2", "n3"}},
	} {
		t.Run(name, func(t *testing.T) {
			var s plan.Service
			keepSlice(&discoveryv1.EndpointSlice{Endpoints: c.endpoints}).addTo(&s)
			if s.Serving != c.serving || !slices.Equal(s.ServingNodes, c.nodes) {
				t.Errorf("serving %t on %v, want %t on %v", s.Serving, s.ServingNodes, c.serving, c.nodes)
			}
		})
	}
}

func TestNodeOf(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Node)
		want   plan.Node
	}{
		"nothing is known of it": {func(*corev1.Node) {}, plan.Node{}},
		"ready": {func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse}, {Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		}, plan.Node{Ready: true}},
		"its kubelet is silent": {func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
		}, plan.Node{}},
		"without network": {func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}, {Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}}
		}, plan.Node{Ready: true, NetworkUnavailable: true}},
		"excluded": {func(n *corev1.Node) {
			n.Labels = map[string]string{"node.kubernetes.io/exclude-from-external-load-balancers": ""}
		}, plan.Node{Excluded: true, Labels: map[string]string{"node.kubernetes.io/exclude-from-external-load-balancers": ""}}},
		"out of service": {func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "a"}, {Key: "node.kubernetes.io/out-of-service", Effect: corev1.TaintEffectNoExecute}, {Key: "b"}}
		}, plan.Node{OutOfService: true}},
		"cordoned": {func(n *corev1.Node) { n.Spec.Unschedulable = true }, plan.Node{}},
	} {
		t.Run(name, func(t *testing.T) {
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
			c.change(n)
			stripped, _ := stripNode(n.DeepCopy())
			c.want.Name = "n1"
			for _, n := range []*corev1.Node{n, stripped.(*corev1.Node)} {
				if diff := cmp.Diff(c.want, nodeOf(n), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestInternalAddress(t *testing.T) {
	for name, c := range map[string]struct {
		addresses []corev1.NodeAddress
		want      string
	}{
		"none":               {nil, "invalid IP"},
		"the first internal": {[]corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "10.0.0.1"}, {Type: corev1.NodeExternalIP, Address: "10.0.0.2"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.3"}, {Type: corev1.NodeInternalIP, Address: "fd00::3"}}, "10.0.0.3"},
		"IPv6":               {[]corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "fd00::3"}}, "fd00::3"},
		"mapped":             {[]corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "::ffff:10.0.0.3"}}, "10.0.0.3"},
		"garbage goes by":    {[]corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "n1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.3"}}, "10.0.0.3"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := internalAddress(&corev1.Node{Status: corev1.NodeStatus{Addresses: c.addresses}})
			if got.String() != c.want || ok != got.IsValid() {
				t.Errorf("got %s, %t, want %s", got, ok, c.want)
			}
		})
	}
}

// fakeClient serves objects from memory.
func fakeClient(t testing.TB, objects ...client.Object) *fake.ClientBuilder {
	t.Helper()
	scheme, err := NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&corev1.Service{}, &v1beta1.IPAddressPool{}, &v1beta1.ConfigurationState{}, &v1alpha1.NodePortRange{})
}

func TestGather(t *testing.T) {
	yes := true
	slice := func(name, service, node string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			Endpoints:  []discoveryv1.Endpoint{{NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}},
		}
	}
	other := "example.com/other"
	named := func(name string) func(*corev1.Service) { return func(s *corev1.Service) { s.Name = name } }
	a := &Announcing{Namespace: "metallb-system", Node: "n1", Client: fakeClient(t,
		&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "first-pool", UID: "p"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"172.25.254.50-172.25.254.99"}}},
		&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: "elsewhere", Name: "not-ours"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"10.0.0.0/24"}}},
		&v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "example"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}},
	).Build(), kept: keeps(t,
		huazi(assigned("172.25.254.50", "fd00::50"), func(s *corev1.Service) {
			s.ResourceVersion, s.Labels = "", map[string]string{"app": "huazi"}
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		}),
		huazi(named("waits"), func(s *corev1.Service) { s.ResourceVersion = "" }),
		huazi(named("of-another"), assigned("172.25.254.51"), func(s *corev1.Service) { s.ResourceVersion, s.Spec.LoadBalancerClass = "", &other }),
		huazi(named("no-balancer"), assigned("172.25.254.52"), func(s *corev1.Service) { s.ResourceVersion, s.Spec.Type = "", corev1.ServiceTypeNodePort }),
		huazi(named("without-endpoints"), assigned("172.25.254.53"), func(s *corev1.Service) { s.ResourceVersion = "" }),
		slice("huazi-1", "huazi", "n1"), slice("huazi-2", "huazi", "n2"), slice("of-waits", "waits", "n3"), slice("of-nobody", "nobody", "n3"),
	)}
	v, err := a.gather(context.Background(), speaker.Local{})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(v.Services, func(a, b plan.Service) int { return strings.Compare(a.Name, b.Name) })
	for i := range v.Services {
		slices.Sort(v.Services[i].ServingNodes)
	}
	at := time.Date(2026, 11, 22, 10, 0, 0, 7, time.UTC)
	want := []plan.Service{
		{Namespace: "default", Name: "huazi", UID: "u1", AssignedAt: at, Endpoints: true, Labels: map[string]string{"app": "huazi"}, Addresses: parse([]string{"172.25.254.50", "fd00::50"}), Pool: "first-pool", Local: true, Serving: true, ServingNodes: []string{"n1", "n2"}},
		{Namespace: "default", Name: "without-endpoints", UID: "u1", AssignedAt: at, Addresses: parse([]string{"172.25.254.53"}), Pool: "first-pool"},
	}
	if diff := cmp.Diff(want, v.Services, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("Services (-want +got):\n%s", diff)
	}
	if len(v.Policy.Pools) != 1 || len(v.Policy.L2Ads) != 1 || v.Node != "n1" || len(v.Nodes) != 1 || v.Nodes[0].Name != "n1" {
		t.Errorf("gathered %+v", v)
	}
}

// announced is a Layer2 that has announced what it is set to.
type announced struct {
	speaker.Layer2
	now       []plan.Announcement
	conflicts []layer2.Conflict
}

func (a *announced) Conflicts() []layer2.Conflict { return a.conflicts }

func TestReport(t *testing.T) {
	var log logBuffer
	var events recorder
	layer2 := &announced{}
	a := &Announcing{Node: "n1", Log: log.logger(), Events: &events, Layer2: layer2, metrics: newAnnouncingMetrics("n1"), kept: keeps(t, huazi(assigned("172.25.254.50")))}
	v4, v6 := netip.MustParseAddr("172.25.254.50"), netip.MustParseAddr("fd00::50")
	verdictOn := func(a netip.Addr, r verdict.Reason) plan.Verdict {
		return plan.Verdict{Namespace: "default", Name: "huazi", Address: a, Verdict: verdict.Verdict{Reason: r, Message: "announcing " + a.String()}}
	}
	both := plan.Plan{Verdicts: []plan.Verdict{verdictOn(v4, verdict.Announced), verdictOn(v6, verdict.Announced)}}
	step := func(p plan.Plan, want ...string) {
		t.Helper()
		a.report(context.Background(), speaker.Report{Plan: p, Local: speaker.Local{Announced: layer2.now}})
		var got []string
		fields := map[string]bool{}
		for _, e := range events.take() {
			ref := e.object.(*corev1.ObjectReference)
			if ref.UID != "u1" || ref.Kind != "Service" || ref.Name != "huazi" { // kubectl describe finds Events by UID
				t.Errorf("the Event is about %v", ref)
			}
			if fields[ref.FieldPath] {
				t.Errorf("two Events about %q: the recorder drops the second one's message", ref.FieldPath)
			}
			fields[ref.FieldPath] = true
			got = append(got, e.kind+" "+e.reason+" "+e.note)
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	step(both) // planned, but the edge could not do it
	layer2.now = []plan.Announcement{{Address: v4}, {Address: v6}}
	step(both, "Normal nodeAssigned announcing 172.25.254.50", "Normal nodeAssigned announcing fd00::50")
	step(both)
	step(plan.Plan{Verdicts: []plan.Verdict{verdictOn(v4, verdict.NotOwner), verdictOn(v6, verdict.Announced)}})
	step(both, "Normal nodeAssigned announcing 172.25.254.50") // it came back
	step(plan.Plan{})
}

// TestOnlyTheRightfulHolderAnnounces: of two Services that show one address and may not share it, only the earlier one's is
// announced.
func TestOnlyTheRightfulHolderAnnounces(t *testing.T) {
	service := func(name string, changes ...func(*corev1.Service)) *corev1.Service {
		return huazi(append(changes, func(s *corev1.Service) { s.Name, s.UID, s.ResourceVersion = name, types.UID(name), "" })...)
	}
	at := func(text string) func(*corev1.Service) { return annotated(allocator.AnnotationAssignedAt, text) }
	shared := annotated(allocator.AnnotationSharingKey, "k")
	port := func(n int32) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.Ports = []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: n}} }
	}
	a := &Announcing{Namespace: "metallb-system", Node: "n1", Client: fakeClient(t,
		&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "first-pool", UID: "p"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"172.25.254.50-172.25.254.99"}}},
	).Build(), kept: keeps(t,
		service("later", assigned("172.25.254.50"), at("2026-02-01T00:00:00Z")),
		service("of-two-one", assigned("172.25.254.50", "fd00::50"), at("2026-03-01T00:00:00Z")),
		service("rightful", assigned("172.25.254.50"), at("2026-01-01T00:00:00Z")),
		service("shares-1", assigned("172.25.254.51"), shared, port(80)),
		service("shares-2", assigned("172.25.254.51"), shared, port(81)),
	)}
	v, err := a.gather(context.Background(), speaker.Local{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]netip.Addr{}
	for _, s := range v.Services {
		got[s.Name] = s.Addresses
	}
	want := map[string][]netip.Addr{
		"rightful": parse([]string{"172.25.254.50"}), "of-two-one": parse([]string{"fd00::50"}),
		"shares-1": parse([]string{"172.25.254.51"}), "shares-2": parse([]string{"172.25.254.51"}),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestASpeakerIsReadyAfterItsFirstPlan: not before one was carried out in full, and from then on.
func TestASpeakerIsReadyAfterItsFirstPlan(t *testing.T) {
	a := &Announcing{Node: "n1", Log: new(logBuffer).logger(), Events: new(recorder), Layer2: &announced{}, metrics: newAnnouncingMetrics("n1")}
	for i, step := range []struct {
		failed error
		ready  bool
	}{{errors.ErrUnsupported, false}, {nil, true}, {errors.ErrUnsupported, true}} {
		if i == 0 && a.Ready(nil) == nil {
			t.Error("ready before any plan")
		}
		a.report(context.Background(), speaker.Report{Failed: step.failed})
		if err := a.Ready(nil); (err == nil) != step.ready {
			t.Errorf("after step %d: %v", i, err)
		}
	}
}
