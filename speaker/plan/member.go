package plan

import (
	"net/netip"
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
	// Started is when it started, in whole milliseconds; a speaker that started again is not the one it was.
	Started time.Time
	// Links is a digest of its links; where it is another one, what was known of them is out of date.
	Links uint64
}

// Unsettled says whether the member came up a short time ago, so that it serves only where no other can. One that says
// nothing of itself is not asked to wait.
func (m Member) Unsettled() bool { return m.Facts != Facts{} && !m.Settled }
