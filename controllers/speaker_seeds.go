package controllers

import (
	"context"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

// strangersEvery is how often Nodes are asked whether they run a speaker that have published nothing yet.
const strangersEvery = 30 * time.Second

// seeds remembers when strangers were asked last.
type seeds struct {
	mu    sync.Mutex
	asked time.Time
}

// peers returns where the other speakers are reached: the addresses that they published, and now and then those of the
// other Nodes, whose speakers may have had no chance to publish anything.
func (a *Announcing) peers(ctx context.Context) map[string]netip.Addr {
	out := map[string]netip.Addr{}
	if a.seeds.strangers(time.Now()) {
		var list corev1.NodeList
		if err := a.Client.List(ctx, &list); err == nil {
			for i := range list.Items {
				if address, ok := internalAddress(&list.Items[i]); ok {
					out[list.Items[i].Name] = address
				}
			}
		}
	}
	var states v1alpha1.SpeakerStateList
	if err := listAll(ctx, a.Client, a.Namespace, &states); err == nil {
		for i := range states.Items {
			if address, err := netip.ParseAddr(states.Items[i].Status.Address); err == nil {
				out[states.Items[i].Name] = address
			}
		}
	}
	return out
}

// strangers says whether it is time to ask them.
func (s *seeds) strangers(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.asked) < strangersEvery {
		return false
	}
	s.asked = now
	return true
}
