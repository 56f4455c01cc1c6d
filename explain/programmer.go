package explain

// This file holds what serves a Service on the nodes: kube-proxy, or the IPVS programmers.

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// served explains which nodes serve a Service by IPVS. Of one that has nothing to do with that it says nothing.
func (e *Explanation) served(v *View, s *Service) {
	if len(s.Held) == 0 {
		return
	}
	if v.lacks(Programmers, Speakers, Nodes, Configuration) {
		if s.Dataplane == mode.IPVS || len(s.Proxied) > 0 {
			e.add("IPVS", Unknown, s.ToldMode.Reason, "%s", or(s.ToldMode.Message, "what the IPVS programmers serve could not be read"))
		}
		return
	}
	modes := mode.NewDecider(v.modes())
	m := s.mode()
	d := modes.Decide(&m)
	switch {
	case d.Reason != "":
		step := e.add("IPVS", yes(d.Reason == verdict.Programmed), d.Reason, "%s", d.Message)
		for i := range v.Announcing.Nodes {
			v.serves(step, modes, &m, v.Announcing.Nodes[i].Name)
		}
		if step.Answer == Yes && slices.ContainsFunc(step.Steps, func(x Step) bool { return x.Answer == No }) {
			step.Message = "IPVS serves the Service; a node that does not serve it does not announce it"
		}
		e.complaints(v, s)
	case s.Ranges != "":
		e.add("IPVS", No, verdict.NoEffect, "the Service asks for the port ranges %s, which IPVS alone serves, but kube-proxy is to serve it: %s", s.Ranges, v.toAsk())
	case s.Dataplane == mode.IPVS:
		e.add("IPVS", Fact, "", "kube-proxy serves the Service, since the ConfigMap fairlead-ipvs says that IPVS is to serve none")
	}
	e.ipMode(s, &d)
}

// toAsk says how a Service comes to be served by IPVS.
func (v *View) toAsk() string {
	if v.Dataplane == mode.None {
		return "the ConfigMap fairlead-ipvs says that IPVS is to serve no Service"
	}
	return fmt.Sprintf("give it the annotation %s: %s", mode.Annotation, mode.IPVS)
}

// mode is what the mode depends on of the Service as it is.
func (s *Service) mode() mode.Service {
	return mode.Service{
		Labels: s.Labels, Annotation: s.Dataplane, Addresses: s.Held, Pool: s.HeldFrom, Proxied: s.Proxied, Held: s.Held, AssignedAt: s.AssignedAt,
	}
}

// modes is what the controller decides by. Whether a programmer is alive goes by the clock of who asks.
func (v *View) modes() *mode.View {
	out := &mode.View{Now: v.Now, Policy: v.Policy, Setting: v.Dataplane}
	out.Heard = slices.ContainsFunc(v.Programmers, func(p Programmer) bool { return !p.silent(v.Now) })
	for i := range v.Announcing.Nodes {
		n := &v.Announcing.Nodes[i]
		if _, speaks := v.speaker(n.Name); !speaks {
			continue
		}
		x := mode.Node{Name: n.Name, Labels: n.Labels, Able: n.Ready && !n.Excluded && !n.OutOfService && !n.NetworkUnavailable}
		if p, ok := v.programmer(n.Name); ok {
			x.Serves, x.Heard = p.Serves, !p.silent(v.Now)
		}
		out.Nodes = append(out.Nodes, x)
	}
	return out
}

// silent says whether the programmer has not been heard for so long that it counts as gone.
func (p *Programmer) silent(now time.Time) bool { return now.Sub(p.Renewed) >= mode.Silence }

// serves explains how one node's programmer stands to the Service.
func (v *View) serves(step *Step, modes *mode.Decider, m *mode.Service, node string) {
	var asked, lacks []netip.Addr // of those that the node may announce
	p, ok := v.programmer(node)
	for _, a := range m.Addresses {
		if !slices.Contains(modes.Announcers(m, a), node) {
			continue
		}
		asked = append(asked, a)
		if !ok || !p.Serves.Contains(a) {
			lacks = append(lacks, a)
		}
	}
	switch {
	case len(asked) == 0:
		step.add(node, Fact, "", "it may not announce the Service, so it is not waited for")
	case !ok:
		step.add(node, No, verdict.NoProgrammer, "no IPVS programmer reports from there")
	case len(lacks) > 0:
		x := step.add(node, No, verdict.NotProgrammed, "its programmer does not report %s", addresses(lacks))
		if _, why := p.why(); why != "" {
			x.Message += ": " + why
		}
	case p.silent(v.Now):
		step.add(node, Unknown, verdict.NoProgrammer, "its programmer reported %s, and %s", addresses(asked), v.heard(p))
	default:
		step.add(node, Yes, verdict.Programmed, "its programmer reports %s", addresses(asked))
	}
}

// complaints tells what programmers do not serve of the Service as it asks: once for each reason, in the words of the first node.
func (e *Explanation) complaints(v *View, s *Service) {
	said := map[verdict.Reason]int{}
	for i := range v.Programmers {
		for _, x := range v.Programmers[i].State.Problems {
			r := verdict.Reason(x.Reason)
			if x.Kind != kindService || x.Name != s.Key.String() {
				continue
			}
			at, ok := said[r]
			if !ok {
				at = len(e.Steps)
				said[r] = at
				e.add("as asked", answerTo(r), r, "%s", x.Message)
			}
			e.Steps[at].add(v.Programmers[i].Node, answerTo(r), r, "%s", x.Message)
		}
	}
}

