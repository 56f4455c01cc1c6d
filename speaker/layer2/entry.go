//go:build linux

package layer2

import (
	"net/netip"
	"sync/atomic"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// entry is one address on one link, from when it is answered for until it no longer is.
type entry struct {
	plan.Announcement
	*counters
	responder *responder

	asked   atomic.Int64 // when it was asked for last, on the announcer's clock in nanoseconds; 0: never
	leaving atomic.Bool  // another speaker is about to take it over: hosts are answered, speakers are not, and nothing else is said
	silent  atomic.Bool  // another speaker has it: nothing is said, requests are not answered
	gone    atomic.Bool  // it is not answered for any more
	current atomic.Pointer[sending]
}

// with returns a copy of the set with addresses added, each with what make returns.
func (t targets) with(addresses []netip.Addr, make func(netip.Addr) *entry) targets {
	next := t.without(nil)
	for _, a := range addresses {
		next[a] = make(a)
	}
	return next
}

// without returns a copy of the set without addresses.
func (t targets) without(addresses []netip.Addr) targets {
	next := make(targets, len(t))
	for a, e := range t {
		next[a] = e
	}
	for _, a := range addresses {
		delete(next, a)
	}
	return next
}
