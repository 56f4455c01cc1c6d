package speaker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// round carries out one plan after the other. What it remembers between them is what no plan can know: what moved away
// and is still answered for, and whether this speaker came up a short time ago.
type round struct {
	*Speaker
	settling settling
	layer2   announcing
	known    []plan.Member // what alive returned last
	watched  []plan.Companion
	failed   string // the last error, so that it is logged once and not at every try
	last     *Report
}

func newRound(s *Speaker, now time.Time) *round {
	return &round{Speaker: s, settling: newSettling(s.FailbackAfter, now), layer2: newAnnouncing(s.Layer2)}
}

// run makes the plan and carries it out. It returns when to do so again at the latest.
func (r *round) run(ctx context.Context, began time.Time) time.Duration {
	defer r.Watchdog.Step()()
	noticed, paused := r.Layer2.Paused()
	local, wait := r.look(paused, began)
	if paused {
		if err := r.Members.Confirm(ctx); err != nil {
			return r.fail(ctx, fmt.Errorf("hearing from another speaker after a pause: %w", err))
		}
		local, wait = r.look(paused, began) // the others may have said that some are dead
	}
	v, err := r.Gather(ctx, local)
	if err != nil {
		return r.fail(ctx, fmt.Errorf("gathering what to announce: %w", err))
	}
	p := plan.Build(&v)
	if local.Joining {
		p.L2 = slices.DeleteFunc(p.L2, func(x plan.Announcement) bool { return !slices.Contains(local.Announced, x) })
	}
	next, err := r.layer2.apply(ctx, &v, &p, noticed, paused, began)
	if r.BGP != nil {
		err = errors.Join(err, r.BGP.Apply(ctx, p))
	}
	if r.Heartbeats != nil {
		err = errors.Join(err, r.watch(ctx, plan.Companions(&v, &p, local.Members)))
	}
	if ctx.Err() != nil {
		return 0
	}
	r.last = &Report{Local: local, Plan: p, Began: began, Failed: err}
	r.tell(ctx)
	if err != nil {
		return r.fail(ctx, err)
	}
	r.failed = ""
	return min(wait, next)
}

// tell reports what became of the last plan, as it is now.
func (r *round) tell(ctx context.Context) {
	if r.last != nil {
		r.last.Local.Announced = r.Layer2.Announced()
		r.Report(ctx, *r.last)
	}
}

// fail logs an error, once, and returns when to try again.
func (r *round) fail(ctx context.Context, err error) time.Duration {
	if text := err.Error(); text != r.failed && ctx.Err() == nil {
		r.failed = text
		r.Log.Error("the plan could not be carried out in full, trying again", "error", err)
	}
	return retry
}

// watch watches the companions, and those that are lost for as long as the members do not know it.
func (r *round) watch(ctx context.Context, companions []plan.Companion) error {
	lost := r.Heartbeats.Lost()
	for _, m := range r.Members.Alive() {
		at := slices.IndexFunc(r.watched, func(c plan.Companion) bool { return c.Node == m.Node && lost[c.Node] })
		if at >= 0 && !slices.ContainsFunc(companions, func(c plan.Companion) bool { return c.Node == m.Node }) {
			companions = append(companions, r.watched[at])
		}
	}
	if slices.EqualFunc(companions, r.watched, plan.Companion.Equal) {
		return nil
	}
	if err := r.Heartbeats.Apply(ctx, companions); err != nil {
		return fmt.Errorf("watching other nodes: %w", err)
	}
	r.watched = companions
	return nil
}

// alive returns the members that are not lost, and those which the members take for dead although they are heard: where
// many packets get lost, the membership is wrong now and then. Who leaves ends its heartbeats first.
func (r *round) alive() []plan.Member {
	alive := r.Members.Alive()
	if r.Heartbeats == nil {
		return alive
	}
	lost, heard := r.Heartbeats.Lost(), r.Heartbeats.Hears()
	out := slices.DeleteFunc(slices.Clone(alive), func(m plan.Member) bool { return lost[m.Node] })
	for _, m := range r.known { // heard are 64 at most
		if heard[m.Node] && !slices.ContainsFunc(alive, func(x plan.Member) bool { return x.Node == m.Node }) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b plan.Member) int { return cmp.Compare(a.Node, b.Node) })
	r.known = out
	return out
}

// look returns what this speaker sees, tells the others what it says of itself, and returns when that changes by time
// alone.
func (r *round) look(paused bool, now time.Time) (Local, time.Duration) {
	local := Local{Members: r.alive(), Links: slices.Clone(r.Links.Snapshot()), Announced: r.Layer2.Announced(), Contested: r.Layer2.Contested()}
	wait := r.settling.step(&local, paused, now)
	r.Members.Publish(local.Facts)
	local.Members = r.alive() // with what this one says of itself now
	return local, wait
}
