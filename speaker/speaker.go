// Package speaker runs on every node: it follows the node's links and the other speakers, makes the node's plan from
// one view of everything, and hands the whole plan to the edges that carry it out.
package speaker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-lb/fairlead/internal/watchdog"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	// leaveTimeout bounds the telling of the other speakers that this one stops.
	leaveTimeout = 500 * time.Millisecond
	// leaving is how long a speaker that stops goes on answering at most, until the others have taken over.
	leaving = time.Second
	// resync is how often everything is compared again although nothing seems to have changed. Where that is much, it is less
	// often: so seldom that it takes a resyncFactor-th of the time, but every mostResync.
	resync       = 30 * time.Second
	resyncFactor = 1000
	mostResync   = 5 * time.Minute
	// retry is how long after a failure the plan is tried again.
	retry = time.Second
)

// Edge is what all edges have in common.
type Edge interface {
	// Run works until the context ends.
	Run(context.Context) error
	// Changed yields a value when something changed that was not asked for.
	Changed() <-chan struct{}
}

// Links is what the speaker needs of speaker/link.
type Links interface {
	Edge
	Snapshot() []plan.LinkState
}

// Members is what the speaker needs of speaker/members. What changes there makes the speaker Dirty.
type Members interface {
	Run(context.Context) error
	Ready() <-chan struct{}
	Alive() []plan.Member
	// Confirm returns nil when another live speaker has answered since, or when there is none.
	Confirm(context.Context) error
	// Publish replaces what this speaker says of itself.
	Publish(plan.Facts)
	Leave(timeout time.Duration) error
}

// Heartbeats is what the speaker needs of speaker/heartbeat.
type Heartbeats interface {
	Edge
	Companions
}

// Companions are other nodes that are watched.
type Companions interface {
	// Apply watches the companions, all of them and no others.
	Apply(context.Context, []plan.Companion) error
	// Lost returns those that are gone, although the members may not know it yet.
	Lost() map[string]bool
	// Hears returns those that are there, although the members may take them for dead.
	Hears() map[string]bool
}

// Applier carries out a part of the plan beside layer 2, and is independent of it: BGP.
type Applier interface {
	// Edge's Run ends when this process stops, after HandOver; Changed makes the speaker report again what became of the
	// last plan.
	Edge
	// Apply carries out its part of the whole plan; it may be called again with the same one.
	Apply(context.Context, plan.Plan) error
	// HandOver lets others take over, where the last plan says that nobody may wait for this node's return.
	HandOver(context.Context) error
}

// Speaker makes and carries out the plan of one node. All fields but Heartbeats, BGP and Watchdog are required.
type Speaker struct {
	Log           *slog.Logger
	Links         Links
	Members       Members
	Layer2        Layer2
	Heartbeats    Heartbeats    // nil: there are none
	BGP           Applier       // nil: there is none
	FailbackAfter time.Duration // how long after it came up this speaker takes no address that another node can serve
	// Gather returns the view, given this node's part of it.
	Gather func(context.Context, Local) (plan.View, error)
	// Report is told what came of every plan.
	Report func(context.Context, Report)
	// Dirty holds a value when something that Gather reads, or the set of members, may have changed.
	Dirty <-chan struct{}
	// Watchdog follows the rounds; nil: nothing does.
	Watchdog *watchdog.Watchdog
}

// Local is what a speaker sees of the world by itself, without the API server.
type Local struct {
	Members   []plan.Member    // that are alive and not lost, this one included, by node
	Links     []plan.LinkState // of this node, that are up
	Announced []plan.Announcement
	Contested time.Time  // when another speaker was heard last to announce what is announced here; zero: not lately
	Facts     plan.Facts // what this speaker says of itself
	// Joining: a link came back just now, and of the others, who were heard before, none is yet: nothing new is announced.
	Joining bool
}

// Report is what came of one plan.
type Report struct {
	Local  Local
	Plan   plan.Plan
	Began  time.Time // when what made the plan necessary was noticed
	Failed error
}

