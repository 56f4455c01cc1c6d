package controllers

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

const (
	// labelProxyName says which service proxy serves a Service whole (KEP-2447); kube-proxy leaves those alone that have it.
	labelProxyName = "service.kubernetes.io/service-proxy-name"
	// proxyName is ours.
	proxyName = "fairlead"
)

// gather puts together the view of this node.
func (p *Programming) gather(ctx context.Context, local plan.Local, now time.Time) (plan.View, error) {
	v := plan.View{Node: p.Node, Addresses: local.Addresses, Scheduler: p.Options.Scheduler, Drain: p.Options.Drain, Ping: p.Options.Ping}
	var nodes corev1.NodeList
	if err := p.Client.List(ctx, &nodes); err != nil {
		return v, fmt.Errorf("listing Nodes: %w", err)
	}
	v.Internal = slices.Clone(p.Options.ClusterCIDRs)
	var own *corev1.Node
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if n.Name == p.Node {
			v.Zone, own = n.Labels[corev1.LabelTopologyZone], n
		}
		if len(p.Options.ClusterCIDRs) == 0 {
			v.Internal = append(v.Internal, prefixes(n.Spec.PodCIDRs)...)
		}
	}
	p.goes.Store(isToGo(own))
	setting, err := readSetting(ctx, p.Client, p.Namespace)
	if err != nil {
		return v, err
	}
	ports, err := p.portsHere(ctx, own, local.Addresses)
	if err != nil {
		return v, err
	}
	v.Reserved = ports.reserved()
	var services corev1.ServiceList
	if err := p.Client.List(ctx, &services); err != nil {
		return v, fmt.Errorf("listing Services: %w", err)
	}
	var endpoints discoveryv1.EndpointSliceList
	if err := p.Client.List(ctx, &endpoints); err != nil {
		return v, fmt.Errorf("listing EndpointSlices: %w", err)
	}
	at := make(map[allocator.Key]int, len(services.Items))
	serving := make(map[allocator.Key]mode.Leave, len(p.serving))
	v.Services = make([]plan.Service, 0, len(p.serving))
	for i := range services.Items {
		s := &services.Items[i]
		x, ok := p.served(s, setting, &local, ports.of(s), serving, now)
		if !ok {
			continue
		}
		at[allocator.Key{Namespace: s.Namespace, Name: s.Name}] = len(v.Services)
		v.Services = append(v.Services, x)
	}
	p.serving, p.ports, p.portRanges = serving, ports.now, ports.rangesNow
	p.addSlices(v.Services, at, endpoints.Items)
	return v, nil
}

// served reads a Service, if something of it is to be served here.
func (p *Programming) served(s *corev1.Service, setting mode.Setting, local *plan.Local, given givenPorts, serving map[allocator.Key]mode.Leave, now time.Time) (plan.Service, bool) {
	if s.Spec.Type == corev1.ServiceTypeExternalName || s.Spec.ClusterIP == corev1.ClusterIPNone {
		return plan.Service{}, false
	}
	proxy := s.Labels[labelProxyName]
	whole := proxy == proxyName || p.Options.AllServices && proxy == ""
	var balancer []netip.Addr
	lasts, yields := false, false
	if ours(s, p.Class) {
		lasts, yields = p.lasts(s, setting, local, serving, now)
	}
	if lasts || whole && s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		balancer = allocator.Ingress(s)
	}
	if len(balancer) == 0 && !whole && !given.some() {
		return plan.Service{}, false
	}
	out := plan.Service{
		Namespace: s.Namespace, Name: s.Name, UID: string(s.UID), LoadBalancer: balancer, Yields: yields && !whole, NodePorts: given.ports, NodeRanges: given.ranges,
		ExternalLocal: s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		InternalLocal: s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		SourceRanges:  prefixes(s.Spec.LoadBalancerSourceRanges),
		Scheduler:     s.Annotations[plan.AnnotationScheduler], Ranges: s.Annotations[portrange.Annotation], Weights: s.Annotations[plan.AnnotationWeights],
	}
	out.AssignedAt = allocator.AssignedAt(s)
	if len(balancer) == 0 && given.some() {
		out.AssignedAt = allocator.NodePortsSince(s) // by which the controller settles who has a port
	}
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.Affinity = time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
		if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			out.Affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	if whole {
		out.ClusterIPs, out.ExternalIPs = addresses(s.Spec.ClusterIPs), addresses(s.Spec.ExternalIPs)
		out.HealthPort = uint16(s.Spec.HealthCheckNodePort) // else it is kube-proxy's to answer
	}
	for _, port := range s.Spec.Ports {
		x := plan.Port{Name: port.Name, Protocol: cmp.Or(port.Protocol, corev1.ProtocolTCP), Port: uint16(port.Port)}
		if whole {
			x.NodePort = uint16(port.NodePort)
		}
		out.Ports = append(out.Ports, x)
	}
	return out, true
}

