package controllers

// This file holds what a speaker keeps of the Services and EndpointSlices, of which there may be tens of thousands while
// there is a speaker on every node: what it reads of them, parsed once, in place of the objects.

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// WithKept has a manager's informers keep of Services and EndpointSlices only what Announcing reads. A client that reads
// these kinds from the cache fails.
func WithKept(o *manager.Options, class string) {
	keepAs(o, &corev1.Service{}, func(s *corev1.Service) any { return keepService(s, class) })
	keepAs(o, &discoveryv1.EndpointSlice{}, func(e *discoveryv1.EndpointSlice) any { return keepSlice(e) })
}

// keepAs has a manager's informers keep something else in place of each object of a kind.
func keepAs[T client.Object](o *manager.Options, kind T, keep func(T) any) {
	maps.DeleteFunc(o.Cache.ByObject, func(object client.Object, _ cache.ByObject) bool { // what the other roles keep
		_, same := object.(T)
		return same
	})
	o.Cache.ByObject[kind] = cache.ByObject{Transform: func(in any) (any, error) {
		if x, ok := in.(T); ok {
			return keep(x), nil
		}
		return in, nil
	}}
}

// version is what an informer reads of what it keeps: the name and resourceVersion of the object.
type version struct {
	allocator.Key
	resource string
}

// GetObjectMeta implements metav1.ObjectMetaAccessor. The metadata have nothing else.
func (v *version) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: v.Namespace, Name: v.Name, ResourceVersion: v.resource}
}

// keptService is what is kept of a Service.
type keptService struct {
	version
	mine  *allocator.Service // nil: it is not of the class, or has no address
	proxy []netip.Addr       // those of its addresses whose ipMode is Proxy
}

func keepService(s *corev1.Service, class string) *keptService {
	out := &keptService{version: version{allocator.Key{Namespace: s.Namespace, Name: s.Name}, s.ResourceVersion}}
	if !ours(s, class) || len(s.Status.LoadBalancer.Ingress) == 0 {
		return out
	}
	mine := allocator.ServiceOf(s, nil)
	mine.Key, mine.Families = out.Key, nil
	if mine.SharingKey == "" { // whoever else shows its addresses, nothing of these is compared
		mine.Ports, mine.Backends = nil, ""
	}
	out.mine, out.proxy = &mine, proxied(s, mine.Held)
	return out
}

// proxied returns those of the addresses whose ipMode is Proxy.
func proxied(s *corev1.Service, addresses []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode != corev1.LoadBalancerIPModeProxy {
			continue
		}
		if x, err := netip.ParseAddr(in.IP); err == nil && slices.Contains(addresses, x.Unmap()) {
			out = append(out, x.Unmap())
		}
	}
	return out
}

// keptSlice is what is kept of an EndpointSlice.
type keptSlice struct {
	version
	service string   // its name
	some    bool     // there are endpoints
	serving bool     // one of them serves
	nodes   []string // of each that serves and names one
}

func keepSlice(e *discoveryv1.EndpointSlice) *keptSlice {
	out := &keptSlice{
		version: version{allocator.Key{Namespace: e.Namespace, Name: e.Name}, e.ResourceVersion},
		service: e.Labels[discoveryv1.LabelServiceName], some: len(e.Endpoints) > 0,
	}
	for i := range e.Endpoints {
		x := &e.Endpoints[i]
		if !serves(x) {
			continue
		}
		out.serving = true
		if x.NodeName != nil {
			out.nodes = append(out.nodes, *x.NodeName)
		}
	}
	out.nodes = slices.Clip(out.nodes)
	return out
}

// serves says whether an endpoint is ready or, as it terminates, still answers (Kubernetes: EndpointConditions; an absent
// value counts as true).
func serves(e *discoveryv1.Endpoint) bool {
	c := e.Conditions
	return c.Ready == nil || *c.Ready || c.Serving != nil && *c.Serving
}

// addTo notes the endpoints of a slice.
func (e *keptSlice) addTo(s *plan.Service) {
	s.Endpoints = s.Endpoints || e.some
	s.Serving = s.Serving || e.serving
	if s.ServingNodes == nil {
		s.ServingNodes = e.nodes // clipped, so that the next one's do not go into it
	} else {
		s.ServingNodes = append(s.ServingNodes, e.nodes...)
	}
}

// kept is where the informers keep Services and EndpointSlices, each role what it reads of them.
type kept struct{ services, slices toolscache.Store }

// keptBy returns where a cache keeps them.
func keptBy(ctx context.Context, c cache.Cache) (out kept, err error) {
	if out.services, err = storeOf(ctx, c, &corev1.Service{}); err == nil {
		out.slices, err = storeOf(ctx, c, &discoveryv1.EndpointSlice{})
	}
	return out, err
}

func storeOf(ctx context.Context, c cache.Cache, o client.Object) (toolscache.Store, error) {
	informer, err := c.GetInformer(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("watching %T: %w", o, err)
	}
	shared, ok := informer.(toolscache.SharedInformer)
	if !ok {
		return nil, fmt.Errorf("what is kept of each %T cannot be read: its informer is a %T", o, informer)
	}
	return shared.GetStore(), nil
}

// all returns everything that is kept, in any order.
func (k kept) all() ([]*keptService, []*keptSlice, error) {
	services, err := listOf[*keptService](k.services)
	if err != nil {
		return nil, nil, err
	}
	slices, err := listOf[*keptSlice](k.slices)
	return services, slices, err
}

func listOf[T any](store toolscache.Store) ([]T, error) {
	items := store.List()
	out := make([]T, 0, len(items))
	for _, x := range items {
		t, ok := x.(T)
		if !ok {
			return nil, fmt.Errorf("an informer keeps a %T, not a %T: its manager was not configured to", x, t)
		}
		out = append(out, t)
	}
	return out, nil
}

// uid returns the UID of a Service, "" if it is gone.
func (k kept) uid(of allocator.Key) types.UID {
	if x, ok, err := k.services.GetByKey(of.String()); ok && err == nil {
		if s, ok := x.(*keptService); ok && s.mine != nil {
			return types.UID(s.mine.UID)
		}
	}
	return ""
}

// announcedServices returns those of the Services that are of the class and rightfully have an address, with their
// endpoints.
func announcedServices(p *policy.Policy, services []*keptService, slices []*keptSlice) []plan.Service {
	var mine []*keptService
	var holders []allocator.Service
	for _, s := range services {
		if s.mine != nil {
			mine, holders = append(mine, s), append(holders, *s.mine)
		}
	}
	out := make([]plan.Service, 0, len(mine))
	at := make(map[allocator.Key]int, len(mine))
	for i, addresses := range allocator.Rightful(p, holders) {
		if len(addresses) == 0 {
			continue
		}
		s := mine[i]
		at[s.Key] = len(out)
		out = append(out, plan.Service{
			Namespace:  s.Namespace,
			Name:       s.Name,
			UID:        s.mine.UID,
			Labels:     s.mine.Labels,
			Addresses:  addresses,
			Proxy:      s.proxy,
			AssignedAt: s.mine.AssignedAt,
			Pool:       s.mine.HeldFrom,
			Local:      s.mine.Local,
		})
	}
	for _, e := range slices {
		if k, ok := at[allocator.Key{Namespace: e.Namespace, Name: e.service}]; ok {
			e.addTo(&out[k])
		}
	}
	return out
}
