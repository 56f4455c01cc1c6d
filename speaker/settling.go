package speaker

import (
	"time"
)

// apart is within what time speakers have to be lost to count as lost together.
const apart = 10 * time.Second

// settling knows whether this speaker takes addresses from others: only some time after it came up. It came up when it
// started; when the process did not run for a while; when its links came back after it had none, or one came back while
// it announced nothing; and when most of the other speakers, the same as before, came back after most were lost at once.
type settling struct {
	after   time.Duration
	started time.Time // in whole milliseconds
	since   time.Time // when it came up last

	links  map[string]bool      // the names of those that were up at any time, and whether they are
	count  int                  // how many others are alive
	peak   int                  // how many were, lately
	fellAt time.Time            // when there were fewer first; zero: there are not
	alone  bool                 // most of them were lost at once and are not back
	lost   map[string]time.Time // when those that were lost had started, by node
	others map[string]time.Time // when those that are alive had started
}

func newSettling(after time.Duration, now time.Time) settling {
	return settling{after: after, started: now.Truncate(time.Millisecond), since: now, links: map[string]bool{}, lost: map[string]time.Time{}}
}

// step takes in what is seen, and returns whether the speaker is settled and when that may change by time alone.
func (s *settling) step(local Local, paused bool, now time.Time) (settled bool, wait time.Duration) {
	linked, joined := s.linksBack(local), s.othersBack(local, now)
	if linked || joined || paused {
		s.since = now
	}
	left := s.after - now.Sub(s.since)
	if left <= 0 {
		return true, resync
	}
	return false, min(left, resync)
}

// linksBack says whether links came back so that this node returned to a segment.
func (s *settling) linksBack(local Local) bool {
	before, returned := 0, false
	for _, up := range s.links {
		if up {
			before++
		}
	}
	up := map[string]bool{}
	for _, l := range local.Links {
		up[l.Name] = true
		was, known := s.links[l.Name]
		returned = returned || known && !was
	}
	for name := range s.links {
		s.links[name] = up[name]
	}
	for name := range up {
		s.links[name] = true
	}
	return returned && (before == 0 || len(local.Announced) == 0)
}

// othersBack says whether most of the others are back that had been lost at once. Those that started anew do not count:
// it is they who were away.
func (s *settling) othersBack(local Local, now time.Time) bool {
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
	return s.majority(len(alive)-1, now) && same
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
	s.alone = s.peak > 1 && 2*others < s.peak
	return false
}
