// Package speaker runs on every node: it follows the node's links and the other speakers, makes the node's plan from
// one view of everything, and hands the whole plan to the edges that carry it out.
package speaker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	// linger is how long an address that moves to another live node is still answered for here, so that the new
	// announcer speaks before the old one stops.
	linger = 500 * time.Millisecond
	// leaveTimeout bounds the telling of the other speakers that this one stops.
	leaveTimeout = 500 * time.Millisecond
	// resync is how often everything is compared again although nothing seems to have changed.
	resync = 30 * time.Second
	// retry is how long after a failure the plan is tried again.
	retry = time.Second
)

// Links is what the speaker needs of speaker/link.
type Links interface {
	Run(context.Context) error
	Changed() <-chan struct{}
	Snapshot() []plan.LinkState
}

// Members is what the speaker needs of speaker/members.
type Members interface {
	Run(context.Context) error
	Ready() <-chan struct{}
	Alive() []plan.Member
	Leave(timeout time.Duration) error
}

// Layer2 is what the speaker needs of speaker/layer2.
type Layer2 interface {
	Run(context.Context) error
	Apply(context.Context, []plan.Announcement) error
	Announced() []plan.Announcement
	Changed() <-chan struct{}
}

// Speaker makes and carries out the plan of one node. All fields are required.
type Speaker struct {
	Log     *slog.Logger
	Links   Links
	Members Members
	Layer2  Layer2
	// Gather returns the cluster's part of the view: all but the members and the links.
	Gather func(context.Context) (plan.View, error)
	// Report is told every plan after it was carried out, and what failed.
	Report func(context.Context, plan.Plan, error)
	// Dirty holds a value when something that Gather reads, or the set of members, may have changed.
	Dirty <-chan struct{}
}

// Run speaks until the context ends. Then it tells the other speakers, goes on answering while they take over, and
// stops: within 2 s in all.
func (s *Speaker) Run(ctx context.Context) error {
	// The edges outlive ctx: they are needed for the hand-over.
	edges, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, edges := errgroup.WithContext(edges)
	for _, run := range []func(context.Context) error{s.Links.Run, s.Members.Run, s.Layer2.Run} {
		g.Go(func() error { return run(edges) })
	}
	g.Go(func() error {
		defer stop()
		planning, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(edges, cancel)() // an edge that fails ends the planning
		s.follow(planning)
		s.handOver(edges)
		return nil
	})
	return g.Wait()
}

// follow carries out the plan again whenever something changed, until the context ends.
func (s *Speaker) follow(ctx context.Context) {
	if !s.awaitFirst(ctx) {
		return
	}
	r := round{Speaker: s, lostAt: map[plan.Announcement]time.Time{}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.Dirty:
		case <-s.Links.Changed():
		case <-s.Layer2.Changed():
		}
		if ctx.Err() != nil {
			return // select prefers no case, and a plan must not be begun any more
		}
		timer.Reset(r.run(ctx))
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

// handOver lets the others take over what this node announces, unless the edges ended already.
func (s *Speaker) handOver(ctx context.Context) {
	if ctx.Err() != nil || len(s.Members.Alive()) < 2 {
		return
	}
	if err := s.Members.Leave(leaveTimeout); err != nil {
		s.Log.Warn("the other speakers will notice by themselves", "error", err)
	}
	if len(s.Layer2.Announced()) == 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(linger):
	}
}

// round carries out one plan after the other; between them it keeps what moved away and is still answered for.
type round struct {
	*Speaker
	lostAt map[plan.Announcement]time.Time
	failed string // the last error, so that it is logged once and not at every try
}

// run makes the plan and carries it out. It returns when to do so again at the latest.
func (r *round) run(ctx context.Context) time.Duration {
	p, err := r.plan(ctx)
	if err == nil {
		want, wait := r.keepMoving(p, time.Now())
		err = r.Layer2.Apply(ctx, want)
		if ctx.Err() != nil {
			return 0
		}
		r.Report(ctx, p, err)
		if err == nil {
			r.failed = ""
			return wait
		}
	}
	if text := err.Error(); text != r.failed && ctx.Err() == nil {
		r.failed = text
		r.Log.Error("the plan could not be carried out in full, trying again", "error", err)
	}
	return retry
}

func (r *round) plan(ctx context.Context) (plan.Plan, error) {
	v, err := r.Gather(ctx)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("gathering what to announce: %w", err)
	}
	v.Members, v.Links = nil, r.Links.Snapshot()
	for _, m := range r.Members.Alive() {
		v.Members = append(v.Members, m.Node)
	}
	return plan.Build(&v), nil
}

// keepMoving returns what to answer for: the plan, and for a while what has moved to another node. It also returns
// when that while is over, or the time to the next resync.
func (r *round) keepMoving(p plan.Plan, now time.Time) ([]plan.Announcement, time.Duration) {
	elsewhere := map[string]bool{}
	for _, v := range p.Verdicts {
		if v.Reason == verdict.NotOwner {
			elsewhere[v.Address.String()] = true
		}
	}
	planned := make(map[plan.Announcement]struct{}, len(p.L2))
	for _, x := range p.L2 {
		planned[x] = struct{}{}
	}
	want, wait := p.L2, resync
	lostAt := map[plan.Announcement]time.Time{}
	for _, x := range r.Layer2.Announced() {
		if _, ok := planned[x]; ok || !elsewhere[x.Address.String()] {
			continue
		}
		since, ok := r.lostAt[x]
		if !ok {
			since = now
		}
		if left := linger - now.Sub(since); left > 0 {
			lostAt[x] = since
			want = append(want, x)
			wait = min(wait, left)
		}
	}
	r.lostAt = lostAt
	return want, wait
}
