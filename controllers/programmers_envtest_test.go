//go:build envtest

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/explain"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// node makes a Ready node with a speaker.
func (s *story) node(name string) {
	s.t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"story": s.namespace}}}
	s.create(n)
	s.t.Cleanup(func() { _ = s.admin.Delete(context.Background(), n) })
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	s.ok(s.admin.Status().Update(s.ctx, n))
	s.create(&v1alpha1.SpeakerState{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: name}})
}

// reports makes a node's programmer say that it serves these addresses.
func (s *story) reports(node string, addresses ...string) {
	s.t.Helper()
	o := &v1alpha1.ProgrammerState{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: node}}
	if err := s.admin.Get(s.ctx, client.ObjectKeyFromObject(o), o); apierrors.IsNotFound(err) {
		o.Status.Addresses = addresses
		s.create(o)
		return
	}
	o.Status.Addresses = addresses
	s.ok(s.admin.Update(s.ctx, o))
}

// lives makes a node's programmer tell that it is alive, until the function is called.
func (s *story) lives(node string) (stop func()) {
	end := s.background(func(ctx context.Context) error {
		for ; ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
			o := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
				Namespace: s.config, Name: leasePrefix + node, Labels: map[string]string{labelProgrammer: node},
			}}
			err := s.admin.Get(ctx, client.ObjectKeyFromObject(o), o)
			o.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
			if apierrors.IsNotFound(err) {
				err = s.admin.Create(ctx, o)
			} else if err == nil {
				err = s.admin.Update(ctx, o)
			}
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
	return func() { s.ok(end()) }
}

// history keeps every mode that a Service's first address has, in order.
type history struct {
	mu    sync.Mutex
	modes []string
}

func (s *story) follow(name string) *history {
	h := &history{}
	w, err := s.admin.Watch(s.ctx, &corev1.ServiceList{}, client.InNamespace(s.namespace), client.MatchingFields{"metadata.name": name})
	s.ok(err)
	s.t.Cleanup(w.Stop)
	go func() {
		for e := range w.ResultChan() {
			v, ok := e.Object.(*corev1.Service)
			if !ok || len(v.Status.LoadBalancer.Ingress) == 0 {
				continue
			}
			now := string(*v.Status.LoadBalancer.Ingress[0].IPMode)
			h.mu.Lock()
			if n := len(h.modes); n == 0 || h.modes[n-1] != now {
				h.modes = append(h.modes, now)
			}
			h.mu.Unlock()
		}
	}()
	return h
}

// programmed waits until the Service has the mode, and a condition with the reason, "" for none.
func (s *story) programmed(name, mode, reason, message string) {
	s.t.Helper()
	s.eventually(func() string {
		v := s.get(name)
		got, c := "", meta.FindStatusCondition(v.Status.Conditions, ConditionProgrammed)
		if c != nil {
			got = c.Reason
		}
		if len(v.Status.LoadBalancer.Ingress) == 0 || string(*v.Status.LoadBalancer.Ingress[0].IPMode) != mode || got != reason ||
			c != nil && !strings.Contains(c.Message, message) {
			return fmt.Sprintf("%s is %+v with %+v, want %s and %s: %s", name, v.Status.LoadBalancer.Ingress, c, mode, reason, message)
		}
		return ""
	})
}

// explains asks why a Service works or not, as a person does, until the answer has all that is wanted; with nothing wanted, it
// says nothing of IPVS.
func (s *story) explains(name string, want ...string) {
	s.t.Helper()
	about := allocator.Key{Namespace: s.namespace, Name: name}
	s.eventually(func() string {
		v, err := Observation{Client: s.admin, Namespace: s.config, Class: s.class, Service: about, Now: time.Now()}.Read(s.ctx)
		s.ok(err)
		e, err := explain.OfService(v, about)
		s.ok(err)
		var b strings.Builder
		s.ok(e.Write(&b, explain.Style{}))
		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				return fmt.Sprintf("it does not say %q:\n%s", w, &b)
			}
		}
		if len(want) == 0 && strings.Contains(b.String(), "IPVS") {
			return b.String()
		}
		return ""
	})
}

