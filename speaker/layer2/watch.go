//go:build linux

package layer2

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
)

// Addresses that this node may have to take over are watched on the sockets that there are: when they were asked for
// last says which are to be announced first. That is worth little, and so may cost little: a flood is not listened to.
const (
	watchedPerRest = 1000 // requests for watched addresses that are let through before a rest
	watchRest      = 10 * time.Second
)

// watch makes addresses what is watched, beside what is answered for.
func (s *state) watch(addresses []netip.Addr) error {
	last := *s.shared.watched.Load()
	next := make(map[netip.Addr]*atomic.Int64, len(addresses))
	var errs []error
	for _, a := range addresses {
		if err := checkAddress(a); err != nil {
			errs = append(errs, fmt.Errorf("watching %s: %w", a, err))
			continue
		}
		next[a] = last[a]
		if next[a] == nil {
			next[a] = new(atomic.Int64)
		}
	}
	s.shared.watched.Store(&next)
	for _, r := range s.responders {
		if err := r.refilter(); err != nil {
			errs = append(errs, fmt.Errorf("watching on %s: %w", r.link, err))
		}
	}
	return errors.Join(errs...)
}

// countWatched counts a request for a watched address, and rests from them if there were too many.
func (r *responder) countWatched() {
	if r.watchedSeen++; r.watchedSeen < watchedPerRest {
		return
	}
	r.watchedSeen = 0
	r.rest(true)
}

// rest begins or ends a rest. An error needs no handling: the filter stays as it was.
func (r *responder) rest(begin bool) {
	r.filtering.Lock()
	defer r.filtering.Unlock()
	if r.resting == begin || r.ctx.Err() != nil {
		return
	}
	r.resting = begin
	_ = r.setFilter(*r.targets.Load())
	if begin {
		r.wake = time.AfterFunc(watchRest, func() { r.rest(false) })
	}
}
