package controllers

// This file holds how ports of NodePortRanges get from the decision on them to the Services that ask for them.

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// servedPorts is what the nodes' programmers say of ports of NodePortRanges.
type servedPorts struct {
	heard bool                         // a programmer has told a short time ago that it is alive
	ports map[string][]portrange.Range // that nodes serve for a Service, by its namespace/name
	more  []portrange.Range            // those beside it, whoever has them
}

// lacking returns those of the ports that no node serves for the Service.
func (s *servedPorts) lacking(service allocator.Key, ports portrange.Range) []portrange.Range {
	rest := []portrange.Range{ports}
	for _, list := range [][]portrange.Range{s.ports[service.String()], s.more} {
		for _, r := range list {
			rest = portrange.Without(rest, r)
		}
	}
	return rest
}

// servedPorts reads what the programmers say.
func (p *Programmers) servedPorts(ctx context.Context) (out servedPorts, err error) {
	if p == nil {
		return out, nil
	}
	p.mu.Lock()
	out.heard = p.alive
	p.mu.Unlock()
	var list v1alpha1.ProgrammerStateList
	if err := listAll(ctx, p.client, p.Namespace, &list); err != nil {
		return out, err
	}
	out.ports = map[string][]portrange.Range{}
	for i := range list.Items {
		s := &list.Items[i].Status
		for _, n := range s.NodePorts {
			if !n.Refused {
				ports, _ := portrange.Parse(n.Port) // what does not parse counts as not served
				out.ports[n.Service] = append(out.ports[n.Service], ports...)
			}
		}
		for _, text := range s.MorePorts {
			more, _ := portrange.Parse(text)
			out.more = append(out.more, more...)
		}
	}
	out.more = portrange.Merge(out.more)
	for service, ports := range out.ports {
		out.ports[service] = portrange.Merge(ports)
	}
	return out, nil
}

// nodePorts decides on the node ports of all Services and adds what is not so yet to the pass.
func (a *Allocation) nodePorts(ctx context.Context, services []*corev1.Service, namespaces map[string]map[string]string, p *pass, now time.Time) error {
	asks := func(s *corev1.Service) bool {
		_, ok := s.Annotations[allocator.AnnotationNodePorts]
		return (ok || hasNodePorts(s)) && portsOurs(s, a.Class)
	}
	if len(a.policy.NodePortRanges) == 0 && !slices.ContainsFunc(services, asks) {
		return nil
	}
	served, err := a.Programmers.servedPorts(ctx)
	if err != nil {
		return err
	}
	requests := make([]allocator.NodePortService, len(services))
	for i, s := range services {
		requests[i] = nodePortServiceOf(s, namespaces[s.Namespace], a.Class)
	}
	out := allocator.DecideNodePorts(allocator.NodePortView{Policy: a.policy, Services: requests, Now: now, OrphanGrace: a.OrphanGrace})
	p.ports, p.settles = out.Usage, sooner(p.settles, out.RecheckAt)
	at := make(map[*corev1.Service]int, len(p.changes))
	for i := range p.changes {
		at[p.changes[i].service] = i
	}
	for i, s := range services {
		if s.DeletionTimestamp != nil || !asks(s) {
			continue
		}
		k, ok := at[s]
		c := change{service: s, addresses: allocator.Ingress(s), notes: map[string]any{}}
		c.after = corev1.ServiceStatus{LoadBalancer: s.Status.LoadBalancer, Conditions: slices.Clone(s.Status.Conditions)}
		if ok {
			c = p.changes[k]
		}
		switch changed := c.setNodePorts(&requests[i], out.Decisions[i], served, now); {
		case ok:
			p.changes[k] = c
		case changed:
			p.changes = append(p.changes, c)
		}
	}
	return nil
}

// hasNodePorts says whether a decision on node ports stands on the Service.
func hasNodePorts(s *corev1.Service) bool {
	_, ok := s.Annotations[allocator.AnnotationNodePortsAssigned]
	return ok || meta.FindStatusCondition(s.Status.Conditions, allocator.ConditionNodePorts) != nil
}