// TestProxyComesWhenAllServeAndGoesInTime plays the programmers of two nodes: the mode Proxy is written only when every node
// that may announce the address has reported it, and VIP comes back when the annotation goes, when what serves it is about to
// go, and when no node reports any more.
func TestProxyComesWhenAllServeAndGoesInTime(t *testing.T) {
	s := newStory(t)
	s.node("m1")
	s.node("m2")
	s.create(s.pool("p", "192.0.2.1-192.0.2.9"), &v1beta1.L2Advertisement{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: "a"},
		Spec:       v1beta1.L2AdvertisementSpec{NodeSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"story": s.namespace}}}},
	})
	asks := func(v *corev1.Service) { v.Annotations = map[string]string{mode.Annotation: mode.IPVS} }
	web := s.service("web", asks)
	s.create(web)
	modes := s.follow("web")
	c := s.start(settings{silence: 2 * time.Second})
	s.gets("web", "192.0.2.1")
	s.create(s.service("plain"))
	s.gets("plain", "192.0.2.2")
	s.programmed("web", "VIP", "NoProgrammer", "")
	s.explains("web", "no   IPVS", "no node's IPVS programmer reports, so kube-proxy serves the Service (NoProgrammer)", "no IPVS programmer reports from there (NoProgrammer)")

	one, two := s.lives("m1"), s.lives("m2")
	s.programmed("web", "VIP", "NotProgrammed", "node m1, which may announce 192.0.2.1, ")
	s.reports("m1", "192.0.2.1-192.0.2.9")
	s.programmed("web", "VIP", "NotProgrammed", "node m2, which may announce 192.0.2.1, ")
	s.explains("web", "its programmer reports 192.0.2.1", "no IPVS programmer reports from there (NoProgrammer)")
	time.Sleep(mode.Settling)
	if got := *s.get("web").Status.LoadBalancer.Ingress[0].IPMode; got != corev1.LoadBalancerIPModeVIP {
		t.Errorf("the mode is %s before all nodes have reported", got)
	}
	s.reports("m2", "192.0.2.1")
	s.programmed("web", "Proxy", "Programmed", "")

	// A node that does not serve it any more does not announce it; that is all.
	s.reports("m2", "192.0.2.7")
	c.again()
	s.programmed("web", "Proxy", "Programmed", "")
	s.explains("web", "its programmer does not report 192.0.2.1", "yes  ipMode", "it is Proxy for 192.0.2.1, so kube-proxy leaves that alone")
	s.reports("m2", "192.0.2.1")
	s.explains("web", "yes  IPVS", "its programmer reports 192.0.2.1")
	s.explains("plain")

	// Nothing is written while nothing changes, and what does not ask is left alone.
	s.programmed("plain", "VIP", "", "")
	c.allWrites()
	c.again()
	if w := c.writes(); len(w) > 0 {
		t.Errorf("written for nothing: %q", w)
	}

	// One programmer is silent: its report is removed, so that its node announces nothing for it. Then all are.
	two()
	s.eventually(func() string {
		var o v1alpha1.ProgrammerState
		if err := s.admin.Get(s.ctx, client.ObjectKey{Namespace: s.config, Name: "m2"}, &o); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("the report of a silent programmer is there: %v", err)
		}
		return ""
	})
	s.programmed("web", "Proxy", "Programmed", "")
	one()
	s.programmed("web", "VIP", "NoProgrammer", "")

	// What a silent programmer once reported is no reason to turn to IPVS again.
	one = s.lives("m1")
	s.reports("m1", "192.0.2.1")
	s.reports("m2", "192.0.2.1")
	s.programmed("web", "VIP", "NotProgrammed", "node m2, which may announce 192.0.2.1, served it by IPVS, but its programmer is silent")
	two = s.lives("m2")
	s.reports("m2", "192.0.2.1")
	s.programmed("web", "Proxy", "Programmed", "")

	// What serves it is about to go.
	s.ok(Release(s.ctx, s.admin, c.log.logger(), s.config))
	s.programmed("web", "VIP", "", "")
	setting := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: settingName}}
	s.merge(setting, `{"data":{"dataplane":"all"}}`)
	s.programmed("web", "Proxy", "Programmed", "")
	s.programmed("plain", "VIP", "NotProgrammed", "")
	s.delete(setting)
	s.programmed("plain", "VIP", "", "")

	// Nor does it ask any more.
	s.merge(web, `{"metadata":{"annotations":{"fairlead.io/dataplane":null}}}`)
	s.programmed("web", "VIP", "", "")
	s.eventually(func() string { // the watch may be later than who asks
		modes.mu.Lock()
		defer modes.mu.Unlock()
		if want := []string{"VIP", "Proxy", "VIP", "Proxy", "VIP", "Proxy", "VIP"}; !slices.Equal(modes.modes, want) {
			return fmt.Sprintf("the modes were %v, want %v", modes.modes, want)
		}
		return ""
	})
	one()
	two()
}

// heldKernel is a kernel that holds what it is told.
type heldKernel struct {
	mu   sync.Mutex
	plan plan.Plan
}

func (*heldKernel) Look(context.Context) (plan.Local, error) {
	return plan.Local{Proxy: plan.ProxyNFTables, Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.7")}}, nil
}
func (k *heldKernel) Apply(_ context.Context, p plan.Plan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.plan = p
	return nil
}
func (*heldKernel) Check(context.Context) error { return nil }
func (*heldKernel) Failed() plan.Failed         { return plan.Failed{} }

func (k *heldKernel) addresses() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return joined(k.plan.Addresses)
}

