package controllers

import (
	"context"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/bgp"
)

// report tells what came of a plan: what is newly announced from this node, as an Event on the Service and in the log; what
// was planned but could not be done yet is not told. What is wrong is told once. All of it goes to the metrics, the
// SpeakerState and the ConfigurationState.
func (a *Announcing) report(_ context.Context, r speaker.Report) {
	var sessions []bgp.SessionState
	if a.BGP != nil {
		sessions = a.BGP.Sessions()
	}
	now, candidates, takenOver := a.newlyAnnounced(r, sessions)
	for x := range a.announced {
		if _, ok := now[x]; !ok {
			a.Log.Info("no longer announced from this node", "service", x.Key.String(), "address", x.address.String(), "protocol", string(x.protocol))
		}
	}
	a.announced, a.elsewhere = now, ownedByOthers(r, a.Node)
	a.metrics.took(takenOver, time.Since(r.Began))
	a.sessions.tell(a, sessions)
	conflicts := a.Layer2.Conflicts()
	a.conflicts(r, conflicts)
	a.withoutInterface(r)
	if isFirst(r, a.Node) {
		a.onNodes.tell(configuration{problems: r.Plan.Problems, objects: a.objects}, a.Log, a.Events)
	}
	problems := slices.Concat(a.problems, r.Plan.Problems)
	a.State.tell(problems)
	a.metrics.show(announces{configMetricsOf(problems), now, candidates})
	a.Statuses.tell(announcedLinks(r))
	state := stateOfSpeaker(r, conflicts, a.kernelAnswers(r))
	addSessions(&state, sessions, r.Plan.Sessions)
	if why := a.BGPStatuses.tell(r.Plan.BGP, len(r.Local.Members)); why != "" {
		state.Problems = append(state.Problems, v1alpha1.SpeakerProblem{Reason: string(verdict.TooMany), Message: why})
		state.Counts.Problems++
	}
	a.Speakers.tell(state)
	if r.Failed == nil {
		a.ready.Store(true)
	}
}

// newlyAnnounced tells what is announced from this node and was not before. It returns all that is, how many nodes may
// announce each address by layer 2, and how many of those other nodes announced before. By BGP an address is announced
// when a session with one of its peers is established.
func (a *Announcing) newlyAnnounced(r speaker.Report, sessions []bgp.SessionState) (now map[told]struct{}, candidates map[netip.Addr]int, takenOver int) {
	now, candidates = map[told]struct{}{}, map[netip.Addr]int{}
	isNew := func(x told, v verdict.Verdict) bool {
		now[x] = struct{}{}
		if _, ok := a.announced[x]; ok {
			return false
		}
		a.Log.Info(v.Message, "service", x.Key.String(), "address", x.address.String())
		a.event(x, corev1.EventTypeNormal, v.Reason, v.Message)
		return true
	}
	achieved := map[netip.Addr]struct{}{}
	for _, x := range r.Local.Announced {
		achieved[x.Address] = struct{}{}
	}
	for i := range r.Plan.Verdicts {
		v := &r.Plan.Verdicts[i]
		if _, ok := achieved[v.Address]; !ok || v.Reason != verdict.Announced {
			continue
		}
		candidates[v.Address] = v.Candidates
		if isNew(told{allocator.Key{Namespace: v.Namespace, Name: v.Name}, v.Address, layer2Protocol}, v.Verdict) {
			if _, ok := a.elsewhere[v.Address]; ok {
				takenOver++
			}
		}
	}
	up := establishedWith(sessions)
	for i := range r.Plan.BGP {
		v := &r.Plan.BGP[i]
		if slices.ContainsFunc(v.Peers, func(peer string) bool { return up[peer] }) {
			isNew(told{allocator.Key{Namespace: v.Namespace, Name: v.Name}, v.Address, bgpProtocol}, v.Verdict)
		}
	}
	return now, candidates, takenOver
}

// isFirst says whether this node's speaker is the one that tells what all of them see.
func isFirst(r speaker.Report, node string) bool {
	return len(r.Local.Members) > 0 && r.Local.Members[0].Node == node
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
