package explain

// This file holds what is said of a Service's ports of NodePortRanges.

import (
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// NodePorts is what a Service asks for of NodePortRanges, and what became of it. The zero value: it asks for nothing.
type NodePorts struct {
	Asked, Assigned string // as its annotations have them
	Class           string // of the Service, as far as node ports go
	Ours            bool   // it is the one that is served
	OK              bool
	Told            verdict.Verdict // what its condition says; the zero value: it has none
	Nodes           []ServedPort    // what the nodes' programmers say, by node
}

// ServedPort is a node port of a Service on one node. It is comparable.
type ServedPort struct {
	Node, Port, Address string // the port as "33333/TCP"
	Refused             bool
}

// nodePorts says which ports of nodes the Service has, and where; it returns whether it asks for some.
func (e *Explanation) nodePorts(v *View, s *Service) bool {
	n := &s.NodePorts
	if n.Asked == "" && n.Assigned == "" {
		return false
	}
	if !n.Ours {
		e.add("node ports", No, "", "it asks for %q, but this installation gives node ports to Services of class %q, and its class is %q: see the annotation fairlead.io/class", n.Asked, v.Class, n.Class)
		return true
	}
	if n.Told.Reason == "" {
		e.add("node ports", Unknown, "", "it asks for %q, and the controller has not said anything of that: see whether it runs", n.Asked)
		return true
	}
	step := e.add("node ports", yes(n.OK), n.Told.Reason, "%s", n.Told.Message)
	if v.lacks(Programmers) {
		return true
	}
	for _, x := range n.Nodes {
		if x.Refused {
			step.add(x.Node, No, verdict.PortConflict, "does not serve %s at %s: something else has it there", x.Port, x.Address)
		} else {
			step.add(x.Node, Yes, "", "serves %s at %s", x.Port, x.Address)
		}
	}
	return true
}
