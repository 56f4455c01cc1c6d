//go:build linux

// Package bfd tells within milliseconds that a path to a neighbor works no more: Bidirectional Forwarding Detection in
// asynchronous mode (RFC 5880), over a single hop (RFC 5881) and over several (RFC 5883), on IPv4 and IPv6.
//
// One goroutine, that of Run, owns everything: the sessions, a queue of what they have to do and when, and a few UDP
// sockets that they share. What a session does is decided by a machine that knows neither clock nor socket; a table of
// machines finds the one that a packet belongs to. Another goroutine only wakes it for requests. No capability is needed,
// but for the echo function on IPv4.
//
// Authentication and demand mode of our own are not implemented; a neighbor may use demand mode.
//
// # Echo function
//
// It is FRR's (RFC 5880 section 6.4 leaves what is in the packets to the sender), and for a single hop only. Over IPv4 a
// packet from our own address to our own address goes to the neighbor's MAC address and is sent back by its forwarding
// plane: any router that forwards does that, and a Linux neighbor does where ip_forward is on and no filter drops it.
// Ours are sent through a packet socket, which takes CAP_NET_RAW; the neighbor's are sent back by this node's kernel,
// with no help of this package, where ip_forward is on as it is on nodes of Kubernetes. Over IPv6 packets go to UDP port
// 3785 of the neighbor and its BFD daemon sends them back, as this package does; only FRR is known to.
//
// A session is taken down by missing echo packets only after the first one came back. Until then, and where echo packets
// cannot be sent, control packets watch it alone; State tells which it is. Echo packets do not make control packets
// slower.
package bfd

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
)

// ErrStopped is returned by Apply and Leave when Run has ended, and by Apply after Leave.
var ErrStopped = errors.New("BFD has stopped")

// Config is what a Monitor needs.
type Config struct {
	Log *slog.Logger
}

// Monitor runs a set of sessions.
type Monitor struct {
	log      *slog.Logger
	requests chan request
	bell     chan struct{} // holds a value when there is a request
	stopped  chan struct{} // closed when Run ends
	changed  chan struct{} // holds a value when States is new
	states   atomic.Pointer[map[Path]State]
	counters *counters
}

// request is one call of Apply, Leave or Packets.
type request struct {
	want    []Session
	leave   bool
	done    chan<- error
	packets chan<- map[Path]Packets
}

// New returns a Monitor without sessions. It opens and starts nothing.
func New(c Config) *Monitor {
	m := &Monitor{
		log:      c.Log,
		requests: make(chan request, 16),
		bell:     make(chan struct{}, 1),
		stopped:  make(chan struct{}),
		changed:  make(chan struct{}, 1),
		counters: newCounters(),
	}
	m.states.Store(&map[Path]State{})
	return m
}

// Run holds the sessions until ctx ends, and then ends them without a word, as graceful restart wants it: see Leave for
// the other way. Those that are no longer wanted finish telling so, in at most 200 ms. Sockets are opened in the network namespace of the calling thread. It is called once.
func (m *Monitor) Run(ctx context.Context) error {
	defer close(m.stopped)
	l, err := newLoop(m)
	if err != nil {
		return err
	}
	return l.run(ctx)
}

// Apply makes want, the whole wanted set, the sessions that run. New ones are started first. One whose parameters alone
// changed stays Up and agrees on them with its neighbor. One that is no longer wanted is taken down on purpose: the
// neighbor is told AdminDown, three times in at most 200 ms, the first time before Apply returns. A session that cannot
// run does not hold up the others: the error joins one for each of them, and the next Apply tries again. Interfaces are
// looked up anew each time, so Apply is called, with the same set too, when one came. Apply waits for Run.
func (m *Monitor) Apply(ctx context.Context, want []Session) error {
	return m.ask(ctx, request{want: slices.Clone(want)})
}

// Leave takes all sessions down on purpose, for good, and returns when the neighbors were told: after at most 200 ms.
func (m *Monitor) Leave(ctx context.Context) error {
	return m.ask(ctx, request{leave: true})
}

func (m *Monitor) ask(ctx context.Context, r request) error {
	done := make(chan error, 1)
	r.done = done
	if err := m.submit(ctx, r); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-m.stopped:
		return ErrStopped
	}
}

// submit hands the loop a request.
func (m *Monitor) submit(ctx context.Context, r request) error {
	select {
	case m.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-m.stopped:
		return ErrStopped
	}
	select {
	case m.bell <- struct{}{}:
	default:
	}
	return nil
}

// States returns what is known of each session that runs. It is shared: the caller does not modify it.
func (m *Monitor) States() map[Path]State { return *m.states.Load() }

// Changed yields a value after States has changed, one for any number of changes.
func (m *Monitor) Changed() <-chan struct{} { return m.changed }

// publish makes states what States returns, and tells if that is new.
func (m *Monitor) publish(states map[Path]State) {
	if maps.Equal(states, m.States()) {
		return
	}
	m.states.Store(&states)
	select {
	case m.changed <- struct{}{}:
	default:
	}
}
