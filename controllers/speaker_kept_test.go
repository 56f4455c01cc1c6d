package controllers

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/portrange"
)

// ofSpeaker configures what a speaker keeps that serves Services without a class.
func ofSpeaker(o *manager.Options) { WithKept(o, "") }

// keeping returns how a role's informers make what they keep, by kind.
func keeping(configure func(*manager.Options)) map[reflect.Type]toolscache.TransformFunc {
	var o manager.Options
	o.Cache.ByObject = map[client.Object]cache.ByObject{}
	configure(&o)
	out := map[reflect.Type]toolscache.TransformFunc{}
	for object, by := range o.Cache.ByObject {
		out[reflect.TypeOf(object)] = by.Transform
	}
	return out
}

// keeps is what a speaker's informers keep of Services and EndpointSlices.
func keeps(t *testing.T, objects ...client.Object) kept {
	t.Helper()
	return keepsAs(t, ofSpeaker, objects...)
}

// keepsAs is what a role's informers keep of those of the objects that are Services and EndpointSlices.
func keepsAs(t testing.TB, configure func(*manager.Options), objects ...client.Object) kept {
	t.Helper()
	transforms := keeping(configure)
	store := func(kind client.Object) toolscache.Store {
		s := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc, toolscache.WithTransformer(transforms[reflect.TypeOf(kind)]))
		for _, o := range objects {
			if reflect.TypeOf(o) != reflect.TypeOf(kind) {
				continue
			}
			if err := s.Add(o.DeepCopyObject()); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	return kept{store(&corev1.Service{}), store(&discoveryv1.EndpointSlice{})}
}

// TestKept lists what a speaker keeps of the objects of which there may be many: all that it reads.
func TestKept(t *testing.T) {
	service := func(changes ...func(*corev1.Service)) *corev1.Service {
		s := huazi(append([]func(*corev1.Service){assigned("172.25.254.50")}, changes...)...)
		s.ResourceVersion, s.Labels, s.Spec.Selector = "7", map[string]string{"app": "huazi"}, map[string]string{"app": "huazi"}
		s.Spec.Ports = []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}}
		return s
	}
	proxy, other, node, yes, no := corev1.LoadBalancerIPModeProxy, "example.com/other", "n1", true, false
	name := version{allocator.Key{Namespace: "default", Name: "huazi"}, "7"}
	mine := func(change func(*allocator.Service)) *allocator.Service {
		s := &allocator.Service{
			Key: name.Key, UID: "u1", Labels: map[string]string{"app": "huazi"}, Held: parse([]string{"172.25.254.50"}), HeldFrom: "first-pool",
			AssignedAt: time.Date(2026, 11, 22, 10, 0, 0, 7, time.UTC),
		}
		change(s)
		return s
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: full(nil), Endpoints: []discoveryv1.Endpoint{
		{NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}, {Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
		{NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &no}}, {NodeName: &node},
	}}
	for what, c := range map[string]struct {
		in   client.Object
		want any
	}{
		"a Service with an address": {service(), &keptService{version: name, mine: mine(func(*allocator.Service) {})}},
		"one that shares it": {
			service(annotated(allocator.AnnotationSharingKey, "k")),
			&keptService{version: name, mine: mine(func(s *allocator.Service) {
				s.SharingKey, s.Backends, s.Ports = "k", "app=huazi", []portrange.Range{portrange.Port(corev1.ProtocolTCP, 80)}
			})},
		},
		"one that a proxy serves": {
			service(func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IPMode = &proxy }),
			&keptService{version: name, mine: mine(func(*allocator.Service) {}), proxy: parse([]string{"172.25.254.50"})},
		},
		"one that waits":      {service(func(s *corev1.Service) { s.Status = corev1.ServiceStatus{} }), &keptService{version: name}},
		"one of another kind": {service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }), &keptService{version: name}},
		"another class's":     {service(func(s *corev1.Service) { s.Spec.LoadBalancerClass = &other }), &keptService{version: name}},
		"an EndpointSlice": {slice, &keptSlice{
			version: version{allocator.Key{Namespace: "ns", Name: "n"}, "7"}, service: "huazi", some: true, serving: true, nodes: []string{"n1", "n1"},
		}},
		"an empty one": {&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, &keptSlice{version: version{allocator.Key{Name: "n"}, ""}}},
	} {
		t.Run(what, func(t *testing.T) {
			keep := keeping(ofSpeaker)[reflect.TypeOf(c.in)]
			same := cmp.Options{cmp.AllowUnexported(keptService{}, keptSlice{}, version{}), cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(allocator.Service{}, "Created")}
			got, err := keep(c.in.DeepCopyObject())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, same); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if again, err := keep(got); err != nil || again != got {
				t.Error("the second time it changes something") // client-go may call it again
			}
			if m, err := meta.Accessor(got); err != nil || m.GetNamespace() != c.in.GetNamespace() || m.GetName() != c.in.GetName() || m.GetResourceVersion() != c.in.GetResourceVersion() {
				t.Errorf("an informer takes it for %v, %v", m, err)
			}
		})
	}
	for kind, keep := range keeping(ofSpeaker) {
		gone := toolscache.DeletedFinalStateUnknown{Key: "ns/n"}
		if got, err := keep(gone); err != nil || got != any(gone) {
			t.Errorf("%v: makes %v, %v of an object that is gone", kind, got, err)
		}
	}
}

// TestWhatIsNotKeptSaysSo: a manager that was not configured for its role is a mistake, and no empty cluster.
func TestWhatIsNotKeptSaysSo(t *testing.T) {
	k := keeps(t)
	k.services = toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
	if err := k.services.Add(huazi()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.all(); err == nil {
		t.Error("whole Services are taken for what is kept")
	}
}
