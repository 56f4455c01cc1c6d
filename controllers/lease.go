package controllers

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
)

// leaseName is the Lease that the replicas of the controller compete for.
const leaseName = "fairlead-controller"

// Lease is the lock of the leader election. It remembers when it was renewed, so that a leader that was paused or cut off
// knows by its own monotonic clock that another one may lead by now, before the election tells it. A nil Lease is held for
// ever.
type Lease struct {
	resourcelock.Interface

	valid   time.Duration
	renewed atomic.Pointer[renewal] // nil: it is not held
}

// renewal is the last request that acquired or renewed the lease.
type renewal struct {
	term  int // counts the changes of the holder
	begun time.Time
}

// NewLease returns the lock that the controllers of an installation compete for. For the time valid after a renewal was
// begun, writes may begin.
func NewLease(config *rest.Config, namespace string, valid time.Duration) (*Lease, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("naming this replica: %w", err)
	}
	config = rest.CopyConfig(config)
	config.Timeout = valid / 2
	c, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("preparing the leader election: %w", err)
	}
	return &Lease{valid: valid, Interface: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: leaseName},
		Client:     c,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}}, nil
}

// Create makes the Lease object, held by this replica.
func (l *Lease) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.note(r, func() error { return l.Interface.Create(ctx, r) })
}

// Update acquires, renews or releases the lease.
func (l *Lease) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.note(r, func() error { return l.Interface.Update(ctx, r) })
}

// note remembers what a request makes of the lease. The time of a renewal is that before its request, since the others
// may count from any moment after it; a release counts even if it fails.
func (l *Lease) note(r resourcelock.LeaderElectionRecord, write func() error) error {
	begun := time.Now()
	if r.HolderIdentity == "" {
		l.renewed.Store(nil)
		return write()
	}
	if err := write(); err != nil {
		return err
	}
	l.renewed.Store(&renewal{r.LeaderTransitions, begun})
	return nil
}

// term returns the number of the term in which this replica leads, or false where another one may lead by now.
func (l *Lease) term() (int, bool) {
	if l == nil {
		return 0, true
	}
	r := l.renewed.Load()
	if r == nil || time.Since(r.begun) > l.valid {
		return 0, false
	}
	return r.term, true
}

// held returns nil while this replica leads.
func (l *Lease) held() error {
	if _, ok := l.term(); !ok {
		return errLease
	}
	return nil
}

// EventRecorder returns a recorder for the manager's time, in the name of a controller, whose Events wait while another
// replica may lead: it may tell the opposite by now. The manager's own recorder writes what it still has after a pause.
func (l *Lease) EventRecorder(ctx context.Context, m ctrl.Manager, controller string) (events.EventRecorder, error) {
	c, err := newEventsClient(m)
	if err != nil {
		return nil, err
	}
	b := events.NewBroadcaster(leasedEvents{&events.EventSinkImpl{Interface: c}, l})
	if err := b.StartRecordingToSinkWithContext(ctx); err != nil {
		return nil, fmt.Errorf("starting to record Events: %w", err)
	}
	return b.NewRecorder(m.GetScheme(), controller), nil
}

// leasedEvents writes Events while the lease is held.
type leasedEvents struct {
	to    events.EventSink
	lease *Lease
}

// Create implements events.EventSink, as Update and Patch do. What fails is tried again later.
func (e leasedEvents) Create(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	if err := e.lease.held(); err != nil {
		return nil, err
	}
	return e.to.Create(ctx, event)
}

// Update writes a known one.
func (e leasedEvents) Update(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	if err := e.lease.held(); err != nil {
		return nil, err
	}
	return e.to.Update(ctx, event)
}

// Patch counts a repetition.
func (e leasedEvents) Patch(ctx context.Context, event *eventsv1.Event, data []byte) (*eventsv1.Event, error) {
	if err := e.lease.held(); err != nil {
		return nil, err
	}
	return e.to.Patch(ctx, event, data)
}
