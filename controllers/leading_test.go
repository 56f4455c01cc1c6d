package controllers

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// lock is a lock in memory that takes its time.
type lock struct {
	resourcelock.Interface
	takes time.Duration
	err   error
}

func (l *lock) Create(context.Context, resourcelock.LeaderElectionRecord) error { return l.request() }
func (l *lock) Update(context.Context, resourcelock.LeaderElectionRecord) error { return l.request() }

func (l *lock) request() error {
	time.Sleep(l.takes)
	return l.err
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &lock{takes: time.Second}
		l := &Lease{Interface: inner, valid: 5 * time.Second}
		is := func(term int, ok bool) {
			t.Helper()
			if gotTerm, got := l.term(); gotTerm != term || got != ok {
				t.Errorf("term %d, %t, want %d, %t", gotTerm, got, term, ok)
			}
		}
		ask := func(f func(context.Context, resourcelock.LeaderElectionRecord) error, holder string, term int) {
			t.Helper()
			if err := f(context.Background(), resourcelock.LeaderElectionRecord{HolderIdentity: holder, LeaderTransitions: term}); !errors.Is(err, inner.err) {
				t.Error(err)
			}
		}
		is(0, false) // nobody holds it
		inner.err = errors.New("conflict")
		ask(l.Create, "me", 0)
		is(0, false)
		inner.err = nil
		ask(l.Create, "me", 0)
		is(0, true)
		ask(l.Update, "me", 3)
		is(3, true)
		time.Sleep(4 * time.Second) // 5 s since the request was begun
		is(3, true)
		time.Sleep(time.Nanosecond)
		is(0, false)
		inner.err = errors.New("no answer")
		ask(l.Update, "me", 3)
		is(0, false)
		inner.err = nil
		ask(l.Update, "me", 3)
		is(3, true)
		inner.err = errors.New("no answer") // but the release may have happened
		ask(l.Update, "", 3)
		is(0, false)
	})
	var none *Lease
	if _, ok := none.term(); !ok {
		t.Error("without an election nobody leads")
	}
}

// eventSink counts what it is given.
type eventSink struct{ created, patched int }

func (s *eventSink) Create(_ context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	s.created++
	return e, nil
}

func (s *eventSink) Update(_ context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	return e, nil
}

func (s *eventSink) Patch(_ context.Context, e *eventsv1.Event, _ []byte) (*eventsv1.Event, error) {
	s.patched++
	return e, nil
}

// TestEventsWaitForTheLease: what was to be told when the lease ran out is told when it is held again.
func TestEventsWaitForTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, l := &eventSink{}, &Lease{Interface: &lock{}, valid: 5 * time.Second}
		b := events.NewBroadcaster(leasedEvents{sink, l})
		ctx, cancel := context.WithCancel(t.Context())
		defer b.Shutdown()
		defer cancel()
		if err := b.StartRecordingToSinkWithContext(ctx); err != nil {
			t.Fatal(err)
		}
		tell := func() {
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
			b.NewRecorder(clientgoscheme.Scheme, "fairlead-controller").Eventf(service, nil, corev1.EventTypeNormal, "Allocated", "Allocate", "told")
			synctest.Wait()
		}
		is := func(created, patched int) {
			t.Helper()
			if sink.created != created || sink.patched != patched {
				t.Errorf("%d Events written and %d counted again, want %d and %d", sink.created, sink.patched, created, patched)
			}
		}
		hold := func() { // until it was tried again
			for range 4 {
				l.renewed.Store(&renewal{1, time.Now()})
				time.Sleep(4 * time.Second)
			}
			synctest.Wait()
		}
		tell()
		is(0, 0) // nobody holds it
		hold()
		is(1, 0)
		time.Sleep(2 * time.Second)
		tell() // it ran out
		is(1, 0)
		hold()
		is(1, 1)
	})
}

// TestNothingIsWrittenWithoutTheLease: neither when the lease runs out while a pass decides or writes, nor when it was lost
// and won again meanwhile.
func TestNothingIsWrittenWithoutTheLease(t *testing.T) {
	for name, c := range map[string]struct{ renewed *renewal }{
		"it ran out":                {&renewal{7, time.Now().Add(-time.Hour)}},
		"it was given up":           {nil},
		"it was lost and won again": {&renewal{8, time.Now().Add(time.Hour)}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, services(9)...)
			b.Writers = 1
			b.Lease = &Lease{valid: time.Minute}
			b.Lease.renewed.Store(&renewal{7, time.Now()})
			b.leads = false
			b.patch = func(_ client.Client, name string) {
				if name == "s2" { // as its request is under way
					b.Lease.renewed.Store(c.renewed)
				}
			}
			err := b.pass()
			if !errors.Is(err, errLease) || strings.Count(err.Error(), errLease.Error()) > 2 {
				t.Errorf("the error is %v", err)
			}
			if got := len(b.ingress()); got != 3 {
				t.Errorf("%d addresses were written, want the 3 before", got)
			}
			if got := b.firstPool().Status.AssignedIPv4; got != 0 {
				t.Errorf("the pool's counters were written: %d", got)
			}
			b.patch = nil
			b.Lease.renewed.Store(&renewal{9, time.Now()})
			if err := b.pass(); err != nil || len(b.ingress()) != 9 || b.term != 9 {
				t.Errorf("leading again: %v, %d addresses in term %d", err, len(b.ingress()), b.term)
			}
		})
	}
}