// ipMode compares what the status says of who serves the addresses with what is decided.
func (e *Explanation) ipMode(s *Service, d *mode.Decision) {
	switch {
	case d.Reason == "" && s.ToldMode.Reason == "" && len(s.Proxied) > 0:
		e.add("ipMode", Fact, "", "it is Proxy for %s, which Fairlead did not set: kube-proxy leaves that alone", addresses(s.Proxied))
	case !slices.Equal(d.Proxied, s.Proxied):
		e.add("ipMode", No, "", "it is Proxy for %s, but should be for %s: the controller has not written it yet; see whether it runs",
			or(addresses(s.Proxied), "no address"), or(addresses(d.Proxied), "none"))
	case len(s.Proxied) > 0:
		e.add("ipMode", Yes, verdict.Programmed, "it is Proxy for %s, so kube-proxy leaves that alone", addresses(s.Proxied))
	}
}

// programming explains the programmer of a node. Of a cluster that has none it says nothing.
func (e *Explanation) programming(v *View, node string) {
	if v.lacks(Programmers) {
		e.add("IPVS", Unknown, "", "what the IPVS programmers say could not be read")
		return
	}
	n := v.programmerOf(node)
	if n == nil {
		return
	}
	p, ok := v.programmer(node)
	if !ok {
		e.add("IPVS", Fact, n.Reason, "%s from here", n.Message)
		return
	}
	step := e.add("IPVS", yes(n.Ready), n.Reason, "its programmer, version %s, for %s, serves %s", or(n.Version, "unknown"), Age(v.Now, p.State.StartedAt.Time), counted(n.Addresses, "address"))
	if !n.Ready {
		step.Message += ": " + n.Message
	}
	if proxy := plan.Proxy(n.KubeProxy); proxy.Replaces() {
		step.add("kube-proxy", Fact, "", "%s does its work by eBPF", proxy)
	} else if proxy != plan.ProxyNone {
		step.add("kube-proxy", Fact, "", "runs in mode %s", proxy)
	}
	for _, x := range p.State.NodePorts {
		if x.Refused {
			step.add(x.Service, No, verdict.PortConflict, "node port %s on %s is refused: a process of the node listens there", x.Port, x.Address)
		}
	}
	for _, x := range p.State.Problems {
		if r := verdict.Reason(x.Reason); x.Kind != "" {
			step.add(x.Name, answerTo(r), r, "%s", x.Message)
		} else {
			step.add("problem", answerTo(r), r, "%s", x.Message)
		}
	}
}

// answerTo is how much a programmer's problem matters: some leave everything served.
func answerTo(r verdict.Reason) Answer {
	if r == verdict.SchedulerUnavailable || r == verdict.KubeProxyIPVS || r == verdict.KubeProxyReplaced {
		return Fact
	}
	return No
}

// ProgrammerStatus is the IPVS programmer of one node at a glance.
type ProgrammerStatus struct {
	Reports   bool           `json:"reports"`          // there is one
	Ready     bool           `json:"ready"`            // the kernel holds all that is to be served
	Reason    verdict.Reason `json:"reason,omitempty"` // why it is not
	Message   string         `json:"message,omitempty"`
	Version   string         `json:"version,omitempty"`
	KubeProxy string         `json:"kubeProxy,omitempty"` // its mode
	Addresses int            `json:"addresses"`           // that are served
	Problems  int            `json:"problems"`
}

// programmerOf returns a node's programmer at a glance, nil where the cluster has none at all.
func (v *View) programmerOf(node string) *ProgrammerStatus {
	p, ok := v.programmer(node)
	switch {
	case len(v.Programmers) == 0:
		return nil
	case !ok:
		return &ProgrammerStatus{Reason: verdict.NoProgrammer, Message: "no programmer reports"}
	}
	c := p.State.Counts
	out := &ProgrammerStatus{Reports: true, Ready: true, Version: p.State.Version, KubeProxy: p.State.KubeProxy, Addresses: int(c.Addresses), Problems: int(c.Problems)}
	switch out.Reason, out.Message = p.why(); {
	case p.silent(v.Now):
		out.Ready, out.Reason, out.Message = false, verdict.NoProgrammer, v.heard(p)
	case !p.State.Ready || p.BeforeBoot:
		out.Ready = false
	default:
		out.Reason, out.Message = "", ""
	}
	return out
}

// why says what keeps a programmer from serving.
func (p *Programmer) why() (verdict.Reason, string) {
	if p.BeforeBoot {
		return verdict.NotProgrammed, "its report is of before the node started anew"
	}
	for _, x := range p.State.Problems {
		if r := verdict.Reason(x.Reason); x.Kind == "" && answerTo(r) == No {
			return r, x.Message
		}
	}
	switch {
	case p.State.Truncated:
		return verdict.NotProgrammed, "it serves more than it lists, and what it does not list does not count"
	case !p.State.Ready:
		return verdict.NotProgrammed, "it is not done yet"
	}
	return "", ""
}

// heard says when a programmer was heard last.
func (v *View) heard(p *Programmer) string {
	if p.Renewed.IsZero() {
		return "it was not heard since"
	}
	return fmt.Sprintf("it was last heard %s ago", Age(v.Now, p.Renewed))
}