// lasts says whether a load balancer of ours is served: it asks for that, or it counts on it still, since its ipMode is Proxy
// or kube-proxy, which is to serve it, may not do so yet; and whether it yields to kube-proxy.
func (p *Programming) lasts(s *corev1.Service, setting mode.Setting, local *plan.Local, serving map[allocator.Key]mode.Leave, now time.Time) (lasts, yields bool) {
	key, held := allocator.Key{Namespace: s.Namespace, Name: s.Name}, allocator.Ingress(s)
	last, was := p.serving[key]
	if setting.Asks(asked(s)) || len(proxied(s, held)) > 0 {
		serving[key] = mode.Leave{}
		return true, false
	}
	if !was && (p.serving != nil || !local.Binds(held)) {
		return false, false // else the process before this one served it
	}
	next := last.Next(now, local.Takes(held))
	if !now.Before(next.Ends()) {
		if next.Taken.IsZero() {
			p.Log.Warn("kube-proxy has not taken up what it is to serve; it is let go all the same", "service", key.String(), "addresses", held, "waited", mode.Patience)
		}
		return false, false
	}
	if next != last {
		time.AfterFunc(next.Yields().Sub(now), p.upkeep.mark)
		time.AfterFunc(next.Ends().Sub(now), p.upkeep.mark)
	}
	serving[key] = next
	return true, !now.Before(next.Yields())
}

// asked returns what a Service says is to serve its load balancer's addresses. One that is served whole says it by its label.
func asked(s *corev1.Service) string {
	if s.Labels[labelProxyName] == proxyName {
		return mode.IPVS
	}
	return s.Annotations[mode.Annotation]
}

// readSlice is an EndpointSlice that was read.
type readSlice struct {
	version string
	plan.Slice
}

// addSlices adds the EndpointSlices to their Services. Those that did not change are not read again.
func (p *Programming) addSlices(services []plan.Service, at map[allocator.Key]int, list []discoveryv1.EndpointSlice) {
	fresh := make(map[types.UID]readSlice, len(p.slices))
	for i := range list {
		e := &list[i]
		k, ok := at[allocator.Key{Namespace: e.Namespace, Name: e.Labels[discoveryv1.LabelServiceName]}]
		if !ok || e.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		x, ok := p.slices[e.UID]
		if !ok || x.version != e.ResourceVersion {
			x = readSlice{e.ResourceVersion, sliceOf(e)}
		}
		fresh[e.UID] = x
		services[k].Slices = append(services[k].Slices, x.Slice)
	}
	p.slices = fresh
}

// sliceOf reads an EndpointSlice. What does not parse is left out: the API server checked it.
func sliceOf(e *discoveryv1.EndpointSlice) (out plan.Slice) {
	for _, port := range e.Ports {
		if port.Port == nil || *port.Port <= 0 || *port.Port > 65535 {
			continue
		}
		x := plan.Port{Port: uint16(*port.Port), Protocol: corev1.ProtocolTCP}
		if port.Name != nil {
			x.Name = *port.Name
		}
		if port.Protocol != nil {
			x.Protocol = *port.Protocol
		}
		out.Ports = append(out.Ports, x)
	}
	for i := range e.Endpoints {
		x := &e.Endpoints[i]
		if len(x.Addresses) == 0 {
			continue
		}
		a, err := netip.ParseAddr(x.Addresses[0])
		if err != nil {
			continue
		}
		c := x.Conditions
		y := plan.Endpoint{Address: a.Unmap(), Ready: c.Ready == nil || *c.Ready, Serving: serves(x), Terminating: c.Terminating != nil && *c.Terminating}
		if x.NodeName != nil {
			y.Node = *x.NodeName
		}
		if x.Hints != nil {
			for _, z := range x.Hints.ForZones {
				y.Zones = append(y.Zones, z.Name)
			}
			for _, n := range x.Hints.ForNodes {
				y.Nodes = append(y.Nodes, n.Name)
			}
		}
		out.Endpoints = append(out.Endpoints, y)
	}
	return out
}

// addresses reads those that parse.
func addresses(texts []string) (out []netip.Addr) {
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// prefixes reads those that parse.
func prefixes(texts []string) (out []netip.Prefix) {
	for _, text := range texts {
		if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// stripServedService drops what a programmer does not read.
func stripServedService(in any) (any, error) {
	s, ok := in.(*corev1.Service)
	if !ok {
		return in, nil
	}
	spec := s.Spec
	if _, err := stripService(s); err != nil {
		return nil, err
	}
	s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.ExternalIPs = spec.ClusterIP, spec.ClusterIPs, spec.ExternalIPs
	s.Spec.LoadBalancerSourceRanges, s.Spec.SessionAffinityConfig = spec.LoadBalancerSourceRanges, spec.SessionAffinityConfig
	s.Spec.Selector = nil
	s.Status.Conditions = slices.DeleteFunc(s.Status.Conditions, func(c metav1.Condition) bool { return c.Type != allocator.ConditionNodePorts })
	return s, nil
}

// stripServedSlice keeps what a programmer reads: addresses, ports, nodes, conditions and hints.
func stripServedSlice(in any) (any, error) {
	s, ok := in.(*discoveryv1.EndpointSlice)
	if !ok {
		return in, nil
	}
	s.ManagedFields, s.OwnerReferences, s.Annotations = nil, nil, nil
	s.Labels = map[string]string{discoveryv1.LabelServiceName: s.Labels[discoveryv1.LabelServiceName]}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		s.Endpoints[i] = discoveryv1.Endpoint{
			Addresses: e.Addresses[:min(len(e.Addresses), 1)], NodeName: e.NodeName, Conditions: e.Conditions, Hints: e.Hints,
		}
	}
	return s, nil
}
