package controllers

// This file holds what a programmer keeps of the Services and EndpointSlices, as a speaker does: what its view is made of,
// parsed once, in place of the objects.

import (
	"cmp"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

const (
	// labelProxyName says which service proxy serves a Service whole (KEP-2447); kube-proxy leaves those alone that have it.
	labelProxyName = "service.kubernetes.io/service-proxy-name"
	// proxyName is ours.
	proxyName = "fairlead"
)

// Configure adds to a manager's options what is kept of Services and EndpointSlices. A client that reads these kinds from the
// cache fails.
func (p *Programming) Configure(o *manager.Options) {
	keepAs(o, &corev1.Service{}, func(s *corev1.Service) any { return keepServable(s, p.Class, p.Options.AllServices) })
	keepAs(o, &discoveryv1.EndpointSlice{}, func(e *discoveryv1.EndpointSlice) any { return keepBackends(e) })
	watchSetting(o, p.Namespace)
}

// servable is what is kept of a Service.
type servable struct {
	version
	service *plan.Service // with all that may be served of it; nil: nothing may
	whole   bool          // it is served whole
	ours    bool          // it is a load balancer of the class
	asked   string        // what is to serve that: see mode.Setting
	proxied bool          // one of its addresses has the ipMode Proxy
	// ports are those that it has of NodePortRanges, and portsSince is since when; nil: it has none.
	ports      *allocator.NodePortService
	portsSince time.Time
}

// keepServable keeps what a programmer serves of load balancers of the class; and of all Services, or of those with the label.
func keepServable(s *corev1.Service, class string, all bool) *servable {
	out := &servable{version: version{allocator.Key{Namespace: s.Namespace, Name: s.Name}, s.ResourceVersion}}
	if s.Spec.Type == corev1.ServiceTypeExternalName || s.Spec.ClusterIP == corev1.ClusterIPNone {
		return out
	}
	proxy := s.Labels[labelProxyName]
	out.whole = proxy == proxyName || all && proxy == ""
	out.ours = ours(s, class)
	if ports := nodePortServiceOf(s, nil, class); len(ports.Held) > 0 {
		out.ports, out.portsSince = &ports, allocator.NodePortsSince(s) // by which the controller settles who has a port
	}
	if !out.whole && !out.ours && out.ports == nil {
		return out
	}
	out.asked = asked(s)
	x := &plan.Service{
		Namespace: s.Namespace, Name: s.Name, UID: string(s.UID), AssignedAt: allocator.AssignedAt(s),
		ExternalLocal: s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		InternalLocal: s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		SourceRanges:  prefixes(s.Spec.LoadBalancerSourceRanges),
		Scheduler:     s.Annotations[plan.AnnotationScheduler], Ranges: s.Annotations[portrange.Annotation], Weights: s.Annotations[plan.AnnotationWeights],
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		x.LoadBalancer = allocator.Ingress(s)
		out.proxied = len(proxied(s, x.LoadBalancer)) > 0
	}
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		x.Affinity = time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
		if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			x.Affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	if out.whole {
		x.ClusterIPs, x.ExternalIPs = addresses(s.Spec.ClusterIPs), addresses(s.Spec.ExternalIPs)
		x.HealthPort = uint16(s.Spec.HealthCheckNodePort) // else it is kube-proxy's to answer
	}
	for _, port := range s.Spec.Ports {
		y := plan.Port{Name: port.Name, Protocol: cmp.Or(port.Protocol, corev1.ProtocolTCP), Port: uint16(port.Port)}
		if out.whole {
			y.NodePort = uint16(port.NodePort)
		}
		x.Ports = append(x.Ports, y)
	}
	out.service = x
	return out
}

// backends is what is kept of an EndpointSlice.
type backends struct {
	version
	service string // its name; "": it is none that can be served
	plan.Slice
}

// keepBackends reads an EndpointSlice. What does not parse is left out: the API server checked it.
func keepBackends(e *discoveryv1.EndpointSlice) *backends {
	out := &backends{version: version{allocator.Key{Namespace: e.Namespace, Name: e.Name}, e.ResourceVersion}}
	if e.AddressType == discoveryv1.AddressTypeFQDN {
		return out
	}
	out.service = e.Labels[discoveryv1.LabelServiceName]
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
