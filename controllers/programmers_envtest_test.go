//go:build envtest

package controllers

import (
	"context"
	"fmt"
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

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
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

	one, two := s.lives("m1"), s.lives("m2")
	s.programmed("web", "VIP", "NotProgrammed", "node m1, which may announce 192.0.2.1, ")
	s.reports("m1", "192.0.2.1-192.0.2.9")
	s.programmed("web", "VIP", "NotProgrammed", "node m2, which may announce 192.0.2.1, ")
	time.Sleep(settling)
	if got := *s.get("web").Status.LoadBalancer.Ingress[0].IPMode; got != corev1.LoadBalancerIPModeVIP {
		t.Errorf("the mode is %s before all nodes have reported", got)
	}
	s.reports("m2", "192.0.2.1")
	s.programmed("web", "Proxy", "Programmed", "")

	// A node that does not serve it any more does not announce it; that is all.
	s.reports("m2", "192.0.2.7")
	c.again()
	s.programmed("web", "Proxy", "Programmed", "")
	s.reports("m2", "192.0.2.1")

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
	one, two = s.lives("m1"), s.lives("m2")
	s.reports("m1", "192.0.2.1")
	s.reports("m2", "192.0.2.1")
	s.programmed("web", "Proxy", "Programmed", "")

	// What serves it is about to go.
	setting := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: settingName}, Data: map[string]string{settingKey: string(mode.None)}}
	s.create(setting)
	s.programmed("web", "VIP", "", "")
	s.merge(setting, `{"data":{"dataplane":"all"}}`)
	s.programmed("web", "Proxy", "Programmed", "")
	s.programmed("plain", "VIP", "NotProgrammed", "")
	s.delete(setting)
	s.programmed("plain", "VIP", "", "")

	// Nor does it ask any more.
	s.merge(web, `{"metadata":{"annotations":{"fairlead.io/dataplane":null}}}`)
	s.programmed("web", "VIP", "", "")
	modes.mu.Lock()
	defer modes.mu.Unlock()
	if want := []string{"VIP", "Proxy", "VIP", "Proxy", "VIP", "Proxy", "VIP"}; !slices.Equal(modes.modes, want) {
		t.Errorf("the modes were %v, want %v", modes.modes, want)
	}
	for _, e := range s.events(s.namespace, "Service", "web") {
		t.Log(e)
	}
	one()
	two()
}
