//go:build linux

package bfd

import (
	"context"
	"sync/atomic"
)

// Counters counts packets since New, over all sessions.
type Counters struct {
	Received     uint64 // control packets of a session
	Sent         uint64 // control packets
	Failed       uint64 // packets of either kind that the kernel did not take
	EchoReceived uint64 // our echo packets that came back
	EchoSent     uint64 // echo packets of ours
	EchoLooped   uint64 // echo packets of neighbors that were sent back by this package, not by the kernel
	Dropped      map[Drop]uint64
}

// counters is Counters while it counts. One goroutine adds, any may read.
type counters struct {
	received, sent, failed             atomic.Uint64
	echoReceived, echoSent, echoLooped atomic.Uint64
	dropped                            map[Drop]*atomic.Uint64 // all reasons; not modified
}

func newCounters() *counters {
	c := &counters{dropped: map[Drop]*atomic.Uint64{}}
	for _, d := range drops() {
		c.dropped[d] = &atomic.Uint64{}
	}
	return c
}

// drop counts a dropped packet, or a received one where the reason is empty.
func (c *counters) drop(d Drop, received *atomic.Uint64) {
	if d == "" {
		received.Add(1)
	} else {
		c.dropped[d].Add(1)
	}
}

// Counters returns what was counted so far. Every reason for a drop is in it.
func (m *Monitor) Counters() Counters {
	c := m.counters
	out := Counters{
		Received: c.received.Load(), Sent: c.sent.Load(), Failed: c.failed.Load(),
		EchoReceived: c.echoReceived.Load(), EchoSent: c.echoSent.Load(), EchoLooped: c.echoLooped.Load(),
		Dropped: make(map[Drop]uint64, len(c.dropped)),
	}
	for d, n := range c.dropped {
		out.Dropped[d] = n.Load()
	}
	return out
}

// Packets counts the packets of one session since it was first wanted.
type Packets struct {
	Received, Sent         uint64 // control packets
	EchoReceived, EchoSent uint64 // echo packets of ours, and those of them that came back
}

// Packets returns what was counted of each session that runs; nothing when Run has ended, or has not begun when ctx ends.
func (m *Monitor) Packets(ctx context.Context) map[Path]Packets {
	out := make(chan map[Path]Packets, 1)
	if m.submit(ctx, request{packets: out}) != nil {
		return nil
	}
	select {
	case p := <-out:
		return p
	case <-ctx.Done():
		return nil
	case <-m.stopped:
		return nil
	}
}
