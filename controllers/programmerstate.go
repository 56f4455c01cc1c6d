package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

const (
	// programmerStateEvery is how often a ProgrammerState is written at most: all speakers watch all of them.
	programmerStateEvery = time.Second
	// renewEvery is how often a programmer tells that it is alive: three times in silence.
	renewEvery = 3 * time.Second
)

// ProgrammerStates keeps the ProgrammerState of this node, and its Lease. Both are read and written without a cache: nobody
// else writes them.
type ProgrammerStates struct {
	Log       *slog.Logger
	Namespace string
	Node      string
	Version   string
	BootID    string // of the node's kernel; "" if it is not known
	// Alive says whether the node's kernel was seen to hold what is reported a short time ago.
	Alive func() bool

	uncached client.Reader
	client   client.Client
	upkeep   upkeep // it marks; run has more to do than write

	mu      sync.Mutex
	status  *v1alpha1.ProgrammerStateStatus // nil: nothing was told yet
	written *v1alpha1.ProgrammerState       // as it was written last; nil: not known
	lease   *coordinationv1.Lease           // the same
}

// SetUp registers the writer with the manager.
func (s *ProgrammerStates) SetUp(m ctrl.Manager) error {
	s.client, s.uncached = m.GetClient(), m.GetAPIReader()
	s.upkeep = newUpkeep()
	return m.Add(everywhere(s.run))
}

// tell replaces what the object is to say. It never waits for the API server. The caller does not change it any more.
func (s *ProgrammerStates) tell(status v1alpha1.ProgrammerStateStatus) {
	s.mu.Lock()
	status.Version, status.BootID = s.Version, s.BootID
	s.status = &status
	s.mu.Unlock()
	s.upkeep.mark()
}

// run writes the object whenever there is something new to say, at most once in programmerStateEvery, and renews the Lease,
// until the context ends. The report then stays: the kernel goes on serving.
func (s *ProgrammerStates) run(ctx context.Context) error {
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	pace := time.NewTicker(programmerStateEvery)
	defer pace.Stop()
	said := ""
	tell := func(err error) {
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != "" && text != said && ctx.Err() == nil {
			s.Log.Warn("what this node serves is not told, trying again", "error", err)
		}
		said = text
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-renew.C:
			tell(s.renew(ctx))
		case <-s.upkeep.dirty:
			err := s.write(ctx)
			tell(err)
			if err == nil {
				tell(s.renew(ctx))
			} else {
				s.upkeep.mark()
			}
			select {
			case <-ctx.Done():
				return nil
			case <-pace.C:
			}
		}
	}
}

// write writes the object unless it says so already.
func (s *ProgrammerStates) write(ctx context.Context) error {
	s.mu.Lock()
	want := s.status
	s.mu.Unlock()
	if want == nil {
		return nil
	}
	if s.written == nil {
		var o v1alpha1.ProgrammerState
		err := s.uncached.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Node}, &o)
		switch {
		case err == nil:
			s.written = &o
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("reading ProgrammerState %q: %w", s.Node, err)
		}
	}
	if s.written != nil {
		if equality.Semantic.DeepEqual(s.written.Status, *want) {
			return nil
		}
		fresh := s.written.DeepCopy()
		fresh.Status = *want
		s.written = nil // until it is known again
		if err := s.client.Update(ctx, fresh); err != nil {
			return fmt.Errorf("writing ProgrammerState %q: %w", s.Node, err)
		}
		s.written = fresh
		return nil
	}
	owner, err := s.owner(ctx)
	if err != nil {
		return err
	}
	fresh := &v1alpha1.ProgrammerState{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Node, OwnerReferences: owner}, Status: *want,
	}
	if err := s.client.Create(ctx, fresh); err != nil {
		return fmt.Errorf("creating ProgrammerState %q: %w", s.Node, err)
	}
	s.written = fresh
	return nil
}

// owner returns the reference to this node's Node, with which the objects go.
func (s *ProgrammerStates) owner(ctx context.Context) ([]metav1.OwnerReference, error) {
	var n corev1.Node
	if err := s.client.Get(ctx, client.ObjectKey{Name: s.Node}, &n); err != nil {
		return nil, fmt.Errorf("reading Node %q: %w", s.Node, err)
	}
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID}}, nil
}

// renew tells that this programmer is alive, if it is and has reported something. That its report is still there is asked
// for at the same time.
func (s *ProgrammerStates) renew(ctx context.Context) error {
	if s.written == nil || !s.Alive() {
		return nil
	}
	var still metav1.PartialObjectMetadata
	still.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ProgrammerState"))
	if err := s.uncached.Get(ctx, client.ObjectKeyFromObject(s.written), &still); err != nil || still.ResourceVersion != s.written.ResourceVersion {
		if err == nil || apierrors.IsNotFound(err) {
			s.written = nil
			s.upkeep.mark()
		}
		return client.IgnoreNotFound(err)
	}
	now := &metav1.MicroTime{Time: time.Now()}
	key := client.ObjectKey{Namespace: s.Namespace, Name: leasePrefix + s.Node}
	if s.lease == nil {
		var l coordinationv1.Lease
		err := s.uncached.Get(ctx, key, &l)
		switch {
		case err == nil:
			s.lease = &l
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("reading Lease %q: %w", key.Name, err)
		}
	}
	if s.lease == nil {
		owner, err := s.owner(ctx)
		if err != nil {
			return err
		}
		seconds := int32(silence / time.Second)
		l := &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: key.Namespace, Name: key.Name, OwnerReferences: owner, Labels: map[string]string{labelProgrammer: s.Node},
			},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &s.Node, RenewTime: now, LeaseDurationSeconds: &seconds},
		}
		if err := s.client.Create(ctx, l); err != nil {
			return fmt.Errorf("creating Lease %q: %w", key.Name, err)
		}
		s.lease = l
		return nil
	}
	l := s.lease.DeepCopy()
	l.Spec.RenewTime = now
	s.lease = nil // until it is known again
	if err := s.client.Update(ctx, l); err != nil {
		return fmt.Errorf("renewing Lease %q: %w", key.Name, err)
	}
	s.lease = l
	return nil
}
