package statuspage

// This file holds what the page shows at one time, and how that is kept up to date.

import (
	"context"
	"time"

	"github.com/fairlead-lb/fairlead/explain"
)

const (
	// calm is how often the cluster is looked at while nobody looks at the page, for the history.
	calm = 15 * time.Second
	// pace is how often it is looked at while somebody does; in large clusters less often, so that it takes a sixth of the time
	// at most.
	pace = 2 * time.Second
)

// snapshot is the cluster at one time. It is never changed.
type snapshot struct {
	At      time.Time
	View    *explain.View
	Status  explain.Status
	Rows    []explain.ServiceStatus
	History History
	Failure string // why it is not newer; "": it is
}

// Run looks at the cluster until the context ends.
func (p *Page) Run(ctx context.Context) error {
	history := History{Every: calm}
	for {
		began := p.Now()
		p.refresh(ctx, &history)
		rest := time.NewTimer(max(pace, 5*p.Now().Sub(began)))
		select {
		case <-ctx.Done():
			rest.Stop()
			return nil
		case <-rest.C:
		}
		idle := time.NewTimer(calm - pace)
		select {
		case <-ctx.Done():
		case <-p.wanted:
		case <-idle.C:
		}
		idle.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// refresh makes a new snapshot; where that fails, the last one says so.
func (p *Page) refresh(ctx context.Context, history *History) {
	v, err := p.Source(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.Log.Warn("reading the cluster for the status page", "error", err)
		}
		if last := p.now.Load(); last != nil {
			failed := *last
			failed.Failure = err.Error()
			p.now.Store(&failed)
		} else {
			why := err.Error()
			p.failed.Store(&why)
		}
		return
	}
	s := snapshot{At: p.Now(), View: v}
	s.Status, s.Rows = explain.Overview(v)
	history.note(s.At, s.Status.Pools)
	s.History = history.clone()
	p.now.Store(&s)
}

// look returns the last snapshot and asks for a newer one.
func (p *Page) look() *snapshot {
	select {
	case p.wanted <- struct{}{}:
	default:
	}
	return p.now.Load()
}

// History is how many addresses of each pool were in use since the process began. When it is full, every second point is
// dropped, and points are taken half as often: it covers all the time in a bounded number of points.
type History struct {
	Every time.Duration // the least time between points
	Times []time.Time
	Pools map[string][]int64 // as many values as Times, of the pools that there are now
}

// maxPoints is how many points are kept.
const maxPoints = 240

// note adds a point, if it is time.
func (h *History) note(at time.Time, pools []explain.PoolStatus) {
	if n := len(h.Times); n > 0 && at.Sub(h.Times[n-1]) < h.Every {
		return
	}
	if len(h.Times) >= maxPoints {
		h.Times, h.Every = halved(h.Times), 2*h.Every
		for name, values := range h.Pools {
			h.Pools[name] = halved(values)
		}
	}
	now := make(map[string][]int64, len(pools))
	for i := range pools {
		values := h.Pools[pools[i].Name]
		if values == nil {
			values = make([]int64, len(h.Times)) // it was not there
		}
		now[pools[i].Name] = append(values, pools[i].IPv4.Assigned+pools[i].IPv6.Assigned)
	}
	h.Times, h.Pools = append(h.Times, at), now
}

func halved[T any](list []T) []T {
	out := make([]T, 0, maxPoints)
	for i := 0; i < len(list); i += 2 {
		out = append(out, list[i])
	}
	return out
}

// clone returns a copy that stays as it is.
func (h *History) clone() History {
	out := History{Every: h.Every, Times: append([]time.Time(nil), h.Times...), Pools: make(map[string][]int64, len(h.Pools))}
	for name, values := range h.Pools {
		out.Pools[name] = append([]int64(nil), values...)
	}
	return out
}