// setNodePorts has the change show a decision on node ports, and says whether the Service does not show it yet.
func (c *change) setNodePorts(r *allocator.NodePortService, d allocator.NodePortDecision, served servedPorts, now time.Time) bool {
	s := c.service
	before, text := s.Annotations[allocator.AnnotationNodePortsAssigned], allocator.NodePortsText(d.Ports)
	since := instant(d.OrphanedSince)
	noted := before != text || s.Annotations[allocator.AnnotationNodePortsOrphanedSince] != since
	setAnnotation(s, c.notes, allocator.AnnotationNodePortsAssigned, text)
	setAnnotation(s, c.notes, allocator.AnnotationNodePortsOrphanedSince, since)
	say := func(kind string, v verdict.Verdict) { c.more = append(c.more, about{s, event{kind, v}}) }
	if d.Reason == "" {
		said := meta.RemoveStatusCondition(&c.after.Conditions, allocator.ConditionNodePorts)
		if said && before != "" {
			say(corev1.EventTypeNormal, verdict.Verdict{Reason: verdict.NodePortsReleased, Message: "the Service asks for no node ports any more, so " + before + " is free"})
		}
		return said || noted
	}
	v, isTrue := servedVerdict(r, d, served)
	old := meta.FindStatusCondition(s.Status.Conditions, allocator.ConditionNodePorts)
	told := func(v verdict.Verdict) bool {
		return old != nil && old.Reason == string(v.Reason) && old.Message == cut(v.Message, maxConditionMessage)
	}
	switch {
	case d.Complete && before != text:
		say(corev1.EventTypeNormal, d.Verdict)
	case !d.Complete && !told(v):
		say(corev1.EventTypeWarning, v)
	}
	if v.Reason == verdict.NoProgrammer && (old == nil || old.Reason != string(v.Reason)) {
		say(corev1.EventTypeWarning, v)
	}
	status := metav1.ConditionFalse
	if isTrue {
		status = metav1.ConditionTrue
	}
	if told(v) && old.Status == status {
		return noted
	}
	meta.SetStatusCondition(&c.after.Conditions, metav1.Condition{
		Type: allocator.ConditionNodePorts, Status: status, Reason: string(v.Reason), Message: cut(v.Message, maxConditionMessage),
		ObservedGeneration: s.Generation, LastTransitionTime: metav1.NewTime(now),
	})
	return true
}

// servedVerdict adds to a decision whether nodes serve what was assigned, and says whether all is as it was asked for.
func servedVerdict(r *allocator.NodePortService, d allocator.NodePortDecision, served servedPorts) (verdict.Verdict, bool) {
	v := d.Verdict
	without := ""
	for _, n := range d.Ports {
		ports, _ := r.Opens(n)
		if rest := served.lacking(r.Key, ports); len(rest) > 0 {
			without = rest[0].String()
			break
		}
	}
	switch {
	case len(d.Ports) == 0:
		return v, false
	case !served.heard:
		v.Message += "; no node's IPVS programmer reports, so nothing serves them"
		without = "all"
		if d.Complete {
			v.Reason = verdict.NoProgrammer
		}
	case without != "":
		v.Message += "; no node serves " + without + " yet"
		if d.Complete {
			v.Reason = verdict.NodePortsNotServed
		}
	}
	return v, d.Complete && without == ""
}

// writeNodePortRanges writes the statuses of the NodePortRanges that do not say yet what became of them.
func (a *Allocation) writeNodePortRanges(ctx context.Context, objects []v1alpha1.NodePortRange, usage []allocator.NodePortUsage) error {
	var errs []error
	for i := range objects {
		o := &objects[i]
		k := slices.IndexFunc(a.policy.NodePortRanges, func(r policy.NodePortRange) bool { return r.UID == string(o.UID) })
		if k < 0 || k >= len(usage) {
			continue
		}
		status := map[string]any{}
		if n := int32(usage[k].Assigned); n != o.Status.Assigned {
			status["assigned"] = n
		}
		if n := int32(usage[k].Free); n != o.Status.Free {
			status["free"] = n
		}
		conditions := slices.Clone(o.Status.Conditions)
		for _, c := range a.policy.NodePortRanges[k].Conditions() {
			if a.setCondition(&conditions, c.Type, c.True, c.Verdict, o.Generation) {
				status["conditions"] = conditions
			}
		}
		if len(status) > 0 {
			_, err := a.patchStatus(ctx, o, &v1alpha1.NodePortRange{}, status)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
