package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// gather puts together the view of this node. It is good until the next one is.
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
	services, err := listOf[*servable](p.kept.services)
	if err != nil {
		return v, err
	}
	endpoints, err := listOf[*backends](p.kept.slices)
	if err != nil {
		return v, err
	}
	if p.at == nil {
		p.at = map[allocator.Key]int{}
	}
	clear(p.at)
	clear(p.services)
	v.Services = slices.Grow(p.services[:0], len(services))
	serving := p.spare // no map is thrown away
	if serving == nil {
		serving = map[allocator.Key]mode.Leave{}
	}
	clear(serving)
	for _, s := range services {
		if x, ok := p.served(s, setting, &local, ports.of(s), serving, now); ok {
			p.at[s.Key] = len(v.Services)
			v.Services = append(v.Services, x)
		}
	}
	p.services, p.serving, p.spare, p.ports, p.portRanges = v.Services, serving, p.serving, ports.now, ports.rangesNow
	room := make([]*plan.Slice, len(v.Services)) // most have one
	for _, e := range endpoints {
		if k, ok := p.at[allocator.Key{Namespace: e.Namespace, Name: e.service}]; ok {
			s := &v.Services[k]
			if s.Slices == nil {
				s.Slices = room[k : k : k+1]
			}
			s.Slices = append(s.Slices, &e.Slice)
		}
	}
	return v, nil
}

// served returns a Service as it is to be served here, if something of it is.
func (p *Programming) served(s *servable, setting mode.Setting, local *plan.Local, given givenPorts, serving map[allocator.Key]mode.Leave, now time.Time) (plan.Service, bool) {
	if s.service == nil {
		return plan.Service{}, false
	}
	lasts, yields := false, false
	if s.ours {
		lasts, yields = p.lasts(s, setting, local, serving, now)
	}
	out := *s.service
	if !lasts && !s.whole {
		out.LoadBalancer = nil
	}
	if len(out.LoadBalancer) == 0 && !s.whole && !given.some() {
		return plan.Service{}, false
	}
	if len(out.LoadBalancer) == 0 && given.some() {
		out.AssignedAt = s.portsSince
	}
	out.Yields, out.NodePorts, out.NodeRanges = yields && !s.whole, given.ports, given.ranges
	return out, true
}

// lasts says whether a load balancer of ours is served: it asks for that, or it counts on it still, since its ipMode is Proxy
// or kube-proxy, which is to serve it, may not do so yet; and whether it yields to kube-proxy.
func (p *Programming) lasts(s *servable, setting mode.Setting, local *plan.Local, serving map[allocator.Key]mode.Leave, now time.Time) (lasts, yields bool) {
	if setting.Asks(s.asked) || s.proxied {
		serving[s.Key] = mode.Leave{}
		return true, false
	}
	held := s.service.LoadBalancer
	last, was := p.serving[s.Key]
	if !was && (p.serving != nil || !local.Binds(held)) {
		return false, false // else the process before this one served it
	}
	next := last.Next(now, local.Takes(held))
	if !now.Before(next.Ends()) {
		if next.Taken.IsZero() {
			p.Log.Warn("kube-proxy has not taken up what it is to serve; it is let go all the same", "service", s.Key.String(), "addresses", held, "waited", mode.Patience)
		}
		return false, false
	}
	if next != last {
		time.AfterFunc(next.Yields().Sub(now), p.upkeep.mark)
		time.AfterFunc(next.Ends().Sub(now), p.upkeep.mark)
	}
	serving[s.Key] = next
	return true, !now.Before(next.Yields())
}

// asked returns what a Service says is to serve its load balancer's addresses. One that is served whole says it by its label.
func asked(s *corev1.Service) string {
	if s.Labels[labelProxyName] == proxyName {
		return mode.IPVS
	}
	return s.Annotations[mode.Annotation]
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