func joined(list []netip.Addr) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

// programs runs the programmer of the node with its real rights: what it serves becomes Proxy, and what is not to be served
// any more is VIP before it is let go. The speaker of the node has to be running.
func (s *story) programs(c *replica, node string) {
	s.t.Helper()
	log, held := c.log.logger(), &heldKernel{}
	p := &Programming{
		Log: log, Namespace: s.config, Node: node, Kernel: held, Options: ProgrammingOptions{Drain: time.Minute, Ping: true},
		States: &ProgrammerStates{Log: log, Namespace: s.config, Node: node, Version: "v1"},
	}
	config := as("metallb-system/fairlead-ipvs@" + node)
	m := c.manager(config, p.Configure)
	p.Client = m.GetClient()
	s.ok(errors.Join(p.States.SetUp(m), p.SetUp(m)))
	if p.Ready(nil) == nil {
		s.t.Error("the programmer is ready before it has done anything")
	}
	stop := s.background(m.Start)
	s.merge(s.get("huazi"), `{"metadata":{"annotations":{"fairlead.io/dataplane":"ipvs"}}}`)
	s.programmed("huazi", "Proxy", "Programmed", "")
	var o v1alpha1.ProgrammerState
	s.ok(s.admin.Get(s.ctx, client.ObjectKey{Namespace: s.config, Name: node}, &o))
	if len(o.OwnerReferences) != 1 || o.OwnerReferences[0].Name != node || !o.Status.Ready || o.Status.KubeProxy != "nftables" || o.Status.Version != "v1" ||
		!slices.Equal(o.Status.Addresses, []string{"172.25.254.50"}) {
		s.t.Errorf("its report is %+v", o)
	}
	s.ok(p.Ready(nil))

	// A report that somebody deletes is written again.
	s.delete(&o)
	s.eventually(func() string {
		if err := s.admin.Get(s.ctx, client.ObjectKeyFromObject(&o), &o); err != nil {
			return err.Error()
		}
		return ""
	})

	s.merge(s.get("huazi"), `{"metadata":{"annotations":{"fairlead.io/dataplane":null}}}`)
	s.programmed("huazi", "VIP", "", "")
	if got := held.addresses(); got != "172.25.254.50" {
		s.t.Errorf("when kube-proxy is to begin, the kernel serves %q", got)
	}
	s.eventually(func() string {
		if got := held.addresses(); got != "" {
			return "the kernel still serves " + got
		}
		return ""
	})
	s.servesNodePorts(held)
	s.onlyItsOwn(node)
	s.ok(stop())
}

// onlyItsOwn sees that a programmer may write its node's report and Lease, and no others.
func (s *story) onlyItsOwn(node string) {
	s.t.Helper()
	lease := func(name, node string) client.Object {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: name, Labels: map[string]string{labelProgrammer: node}}}
	}
	state := func(name string) client.Object {
		return &v1alpha1.ProgrammerState{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: name}}
	}
	s.eventually(func() string { // a policy is in force some time after it was created
		for what, x := range map[string]struct {
			account string
			object  client.Object
		}{
			"another node's report":       {"metallb-system/fairlead-ipvs@" + node, state("n9")},
			"another node's Lease":        {"metallb-system/fairlead-ipvs@" + node, lease(leasePrefix+"n9", "n9")},
			"the controller's Lease":      {"metallb-system/fairlead-ipvs@" + node, lease("fairlead-controller", "")},
			"a report, bound to no node":  {"metallb-system/fairlead-ipvs", state(node)},
			"a Lease under another label": {"metallb-system/fairlead-ipvs@" + node, lease(leasePrefix+node, "n9")},
		} {
			writer, err := client.New(as(x.account), client.Options{Scheme: s.admin.Scheme()})
			s.ok(err)
			err = writer.Create(s.ctx, x.object, client.DryRunAll)
			if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
				return fmt.Sprintf("%s: %v, want a refusal by the policy", what, err)
			}
		}
		return ""
	})
	limited, err := client.New(as("metallb-system/fairlead-ipvs@"+node), client.Options{Scheme: s.admin.Scheme()})
	s.ok(err)
	for what, err := range map[string]error{
		"reads Secrets":       limited.List(s.ctx, &corev1.SecretList{}, client.InNamespace(s.config)),
		"reads pools":         limited.List(s.ctx, &v1beta1.IPAddressPoolList{}, client.InNamespace(s.config)),
		"reads others' state": limited.List(s.ctx, &v1alpha1.ProgrammerStateList{}, client.InNamespace(s.config)),
	} {
		if !apierrors.IsForbidden(err) {
			s.t.Errorf("the programmer %s: %v", what, err)
		}
	}
}
