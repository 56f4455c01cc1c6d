//go:build linux

// Package heartbeat notices within about half a second that the owner of an address is gone: the owner and its next two
// candidates send each other a packet every 100 ms, by BFD (RFC 5880) on a port of its own.
//
// A candidate that misses three in a row and then hears nothing for 200 ms more asks the owner's address by ARP or
// neighbor discovery, which its kernel answers whatever becomes of its speaker, and asks the other candidates. Only if
// there is no answer, and the others miss the owner too, is it lost. A candidate that hears nobody at all takes nothing
// over. Everything else is left to the membership of speaker/members: this package only makes the common case faster.
//
// One goroutine, that of Run, owns everything; what it decides by is the pure judge.
package heartbeat

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-lb/fairlead/speaker/bfd"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// The heartbeats.
const (
	interval   = 100 * time.Millisecond
	multiplier = 3
)

// Five questions, whose answers take a millisecond.
const (
	questions = 5
	askEvery  = 35 * time.Millisecond
)

// errStopped is returned when Run has ended.
var errStopped = errors.New("the heartbeats have stopped")

// Monitor is what is needed of bfd.Monitor.
type Monitor interface {
	Run(context.Context) error
	Apply(context.Context, []bfd.Session) error
	States() map[bfd.Path]bfd.State
	Changed() <-chan struct{}
}

// Config is what a Guard needs. All fields are required.
type Config struct {
	Log     *slog.Logger
	Node    string     // this node's name
	Address netip.Addr // of this node, as the others know it
	Port    uint16     // UDP
	Monitor Monitor
	// Ask asks on a link whether an address is there, some times at an interval, until it answers.
	Ask func(ctx context.Context, l plan.Link, address netip.Addr, times int, every time.Duration) (answered bool, err error)
	// Frames returns how many frames were received on a link.
	Frames func(l plan.Link) (uint64, error)
	// Tell sends a message to another node's speaker; it may get lost.
	Tell func(node string, message []byte) error
}

// Guard watches companions.
type Guard struct {
	cfg     Config
	wanted  chan []plan.Companion
	words   chan []byte
	replies chan answer
	stopped chan struct{}
	changed chan struct{}
	lost    atomic.Pointer[map[string]bool]
	hears   atomic.Pointer[map[string]bool]
}

// answer is what came of asking a node.
type answer struct {
	node string
	reply
}

// New returns a Guard without companions; it starts nothing.
func New(c Config) *Guard {
	g := &Guard{
		cfg: c, wanted: make(chan []plan.Companion), words: make(chan []byte, 256), replies: make(chan answer, 16),
		stopped: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	g.lost.Store(&map[string]bool{})
	g.hears.Store(&map[string]bool{})
	return g
}

// Lost returns the nodes of companions that are gone. It is shared: the caller does not modify it.
func (g *Guard) Lost() map[string]bool { return *g.lost.Load() }

// Hears returns the nodes of companions that are there for sure: of their last three packets one came, and it said that they
// hear this node. It is shared: the caller does not modify it.
func (g *Guard) Hears() map[string]bool { return *g.hears.Load() }

// Changed yields a value after Lost or Hears has changed.
func (g *Guard) Changed() <-chan struct{} { return g.changed }

// Heard takes a message of another speaker. It never blocks: there are few messages, and they are repeated.
func (g *Guard) Heard(message []byte) {
	select {
	case g.words <- slices.Clone(message):
	default:
	}
}

// Apply makes the companions the whole set of those that are watched. One that is lost stays so until it is heard again
// or is no longer among them. Apply waits for Run.
func (g *Guard) Apply(ctx context.Context, companions []plan.Companion) error {
	select {
	case g.wanted <- companions:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.stopped:
		return errStopped
	}
}

// Run watches until the context ends.
func (g *Guard) Run(ctx context.Context) error {
	defer close(g.stopped)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return g.cfg.Monitor.Run(ctx) })
	work.Go(func() error { return g.watch(ctx, work) })
	return work.Wait()
}

func (g *Guard) watch(ctx context.Context, work *errgroup.Group) error {
	j := &judge{}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case all := <-g.wanted:
			j.replace(all)
			g.hold(ctx, all)
		case message := <-g.words:
			if from, of, misses, ok := decode(message); ok {
				j.listen(from, of, misses, time.Now())
			}
		case a := <-g.replies:
			j.asked(a.node, a.reply)
		case <-g.cfg.Monitor.Changed():
		case <-timer.C:
		}
		g.hear(j)
		do, next := j.step(time.Now())
		g.do(ctx, work, do)
		g.publish(j.now())
		timer.Reset(time.Hour)
		if !next.IsZero() {
			timer.Reset(max(time.Until(next), time.Millisecond))
		}
	}
}