// TestAWriteTakesNoLongerThanTheLease: a request that hangs ends in time.
func TestAWriteTakesNoLongerThanTheLease(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := b.underLease(context.Background(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if took := time.Since(began); took != WriteTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it took %s, %v", took, err)
		}
	})
}

// reader answers lists of versions from what the API server has.
type reader struct {
	client.Reader
	lists atomic.Int64
}

func (r *reader) List(ctx context.Context, list client.ObjectList, o ...client.ListOption) error {
	r.lists.Add(1)
	return r.Reader.List(ctx, list, o...)
}

// TestANewLeaderWaitsForItsCache: an address that another leader wrote, and that the cache does not show yet, is not given
// again.
func TestANewLeaderWaitsForItsCache(t *testing.T) {
	for name, c := range map[string]struct {
		stale func(all []corev1.Service) []corev1.Service // what the cache shows at first
	}{
		"a Service is as it was": {func(all []corev1.Service) []corev1.Service {
			all[0].Status, all[0].Annotations, all[0].ResourceVersion = corev1.ServiceStatus{}, nil, "1"
			return all
		}},
		"a Service is not there yet": {func(all []corev1.Service) []corev1.Service { return all[1:] }},
		"nothing is there yet":       {func([]corev1.Service) []corev1.Service { return []corev1.Service{} }},
		"another of that name is there": {func(all []corev1.Service) []corev1.Service {
			all[0].Status, all[0].Annotations, all[0].UID = corev1.ServiceStatus{}, nil, "before"
			return all
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, services(2)...)
			edit(t, b.Client, "s1", `{"spec":{"loadBalancerClass":"example.com/later"}}`)
			if err := b.pass(); err != nil { // as the former leader
				t.Fatal(err)
			}
			edit(t, b.Client, "s1", `{"spec":{"loadBalancerClass":null}}`)
			var now corev1.ServiceList
			if err := b.Client.List(context.Background(), &now); err != nil {
				t.Fatal(err)
			}
			next := newBench(t)
			next.Client, next.leads = b.Client, false
			asked := &reader{Reader: b.Uncached}
			next.Uncached = asked
			b.stale = c.stale(now.Items)
			done := make(chan error, 1)
			go func() { done <- next.pass() }()
			select {
			case err := <-done:
				t.Fatalf("it decided before the cache was as new as the API server: %v", err)
			case <-time.After(5 * catchUpLook):
			}
			b.mu.Lock()
			b.stale = nil
			b.mu.Unlock()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			b.want(map[string]string{"s0": "172.25.254.50", "s1": "172.25.254.51"})
			n := asked.lists.Load()
			if err := next.pass(); err != nil || n == 0 || asked.lists.Load() != n {
				t.Errorf("the API server was asked %d times, then %d: once in a term is enough; %v", n, asked.lists.Load()-n, err)
			}
		})
	}
}

// TestAServiceThatIsGoneIsNotWaitedFor: it may be deleted after the API server was asked.
func TestAServiceThatIsGoneIsNotWaitedFor(t *testing.T) {
	b := newBench(t, services(2)...)
	gone := newBench(t, services(3)...) // what the API server had
	b.leads = false
	first := true
	b.Uncached = readerFunc(func(ctx context.Context, list client.ObjectList, o ...client.ListOption) error {
		from := b.Client
		if first {
			from, first = gone.Client, false
		}
		return from.List(ctx, list, o...)
	})
	began := time.Now()
	if err := b.pass(); err != nil || len(b.ingress()) != 2 {
		t.Errorf("%v, %v", err, b.ingress())
	}
	if took := time.Since(began); took < catchUpAgain {
		t.Errorf("it did not wait: %s", took)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	first = true
	if err := b.catchUp(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it does not end with its context: %v", err)
	}
}

// readerFunc lists.
type readerFunc func(context.Context, client.ObjectList, ...client.ListOption) error

func (readerFunc) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.ErrUnsupported
}

func (f readerFunc) List(ctx context.Context, list client.ObjectList, o ...client.ListOption) error {
	return f(ctx, list, o...)
}
