package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// DefaultServiceNodePorts is the API server's own range of node ports where its flag --service-node-port-range says nothing.
func DefaultServiceNodePorts() portrange.Range { return portrange.Range{First: 30000, Last: 32767} }

// NodePortRange is ports of nodes, outside the API server's range, that Services may have.
type NodePortRange struct {
	Name string
	UID  string
	// Ports are in the specification's order, protocol by protocol, disjoint from each other and from every other range's.
	Ports []portrange.Range
	// Problem is why the object as it stands is not in force: it keeps what it gave and gives nothing new. Its reason is
	// empty where it is in force.
	Problem        verdict.Verdict
	Nodes          labels.Selector // that serve the ports
	NodeAddresses  []netip.Prefix  // the addresses on which they do; none: the internal ones that the Node names
	ReserveLocally bool            // the nodes do not use the ports for connections of their own
	Services       Services        // that may have ports

	declared []portrange.Range // as the object has them, before overlaps were settled
}

// Frozen says whether the range gives nothing new.
func (r *NodePortRange) Frozen() bool { return r.Problem.Reason != "" }

// Size returns how many ports there are, each protocol counted.
func (r *NodePortRange) Size() (n int) {
	for _, p := range r.Ports {
		n += p.Size()
	}
	return n
}

// ServedOn returns those of a node's own addresses on which it serves the ports, if it is selected. The internal addresses
// are those that the Node names.
func (r *NodePortRange) ServedOn(node labels.Set, own, internal []netip.Addr) (out []netip.Addr) {
	if r.Nodes == nil || !r.Nodes.Matches(node) {
		return nil
	}
	for _, a := range own {
		named := len(r.NodeAddresses) == 0 && slices.Contains(internal, a)
		if named || slices.ContainsFunc(r.NodeAddresses, func(p netip.Prefix) bool { return p.Contains(a) }) {
			out = append(out, a)
		}
	}
	return out
}

// Conditions returns the conditions of the object: Ready.
func (r *NodePortRange) Conditions() []Condition {
	ready := Condition{Type: v1alpha1.ConditionReady, Verdict: r.Problem}
	switch {
	case r.Frozen():
	case len(r.Ports) == 0:
		ready.Verdict = verdict.Verdict{Reason: verdict.OverlappingPorts, Message: "older NodePortRanges have all of its ports"}
	default:
		ready.True = true
		ready.Verdict = verdict.Verdict{Reason: verdict.InForce, Message: "Services may have its ports"}
	}
	return []Condition{ready}
}

// NodePortRangeOf returns the range that has the port.
func (p *Policy) NodePortRangeOf(protocol corev1.Protocol, port uint16) (*NodePortRange, bool) {
	for i := range p.NodePortRanges {
		r := &p.NodePortRanges[i]
		if slices.ContainsFunc(r.Ports, func(x portrange.Range) bool { return x.Contains(protocol, port) }) {
			return r, true
		}
	}
	return nil, false
}

// OutsideNodePortRanges returns those of the ports that none of the ranges has which an admission accepts.
func (p *Policy) OutsideNodePortRanges(ports portrange.Range, admits func(*NodePortRange) bool) []portrange.Range {
	rest := []portrange.Range{ports}
	for i := range p.NodePortRanges {
		r := &p.NodePortRanges[i]
		for _, has := range r.Ports {
			if has.Overlaps(ports) && admits(r) {
				rest = portrange.Without(rest, has)
			}
		}
	}
	return rest
}

// reservedPorts are ports on which something listens that a cluster cannot do without.
type reservedPorts struct {
	portrange.Range
	by string
}

func reserved() []reservedPorts {
	const own = "Fairlead"
	return []reservedPorts{
		{portrange.Range{First: 22, Last: 22}, "SSH"},
		{portrange.Range{First: 53, Last: 53}, "DNS"},
		{portrange.Range{First: 179, Last: 179}, "BGP"},
		{portrange.Range{First: 2379, Last: 2380}, "etcd"},
		{portrange.Range{First: 3784, Last: 3785}, "BFD"},
		{portrange.Range{First: 4784, Last: 4784}, "BFD"},
		{portrange.Range{First: 6443, Last: 6443}, "the API server"},
		{portrange.Range{First: 7944, Last: 7945}, own},
		{portrange.Range{First: 7947, Last: 7952}, own},
		{portrange.Range{First: 10248, Last: 10259}, "the kubelet, kube-proxy and the control plane"},
	}
}

// ReservedFor returns what usually listens on a port of a cluster's node that no NodePortRange has unless it says
// allowReserved, or "".
func ReservedFor(port uint16) string {
	for _, r := range reserved() {
		if r.First <= port && port <= r.Last {
			return r.by
		}
	}
	return ""
}

