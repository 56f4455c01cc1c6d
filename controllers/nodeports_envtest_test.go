//go:build envtest

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

func (s *story) portRange(name string, spec v1alpha1.NodePortRangeSpec) *v1alpha1.NodePortRange {
	return &v1alpha1.NodePortRange{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: name}, Spec: spec}
}

// inner is a Service of type ClusterIP with the port http that asks for node ports.
func (s *story) inner(name, asks string) *corev1.Service {
	return s.service(name, func(v *corev1.Service) {
		v.Spec.Type, v.Spec.LoadBalancerClass, v.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeClusterIP, nil, nil
		v.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
		v.Annotations = map[string]string{allocator.AnnotationNodePorts: asks}
		if s.class != "" {
			v.Annotations[allocator.AnnotationClass] = s.class
		}
	})
}

// hasPorts waits until the Service has these node ports, and a condition with the reason that says something.
func (s *story) hasPorts(name, ports, reason, message string) {
	s.t.Helper()
	s.eventually(func() string {
		v := s.get(name)
		c := meta.FindStatusCondition(v.Status.Conditions, allocator.ConditionNodePorts)
		if got := v.Annotations[allocator.AnnotationNodePortsAssigned]; got != ports || c == nil || c.Reason != reason || !strings.Contains(c.Message, message) {
			return fmt.Sprintf("%s has %q and %+v, want %q and %s: %s", name, got, c, ports, reason, message)
		}
		return ""
	})
}

// TestNodePortsOutsideTheAPIServersRange is the story of the user who asks for 33333 and gets it, beside those who may not.
func TestNodePortsOutsideTheAPIServersRange(t *testing.T) {
	s := newStory(t)
	for what, spec := range map[string]v1alpha1.NodePortRangeSpec{
		"no ports":         {},
		"nonsense":         {Ports: []string{"http"}},
		"a list":           {Ports: []string{"1,2"}},
		"no protocol":      {Ports: []string{"33333"}, Protocols: []v1alpha1.PortProtocol{"ICMP"}},
		"a protocol twice": {Ports: []string{"33333"}, Protocols: []v1alpha1.PortProtocol{"TCP", "TCP"}},
	} {
		if err := s.admin.Create(s.ctx, s.portRange("bad", spec)); !apierrors.IsInvalid(err) {
			t.Errorf("%s is stored: %v", what, err)
		}
	}
	games := s.portRange("games", v1alpha1.NodePortRangeSpec{Ports: []string{"33000-33999"}, Services: &v1alpha1.ServiceSelector{Namespaces: []string{s.namespace}}})
	s.create(games, s.inner("web", "http=33333"), s.inner("other", "http=33333"), s.inner("any", "auto"), s.inner("plain", "http=31000"))
	c := s.start(settings{grace: 3 * time.Second})
	s.hasPorts("any", "http=33000", "NoProgrammer", "no node's IPVS programmer reports")
	s.hasPorts("plain", "", "NodePortOutside", "is the API server's to give")
	first, second := "web", "other"
	if s.eventually(func() string {
		if s.get("web").Annotations[allocator.AnnotationNodePortsAssigned]+s.get("other").Annotations[allocator.AnnotationNodePortsAssigned] == "" {
			return "neither has 33333"
		}
		return ""
	}); s.get("other").Annotations[allocator.AnnotationNodePortsAssigned] != "" {
		first, second = second, first
	}
	s.hasPorts(first, "http=33333", "NoProgrammer", "")
	s.hasPorts(second, "", "NodePortTaken", "33333/TCP belongs to Service "+s.namespace+"/"+first)

	// Nothing is written while nothing changes, by a new controller neither.
	c.allWrites()
	c.again()
	if w := c.writes(); len(w) > 0 {
		t.Errorf("written for nothing: %q", w)
	}
	s.delete(s.get(first))
	s.hasPorts(second, "http=33333", "NoProgrammer", "")
	s.merge(s.get(second), `{"metadata":{"annotations":{"fairlead.io/node-ports":"http=33334"}}}`)
	s.hasPorts(second, "http=33334", "NoProgrammer", "")
	s.eventually(func() string {
		var r v1alpha1.NodePortRange
		if err := s.admin.Get(s.ctx, client.ObjectKeyFromObject(games), &r); err != nil || r.Status.Assigned != 2 || r.Status.Free != 1998 {
			return fmt.Sprintf("the range says %+v (%v)", r.Status, err)
		}
		return ""
	})
	s.merge(games, `{"spec":{"services":{"namespaces":["elsewhere"]}}}`)
	s.hasPorts("any", "http=33000", "NodePortOrphaned", "although no NodePortRange gives the Service 33000/TCP any more")
	s.hasPorts("any", "", "NodePortNotAllowed", "no NodePortRange with TCP ports admits the Service")
}

// servesNodePorts sees a port given by the controller, served by the programmer, and said to be served.
func (s *story) servesNodePorts(k *heldKernel) {
	s.t.Helper()
	s.create(s.portRange("games", v1alpha1.NodePortRangeSpec{Ports: []string{"33000-33999"}, NodeAddresses: []string{"198.51.100.0/24"}}), s.inner("game", "http=33333"))
	s.hasPorts("game", "http=33333", "NodePortsAssigned", "")
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := k.plan.NodePorts; len(n) != 1 || n[0].Refused || n[0].String() != "198.51.100.7 33333/TCP" || n[0].Name != "game" {
		s.t.Errorf("the plan's node ports are %v", n)
	}
}
