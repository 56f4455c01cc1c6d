package speaker

// This file holds how the layer-2 part of a plan is carried out: addresses that move are handed over, and after a pause
// the others are heard first.

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// linger is how long an address that moves to another live node is still answered for here at most, so that the new
// announcer speaks before the old one stops. It ends when the new one is heard, which may have been silent until now, for
// three seconds after it heard this node last (see layer2.Conflict).
const linger = 4 * time.Second

// Layer2 is what the speaker needs of speaker/layer2.
type Layer2 interface {
	Edge
	Announcer
	Pausing
}

// Announcer answers for addresses.
type Announcer interface {
	// ApplyLeaving announces want, and answers for leaving until another speaker is heard to announce it.
	ApplyLeaving(ctx context.Context, want, leaving []plan.Announcement) error
	Announced() []plan.Announcement
	// Contested returns when another speaker was heard last to announce an address that is announced here, too.
	Contested() time.Time
	// Watch remembers when addresses are asked for that this node may have to take over.
	Watch(context.Context, []netip.Addr) error
}

// Pausing says whether the process did not run for a while, and so is silent.
type Pausing interface {
	Paused() (noticed time.Duration, paused bool)
	Resume(ctx context.Context, noticed time.Duration, want []plan.Announcement) error
}

// announcing remembers what moved away, and what is watched.
type announcing struct {
	edge    Layer2
	lostAt  map[plan.Announcement]time.Time
	watched []netip.Addr
}

func newAnnouncing(edge Layer2) announcing {
	return announcing{edge: edge, lostAt: map[plan.Announcement]time.Time{}}
}

// apply carries out the plan of the view's node; paused says that the edge is silent since it noticed a pause, which then ends. It returns
// when to do so again at the latest.
func (a *announcing) apply(ctx context.Context, view *plan.View, p *plan.Plan, noticed time.Duration, paused bool, now time.Time) (time.Duration, error) {
	if paused {
		clear(a.lostAt)
		return resync, a.edge.Resume(ctx, noticed, p.L2)
	}
	leaving, wait := a.moving(view, p, now)
	if err := a.edge.ApplyLeaving(ctx, p.L2, leaving); err != nil {
		return retry, err
	}
	return wait, a.watch(ctx, view.Node, p)
}

// moving returns what has moved to another node and is still to be answered for, and when that is over, or the time to
// the next resync. What was announced on a link that is down is not: nobody hears it, and when the link is back, it is the
// other node's.
func (a *announcing) moving(view *plan.View, p *plan.Plan, now time.Time) ([]plan.Announcement, time.Duration) {
	elsewhere := map[netip.Addr]bool{}
	for i := range p.Verdicts {
		if v := &p.Verdicts[i]; v.Reason == verdict.NotOwner {
			elsewhere[v.Address] = true
		}
	}
	planned := make(map[plan.Announcement]struct{}, len(p.L2))
	for _, x := range p.L2 {
		planned[x] = struct{}{}
	}
	up := map[plan.Link]bool{}
	for i := range view.Links {
		up[view.Links[i].Link] = true
	}
	var leaving []plan.Announcement
	wait := resync
	lostAt := map[plan.Announcement]time.Time{}
	for _, x := range a.edge.Announced() {
		if _, ok := planned[x]; ok || !elsewhere[x.Address] || !up[x.Link] {
			continue
		}
		since, ok := a.lostAt[x]
		if !ok {
			since = now
		}
		if left := linger - now.Sub(since); left > 0 {
			lostAt[x] = since
			leaving = append(leaving, x)
			wait = min(wait, left)
		}
	}
	a.lostAt = lostAt
	return leaving, wait
}

// watch watches the addresses that the node takes over if others are lost.
func (a *announcing) watch(ctx context.Context, node string, p *plan.Plan) error {
	var watched []netip.Addr
	for i := range p.Verdicts {
		if v := &p.Verdicts[i]; slices.Contains(v.Next[:], node) {
			watched = append(watched, v.Address)
		}
	}
	slices.SortFunc(watched, netip.Addr.Compare)
	watched = slices.Compact(watched)
	if slices.Equal(watched, a.watched) {
		return nil
	}
	if err := a.edge.Watch(ctx, watched); err != nil {
		return err
	}
	a.watched = watched
	return nil
}