// nodePortRanges compiles all NodePortRanges; where two overlap, the older one has the overlap.
func (c *compiler) nodePortRanges(objects Objects, last *Policy) []NodePortRange {
	list := oldestFirst(objects.NodePortRanges)
	out := make([]NodePortRange, 0, len(list))
	for i := range list {
		out = append(out, c.nodePortRange(&list[i], objects.ServiceNodePorts, last))
	}
	c.settlePorts(list, out)
	slices.SortFunc(out, func(a, b NodePortRange) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// nodePortRange compiles one without regard to the others; a bad one keeps its last value, or else what of it is good.
func (c *compiler) nodePortRange(o *v1alpha1.NodePortRange, apiServer portrange.Range, last *Policy) NodePortRange {
	id, before := ref("NodePortRange", o), len(c.problems)
	r := NodePortRange{Name: o.Name, UID: string(o.UID), Nodes: labels.Everything(), ReserveLocally: o.Spec.ReserveLocally}
	spans := c.spans(id, o, apiServer)
	for _, protocol := range c.protocols(id, o.Spec.Protocols) {
		for _, s := range spans {
			r.declared = append(r.declared, portrange.Range{Protocol: protocol, First: s.First, Last: s.Last})
		}
	}
	if o.Spec.NodeSelector != nil {
		r.Nodes, _ = c.selector(id, "spec.nodeSelector", o.Spec.NodeSelector)
	}
	for i, text := range o.Spec.NodeAddresses {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			c.report(id, verdict.InvalidValue, "%s, spec.nodeAddresses[%d]: %q is not a CIDR such as 192.0.2.0/24", id, i, text)
			continue
		}
		r.NodeAddresses = append(r.NodeAddresses, p.Masked())
	}
	selector := o.Spec.Services
	if selector == nil {
		selector = &v1alpha1.ServiceSelector{}
	}
	r.Services = c.services(id, "spec.services", selector)
	if len(c.problems) == before {
		return r
	}
	problem := c.problems[before].Verdict
	if last != nil {
		if k := slices.IndexFunc(last.NodePortRanges, func(x NodePortRange) bool { return x.Name == r.Name && x.UID == r.UID }); k >= 0 {
			r = last.NodePortRanges[k]
		}
	}
	r.Problem = problem
	return r
}

// protocols reads the protocols; TCP and UDP where none are named.
func (c *compiler) protocols(id Ref, in []v1alpha1.PortProtocol) []corev1.Protocol {
	if len(in) == 0 {
		return []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}
	}
	var out []corev1.Protocol
	for i, text := range in {
		switch p := corev1.Protocol(text); p {
		case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		default:
			c.report(id, verdict.InvalidValue, "%s, spec.protocols[%d]: %q is none of TCP, UDP and SCTP", id, i, text)
		}
	}
	return out
}

// spans reads the ports, and leaves out those that no Service may have.
func (c *compiler) spans(id Ref, o *v1alpha1.NodePortRange, apiServer portrange.Range) (out []portrange.Range) {
	if len(o.Spec.Ports) == 0 {
		c.report(id, verdict.InvalidPorts, "%s has no ports: list at least one port or range in spec.ports", id)
	}
	for i, text := range o.Spec.Ports {
		s, err := portrange.ParseSpan(text)
		if err != nil {
			c.report(id, verdict.InvalidPorts, "%s, spec.ports[%d]: %v", id, i, err)
			continue
		}
		rest := []portrange.Range{s}
		if s.Overlaps(apiServer) {
			c.report(id, verdict.ReservedPorts, "%s, spec.ports[%d]: the API server gives %s itself: leave them out, and ask for them by spec.ports[].nodePort of a Service",
				id, i, s.Overlap(apiServer).Span())
			rest, _ = splitPorts(rest, []portrange.Range{apiServer})
		}
		for _, r := range reserved() {
			if s.Overlaps(r.Range) && !o.Spec.AllowReserved {
				c.report(id, verdict.ReservedPorts, "%s, spec.ports[%d]: %s usually belongs to %s: leave it out, or set spec.allowReserved", id, i, s.Overlap(r.Range).Span(), r.by)
				rest, _ = splitPorts(rest, []portrange.Range{r.Range})
			}
		}
		out = append(out, rest...)
	}
	return out
}

// settlePorts gives every port to one range: to the older one of two, and within one to what stands first. They come oldest
// first, as their objects do.
func (c *compiler) settlePorts(objects []v1alpha1.NodePortRange, ranges []NodePortRange) {
	for i := range ranges {
		r, id := &ranges[i], ref("NodePortRange", &objects[i])
		r.Ports = nil
		for _, d := range r.declared {
			rest := []portrange.Range{d}
			for j := range ranges[:i+1] {
				var taken []portrange.Range
				rest, taken = splitPorts(rest, ranges[j].Ports)
				switch {
				case len(taken) == 0:
				case i == j:
					c.report(id, verdict.OverlappingPorts, "%s lists %s twice: remove it once", id, listPorts(taken))
				default:
					c.report(id, verdict.OverlappingPorts, "%s: %s overlaps the older NodePortRange %q, which keeps %s: remove that from one of the two",
						id, d, ranges[j].Name, listPorts(taken))
				}
			}
			r.Ports = append(r.Ports, rest...)
		}
	}
}

// splitPorts parts ranges into what none of the others has and what one of them does.
func splitPorts(ranges, others []portrange.Range) (rest, taken []portrange.Range) {
	rest = ranges
	for _, o := range others {
		var left []portrange.Range
		for _, r := range rest {
			left = append(left, r.Subtract(o)...)
			if r.Overlaps(o) {
				taken = append(taken, r.Overlap(o))
			}
		}
		rest = left
	}
	slices.SortFunc(taken, func(a, b portrange.Range) int { return cmp.Compare(a.First, b.First) })
	return rest, taken
}

func listPorts(ranges []portrange.Range) string {
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = r.String()
	}
	return strings.Join(texts, ", ")
}
