//go:build linux

// Package layer2 answers ARP (RFC 826) and neighbor discovery (RFC 4861) for addresses that are not the kernel's,
// from AF_PACKET sockets of its own, and tells the segment when it takes an address over.
//
// One goroutine, that of Run, owns the set of announcements. For each link and family with an address there is one
// socket and one goroutine that answers, from an immutable set of addresses; one more goroutine sends gratuitous
// announcements. What a received frame means is decided by the pure functions answerARP and answerNDP.
package layer2

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// ErrStopped is returned by Apply when Run has ended: nothing is announced any more.
var ErrStopped = errors.New("the layer 2 announcer has stopped")

// Config is what an Announcer needs. Only Log is required.
type Config struct {
	Log         *slog.Logger
	Registerer  prometheus.Registerer // where metrics are registered; nil: nowhere
	RepeatFor   time.Duration         // a new address is announced repeatedly for this long; 0 means 5 s
	RepeatEvery time.Duration         // ... at this interval; 0 means 1 s
	FrameRate   int                   // gratuitous frames a second at most, over all links; 0 means 5000
}

// Announcer answers ARP and neighbor discovery for a set of addresses on the node's links.
type Announcer struct {
	cfg       Config
	metrics   *metrics
	requests  chan request
	stopped   chan struct{} // closed when Run ends
	changed   chan struct{} // holds a value when Announced shrank by itself
	announced atomic.Pointer[[]plan.Announcement]

	listen listenFunc            // opens a packet socket
	check  func(plan.Link) error // says whether a link is still what it was
	groups joiner                // holds solicited-node groups
}

// joiner makes links receive neighbor solicitations for addresses. See groups.
type joiner interface {
	join(index int, address netip.Addr) error
	leave(index int, address netip.Addr)
	close()
}

// request is one call of Apply.
type request struct {
	ctx  context.Context
	want []plan.Announcement
	done chan<- error
}

// New returns an Announcer that announces nothing. It registers the metrics, and opens and starts nothing before Run.
func New(cfg Config) *Announcer {
	cfg.RepeatFor = cmp.Or(cfg.RepeatFor, 5*time.Second)
	cfg.RepeatEvery = cmp.Or(cfg.RepeatEvery, time.Second)
	cfg.FrameRate = cmp.Or(cfg.FrameRate, 5000)
	return &Announcer{
		cfg:      cfg,
		metrics:  newMetrics(cfg.Registerer),
		requests: make(chan request),
		stopped:  make(chan struct{}),
		changed:  make(chan struct{}, 1),
		listen:   listen,
		check:    checkLink,
		groups:   newGroups(),
	}
}

// Run serves until ctx ends, closes every socket, waits for every goroutine that it started, and returns nil. Sockets
// are opened in the network namespace of the calling thread. It is called once.
func (a *Announcer) Run(ctx context.Context) error {
	defer close(a.stopped)
	work, ctx := errgroup.WithContext(ctx)
	s := newState(ctx, a, work)
	work.Go(func() error { return s.gratuitous.run(ctx) })
	defer a.publish(nil)
	for {
		select {
		case <-ctx.Done():
			s.close()
			return work.Wait()
		case req := <-a.requests:
			err := s.apply(req.ctx, req.want)
			a.publish(s.confirmed())
			req.done <- err
		case r := <-s.failed:
			s.dropResponder(r)
			a.publish(s.confirmed())
			select {
			case a.changed <- struct{}{}:
			default:
			}
		}
	}
}

// Apply makes want, the whole wanted set, what is announced. It returns when every address that is new is answered for
// and its first gratuitous announcement is out, and when those that are not wanted are no longer answered for; new ones
// come first. An address that cannot be announced does not hold up the others: the error joins one for each of them,
// and the next Apply tries again, with the same set too. Apply waits for Run; it returns early if ctx ends (what was
// begun goes on), or with ErrStopped.
func (a *Announcer) Apply(ctx context.Context, want []plan.Announcement) error {
	done := make(chan error, 1)
	select {
	case a.requests <- request{ctx, slices.Clone(want), done}:
	case <-ctx.Done():
		return ctx.Err()
	case <-a.stopped:
		return ErrStopped
	}
	select {
	case err := <-done:
		return err
	case <-a.stopped:
		return ErrStopped
	}
}

// Announced returns what is announced now: answered for, with the first gratuitous announcement out; sorted by address,
// then link. It is shared: the caller does not modify it.
func (a *Announcer) Announced() []plan.Announcement {
	if p := a.announced.Load(); p != nil {
		return *p
	}
	return nil
}

// Changed yields a value after Announced shrank by itself, since a socket failed: the next Apply opens another one.
func (a *Announcer) Changed() <-chan struct{} { return a.changed }

func (a *Announcer) publish(now []plan.Announcement) { a.announced.Store(&now) }
