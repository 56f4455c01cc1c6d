package controllers

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker"
)

// report tells what came of a plan: what is newly announced from this node, as an Event on the Service and in the log; what
// was planned but could not be done yet is not told. All of it goes to the metrics and the SpeakerState.
func (a *Announcing) report(_ context.Context, r speaker.Report) {
	achieved := map[netip.Addr]struct{}{}
	for _, x := range r.Local.Announced {
		achieved[x.Address] = struct{}{}
	}
	now := map[told]struct{}{}
	for i := range r.Plan.Verdicts {
		v := &r.Plan.Verdicts[i]
		if _, ok := achieved[v.Address]; !ok || v.Reason != verdict.Announced {
			continue
		}
		x := told{allocator.Key{Namespace: v.Namespace, Name: v.Name}, v.Address}
		now[x] = struct{}{}
		if _, ok := a.announced[x]; ok {
			continue
		}
		a.Log.Info(v.Message, "service", x.Key.String(), "address", v.Address.String())
		record(a.Events, &corev1.ObjectReference{
			APIVersion: "v1", Kind: "Service", Namespace: v.Namespace, Name: v.Name, UID: a.uids[x.Key],
			// Tells the addresses of one Service apart: the recorder drops the message of what it takes for a repetition.
			FieldPath: fmt.Sprintf("status.loadBalancer.ingress{%s}", v.Address),
		}, corev1.EventTypeNormal, v.Reason, "Announce", v.Message)
	}
	for x := range a.announced {
		if _, ok := now[x]; !ok {
			a.Log.Info("no longer announced from this node", "service", x.Key.String(), "address", x.address.String())
		}
	}
	a.announced = now
	a.metrics.show(announces{a.config, now})
	a.Speakers.tell(stateOfSpeaker(r, a.Layer2.Conflicts()))
	if r.Failed == nil {
		a.ready.Store(true)
	}
}
