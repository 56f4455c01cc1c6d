package speaker

import (
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	// apart is within what time speakers have to be lost to count as lost together, and another one has to be heard to
	// announce what is announced here to show that they were lost although the segment was whole.
	apart = 10 * time.Second
	// joining is how long a speaker whose link came back waits for the others that it heard before: they may be there, and
	// are asked to join every two seconds.
	joining = 5 * time.Second
)

// settling knows whether this speaker takes addresses from others: only some time after it came up. It came up when it
// started, when the process did not run for a while, and when most of the other speakers, the same as before, came back
// after most were lost at once, unless one of them was then heard to announce what is announced here, so that it was on
// their segment all the time. A link settles by itself, when it came back.
type settling struct {
	after time.Duration
	since time.Time  // when it came up last, whatever became of its links
	says  plan.Facts // what the others have to know of it

	links  map[string]linkPast  // those that were up at any time, by name
	back   time.Time            // when one of them came back last
	count  int                  // how many others are alive
	peak   int                  // how many were, lately
	fellAt time.Time            // when there were fewer first; zero: there are not
	alone  bool                 // most of them were lost at once and are not back
	heard  bool                 // one of them was heard to announce something just then
	lost   map[string]time.Time // when those that were lost had started, by node
	others map[string]time.Time // when those that are alive had started
}

// linkPast is what is remembered of a link.
type linkPast struct {
	up   bool
	back time.Time // when it came back last; zero: it never went
}

func newSettling(after time.Duration, now time.Time) settling {
	at := now.Truncate(time.Millisecond)
	return settling{
		after: after, since: now, says: plan.Facts{Started: at, CameUp: at, Settling: after},
		links: map[string]linkPast{}, lost: map[string]time.Time{},
	}
}

// step takes in what is seen, and says of it what the others have to know, which links are unsettled, and whether the others
// are still to join; it returns when any of that may change by time alone. A speaker whose links all are unsettled is not
// settled either: it came up with the first of them.
func (s *settling) step(local *Local, paused bool, now time.Time) (wait time.Duration) {
	if s.othersBack(local, now) || paused {
		s.since = now
	}
	s.follow(local.Links, now)
	first, wait := s.mark(local.Links, now)
	since := s.since
	if first.After(since) {
		since = first
	}
	left := s.after - now.Sub(since)
	if s.says.Settled = left <= 0; left > 0 {
		s.says.CameUp, wait = since.Truncate(time.Millisecond), min(wait, left)
	}
	s.says.Links = plan.DigestOf(local.Links)
	local.Facts = s.says
	if left := joining - now.Sub(s.back); left > 0 && s.count == 0 && len(s.lost) > 0 {
		local.Joining, wait = true, min(wait, left)
	}
	return wait
}

// follow notes which links are up, and which of them came back.
func (s *settling) follow(links []plan.LinkState, now time.Time) {
	up := map[string]bool{}
	for i := range links {
		name := links[i].Name
		up[name] = true
		past, known := s.links[name]
		if known && !past.up {
			past.back, s.back = now, now
		}
		past.up = true
		s.links[name] = past
	}
	for name, past := range s.links {
		past.up = up[name]
		s.links[name] = past
	}
}

// mark marks the links that came back a short time ago, and returns when the first of them came back, if no other is up,
// and when the next one is settled or the time to the next resync.
func (s *settling) mark(links []plan.LinkState, now time.Time) (first time.Time, wait time.Duration) {
	wait = resync
	for i := range links {
		back := s.links[links[i].Name].back
		left := s.after - now.Sub(back)
		if links[i].Unsettled = left > 0; left > 0 {
			wait = min(wait, left)
		}
		if i == 0 || back.Before(first) {
			first = back
		}
	}
	return first, wait
}

// othersBack says whether most of the others are back that had been lost at once. Those that started anew do not count:
// it is they who were away.
func (s *settling) othersBack(local *Local, now time.Time) bool {
	alive := make(map[string]time.Time, len(local.Members))
	for _, m := range local.Members {
		alive[m.Node] = m.Started
	}
	same := false
	for node, started := range alive {
		lost, ok := s.lost[node]
		same = same || ok && lost.Equal(started)
		delete(s.lost, node)
	}
	for node, started := range s.others {
		if _, ok := alive[node]; !ok {
			s.lost[node] = started
		}
	}
	s.others = alive
	back := s.majority(max(0, len(alive)-1), now)
	s.heard = s.heard || s.alone && local.Contested.Sub(s.fellAt).Abs() < apart
	return back && same && !s.heard
}

// majority follows the number of others that are alive; it returns true when they are most again.
func (s *settling) majority(others int, now time.Time) bool {
	last := s.count
	s.count = others
	switch {
	case s.alone:
		s.alone = 2*others < s.peak
		return !s.alone
	case others >= s.peak:
		s.peak, s.fellAt = others, time.Time{}
		return false
	case s.fellAt.IsZero():
		s.fellAt = now
	case now.Sub(s.fellAt) > apart: // what was lost before was not lost at once with what is lost now
		s.peak, s.fellAt = last, now
	}
	s.alone, s.heard = s.peak > 1 && 2*others < s.peak, false
	return false
}
