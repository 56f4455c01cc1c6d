//go:build envtest

package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// apply creates what manifests hold, as they are; what names no namespace goes into the story's.
func (s *story) apply(files ...string) {
	s.t.Helper()
	for _, file := range files {
		f, err := os.Open(file)
		s.ok(err)
		defer func() { _ = f.Close() }()
		decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
		for {
			o := &unstructured.Unstructured{}
			if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				s.t.Fatal(err)
			}
			if o.GetNamespace() == "" && o.GetKind() == "Service" {
				o.SetNamespace(s.namespace)
			}
			s.create(o)
		}
	}
}

// TestTheGuidesManifestsWithTheRealRights runs controller and speaker with the rights of config/rbac and the manifests
// that users have, all unchanged, beside every kind of Service that is not ours.
func TestTheGuidesManifestsWithTheRealRights(t *testing.T) {
	s := newStoryIn(t, "default", "metallb-system", "")
	s.apply("../config/rbac/controller.yaml", "../config/rbac/speaker.yaml", "../config/rbac/speakerpolicy.yaml", "../config/rbac/ipvs/ipvs.yaml", "../config/rbac/ipvs/ipvspolicy.yaml")
	other := "example.com/other"
	notOurs := map[string]func(*corev1.Service){
		"cluster-ip": func(v *corev1.Service) { v.Spec.Type = corev1.ServiceTypeClusterIP },
		"headless": func(v *corev1.Service) {
			v.Spec.Type, v.Spec.ClusterIP = corev1.ServiceTypeClusterIP, corev1.ClusterIPNone
		},
		"node-port": func(v *corev1.Service) { v.Spec.Type = corev1.ServiceTypeNodePort },
		"external-name": func(v *corev1.Service) {
			v.Spec.Type, v.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
		},
		"another-class": func(v *corev1.Service) { v.Spec.LoadBalancerClass = &other },
		"with-annotations": func(v *corev1.Service) {
			v.Spec.Type = corev1.ServiceTypeClusterIP
			v.Annotations = map[string]string{"metallb.io/address-pool": "first-pool", "metallb.io/loadBalancerIPs": "172.25.254.50"}
		},
		"external-ips": func(v *corev1.Service) {
			v.Spec.Type, v.Spec.ExternalIPs = corev1.ServiceTypeClusterIP, []string{"172.25.254.50"}
		},
	}
	versions := map[string]string{"kubernetes": s.get("kubernetes").ResourceVersion}
	for name, change := range notOurs {
		v := s.service(name, change)
		if v.Spec.Type != corev1.ServiceTypeLoadBalancer {
			v.Spec.AllocateLoadBalancerNodePorts = nil
		}
		s.create(v)
		versions[name] = v.ResourceVersion
	}
	s.apply("../config/samples/first-pool.yaml", "../config/samples/huazi.yaml")

	c := s.start(settings{as: "metallb-system/fairlead-controller", elect: true, membersKey: true})
	s.gets("huazi", "172.25.254.50")
	s.told("huazi", assignedOne("172.25.254.50"))
	s.counts("first-pool", 1, 49, 0, 0)
	s.state("controller", "poolReconcilerValid", "Valid", "")
	s.claimsWithTheRealRights()
	s.elsewhereWithTheRealRights()
	c.again()
	for name, before := range versions {
		if now := s.get(name).ResourceVersion; now != before {
			t.Errorf("%s, which is not ours, was written", name)
		}
	}
	c.quiet()

	// The rights go no further.
	limited, err := client.New(as("metallb-system/fairlead-controller"), client.Options{Scheme: s.admin.Scheme()})
	s.ok(err)
	for what, err := range map[string]error{
		"reads Secrets":           limited.List(s.ctx, &corev1.SecretList{}, client.InNamespace(s.config)),
		"writes Services":         limited.Patch(s.ctx, s.get("cluster-ip"), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))),
		"makes Secrets elsewhere": limited.Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "x"}}),
		"writes pools":            limited.Patch(s.ctx, s.pool("first-pool"), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))),
		"speaks for speakers":     limited.Status().Patch(s.ctx, configurationState(s.config, "speaker-n1"), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"result":"Valid"}}`))),
		"reads other Leases":      limited.Get(s.ctx, client.ObjectKey{Namespace: s.config, Name: "another"}, leaseObject()),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("the controller %s: %v", what, err)
		}
	}

	s.speaks(c)
	s.ok(c.stop())
	for line := range strings.Lines(libraryLogs.String()) {
		if strings.Contains(line, "forbidden") && strings.Contains(line, ":metallb-system:fairlead-") {
			t.Errorf("a right is missing: %s", line)
		}
	}
}

// claimsWithTheRealRights has every kind of write that policies and reservations bring made once.
func (s *story) claimsWithTheRealRights() {
	s.t.Helper()
	keep := s.policy("keep", v1alpha1.AddressPolicySpec{PoolNames: []string{"first-pool"}, Retain: lasting(time.Hour)})
	hold := s.reservation("hold", v1alpha1.AddressReservationSpec{Address: "172.25.254.60", Service: &v1alpha1.ServiceReference{Namespace: s.namespace, Name: "x"}})
	s.create(keep, hold)
	s.shows(keep, func() []metav1.Condition { return keep.Status.Conditions }, v1alpha1.ConditionReady, metav1.ConditionTrue, verdict.InForce)
	s.shows(hold, func() []metav1.Condition { return hold.Status.Conditions }, v1alpha1.ConditionBound, metav1.ConditionTrue, verdict.Bound)
	claimed := func(addresses ...string) {
		s.t.Helper()
		s.eventually(func() string {
			if got := slices.Sorted(maps.Keys(s.claims())); !slices.Equal(got, addresses) {
				return fmt.Sprintf("claimed are %v, want %v", got, addresses)
			}
			return ""
		})
	}
	claimed("172.25.254.50")
	second := s.service("second", func(v *corev1.Service) { v.Spec.LoadBalancerClass = nil })
	s.create(second)
	claimed("172.25.254.50", "172.25.254.51")
	s.delete(second)
	s.eventually(func() string {
		if c := s.claims()["172.25.254.51"]; c.Spec.RetainUntil == nil {
			return fmt.Sprintf("not retained: %+v", c.Spec)
		}
		return ""
	})
	s.delete(hold)
	s.delete(keep)
	claimed("172.25.254.51") // until its hour is over
}

// elsewhereWithTheRealRights sees what is outside the configuration namespace told once, and what is in it not at all.
func (s *story) elsewhereWithTheRealRights() {
	s.t.Helper()
	inHome := &v1beta1.Community{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: "here"}}
	s.create(inHome,
		&v1beta1.Community{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "lost"}},
		&v1beta2.BGPPeer{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "lost"}, Spec: v1beta2.BGPPeerSpec{MyASN: 1, PeerASN: 2, PeerAddress: "192.0.2.1"}})
	limited, err := client.New(as("metallb-system/fairlead-controller"), client.Options{Scheme: s.admin.Scheme()})
	s.ok(err)
	var r recorder
	e := &Elsewhere{Uncached: limited, Events: &r, Log: slog.New(slog.NewTextHandler(&libraryLogs, nil)), Namespace: s.config, every: 50 * time.Millisecond}
	stop := s.background(e.Start)
	told := map[string]int{}
	s.eventually(func() string {
		for _, x := range r.take() {
			told[x.note]++
		}
		for _, kind := range []string{"Community", "BGPPeer"} {
			if told[kind+` "lost" in namespace "default" has no effect: Fairlead reads its configuration in namespace "metallb-system" only: create it there and delete it here`] == 0 {
				return fmt.Sprintf("told are %v", told)
			}
		}
		return ""
	})
	time.Sleep(200 * time.Millisecond)
	s.ok(stop())
	for _, x := range r.take() {
		told[x.note]++
	}
	for note, n := range told {
		if n != 1 || strings.Contains(note, `in namespace "metallb-system" has`) {
			s.t.Errorf("told %d times: %s", n, note)
		}
	}
}

func configurationState(namespace, name string) client.Object {
	return &v1beta1.ConfigurationState{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func leaseObject() client.Object {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("coordination.k8s.io/v1")
	o.SetKind("Lease")
	return o
}

// speaks runs the speaker of the only node, with its real rights, and sees it announce huazi's address.
func (s *story) speaks(c *replica) {
	t := s.t
	yes, name := true, "n1"
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s.create(node)
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: netip.AddrFrom4([4]byte{127, byte(rand.IntN(250) + 1), byte(rand.IntN(256)), 1}).String()}}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	s.ok(s.admin.Status().Update(s.ctx, node))
	s.create(&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "huazi-1", Labels: map[string]string{discoveryv1.LabelServiceName: "huazi"}}, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.2"}, NodeName: &name, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}},
	})
	l, err := net.Listen("tcp", node.Status.Addresses[0].Address+":0")
	s.ok(err)
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	_ = l.Close()

	links, layer2 := make(oneLink, 1), &noLayer2{}
	links <- struct{}{}
	state := &ConfigurationState{Namespace: s.config, Node: name}
	speakers := &SpeakerStates{Log: c.log.logger(), Namespace: s.config, Node: name, Version: "v1"}
	l2Statuses := &ServiceL2Statuses{Log: c.log.logger(), Namespace: s.config, Node: name}
	bgpStatuses := &BGPStatuses{Log: c.log.logger(), Namespace: s.config, Node: name, Limit: 5000}
	m := c.manager(as("metallb-system/fairlead-speaker@"+name), func(o *manager.Options) {
		state.Configure(o)
		l2Statuses.Configure(o)
		bgpStatuses.Configure(o)
		WithPasswords(o, s.config)
		WithKept(o, "")
	})
	events, err := NewEventWriter(m, c.log.logger(), "fairlead-speaker")
	s.ok(err)
	a := &Announcing{
		Client: m.GetClient(), Uncached: m.GetAPIReader(), Events: events, Log: c.log.logger(), State: state,
		Speakers: speakers, Namespace: s.config, Node: name, Options: AnnouncingOptions{MembersPort: port, FailbackAfter: time.Minute}, Links: links, Layer2: layer2,
		Statuses: l2Statuses, BGPStatuses: bgpStatuses,
	}
	s.ok(errors.Join(a.SetUp(m), state.SetUp(m), speakers.SetUp(m), l2Statuses.SetUp(m), bgpStatuses.SetUp(m)))
	stop := s.background(m.Start)
	announces := func(want ...string) {
		t.Helper()
		s.eventually(func() string {
			if got := layer2.addresses(); !slices.Equal(got, want) {
				return "announced is " + strings.Join(got, " ") + ", want " + strings.Join(want, " ")
			}
			return ""
		})
	}
	if a.Ready(nil) == nil {
		t.Error("the speaker is ready before it has done anything")
	}
	announces("172.25.254.50")
	s.eventually(func() string {
		if err := a.Ready(nil); err != nil {
			return err.Error()
		}
		return ""
	})
	says := s.state("speaker-"+name, "configReconcilerValid", "Valid", "")
	if o := says.OwnerReferences; len(o) != 1 || o[0].Kind != "Node" || o[0].UID != node.UID || says.Labels["metallb.io/node-name"] != name {
		t.Errorf("its ConfigurationState was made as %+v", says.ObjectMeta)
	}
	s.eventually(func() string {
		var o v1alpha1.SpeakerState
		if err := s.admin.Get(s.ctx, client.ObjectKey{Namespace: s.config, Name: name}, &o); err != nil {
			return err.Error()
		}
		if len(o.OwnerReferences) != 1 || o.OwnerReferences[0].UID != node.UID || o.Status.Version != "v1" || o.Status.Address == "" || !slices.Equal(o.Status.Layer2.Addresses, []string{"172.25.254.50"}) {
			return fmt.Sprintf("its SpeakerState is %+v", o)
		}
		return ""
	})
	s.told("huazi", assignedOne("172.25.254.50"), `Normal nodeAssigned announcing 172.25.254.50 from node "n1" with protocol "layer2"`)
	s.eventually(func() string {
		var list v1beta1.ServiceL2StatusList
		s.ok(s.admin.List(s.ctx, &list, client.InNamespace(s.config)))
		if len(list.Items) != 1 || list.Items[0].Status.Node != name || list.Items[0].Status.ServiceName != "huazi" || len(list.Items[0].Status.Interfaces) != 1 {
			return fmt.Sprintf("the ServiceL2Statuses are %+v", list.Items)
		}
		return ""
	})
	s.ownOnly(name)
	c.quiet()
	s.speaksBGP(name)
	endpoints := func(patch string) {
		s.merge(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "huazi-1"}}, `{"endpoints":[`+patch+`]}`)
	}
	endpoints("") // nothing is behind the address any more
	announces()
	endpoints(`{"addresses":["10.244.0.2"],"conditions":{"ready":true}}`)
	announces("172.25.254.50")
	endpoints(`{"addresses":["10.244.0.2"],"conditions":{"ready":false}}`) // it is kept by whoever announces it
	time.Sleep(200 * time.Millisecond)
	announces("172.25.254.50")
	s.programs(c, name)
	s.merge(s.get("huazi"), `{"spec":{"type":"ClusterIP"}}`)
	announces()
	began := time.Now()
	s.ok(stop())
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the speaker stopped after %s", took)
	}
}

// ownOnly sees that a speaker may write the objects of its own node, and of no other; and one whose token names no node,
// none.
func (s *story) ownOnly(node string) {
	writer := func(account string) client.Client {
		c, err := client.New(as(account), client.Options{Scheme: s.admin.Scheme()})
		s.ok(err)
		return c
	}
	const account = "metallb-system/fairlead-speaker"
	status := func(of string) *v1beta1.ServiceL2Status {
		return &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: "l2-test-" + of, Labels: map[string]string{v1beta1.LabelNode: of}}}
	}
	state := func(of string) *v1alpha1.SpeakerState {
		return &v1alpha1.SpeakerState{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: of}}
	}
	s.create(status("n2"), state("n2"))
	refused := func(what string, err error) {
		s.t.Helper()
		if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			s.t.Errorf("%s: %v, want a refusal by the policy", what, err)
		}
	}
	// A policy is in force some time after it was created.
	s.eventually(func() string {
		if err := writer(account).Create(s.ctx, state("n3"), client.DryRunAll); err == nil || !strings.Contains(err.Error(), "names no node") {
			return fmt.Sprintf("without a node: %v", err)
		}
		return ""
	})
	own := writer(account + "@" + node)
	refused("another node's SpeakerState made", own.Create(s.ctx, state("n3"), client.DryRunAll))
	var other v1alpha1.SpeakerState
	s.ok(s.admin.Get(s.ctx, client.ObjectKeyFromObject(state("n2")), &other))
	other.Status.Settled = true
	refused("another node's SpeakerState written", own.Update(s.ctx, &other))
	refused("another node's status made", own.Create(s.ctx, status("n3"), client.DryRunAll))
	refused("another node's status deleted", own.Delete(s.ctx, status("n2")))
	refused("another node's ConfigurationState made", own.Create(s.ctx, configurationState(s.config, "speaker-n3"), client.DryRunAll))
	s.ok(own.Create(s.ctx, status(node)))
	s.ok(client.IgnoreNotFound(own.Delete(s.ctx, status(node)))) // the speaker may have been quicker: it announces no such Service
	s.delete(status("n2"))
	s.delete(state("n2"))
}

// oneLink is a node's links: one, that never changes. Its channel holds the first look.
type oneLink chan struct{}

func (oneLink) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (oneLink) Snapshot() []plan.LinkState {
	return []plan.LinkState{{Link: plan.Link{Index: 2, Name: "eth0"}}}
}
func (l oneLink) Changed() <-chan struct{} { return l }

// noLayer2 announces nothing, but remembers what it should.
type noLayer2 struct {
	mu  sync.Mutex
	now []plan.Announcement
}

func (*noLayer2) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (l *noLayer2) ApplyLeaving(_ context.Context, want, _ []plan.Announcement) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = want
	return nil
}

func (*noLayer2) Changed() <-chan struct{}                  { return nil }
func (*noLayer2) Contested() time.Time                      { return time.Time{} }
func (*noLayer2) Watch(context.Context, []netip.Addr) error { return nil }
func (*noLayer2) Paused() (time.Duration, bool)             { return 0, false }
func (*noLayer2) Conflicts() []layer2.Conflict              { return nil }

func (*noLayer2) Resume(context.Context, time.Duration, []plan.Announcement) error { return nil }

func (l *noLayer2) Announced() []plan.Announcement {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *noLayer2) addresses() []string {
	var out []string
	for _, x := range l.Announced() {
		out = append(out, x.Address.String())
	}
	return out
}

// TestAMissingRightIsInTheLog: without the right to watch, nothing is decided, and the log names the right.
func TestAMissingRightIsInTheLog(t *testing.T) {
	s := newStory(t)
	c := s.start(settings{as: s.config + "/nobody"})
	for _, resource := range []string{"services", "namespaces", "ipaddresspools", "l2advertisements"} {
		s.eventually(func() string {
			for line := range strings.Lines(libraryLogs.String() + c.log.String()) {
				if strings.Contains(line, "level=ERROR") && strings.Contains(line, ":"+s.config+":nobody") && strings.Contains(line, `cannot list resource \"`+resource+`\"`) {
					return ""
				}
			}
			return "the log says nothing about " + resource
		})
	}
	if c.passes.Load() > 0 {
		t.Error("it decided without seeing everything")
	}
	speaker := c.manager(as(s.config+"/nobody"), func(*manager.Options) {})
	a := &Announcing{Client: speaker.GetClient(), Log: c.log.logger(), Namespace: s.config, Node: "n1", Links: make(oneLink), Layer2: &noLayer2{}}
	s.ok(a.SetUp(speaker))
	stop := s.background(speaker.Start)
	time.Sleep(200 * time.Millisecond)
	began := time.Now()
	s.ok(stop())
	_ = c.stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopped after %s", took)
	}
}
