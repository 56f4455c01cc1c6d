package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
	"github.com/fairlead-lb/fairlead/policy"
)

// portsHere is which ports of NodePortRanges this node serves, and for whom.
type portsHere struct {
	policy        *policy.Policy
	namespaces    map[string]map[string]string // labels, by name
	node          labels.Set
	own, internal []netip.Addr // the node's addresses, and those that its Node names
	// before is where ports were served by the last view, and now where they are by this one; ranges apart.
	before, now             map[portHere][]netip.Addr
	rangesBefore, rangesNow map[string][]plan.Ports
}

// portHere is a port that this node serves for a Service. It is comparable.
type portHere struct {
	service string // its UID
	allocator.NodePort
}

// givenPorts are what this node serves for one Service.
type givenPorts struct {
	ports  []plan.NodePort
	ranges []plan.Ports
}

func (g *givenPorts) some() bool { return len(g.ports)+len(g.ranges) > 0 }

// portsHere reads what decides on ports of NodePortRanges, but for the Services. The controller compares the ranges with the
// API server's; here they are taken as they are.
func (p *Programming) portsHere(ctx context.Context, node *corev1.Node, own []netip.Addr) (h portsHere, err error) {
	var list v1alpha1.NodePortRangeList
	if err := listAll(ctx, p.Client, p.Namespace, &list); err != nil {
		return h, err
	}
	p.ranges, _ = policy.Compile(policy.Objects{NodePortRanges: list.Items}, p.ranges)
	h = portsHere{
		policy: p.ranges, own: own, before: p.ports, now: map[portHere][]netip.Addr{},
		rangesBefore: p.portRanges, rangesNow: map[string][]plan.Ports{},
	}
	if len(list.Items) == 0 || node == nil {
		return h, nil
	}
	h.node = node.Labels
	for _, a := range node.Status.Addresses {
		if x, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			h.internal = append(h.internal, x.Unmap())
		}
	}
	if h.namespaces, err = namespaceLabels(ctx, p.Client); err != nil {
		return h, fmt.Errorf("reading for whom NodePortRanges are: %w", err)
	}
	return h, nil
}

// of returns the ports, and the ranges of ports, that the controller gave a Service and that this node serves, by the
// NodePortRange as it is now. What none gives it any more, and the controller lets it keep for a while, is served where it was.
func (h *portsHere) of(s *servable) (out givenPorts) {
	if s.ports == nil || len(h.policy.NodePortRanges) == 0 && len(h.before) == 0 && len(h.rangesBefore) == 0 {
		return out
	}
	r := *s.ports
	r.NamespaceLabels = h.namespaces[s.Namespace]
	for _, n := range r.Held {
		if n.Range != (portrange.Range{}) {
			out.ranges = append(out.ranges, h.rangeOf(&r, n.Range)...)
			continue
		}
		p, ok := r.Port(n.Name)
		if !ok || n.Port == 0 {
			continue
		}
		addresses := h.before[portHere{r.UID, n}]
		if ports, ok := h.policy.NodePortRangeOf(p.Protocol, n.Port); ok && ports.Services.Match(r.Namespace, r.NamespaceLabels, r.Labels) {
			addresses = ports.ServedOn(h.node, h.own, h.internal)
		}
		if len(addresses) > 0 {
			h.now[portHere{r.UID, n}] = addresses
			out.ports = append(out.ports, plan.NodePort{Name: n.Name, Port: n.Port, Addresses: addresses})
		}
	}
	if len(out.ranges) > 0 {
		h.rangesNow[r.UID] = out.ranges
	}
	return out
}

// rangeOf does the same for one range, which several NodePortRanges may have together.
func (h *portsHere) rangeOf(r *allocator.NodePortService, ports portrange.Range) (out []plan.Ports) {
	add := func(addresses []netip.Addr, part portrange.Range) {
		for _, a := range addresses {
			out = append(out, plan.Ports{Address: a, Range: part})
		}
	}
	rest := []portrange.Range{ports}
	for i := range h.policy.NodePortRanges {
		of := &h.policy.NodePortRanges[i]
		for _, has := range of.Ports {
			if has.Overlaps(ports) && of.Services.Match(r.Namespace, r.NamespaceLabels, r.Labels) {
				add(of.ServedOn(h.node, h.own, h.internal), has.Overlap(ports))
				rest = portrange.Without(rest, has)
			}
		}
	}
	for _, part := range rest {
		for _, was := range h.rangesBefore[r.UID] {
			if was.Range.Overlaps(part) {
				add([]netip.Addr{was.Address}, was.Range.Overlap(part))
			}
		}
	}
	return out
}

// reserved returns the ports that this node is not to use for connections of its own.
func (h *portsHere) reserved() (out []portrange.Range) {
	for i := range h.policy.NodePortRanges {
		r := &h.policy.NodePortRanges[i]
		if !r.ReserveLocally || !r.Nodes.Matches(h.node) {
			continue
		}
		for _, x := range r.Ports {
			span := portrange.Range{First: x.First, Last: x.Last}
			if !slices.Contains(out, span) {
				out = append(out, span)
			}
		}
	}
	return out
}
