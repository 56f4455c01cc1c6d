//go:build linux

// Package bgp holds BGP sessions (RFC 4271) and announces routes on them. It learns nothing from a neighbor.
//
// Each session has a GoBGP server of its own, which is its protocol engine: OPEN, timers, table, UPDATE messages. The
// engine does not talk to the neighbor itself. It has one connection, over the loopback interface, to a relay, and the
// relay owns the TCP connection to the neighbor. That buys what GoBGP as a library cannot give: why a connection or an
// OPEN failed, in words; a neighbor's UPDATE messages end at the relay, so whatever it sends takes no memory and meets
// no parser; its AS number is checked before a route goes out; a session can end with or without a NOTIFICATION; and
// nothing waits for GoBGP's fixed pauses of one to five seconds.
//
// One goroutine, that of Speaker.Run, owns the set of sessions; each session has one that owns its connection.
package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// ErrStopped is returned by Apply when Run has ended: there is no session any more.
var ErrStopped = errors.New("the BGP speaker has stopped")

// Config is what a Speaker needs. Only Log is required.
type Config struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer // where metrics are registered; nil: nowhere
	Node       string                // the node's name: what a router ID is derived from where none is given
	RouterID   netip.Addr            // an IPv4 address, used where a session gives none; the zero value: derived from Node
	BFD        BFD                   // guards sessions that ask for it; nil: none is guarded
}

// Want is everything that is wanted of a Speaker.
type Want struct {
	Sessions []plan.Session
	Routes   []plan.Route // each for one of the sessions; it is kept, and not changed by anybody from Apply on
	// Drain marks all routes for graceful shutdown (RFC 8326): the well-known community, and local preference 0 to
	// neighbors of the own AS.
	Drain bool
}

// Speaker holds BGP sessions.
type Speaker struct {
	cfg      Config
	node     node
	servers  *servers
	requests chan request
	stopped  chan struct{} // closed when Run ends
	changed  chan struct{}
	dirty    chan struct{} // for the coupling with BFD

	mu       sync.Mutex
	sessions map[string]*session // by peer
	guarded  map[string]string   // state of BFD in words, by peer
}

type request struct {
	ctx  context.Context
	want Want
	done chan<- error
}

// New returns a Speaker without sessions. It registers the metrics, and starts nothing before Run.
func New(cfg Config) *Speaker {
	s := &Speaker{
		cfg:      cfg,
		node:     kernel{},
		servers:  &servers{log: cfg.Log},
		requests: make(chan request),
		stopped:  make(chan struct{}),
		changed:  make(chan struct{}, 1),
		dirty:    make(chan struct{}, 1),
		sessions: map[string]*session{},
		guarded:  map[string]string{},
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(collector{s})
	}
	return s
}

// Run holds the sessions until ctx ends, then closes them, waits for every goroutine that it started, and returns nil
// within two seconds. It is called once.
//
// The end of ctx means that this process will be back: where graceful restart is negotiated (RFC 4724) the connection is
// closed without a NOTIFICATION, and the neighbor keeps the routes; other sessions end with Cease. To leave for good,
// apply an empty Want before, which ends every session with Cease.
//
// The coupling with BFD follows: a session that Cease ended is no longer wanted of BFD, so that its BFD session goes to
// AdminDown; one that was closed for a restart is left as it is, and the BFD edge has to end without AdminDown, too.
func (s *Speaker) Run(ctx context.Context) error {
	defer close(s.stopped)
	guarded := make(chan []BFDSession, 1)
	go func() { guarded <- s.couple(ctx) }()
	for {
		select {
		case <-ctx.Done():
			have := <-guarded
			s.unguard(s.close(), have)
			return nil
		case r := <-s.requests:
			r.done <- s.apply(r.ctx, r.want)
		}
	}
}

// Apply makes want what is held and announced. It returns when every route is in the table of its session, which sends
// it as soon as it is established, and when every session that is not wanted has ended; new ones come first. Whether a
// neighbor answers is not waited for: see Sessions. An item that is of no use does not hold up the others: the error
// joins one for each. A changed route is an update and never resets a session; of a changed session, see Resets. Apply
// waits for Run; it returns early if ctx ends (what was begun goes on), or with ErrStopped.
func (s *Speaker) Apply(ctx context.Context, want Want) error {
	done := make(chan error, 1)
	want.Sessions = slices.Clone(want.Sessions)
	select {
	case s.requests <- request{ctx, want, done}:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return ErrStopped
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return ErrStopped
	}
}

// Reset ends the session of a peer with a Cease that tells the reason, and opens it again at once. It is an error if
// there is no such session.
func (s *Speaker) Reset(peer, reason string) error {
	x := s.session(peer)
	if x == nil {
		return fmt.Errorf("resetting the session with %s: there is none", peer)
	}
	x.reset(ending{why: reason, code: cease, subcode: ceaseReset})
	return nil
}

// Changed yields a value after what Sessions returns has changed: one for any number of changes since the last receive.
func (s *Speaker) Changed() <-chan struct{} { return s.changed }

func (s *Speaker) session(peer string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[peer]
}

// all returns the sessions, sorted by peer.
func (s *Speaker) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*session, 0, len(s.sessions))
	for _, x := range s.sessions {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b *session) int { return strings.Compare(a.peer, b.peer) })
	return out
}

// notify tells that a session's state has changed.
func (s *Speaker) notify() {
	signal(s.changed)
	signal(s.dirty)
}

// signal marks a channel of one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// close ends all sessions for a restart of the process. It returns the peers that wait for it.
func (s *Speaker) close() map[string]bool {
	kept := map[string]bool{}
	var work sync.WaitGroup
	for _, x := range s.all() {
		now := x.current()
		kept[x.peer] = now.State == Established && now.Graceful
		work.Go(func() {
			x.end(ending{why: "this speaker stops", code: cease, subcode: ceaseShutdown, keepIfGraceful: true})
		})
	}
	work.Wait()
	return kept
}
