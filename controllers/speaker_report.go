package controllers

import (
	"context"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker"
)

// report tells what came of a plan: what is newly announced from this node, as an Event on the Service and in the log; what
// was planned but could not be done yet is not told. What is wrong is told once. All of it goes to the metrics, the
// SpeakerState and the ConfigurationState.
func (a *Announcing) report(_ context.Context, r speaker.Report) {
	achieved := map[netip.Addr]struct{}{}
	for _, x := range r.Local.Announced {
		achieved[x.Address] = struct{}{}
	}
	now, candidates := map[told]struct{}{}, map[netip.Addr]int{}
	takenOver := 0
	for i := range r.Plan.Verdicts {
		v := &r.Plan.Verdicts[i]
		if _, ok := achieved[v.Address]; !ok || v.Reason != verdict.Announced {
			continue
		}
		x := told{allocator.Key{Namespace: v.Namespace, Name: v.Name}, v.Address}
		now[x], candidates[v.Address] = struct{}{}, candidatesOf(v.Next[:])
		if _, ok := a.announced[x]; ok {
			continue
		}
		if _, ok := a.elsewhere[v.Address]; ok {
			takenOver++
		}
		a.Log.Info(v.Message, "service", x.Key.String(), "address", v.Address.String())
		a.event(x, corev1.EventTypeNormal, v.Reason, v.Message)
	}
	for x := range a.announced {
		if _, ok := now[x]; !ok {
			a.Log.Info("no longer announced from this node", "service", x.Key.String(), "address", x.address.String())
		}
	}
	a.announced, a.elsewhere = now, ownedByOthers(r, a.Node)
	a.metrics.took(takenOver, time.Since(r.Began))
	conflicts := a.Layer2.Conflicts()
	a.conflicts(r, conflicts)
	a.withoutInterface(r)
	if isFirst(r, a.Node) {
		a.onNodes.tell(configuration{problems: r.Plan.Problems, objects: a.objects}, a.Log, a.Events)
	}
	problems := slices.Concat(a.problems, r.Plan.Problems)
	a.State.tell(problems)
	a.metrics.show(announces{configMetricsOf(problems), now, candidates})
	a.Speakers.tell(stateOfSpeaker(r, conflicts, a.kernelAnswers(r)))
	if r.Failed == nil {
		a.ready.Store(true)
	}
}

// isFirst says whether this node's speaker is the one that tells what all of them see.
func isFirst(r speaker.Report, node string) bool {
	return len(r.Local.Members) > 0 && r.Local.Members[0].Node == node
}

// candidatesOf returns how many nodes may announce an address that this one announces, as far as they are ranked.
func candidatesOf(next []string) int {
	n := 1
	for _, node := range next {
		if node != "" {
			n++
		}
	}
	return n
}

// ownedByOthers returns the addresses that other nodes announce.
func ownedByOthers(r speaker.Report, node string) map[netip.Addr]struct{} {
	out := map[netip.Addr]struct{}{}
	for i := range r.Plan.Verdicts {
		if v := &r.Plan.Verdicts[i]; v.Owner != "" && v.Owner != node {
			out[v.Address] = struct{}{}
		}
	}
	return out
}
