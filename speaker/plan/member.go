package plan

import (
	"net/netip"
	"slices"
	"time"
)

// Member is a node whose speaker is alive, and what that says of itself. It is comparable.
type Member struct {
	Node    string
	Address netip.Addr // where its speaker is reached
	Facts
}

// Facts are what a speaker tells the others with every sign of life. They are comparable; the zero value says nothing.
type Facts struct {
	// Settled: it may take addresses from others.
	Settled bool
	// CameUp is when it came up last, in whole milliseconds: it started, or came back to its network. What says nothing of it
	// has the zero value.
	CameUp time.Time
	// Settling is how long after CameUp it is settled.
	Settling time.Duration
	// Started is when it started, in whole milliseconds; a speaker that started again is not the one it was.
	Started time.Time
	// Links is a digest of its links; where it is another one, what was known of them is out of date.
	Links uint64
}

// company is the part of the time to settle within which speakers come up together, as in a new installation or after a
// power cut. They are settled with the first of them, which would else take everything, and give most of it back a moment
// later.
const company = 4

// Unsettled returns the nodes of the members that came up a short time ago, so that they serve only where no other can. One
// that says nothing of itself is not asked to wait, and one that came up together with a settled one waits no more. All who
// know the same members come to the same result.
func Unsettled(members []Member) map[string]bool {
	out := map[string]bool{}
	var settled []time.Time
	for i := range members {
		if m := &members[i]; m.Settled && !m.CameUp.IsZero() {
			settled = append(settled, m.CameUp)
		}
	}
	for i := range members {
		m := &members[i]
		if m.Facts == (Facts{}) || m.Settled {
			continue
		}
		near := func(other time.Time) bool { return m.CameUp.Sub(other).Abs() <= m.Settling/company }
		if m.CameUp.IsZero() || !slices.ContainsFunc(settled, near) {
			out[m.Node] = true
		}
	}
	return out
}