// hold makes the sessions with the companions those that run. One that cannot run is only slower to be noticed.
func (g *Guard) hold(ctx context.Context, all []plan.Companion) {
	var sessions []bfd.Session
	for _, c := range closest(g.cfg.Node, all) {
		if c.Address.Is4() == g.cfg.Address.Is4() {
			sessions = append(sessions, bfd.Session{
				Path:       g.path(c.Address),
				Parameters: bfd.Parameters{DesiredMinTx: interval, RequiredMinRx: interval, DetectMultiplier: multiplier},
			})
		}
	}
	if err := g.cfg.Monitor.Apply(ctx, sessions); err != nil && ctx.Err() == nil {
		g.cfg.Log.Warn("heartbeats are not sent in full", "error", err)
	}
}

func (g *Guard) path(address netip.Addr) bfd.Path {
	return bfd.Path{Peer: address, Local: g.cfg.Address, Port: g.cfg.Port}
}

// hear takes the states of all sessions to the judge.
func (g *Guard) hear(j *judge) {
	states := g.cfg.Monitor.States()
	for node, d := range j.cases {
		s, ok := states[g.path(d.Address)]
		if !ok {
			continue
		}
		back, tell := j.hear(node, signalOf(s), s.Since)
		if back {
			g.cfg.Log.Info("a node is back that was lost", "node", node)
		}
		g.say(tell)
	}
}

// signalOf returns what a session's state means.
func signalOf(s bfd.State) signal {
	switch {
	case s.Local == bfd.Up:
		return hears
	case s.Local == bfd.Down && s.Diagnostic == bfd.DetectionExpired && s.RemoteDiscriminator == 0:
		return missed
	}
	return unheard
}

// do does what the judge wants.
func (g *Guard) do(ctx context.Context, work *errgroup.Group, do todo) {
	g.say(do.tell)
	for _, node := range do.lost {
		g.cfg.Log.Warn("a node is lost: it sends nothing and answers nothing, and no other candidate hears it", "node", node)
	}
	for _, c := range do.ask {
		work.Go(func() error {
			a := answer{c.Node, g.ask(ctx, c)}
			select {
			case g.replies <- a:
			case <-ctx.Done():
			}
			return nil
		})
	}
}

func (g *Guard) say(words []word) {
	for _, w := range words {
		if err := g.cfg.Tell(w.to, encode(g.cfg.Node, w)); err != nil {
			g.cfg.Log.Debug("another candidate is not told", "node", w.to, "error", err)
		}
	}
}

// ask asks a node on all links on which it may be, at the same time.
func (g *Guard) ask(ctx context.Context, c plan.Companion) reply {
	before := g.frames(c.Links)
	answers := make([]bool, len(c.Links))
	var work errgroup.Group
	for i, l := range c.Links {
		work.Go(func() error {
			yes, err := g.cfg.Ask(ctx, l, c.Address, questions, askEvery)
			if err != nil {
				g.cfg.Log.Debug("a node that is missed cannot be asked", "node", c.Node, "interface", l.Name, "error", err)
			}
			answers[i] = yes || err != nil
			return nil
		})
	}
	_ = work.Wait()
	switch {
	case slices.Contains(answers, true):
		return answered
	case g.frames(c.Links) > before:
		return silent
	}
	return alone
}

// frames returns how many frames were received on links, as far as that is known.
func (g *Guard) frames(links []plan.Link) (sum uint64) {
	for _, l := range links {
		n, err := g.cfg.Frames(l)
		if err != nil {
			g.cfg.Log.Debug("it is not known what is received", "interface", l.Name, "error", err)
		}
		sum += n
	}
	return sum
}

// publish makes the nodes what Lost and Hears return, and tells if that is new.
func (g *Guard) publish(lost, heard map[string]bool) {
	if maps.Equal(lost, g.Lost()) && maps.Equal(heard, g.Hears()) {
		return
	}
	g.lost.Store(&lost)
	g.hears.Store(&heard)
	select {
	case g.changed <- struct{}{}:
	default:
	}
}
