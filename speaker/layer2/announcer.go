//go:build linux

// Package layer2 answers ARP (RFC 826) and neighbor discovery (RFC 4861) for addresses that are not the kernel's,
// from AF_PACKET sockets of its own, tells the segment when it takes an address over, and notices who else uses it.
//
// One goroutine, that of Run, owns the set of announcements. For each link and family with an address there is one
// socket and one goroutine that answers, from an immutable set of addresses; one goroutine sends gratuitous
// announcements, one settles conflicts, and one notices when the process did not run. What a received frame means is
// decided by the pure functions answerARP and answerNDP.
package layer2

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
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
	Log          *slog.Logger
	Registerer   prometheus.Registerer // where metrics are registered; nil: nowhere
	RepeatFor    time.Duration         // a new address is announced repeatedly for this long; 0 means 5 s
	RepeatEvery  time.Duration         // ... at this interval; 0 means 1 s
	RefreshEvery time.Duration         // ... and then about this often, by a quarter more or less; 0 means 60 s, less: never
	FrameRate    int                   // gratuitous frames a second at most, over all links; 0 means 8000

	// Node is this node's name, which Peer returns for its own links.
	Node string
	// Peer returns the node of ours that has a link with a hardware address, any link of any node. nil: there is none, so
	// that every other host is a foreign one. It may be called at any time, by another goroutine, and must not block.
	Peer func(mac [6]byte) (node string, ok bool)
	// Outranks reports whether node comes before other for an address, by the rendezvous hash and nothing else, so that
	// exactly one of Outranks(a, x, y) and Outranks(a, y, x) holds. It is called as Peer is; nil: no address is ever
	// left to another speaker.
	Outranks func(address netip.Addr, node, other string) bool
	// ConflictGrace is how long an announcement by a speaker that this one outranks is not answered, for that address may
	// just be moving on purpose and the plan that drops it here be on its way; 0 means 500 ms.
	ConflictGrace time.Duration
	// PauseAfter is how long the process may not run before it falls silent; see Paused. It is to be the time in which
	// other speakers notice that one is gone. 0: it never does.
	PauseAfter time.Duration
}

// Announcer answers ARP and neighbor discovery for a set of addresses on the node's links.
type Announcer struct {
	cfg       Config
	metrics   *metrics
	pulse     *pulse
	referee   *referee
	shared    *shared
	requests  chan request
	stopped   chan struct{} // closed when Run ends
	changed   chan struct{} // holds a value when Announced, Conflicts or Paused changed by itself
	unsettled chan struct{} // holds a value when the referee changed something
	announced atomic.Pointer[[]plan.Announcement]

	listen listenFunc            // opens a packet socket
	check  func(plan.Link) error // says whether a link is still what it was
	groups joiner                // holds solicited-node groups
	random func() float64        // in [0, 1)
}

// joiner makes links receive neighbor solicitations for addresses. See groups.
type joiner interface {
	join(index int, address netip.Addr) error
	leave(index int, address netip.Addr)
	close()
}

// request is one call that changes what is announced.
type request struct {
	do   func(*state) error
	done chan<- error
}

// New returns an Announcer that announces nothing. It registers the metrics, and opens and starts nothing before Run.
func New(cfg Config) *Announcer {
	cfg.RepeatFor = cmp.Or(cfg.RepeatFor, 5*time.Second)
	cfg.RepeatEvery = cmp.Or(cfg.RepeatEvery, time.Second)
	cfg.RefreshEvery = cmp.Or(cfg.RefreshEvery, time.Minute)
	cfg.FrameRate = cmp.Or(cfg.FrameRate, 8000)
	cfg.ConflictGrace = cmp.Or(cfg.ConflictGrace, 500*time.Millisecond)
	if cfg.Peer == nil {
		cfg.Peer = func([6]byte) (string, bool) { return "", false }
	}
	if cfg.Outranks == nil {
		cfg.Outranks = func(netip.Addr, string, string) bool { return true }
	}
	a := &Announcer{
		cfg:       cfg,
		metrics:   newMetrics(cfg.Registerer),
		pulse:     newPulse(cfg.PauseAfter, bootTime),
		requests:  make(chan request),
		stopped:   make(chan struct{}),
		changed:   make(chan struct{}, 1),
		unsettled: make(chan struct{}, 1),
		listen:    listen,
		check:     checkLink,
		groups:    newGroups(),
		random:    rand.Float64,
	}
	a.referee = newReferee(cfg, a.metrics, a.pulse, func() { mark(a.unsettled) })
	a.shared = &shared{log: cfg.Log, pulse: a.pulse, heard: a.referee.heard, peer: cfg.Peer}
	a.shared.own.Store(&map[macAddr]bool{})
	a.shared.watched.Store(&map[netip.Addr]*atomic.Int64{})
	return a
}

