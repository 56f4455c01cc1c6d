package allocator

import (
	"testing"
	"time"
)

func TestOrphanGrace(t *testing.T) {
	t.Run("an address in no pool is kept for the grace, then cleared", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32,fd00::1/128")}}
		c.add(svc("n1"), svc("n2", v6))
		c.expect(t, "n1 10.0.0.1, n2 fd00::1")
		c.pools = pools{pool("a", "fd00::1/128")}
		c.expect(t, "n1 10.0.0.1, n2 fd00::1")
		c.says(t, "n1", `keeps 10.0.0.1 until 2023-11-14T23:18:20Z although no pool has it any more: there is no IPv4 address in pool "a" (AddressOrphaned)`)
		c.recheck(t, grace)
		c.wait(grace - time.Second)
		c.expect(t, "n1 10.0.0.1, n2 fd00::1")
		c.recheck(t, time.Second)
		c.wait(time.Second)
		c.pass(nil)
		if got := c.outcome.Decisions[0].Cleared; !equal(got, parse("10.0.0.1")) {
			t.Errorf("cleared are %v", got)
		}
		c.says(t, "n1", `there is no IPv4 address in pool "a" (FamilyUnavailable)`)
		c.expect(t, "n1 -, n2 fd00::1")
		c.says(t, "n1", `there is no IPv4 address in pool "a" (FamilyUnavailable)`)
		c.recheck(t, 0)
	})
	t.Run("an empty pool list counts as the loss of every pool", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32")}}
		c.add(svc("n"))
		c.run(t)
		c.pools = nil
		c.expect(t, "n 10.0.0.1")
		c.recheck(t, grace)
		c.wait(grace)
		c.expect(t, "n -")
	})
	t.Run("the pool comes back in time: all is as before", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32")}}
		c.add(svc("n"))
		c.run(t)
		c.pools = nil
		c.run(t)
		c.wait(grace - time.Second)
		c.pools = pools{pool("b", "10.0.0.1/32")}
		c.expect(t, "n 10.0.0.1")
		c.says(t, "n", `assigned 10.0.0.1 from pool "b" (IPAllocated)`)
		if !c.service("n").OrphanedSince.IsZero() || c.service("n").HeldFrom != "b" {
			t.Errorf("it is %+v", c.service("n"))
		}
	})
	t.Run("another address ends it at any time", func(t *testing.T) {
		c := &sim{}
		c.add(svc("n", holds("10.0.0.1", 1)))
		c.run(t)
		c.wait(time.Minute)
		c.pools = pools{pool("b", "10.0.1.1/32")}
		c.expect(t, "n 10.0.1.1")
	})
	t.Run("since when is read back after a restart; a time to come counts as now", func(t *testing.T) {
		since := func(at time.Duration) func(*Service) {
			return func(s *Service) { s.OrphanedSince = now.Add(at) }
		}
		c := &sim{}
		c.add(svc("n", holds("10.0.0.1", 1), since(-4*time.Minute)), svc("m", holds("10.0.0.2", 1), since(time.Hour)), svc("o", holds("10.0.0.3", 1), since(-grace)))
		c.expect(t, "n 10.0.0.1, m 10.0.0.2, o -")
		c.recheck(t, time.Minute)
		c.wait(grace)
		c.expect(t, "n -, m -, o -")
	})
	t.Run("the good one of two stays", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32")}}
		c.add(svc("n", require, holds("10.0.0.1 fd00::1", 1)), svc("m", prefer, holds("10.0.0.2 fd00::2", 1)))
		c.expect(t, "n 10.0.0.1 fd00::1, m 10.0.0.2 fd00::2")
		c.wait(grace)
		c.pass(nil)
		says := c.outcome.Decisions[0].String()
		if got := c.outcome.Decisions[0].Cleared; !equal(got, parse("fd00::1")) {
			t.Errorf("cleared are %v", got)
		}
		c.expect(t, "n 10.0.0.1, m -")
		c.says(t, "n", says)
	})
	t.Run("none at all: cleared at once", func(t *testing.T) {
		v := (&sim{services: []Service{svc("n", holds("10.0.0.1", 1))}}).view()
		v.OrphanGrace = 0
		if d := Decide(v).Decisions[0]; has(d) != "" || !equal(d.Cleared, parse("10.0.0.1")) || d.String() != "there is no IPAddressPool: create one (NoPool)" {
			t.Errorf("it has %q and says %s", has(d), d)
		}
	})
	t.Run("a Service that is being deleted keeps it", func(t *testing.T) {
		c := &sim{}
		c.add(svc("n", holds("10.0.0.1", 1), deleting))
		c.pass(nil)
		c.wait(grace)
		c.pass(nil)
		if got := has(c.outcome.Decisions[0]); got != "10.0.0.1 @" {
			t.Errorf("it has %q", got)
		}
	})
}
