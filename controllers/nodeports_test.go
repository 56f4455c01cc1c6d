package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
)

func portRange(name string, ports ...string) *v1alpha1.NodePortRange {
	return &v1alpha1.NodePortRange{TypeMeta: metav1.TypeMeta{Kind: "NodePortRange"}, ObjectMeta: meta1(name), Spec: v1alpha1.NodePortRangeSpec{Ports: ports}}
}

// inner is a Service of type ClusterIP with a port http that asks for node ports, or "" for none.
func inner(name, asks string) *corev1.Service {
	s := huazi(func(s *corev1.Service) {
		s.Name, s.UID, s.ResourceVersion, s.Spec.Type = name, types.UID(name), "", corev1.ServiceTypeClusterIP
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
	})
	if asks != "" {
		annotated(allocator.AnnotationNodePorts, asks)(s)
	}
	return s
}

// holding has a Service show node ports as the controller leaves them.
func holding(ports string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		annotated(allocator.AnnotationNodePortsAssigned, ports)(s)
		s.Status.Conditions = []metav1.Condition{{Type: allocator.ConditionNodePorts, Message: "assigned " + ports + " from a NodePortRange"}}
	}
}

// ports says what stands on a Service: the annotation and the condition.
func (b *bench) ports(name string) string {
	b.t.Helper()
	var s corev1.Service
	if err := b.Client.Get(context.Background(), client.ObjectKey{Namespace: "default", Name: name}, &s); err != nil {
		b.t.Fatal(err)
	}
	text := s.Annotations[allocator.AnnotationNodePortsAssigned]
	if c := meta.FindStatusCondition(s.Status.Conditions, allocator.ConditionNodePorts); c != nil {
		text += fmt.Sprintf(" %s %s: %s", c.Status, c.Reason, c.Message)
	}
	return text
}

// change changes a Service as its user does.
func (b *bench) change(name string, f func(*corev1.Service)) {
	b.t.Helper()
	var s corev1.Service
	key := client.ObjectKey{Namespace: "default", Name: name}
	if err := b.Client.Get(context.Background(), key, &s); err != nil {
		b.t.Fatal(err)
	}
	f(&s)
	if err := b.Client.Update(context.Background(), &s); err != nil {
		b.t.Fatal(err)
	}
}