// Run speaks until the context ends. Then it tells the other speakers, goes on answering while they take over, and
// stops: within 2 s in all, and what BGP's hand-over takes.
func (s *Speaker) Run(ctx context.Context) error {
	// The edges outlive ctx: they are needed for the hand-over.
	edges, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	r := newRound(s, time.Now())
	// Before the others hear of this speaker: one that says nothing of itself is not asked to wait.
	s.Members.Publish(r.settling.says)
	g, edges := errgroup.WithContext(edges)
	for _, run := range s.edges() {
		g.Go(func() error { return run(edges) })
	}
	g.Go(func() error {
		defer stop()
		planning, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(edges, cancel)() // an edge that fails ends the planning
		s.follow(planning, r)
		s.handOver(edges)
		return nil
	})
	return g.Wait()
}

func (s *Speaker) edges() []func(context.Context) error {
	out := []func(context.Context) error{s.Links.Run, s.Members.Run, s.Layer2.Run}
	if s.Heartbeats != nil {
		out = append(out, s.Heartbeats.Run)
	}
	if s.BGP != nil {
		out = append(out, s.BGP.Run)
	}
	return out
}

// After a plan a speaker rests from what comes from the API server, which may come in thousands, for so many times as long
// as the plan took, and at most for so long. What the node notices by itself is not held up.
const (
	restFactor = 9
	mostRest   = 100 * time.Millisecond
)

// follow carries out the plan again whenever something changed, until the context ends.
func (s *Speaker) follow(ctx context.Context, r *round) {
	if !s.awaitFirst(ctx) {
		return
	}
	var heartbeats, bgp <-chan struct{} // nothing comes from nil
	if s.Heartbeats != nil {
		heartbeats = s.Heartbeats.Changed()
	}
	if s.BGP != nil {
		bgp = s.BGP.Changed()
	}
	timer, rested := time.NewTimer(0), time.NewTimer(0)
	defer timer.Stop()
	defer rested.Stop()
	dirty := s.Dirty
	for {
		select {
		case <-ctx.Done():
			return
		case <-rested.C:
			dirty = s.Dirty
			continue
		case <-timer.C:
		case <-dirty:
		case <-s.Links.Changed():
		case <-s.Layer2.Changed():
		case <-heartbeats:
		case <-bgp:
			r.tell(ctx)
			continue
		}
		if ctx.Err() != nil {
			return // select prefers no case, and a plan must not be begun any more
		}
		began := time.Now()
		wait := r.run(ctx, began)
		took := time.Since(began)
		if wait == resync { // nothing will be due by time alone
			wait = max(resync, min(resyncFactor*took, mostResync))
		}
		timer.Reset(wait)
		dirty = nil
		rested.Reset(min(restFactor*took, mostRest))
	}
}

// awaitFirst waits until links and members were looked at once; before that every node would believe to be alone.
func (s *Speaker) awaitFirst(ctx context.Context) bool {
	for _, ready := range []<-chan struct{}{s.Links.Changed(), s.Members.Ready()} {
		select {
		case <-ctx.Done():
			return false
		case <-ready:
		}
	}
	return true
}

// handOver lets others take over what this node announces, unless the edges ended already.
func (s *Speaker) handOver(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	var work sync.WaitGroup
	work.Go(func() { s.handOverLayer2(ctx) })
	if s.BGP != nil {
		work.Go(func() {
			if err := s.BGP.HandOver(ctx); err != nil {
				s.Log.Warn("BGP sessions are not handed over in full", "error", err)
			}
		})
	}
	work.Wait()
}

func (s *Speaker) handOverLayer2(ctx context.Context) {
	if len(s.Members.Alive()) < 2 {
		return
	}
	// First, since what takes over is heard as soon as the others are told.
	if err := s.Layer2.ApplyLeaving(ctx, nil, s.Layer2.Announced()); err != nil {
		s.Log.Warn("addresses are not handed over in full", "error", err)
	}
	if s.Heartbeats != nil { // who is heard is not dead, whatever becomes known of the members
		if err := s.Heartbeats.Apply(ctx, nil); err != nil {
			s.Log.Warn("the heartbeats do not end", "error", err)
		}
	}
	if err := s.Members.Leave(leaveTimeout); err != nil {
		s.Log.Warn("the other speakers will notice by themselves", "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	for len(s.Layer2.Announced()) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-s.Layer2.Changed(): // another speaker has one more of them
		}
	}
}
