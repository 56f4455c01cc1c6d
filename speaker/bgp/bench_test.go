//go:build linux && bench

package bgp

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// BenchmarkOneChange: with 10,000 routes announced, one route gets another attribute; from the call of Apply, with the
// whole set, until the neighbor has the UPDATE. It fails if anything but that route moves.
func BenchmarkOneChange(b *testing.B) {
	const many = 10_000
	p := newFakePeer(b)
	r := run(b, func(c *Config) { c.Log = discard() })
	want := Want{Sessions: []plan.Session{p.session()}}
	for n := range many {
		want.Routes = append(want.Routes, plan.Route{Peer: "fake", Prefix: prefixN(n)})
	}
	apply := func() {
		if err := r.Apply(context.Background(), want); err != nil {
			b.Fatal(err)
		}
	}
	apply()
	c := p.establish()
	r.awaitState(Established)
	for c.next().kind() != typeUpdate {
	}
	sent := &r.session("fake").counters.out[typeUpdate]
	for before := uint64(0); sent.Load() != before; { // until all have gone
		before = sent.Load()
		for _ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); ; {
			if _, err := readMessage(c, make([]byte, maxLength)); err != nil {
				break
			}
		}
	}
	var all []time.Duration
	for i := 0; b.Loop(); i++ {
		before := sent.Load()
		want.Routes[i%many].LocalPref++ // of no effect outside the AS
		want.Routes[i%many].Weight++
		began := time.Now()
		apply()
		c.nextOf(typeUpdate)
		all = append(all, time.Since(began))
		if n := sent.Load() - before; n != 1 {
			b.Fatalf("%d UPDATE messages for one change", n)
		}
	}
	slices.Sort(all)
	median := all[len(all)/2]
	b.ReportMetric(float64(median.Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(all[len(all)-1].Microseconds())/1000, "ms-worst")
	if median > 500*time.Millisecond {
		b.Errorf("it took %v", median)
	}
}