// TestNodePorts is one Service's life: it gets its port, is told that nobody serves it, then that somebody does, changes its
// mind in vain, then for good, and asks for nothing any more. In between nothing is written.
func TestNodePorts(t *testing.T) {
	b := newBench(t, portRange("games", "33000-33999"), inner("web", "http=33333"), inner("other", "http=33334"), inner("plain", ""))
	b.Writers = 1
	var writes []string
	b.patch = func(_ client.Client, name string) { writes = append(writes, name) }
	const assigned, by = `assigned http=33333 from NodePortRange "games"`, ` from NodePortRange "games"`
	state := &v1alpha1.ProgrammerState{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "n1"}}
	serves := func(ports ...string) {
		state.Status.NodePorts = nil
		for _, p := range ports {
			state.Status.NodePorts = append(state.Status.NodePorts, v1alpha1.ProgrammerNodePort{Service: "default/web", Port: p, Address: "10.0.0.1"})
		}
		state.Status.Counts.NodePorts = int32(len(ports))
		if err := b.Client.Update(context.Background(), state); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name   string
		do     func()
		want   string
		events []string // on the Service
		silent bool     // nothing is written
	}{
		{name: "it asks", want: "http=33333 False NoProgrammer: " + assigned + "; no node's IPVS programmer reports, so nothing serves them",
			events: []string{"Normal NodePortsAssigned " + assigned, "Warning NoProgrammer " + assigned + "; no node's IPVS programmer reports, so nothing serves them"}},
		{name: "nothing changes", silent: true, want: "http=33333 False NoProgrammer: " + assigned + "; no node's IPVS programmer reports, so nothing serves them"},
		{name: "a programmer reports", do: func() {
			b.Programmers = &Programmers{Namespace: "metallb-system", client: b.Client, alive: true}
			if err := b.Client.Create(context.Background(), state); err != nil {
				t.Fatal(err)
			}
		}, want: "http=33333 False NodePortsNotServed: " + assigned + "; no node serves 33333/TCP yet"},
		{name: "it serves the port", do: func() { serves("33333/TCP") }, want: "http=33333 True NodePortsAssigned: " + assigned},
		{name: "nothing changes any more", silent: true, want: "http=33333 True NodePortsAssigned: " + assigned},
		{name: "it asks for somebody else's", do: func() { b.change("web", annotated(allocator.AnnotationNodePorts, "http=33334")) },
			want:   "http=33333 False NodePortTaken: has http=33333 only: 33334/TCP belongs to Service default/other",
			events: []string{"Warning NodePortTaken has http=33333 only: 33334/TCP belongs to Service default/other"}},
		{name: "it asks for one that is free", do: func() { b.change("web", annotated(allocator.AnnotationNodePorts, "auto")) }, want: "http=33333 True NodePortsAssigned: " + assigned},
		{name: "it asks for another one", do: func() { b.change("web", annotated(allocator.AnnotationNodePorts, "http=33335")) },
			want: "http=33335 False NodePortsNotServed: assigned http=33335" + by + "; no node serves 33335/TCP yet", events: []string{"Normal NodePortsAssigned assigned http=33335" + by}},
		{name: "it serves more than is listed one by one, this one not", do: func() {
			state.Status.MorePorts = []string{"33336-33999/TCP", "33335/UDP", "nonsense"}
			serves("1/TCP")
		},
			want: "http=33335 False NodePortsNotServed: assigned http=33335" + by + "; no node serves 33335/TCP yet"},
		{name: "this one too", do: func() {
			state.Status.MorePorts = []string{"33330-33999/TCP"}
			serves("1/TCP")
		},
			want: "http=33335 True NodePortsAssigned: assigned http=33335" + by},
		{name: "it asks for nothing any more", do: func() {
			b.change("web", func(s *corev1.Service) { delete(s.Annotations, allocator.AnnotationNodePorts) })
		},
			want: "", events: []string{"Normal NodePortsReleased the Service asks for no node ports any more, so http=33335 is free"}},
		{name: "nothing is left of it", silent: true, want: ""},
	} {
		if step.do != nil {
			step.do()
		}
		writes = nil
		if err := b.pass(); err != nil {
			t.Fatal(err)
		}
		if got := b.ports("web"); got != step.want {
			t.Errorf("%s: %s\nwant %s", step.name, got, step.want)
		}
		var events []string
		for _, e := range b.events.take() {
			if o, ok := e.object.(*corev1.ObjectReference); ok && o.Name == "web" {
				events = append(events, e.kind+" "+e.reason+" "+e.note)
			}
		}
		if !slices.Equal(events, step.events) {
			t.Errorf("%s: told\n%s\nwant\n%s", step.name, strings.Join(events, "\n"), strings.Join(step.events, "\n"))
		}
		if step.silent && len(writes) > 0 {
			t.Errorf("%s: written: %v", step.name, writes)
		}
		if slices.Contains(writes, "plain") {
			t.Errorf("%s: a Service that asks for nothing was written", step.name)
		}
	}
}

