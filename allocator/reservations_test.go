package allocator

import (
	"slices"
	"testing"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

func TestReservation(t *testing.T) {
	few := []v1beta1.IPAddressPool{pool("a", "10.0.0.1-10.0.0.3,fd00::1-fd00::2"), pool("vip", "10.0.1.1/32", onRequest)}
	reservations := func(r ...v1alpha1.AddressReservation) []v1alpha1.AddressReservation { return r }
	t.Run("nobody else gets the address, not even by asking; its Service gets it first", func(t *testing.T) {
		c := &sim{pools: few, reservations: reservations(reserve("r", theAddress("10.0.0.1")))}
		c.add(svc("n"), svc("asks", ask("10.0.0.1")))
		c.expect(t, "n 10.0.0.2, asks -")
		c.says(t, "asks", `the requested address 10.0.0.1 is held for others by AddressReservation "r" (AddressReserved)`)
		c.bound(t, "r", "true : 10.0.0.1 is held for x/web (Bound)")
		c.add(svc("web"))
		c.expect(t, "n 10.0.0.2, asks -, web 10.0.0.1")
		c.bound(t, "r", "true web: 10.0.0.1 is held for x/web, and x/web has it (Bound)")
	})
	t.Run("it counts as asked for, so a pool without autoAssign gives it", func(t *testing.T) {
		c := &sim{pools: few, reservations: reservations(reserve("r", theAddress("10.0.1.1")))}
		c.add(svc("web"))
		c.expect(t, "web 10.0.1.1")
	})
	t.Run("but not a pool that does not admit the Service", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32", tenant(0, "y")), pool("b", "10.0.1.1/32")}, reservations: reservations(reserve("r", theAddress("10.0.0.1")))}
		c.add(svc("web"))
		c.expect(t, "web 10.0.1.1")
	})
	t.Run("it takes nothing away, and waits", func(t *testing.T) {
		c := &sim{pools: few, reservations: reservations(reserve("r", theAddress("10.0.0.1")))}
		c.add(svc("old", holds("10.0.0.1", 1)), svc("web"))
		c.expect(t, "old 10.0.0.1, web 10.0.0.2")
		c.bound(t, "r", "false : 10.0.0.1 is in use by x/old; once that lets it go it is held for x/web (AddressInUse)")
		c.remove("old", "web")
		c.add(svc("n"), svc("web"))
		c.expect(t, "n 10.0.0.2, web 10.0.0.1")
	})
	t.Run("a Service that has an address stays there", func(t *testing.T) {
		c := &sim{pools: few, reservations: reservations(reserve("r", theAddress("10.0.0.1")))}
		c.add(svc("web", holds("10.0.0.3", 1)))
		c.expect(t, "web 10.0.0.3")
	})
	t.Run("for labels: the first that needs one gets it", func(t *testing.T) {
		c := &sim{pools: few, reservations: reservations(reserve("r", theAddress("10.0.0.1"), forLabel("app", "a", "x")))}
		c.add(svc("n"), svc("y/other", labelled("app", "a")), svc("w1", labelled("app", "a")), svc("w2", labelled("app", "a")))
		c.expect(t, "n 10.0.0.2, other 10.0.0.3, w1 10.0.0.1, w2 -")
		c.bound(t, "r", "true w1: 10.0.0.1 is held for the Services that spec.selector describes, and x/w1 has it (Bound)")
	})
	t.Run("for labels: others may share it, if it is held for them too", func(t *testing.T) {
		c := &sim{pools: few, reservations: reservations(reserve("r", theAddress("10.0.0.3"), forLabel("app", "a")))}
		c.add(svc("w1", labelled("app", "a"), key("k")), svc("w2", labelled("app", "a"), key("k"), tcp(81)), svc("n", key("k"), tcp(82)))
		c.expect(t, "w1 10.0.0.3, w2 10.0.0.3, n 10.0.0.1")
	})
	t.Run("any of a pool: one is bound, and stays bound", func(t *testing.T) {
		c := &sim{pools: few, reservations: reservations(reserve("r4", anyOf("a")), reserve("r6", anyOf("a"), ofFamily(v1alpha1.IPv6)))}
		c.add(svc("old", holds("10.0.0.1", 1)))
		c.run(t)
		c.bound(t, "r4", "true : 10.0.0.2 is held for x/web (Bound)")
		c.bound(t, "r6", "true : fd00::1 is held for x/web (Bound)")
		c.remove("old")
		c.add(svc("n", prefer), svc("m"), svc("o"))
		c.expect(t, "n 10.0.0.1 fd00::2, m 10.0.0.3, o -")
		c.add(svc("web", require))
		c.expect(t, "n 10.0.0.1 fd00::2, m 10.0.0.3, o -, web 10.0.0.2 fd00::1")
	})
	t.Run("any of a pool: the one that its Service has", func(t *testing.T) {
		c := &sim{pools: few, reservations: reservations(reserve("r", anyOf("a")))}
		c.add(svc("web", holds("10.0.0.3", 1)))
		c.run(t)
		c.bound(t, "r", "true web: 10.0.0.3 is held for x/web, and x/web has it (Bound)")
	})
	t.Run("any of a pool: another one where the pool has it no more", func(t *testing.T) {
		c := &sim{pools: few, reservations: reservations(reserve("r", anyOf("a")))}
		c.run(t)
		c.pools = pools{pool("a", "10.0.2.0/24")}
		c.run(t)
		c.bound(t, "r", "true : 10.0.2.0 is held for x/web (Bound)")
	})
	t.Run("any of a pool: while the pool is gone it stays what it was", func(t *testing.T) {
		c := &sim{pools: few, reservations: reservations(reserve("r", anyOf("a")))}
		c.run(t)
		c.pools = nil
		c.run(t)
		c.bound(t, "r", `false : pool "a", which 10.0.0.1 came from, does not exist (UnknownPool)`)
		c.pools = few
		c.add(svc("n"))
		c.expect(t, "n 10.0.0.2")
	})
	t.Run("why it is not bound", func(t *testing.T) {
		c := &sim{
			pools:    pools{pool("a", "10.0.0.0/31", avoidBuggy), pool("full", "10.0.1.1/32"), pool("bad", "10.0.2.0/24", broken), pool("tidy", "10.0.3.1/32")},
			policies: rules(exclude("10.0.3.1"), onlyPools("tidy")),
			reservations: reservations(reserve("avoided", theAddress("10.0.0.0")), reserve("excluded", theAddress("10.0.3.1")), reserve("full", anyOf("full")), reserve("bad", anyOf("bad")),
				reserve("nowhere", theAddress("10.9.9.9")), reserve("no-pool", anyOf("z")), reserve("nonsense", theAddress("x"))),
		}
		c.add(svc("old", holds("10.0.1.1", 1)))
		c.run(t)
		c.bound(t, "avoided", `false : 10.0.0.0 is one that pool "a" avoids (avoidBuggyIPs) (AddressNotInPool)`)
		c.bound(t, "excluded", `false : 10.0.3.1 is one that AddressPolicy "p" excludes from pool "tidy" (AddressExcluded)`)
		c.bound(t, "full", `false : no IPv4 address is free in pool "full": enlarge the pool (PoolExhausted)`)
		c.bound(t, "bad", `false : pool "bad" is invalid and gives nothing new until it is corrected: see its Events (PoolInvalid)`)
		c.bound(t, "nowhere", `false : 10.9.9.9 is in no pool (AddressNotInPool)`)
		c.bound(t, "no-pool", `false : pool "z" does not exist (UnknownPool)`)
		c.bound(t, "nonsense", `false : AddressReservation "nonsense", spec.address: "x" is not an IP address (InvalidAddresses)`)
	})
	t.Run("one of two families by right: the other from the same pool, or none where both are only preferred", func(t *testing.T) {
		c := &sim{pools: append(slices.Clone(few), pool("b", "10.0.2.1/32,fd00:2::1/128")), reservations: reservations(reserve("r", theAddress("10.0.1.1")))}
		c.add(svc("web", prefer))
		c.expect(t, "web 10.0.1.1")
		c.remove("web")
		c.add(svc("web", require))
		c.expect(t, "web 10.0.0.1 fd00::1")
		c.reservations = reservations(reserve("r", theAddress("10.0.0.2")))
		c.remove("web")
		c.add(svc("web", prefer))
		c.expect(t, "web 10.0.0.2 fd00::1")
	})
	t.Run("a quota holds nevertheless", func(t *testing.T) {
		c := &sim{pools: few, policies: rules(quota(1)), reservations: reservations(reserve("r", theAddress("10.0.0.2")))}
		c.add(svc("n"))
		c.run(t)
		c.add(svc("web"))
		c.expect(t, "n 10.0.0.1, web -")
	})
}