// Run serves until ctx ends, closes every socket, waits for every goroutine that it started, and returns nil. Sockets
// are opened in the network namespace of the calling thread. It is called once.
func (a *Announcer) Run(ctx context.Context) error {
	defer close(a.stopped)
	work, ctx := errgroup.WithContext(ctx)
	s := newState(ctx, a, work)
	a.referee.single = s.gratuitous.single
	for _, run := range []func(context.Context) error{a.pulse.run, s.gratuitous.run, a.referee.run} {
		work.Go(func() error { return run(ctx) })
	}
	defer a.publish(nil)
	for {
		select {
		case <-ctx.Done():
			s.close()
			return work.Wait()
		case req := <-a.requests:
			err := req.do(s)
			a.publish(s.announcing())
			req.done <- err
			continue
		case r := <-s.failed:
			s.dropResponder(r)
		case <-a.unsettled:
		case <-a.pulse.noticed:
			a.cfg.Log.Warn("this process did not run for a while, so it is silent until the other speakers were heard")
		}
		a.publish(s.announcing())
		mark(a.changed)
	}
}

// Apply makes want, the whole wanted set, what is announced. It returns when every address that is new is answered for
// and its first gratuitous announcement is out, and when those that are not wanted are no longer answered for; new ones
// come first. An address that cannot be announced does not hold up the others: the error joins one for each of them,
// and the next Apply tries again, with the same set too. Apply waits for Run; it returns early if ctx ends (what was
// begun goes on), or with ErrStopped. While Paused, it only ends what is not wanted, and returns ErrPaused.
//
// Of many new addresses, those are announced first that were asked for most recently: while they wait, or before if they
// are watched (see Watch). Others follow in the order of want.
func (a *Announcer) Apply(ctx context.Context, want []plan.Announcement) error {
	return a.ApplyLeaving(ctx, want, nil)
}

// ApplyLeaving is Apply with addresses that are announced and that another speaker is about to take over: they are
// still answered for, but not announced any more, and fall silent as soon as that speaker is heard, or at once if it was just
// before. What is in leaving and not announced, or in want too, is left out of it.
func (a *Announcer) ApplyLeaving(ctx context.Context, want, leaving []plan.Announcement) error {
	want, leaving = slices.Clone(want), slices.Clone(leaving)
	return a.ask(ctx, func(s *state) error { return s.apply(ctx, want, leaving) })
}

// Paused reports whether the process did not run for longer than Config.PauseAfter, and when it noticed, on a clock of
// its own. From then on nothing is sent, what the sockets queued is dropped, and Announced is empty, until Resume: the
// other speakers may have taken over everything, and they say whether this one still has a say.
func (a *Announcer) Paused() (noticed time.Duration, paused bool) {
	if !a.pulse.paused() {
		return 0, false
	}
	return time.Duration(a.pulse.since.Load()), true
}

// Resume ends the pause that was noticed at a time (see Paused), when the caller knows the other speakers again and has
// made its plan anew: it is Apply, and what is wanted is announced as if it were new. If there was another pause since,
// it changes nothing and returns ErrPaused.
func (a *Announcer) Resume(ctx context.Context, noticed time.Duration, want []plan.Announcement) error {
	want = slices.Clone(want)
	return a.ask(ctx, func(s *state) error { return s.resume(ctx, noticed, want) })
}

// Watch makes addresses the whole set of those that this node may have to take over: when one was asked for last is
// remembered, so that Apply announces the most recently used first. Requests for them are seen only where some address
// of the same family is announced already, since no socket is opened for it, and for IPv6 only those whose
// solicited-node group is joined.
func (a *Announcer) Watch(ctx context.Context, addresses []netip.Addr) error {
	addresses = slices.Clone(addresses)
	return a.ask(ctx, func(s *state) error { return s.watch(addresses) })
}

// ask makes the goroutine of Run do something.
func (a *Announcer) ask(ctx context.Context, do func(*state) error) error {
	done := make(chan error, 1)
	select {
	case a.requests <- request{do, done}:
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

// Announced returns what is announced now: answered for, with the first gratuitous announcement out, and not left to
// another speaker; sorted by address, then link. It is shared: the caller does not modify it.
func (a *Announcer) Announced() []plan.Announcement { return deref(a.announced.Load()) }

// Conflicts returns the other hosts that use an announced address and were heard in the last five minutes; sorted by
// address, link and hardware address. It is shared: the caller does not modify it.
func (a *Announcer) Conflicts() []Conflict { return deref(a.referee.now.Load()) }

// Contested returns when another speaker was heard last to announce an address that is announced here, too; zero: not in the
// last five minutes.
func (a *Announcer) Contested() (last time.Time) {
	for _, c := range a.Conflicts() {
		if c.Node != "" && c.Last.After(last) {
			last = c.Last
		}
	}
	return last
}

// Changed yields a value after something changed that was not asked for: Announced shrank since a socket failed (the
// next Apply opens another one) or another speaker has an address, or grew since that one is gone; Conflicts has more
// or fewer elements; a pause was noticed.
func (a *Announcer) Changed() <-chan struct{} { return a.changed }

func (a *Announcer) publish(now []plan.Announcement) { a.announced.Store(&now) }

// mark makes c, which has room for one value, hold one.
func mark(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