// TestRangesOfNodePorts: a range is said to be served when every port of it is by some node; what one refuses another may serve.
func TestRangesOfNodePorts(t *testing.T) {
	b := newBench(t, portRange("games", "33000-33999"), inner("web", "ranges"), inner("other", "http=33333"))
	b.Writers = 1
	b.change("web", annotated(portrange.Annotation, "33000-33099/UDP"))
	b.Programmers = &Programmers{Namespace: "metallb-system", client: b.Client, alive: true}
	const assigned = `assigned 33000-33099/UDP from NodePortRange "games"`
	port := func(text string, refused bool) v1alpha1.ProgrammerNodePort {
		return v1alpha1.ProgrammerNodePort{Service: "default/web", Port: text, Address: "10.0.0.1", Refused: refused}
	}
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"nobody serves it", func() error { return nil }, "33000-33099/UDP False NodePortsNotServed: " + assigned + "; no node serves 33000-33099/UDP yet"},
		{"a node serves it but for one port", func() error {
			return b.Client.Create(context.Background(), &v1alpha1.ProgrammerState{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "n1"}, Status: v1alpha1.ProgrammerStateStatus{
				NodePorts: []v1alpha1.ProgrammerNodePort{port("33050/UDP", true), port("33000-33049/UDP", false), port("33051-33099/UDP", false)}}})
		}, "33000-33099/UDP False NodePortsNotServed: " + assigned + "; no node serves 33050/UDP yet"},
		{"another node has that one", func() error {
			return b.Client.Create(context.Background(), &v1alpha1.ProgrammerState{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "n2"}, Status: v1alpha1.ProgrammerStateStatus{
				MorePorts: []string{"33000-33099/UDP"}}})
		}, "33000-33099/UDP True NodePortsAssigned: " + assigned},
		{"it is to grow over another one's port", func() error {
			b.change("web", annotated(portrange.Annotation, "33000-33333/TCP,33000-33099/UDP"))
			return nil
		}, "33000-33099/UDP False NodePortTaken: has 33000-33099/UDP only: 33000-33333/TCP: 33333/TCP belongs to Service default/other"},
	} {
		if err := errors.Join(step.do(), b.pass()); err != nil {
			t.Fatal(err)
		}
		if got := b.ports("web"); got != step.want {
			t.Errorf("%s: %s\nwant %s", step.name, got, step.want)
		}
	}
}

// TestNodePortsOfALoadBalancer: what is said of its address and of its ports goes in one write.
func TestNodePortsOfALoadBalancer(t *testing.T) {
	s := huazi(annotated(allocator.AnnotationNodePorts, "auto"), func(s *corev1.Service) {
		s.ResourceVersion = ""
		s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
	})
	b := newBench(t, portRange("games", "33000-33999"), s)
	b.Writers = 1
	writes := 0
	b.patch = func(client.Client, string) { writes++ }
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	b.want(map[string]string{"huazi": "172.25.254.50"})
	if got := b.ports("huazi"); !strings.HasPrefix(got, "33000 False NoProgrammer: assigned 33000 from") || writes != 1 {
		t.Errorf("%s, after %d writes", got, writes)
	}
	b.change("huazi", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	b.want(map[string]string{})
	if got := b.ports("huazi"); !strings.HasPrefix(got, "33000 False NoProgrammer: assigned 33000 from") || writes != 2 {
		t.Errorf("as a ClusterIP: %s, after %d writes", got, writes)
	}
}

// TestNodePortRangeStatus: what became of a range stands in its status, and is written once.
func TestNodePortRangeStatus(t *testing.T) {
	b := newBench(t, portRange("games", "33000-33009"), portRange("bad", "22"), inner("web", "http=33333"), inner("other", "auto"))
	status := func(name string) string {
		t.Helper()
		var r v1alpha1.NodePortRange
		if err := b.Client.Get(context.Background(), client.ObjectKey{Namespace: "metallb-system", Name: name}, &r); err != nil {
			t.Fatal(err)
		}
		c := r.Status.Conditions[0]
		return fmt.Sprintf("%d %d %s %s", r.Status.Assigned, r.Status.Free, c.Status, c.Reason) + " " + r.ResourceVersion
	}
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	games, bad := status("games"), status("bad")
	if !strings.HasPrefix(games, "1 19 True InForce") || !strings.HasPrefix(bad, "0 0 False ReservedPorts") {
		t.Errorf("%s; %s", games, bad)
	}
	if err := b.pass(); err != nil || status("games") != games || status("bad") != bad {
		t.Errorf("written again: %s, %s (%v)", status("games"), status("bad"), err)
	}
}
