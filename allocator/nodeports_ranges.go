package allocator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// This file holds what differs where a Service has whole ranges of ports of nodes: each is had as a whole or not at all.

// allRanges asks for the ranges of the annotation portrange.Annotation.
const allRanges = "ranges"

// cutRanges takes that word out of what the annotation AnnotationNodePorts says, and says whether it was there.
func cutRanges(text string) (rest string, found bool) {
	parts := strings.Split(text, ",")
	rests := slices.DeleteFunc(slices.Clone(parts), func(p string) bool { return strings.TrimSpace(p) == allRanges })
	return strings.Join(rests, ","), len(rests) < len(parts)
}

// askRanges adds the Service's ranges to what it asks for.
func (out *NodePortService) askRanges(text string) {
	if text == "" {
		out.Invalid = fmt.Sprintf("%s: %q stands for the ranges of the annotation %s, which the Service does not have", AnnotationNodePorts, allRanges, portrange.Annotation)
		return
	}
	list, err := portrange.Parse(text)
	if err != nil {
		out.Invalid = fmt.Sprintf("%s: %v", portrange.Annotation, err)
		return
	}
	for _, r := range list {
		out.Asked = append(out.Asked, NodePort{Range: r})
	}
}

func (n NodePort) isRange() bool { return n.Range.First > 0 }

// fulfils says whether n is what was asked for.
func (n NodePort) fulfils(asked NodePort) bool {
	if asked.isRange() {
		return n == asked
	}
	return n.Port != 0 && (asked.Port == 0 || asked.Port == n.Port)
}

// Opens returns which ports of nodes that are for the Service, if they are of one of its ports or of a range.
func (out *NodePortService) Opens(n NodePort) (portrange.Range, bool) {
	if n.isRange() {
		return n.Range, true
	}
	p, ok := out.Port(n.Name)
	return portrange.Port(p.Protocol, n.Port), ok && n.Port > 0
}

// take notes that a Service has a port or a range.
func (st *nodePorts) take(s *NodePortService, n NodePort) {
	ports, _ := s.Opens(n)
	for p := range each(ports) {
		st.holders[p] = portHolder{NodePortService: s, ranged: n.isRange()}
	}
}

// taken returns the first one of the ports that somebody has.
func (st *nodePorts) taken(ports portrange.Range) (protocolPort, bool) {
	for p := range each(ports) {
		if _, ok := st.holders[p]; ok {
			return p, true
		}
	}
	return protocolPort{}, false
}

// each goes through the ports of a range.
func each(r portrange.Range) func(func(protocolPort) bool) {
	return func(yield func(protocolPort) bool) {
		for port := int(r.First); port <= int(r.Last); port++ {
			if !yield(protocolPort{r.Protocol, uint16(port)}) {
				return
			}
		}
	}
}

// requestRange looks for a range that a Service asks for, and has not. What it has of it by another range it asks for no more:
// those that it asks for have nothing in common.
func (st *nodePorts) requestRange(s *NodePortService, n NodePort) (NodePort, verdict.Verdict) {
	refuse := func(p protocolPort) (NodePort, verdict.Verdict) {
		why := st.refusal(s, p)
		if n.Range.Size() > 1 {
			why.Message = n.Range.String() + ": " + why.Message
		}
		return NodePort{}, why
	}
	for p := range each(n.Range) {
		if h, taken := st.holders[p]; taken && (h.NodePortService != s || !h.ranged) {
			return refuse(p)
		}
	}
	if rest := st.outside(s, n.Range); len(rest) > 0 {
		return refuse(protocolPort{rest[0].Protocol, rest[0].First})
	}
	for i := range st.Policy.NodePortRanges {
		r := &st.Policy.NodePortRanges[i]
		for _, has := range r.Ports {
			if r.Frozen() && has.Overlaps(n.Range) {
				return refuse(protocolPort{has.Protocol, has.Overlap(n.Range).First})
			}
		}
	}
	return n, verdict.Verdict{}
}

// settleRanges adds to what a Service got the ranges that it keeps while it does not get those that it asks for instead.
func settleRanges(asked, got, kept []NodePort) []NodePort {
	missing := false
	for i, n := range asked {
		missing = missing || n.isRange() && !got[i].fulfils(n)
	}
	if !missing {
		return got
	}
	for _, k := range kept {
		if k.isRange() && !slices.ContainsFunc(got, func(g NodePort) bool { return g.Range.Overlaps(k.Range) }) {
			got = append(got, k)
		}
	}
	return got
}
