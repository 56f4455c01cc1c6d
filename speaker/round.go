package speaker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// round carries out one plan after the other. What it remembers between them is what no plan can know: what moved away
// and is still answered for, and whether this speaker came up a short time ago.
type round struct {
	*Speaker
	settling settling
	layer2   announcing
	failed   string // the last error, so that it is logged once and not at every try
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
	next, err := r.layer2.apply(ctx, v.Node, &p, noticed, paused, began)
	if r.BGP != nil {
		err = errors.Join(err, r.BGP.Apply(ctx, p))
	}
	if ctx.Err() != nil {
		return 0
	}
	local.Announced = r.Layer2.Announced()
	r.Report(ctx, Report{Local: local, Plan: p, Began: began, Failed: err})
	if err != nil {
		return r.fail(ctx, err)
	}
	r.failed = ""
	return min(wait, next)
}

// fail logs an error, once, and returns when to try again.
func (r *round) fail(ctx context.Context, err error) time.Duration {
	if text := err.Error(); text != r.failed && ctx.Err() == nil {
		r.failed = text
		r.Log.Error("the plan could not be carried out in full, trying again", "error", err)
	}
	return retry
}

// look returns what this speaker sees, tells the others what it says of itself, and returns when that changes by time
// alone.
func (r *round) look(paused bool, now time.Time) (Local, time.Duration) {
	local := Local{Members: r.Members.Alive(), Links: r.Links.Snapshot(), Announced: r.Layer2.Announced()}
	settled, wait := r.settling.step(local, paused, now)
	local.Facts = plan.Facts{Settled: settled, Started: r.settling.started, Links: plan.DigestOf(local.Links)}
	r.Members.Publish(local.Facts)
	return local, wait
}
