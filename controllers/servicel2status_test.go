package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// statuses renders the ServiceL2Statuses, sorted.
func statuses(t *testing.T, c client.Client) []string {
	t.Helper()
	var list v1beta1.ServiceL2StatusList
	if err := c.List(context.Background(), &list, client.InNamespace("metallb-system")); err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for i := range list.Items {
		o := &list.Items[i]
		if o.Name == "l2-of-another" {
			continue
		}
		out = append(out, fmt.Sprintf("%s %s/%s %v", o.Status.Node, o.Status.ServiceNamespace, o.Status.ServiceName, linksOf(o)))
		if o.Labels["metallb.io/node"] != o.Status.Node || o.Labels["metallb.io/service-name"] != o.Status.ServiceName || o.Labels["metallb.io/service-namespace"] != o.Status.ServiceNamespace {
			t.Errorf("labels %v, status %v", o.Labels, o.Status)
		}
	}
	slices.Sort(out)
	return out
}

// TestServiceL2Statuses: one for each Service and announcing node, written when it changes and removed when it is over.
func TestServiceL2Statuses(t *testing.T) {
	writes := 0
	c := fakeClient(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-1"}}).WithStatusSubresource(&v1beta1.ServiceL2Status{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				writes++
				return c.Create(ctx, o, opts...)
			},
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
				writes++
				return c.SubResource(sub).Update(ctx, o, opts...)
			},
		}).Build()
	s := &ServiceL2Statuses{Log: slog.New(slog.DiscardHandler), Namespace: "metallb-system", Node: "n1", client: c, upkeep: newUpkeep(), pace: rate.NewLimiter(rate.Inf, 1)}
	v4, v6 := netip.MustParseAddr("172.25.254.50"), netip.MustParseAddr("fd00::50")
	announces := func(pairs ...string) speaker.Report {
		var r speaker.Report
		for i := 0; i < len(pairs); i += 2 {
			at := v4
			if pairs[i+1] == "eth1" {
				at = v6
			}
			r.Local.Announced = append(r.Local.Announced, plan.Announcement{Address: at, Link: plan.Link{Name: pairs[i+1]}})
			r.Plan.Verdicts = append(r.Plan.Verdicts, plan.Verdict{Namespace: "default", Name: pairs[i], Address: at, Verdict: verdict.Verdict{Reason: verdict.Announced}})
		}
		return r
	}
	step := func(r speaker.Report, wrote int, want ...string) {
		t.Helper()
		writes = 0
		s.tell(announcedLinks(r))
		if _, err := s.write(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := statuses(t, c); !slices.Equal(got, want) || writes != wrote {
			t.Errorf("%q after %d writes, want %q after %d", got, writes, want, wrote)
		}
	}
	another := &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "l2-of-another", Labels: map[string]string{v1beta1.LabelNode: "n2"}}}
	defer func() {
		if err := c.Get(context.Background(), client.ObjectKeyFromObject(another), another); err != nil {
			t.Errorf("another node's object: %v", err)
		}
	}()
	if _, err := s.write(context.Background()); err != nil || len(statuses(t, c)) > 0 {
		t.Error("wrote before there was a plan")
	}
	if err := c.Create(context.Background(), another.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	step(announces("huazi", "eth0"), 2, "n1 default/huazi [eth0]")
	step(announces("huazi", "eth0"), 0, "n1 default/huazi [eth0]")
	step(announces("huazi", "eth1", "huazi", "eth0"), 1, "n1 default/huazi [eth0 eth1]")
	step(announces("other", "eth0"), 2, "n1 default/other [eth0]")
	step(speaker.Report{}, 0)
	if got := announcedLinks(speaker.Report{Plan: announces("huazi", "eth0").Plan}); len(got) > 0 {
		t.Errorf("what is planned but not announced is told: %v", got)
	}
}

// TestStatusesOfDeadNodesGo: of a node that is gone at once; of one that is not Ready if another one announces the Service.
func TestStatusesOfDeadNodesGo(t *testing.T) {
	node := func(name string, ready corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
	}
	status := func(node, service string) *v1beta1.ServiceL2Status {
		o := &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Labels: map[string]string{
			v1beta1.LabelNode: node, v1beta1.LabelServiceNamespace: "default", v1beta1.LabelServiceName: service,
		}}}
		o.Name = (&ServiceL2Statuses{Node: node}).name(allocator.Key{Namespace: "default", Name: service})
		o.UID = "u"
		o.Status = v1beta1.ServiceL2StatusStatus{Node: node, ServiceNamespace: "default", ServiceName: service}
		return o
	}
	c := fakeClient(t, node("alive", corev1.ConditionTrue), node("silent", corev1.ConditionUnknown),
		status("alive", "a"), status("silent", "a"), status("silent", "only-there"), status("gone", "b")).Build()
	s := &StaleStatuses{Log: slog.New(slog.DiscardHandler), Namespace: "metallb-system", client: c}
	if _, err := s.remove(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got, want := statuses(t, c), []string{"alive default/a []", "silent default/only-there []"}; !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
}
