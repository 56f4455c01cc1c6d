package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

const (
	// speakerStateEvery is how often a SpeakerState is written at most: all speakers watch all of them.
	speakerStateEvery = 5 * time.Second
	// speakerStateBytes is how large a SpeakerState's status may be.
	speakerStateBytes = 60 << 10
)

// SpeakerStates keeps the SpeakerState of this node. A nil SpeakerStates keeps none.
type SpeakerStates struct {
	Log       *slog.Logger
	Namespace string
	Node      string
	Version   string

	client client.Client
	upkeep upkeep

	mu      sync.Mutex
	address netip.Addr
	status  *v1alpha1.SpeakerStateStatus // nil: nothing was told yet
}

// SetUp registers the writer with the manager.
func (s *SpeakerStates) SetUp(m ctrl.Manager) error {
	s.client = m.GetClient()
	s.upkeep = newUpkeep()
	return m.Add(s)
}

// NeedLeaderElection says that every node has its own.
func (*SpeakerStates) NeedLeaderElection() bool { return false }

// reachedAt says where the other speakers reach this one.
func (s *SpeakerStates) reachedAt(address netip.Addr) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = address
}

// tell replaces what the object is to say. It never waits for the API server. The caller does not change it any more.
func (s *SpeakerStates) tell(status v1alpha1.SpeakerStateStatus) {
	if s == nil {
		return
	}
	s.mu.Lock()
	status.Version = s.Version
	if s.address.IsValid() {
		status.Address = s.address.String()
	}
	s.status = &status
	s.mu.Unlock()
	s.upkeep.mark()
}

// Start writes the object whenever there is something new to say, at most once in speakerStateEvery, until the context
// ends.
func (s *SpeakerStates) Start(ctx context.Context) error {
	return s.upkeep.run(ctx, s.Log, "the SpeakerState is not written", speakerStateEvery, s.write)
}

// write writes the object unless it says so already, and says whether it did.
func (s *SpeakerStates) write(ctx context.Context) (bool, error) {
	s.mu.Lock()
	status := s.status
	s.mu.Unlock()
	if status == nil {
		return false, nil
	}
	want := status.DeepCopy()
	fit(want, speakerStateBytes)
	var o v1alpha1.SpeakerState
	err := s.client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Node}, &o)
	switch {
	case err == nil && equality.Semantic.DeepEqual(o.Status, *want):
		return false, nil
	case err == nil:
		fresh := o.DeepCopy()
		fresh.Status = *want
		if err := s.client.Update(ctx, fresh); err != nil {
			return false, fmt.Errorf("writing SpeakerState %q: %w", s.Node, err)
		}
		return true, nil
	case !apierrors.IsNotFound(err):
		return false, fmt.Errorf("reading SpeakerState %q: %w", s.Node, err)
	}
	var n corev1.Node
	if err := s.client.Get(ctx, client.ObjectKey{Name: s.Node}, &n); err != nil {
		return false, fmt.Errorf("reading Node %q: %w", s.Node, err)
	}
	fresh := &v1alpha1.SpeakerState{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: s.Node,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID}},
		},
		Status: *want,
	}
	if err := s.client.Create(ctx, fresh); err != nil {
		return false, fmt.Errorf("creating SpeakerState %q: %w", s.Node, err)
	}
	return true, nil
}

// fit cuts the lists until the status takes no more than a number of bytes. The counts stay what they are.
func fit(s *v1alpha1.SpeakerStateStatus, limit int) {
	for most := v1alpha1.MaxSpeakerAddresses; ; most /= 2 {
		if len(s.Layer2.Addresses) > most {
			s.Layer2.Addresses, s.Layer2.Truncated = s.Layer2.Addresses[:most], true
		}
		s.Links = s.Links[:min(len(s.Links), most)]
		s.Sessions = s.Sessions[:min(len(s.Sessions), most)]
		s.Problems = s.Problems[:min(len(s.Problems), most)]
		s.Layer2.Conflicts = s.Layer2.Conflicts[:min(len(s.Layer2.Conflicts), most)]
		text, err := json.Marshal(s)
		if err != nil || len(text) <= limit || most == 0 {
			return
		}
	}
}
