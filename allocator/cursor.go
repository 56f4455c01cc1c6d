package allocator

// This file holds the walk through a pool's addresses.

import (
	"net/netip"

	"github.com/fairlead-lb/fairlead/policy"
)

// cursorKey names the addresses of one family of one pool. It is comparable.
type cursorKey struct {
	pool   string
	family policy.Family
}

// cursor walks upwards through the addresses of one family of a pool. During one pass nothing becomes free, so it
// never has to go back.
type cursor struct {
	ranges []policy.Range
	at     netip.Addr // the next address of ranges[0] to look at
}

func newCursor(pool *policy.Pool, f policy.Family) *cursor {
	c := &cursor{}
	for _, r := range pool.Ranges {
		if r.Family() == f {
			c.ranges = append(c.ranges, r)
		}
	}
	if len(c.ranges) > 0 {
		c.at = c.ranges[0].From
	}
	return c
}

// next returns the first address at or above the cursor that is not taken, without moving beyond it.
func (c *cursor) next(taken func(netip.Addr) bool) (netip.Addr, bool) {
	for len(c.ranges) > 0 {
		for c.at.IsValid() && c.ranges[0].Contains(c.at) {
			if !taken(c.at) {
				return c.at, true
			}
			c.at = c.at.Next()
		}
		c.ranges = c.ranges[1:]
		if len(c.ranges) > 0 {
			c.at = c.ranges[0].From
		}
	}
	return netip.Addr{}, false
}
