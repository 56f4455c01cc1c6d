package allocator

// This file holds the rules of AddressPolicy that need no memory, and quotas.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

func TestStableHash(t *testing.T) {
	c := &sim{pools: pools{pool("a", "10.0.0.0/24,fd00::/64")}, policies: rules(strategy(v1alpha1.StableHash))}
	c.add(svc("web", require), svc("api"), svc("old"))
	c.run(t)
	web := c.service("web").Held
	t.Run("it does not begin at the bottom", func(t *testing.T) {
		if strings.Contains(c.has(), "10.0.0.0") {
			t.Error(c.has())
		}
	})
	t.Run("a Service of the same name gets the same addresses again", func(t *testing.T) {
		c.remove("web", "old")
		c.add(svc("other"), svc("web", require))
		c.run(t)
		if got := c.service("web").Held; !equal(got, web) {
			t.Errorf("it has %v, and had %v", got, web)
		}
	})
	t.Run("where its address is taken it gets another one, always the same too", func(t *testing.T) {
		c.remove("web")
		c.add(svc("first", ask(web[0].String())))
		c.run(t)
		c.add(svc("web"))
		c.run(t)
		second := c.service("web").Held
		if len(second) != 1 || second[0] == web[0] {
			t.Fatalf("it has %v", second)
		}
		c.remove("web")
		c.run(t)
		c.add(svc("web"))
		c.run(t)
		if got := c.service("web").Held; !equal(got, second) {
			t.Errorf("it has %v, and had %v", got, second)
		}
	})
	t.Run("every free address is found, and what is excluded is passed over", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.8-10.0.0.9,10.0.0.1-10.0.0.3")}, policies: rules(strategy(v1alpha1.StableHash), exclude("10.0.0.2"))}
		c.add(svc("s1"), svc("s2"), svc("s3"), svc("s4"), svc("s5"))
		got := c.run(t)
		for _, a := range []string{"10.0.0.1", "10.0.0.3", "10.0.0.8", "10.0.0.9", "s5 -"} {
			if !strings.Contains(got, a) {
				t.Errorf("%s is not there: %s", a, got)
			}
		}
	})
	t.Run("sharing comes first", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.0/24")}, policies: rules(strategy(v1alpha1.StableHash))}
		c.add(svc("s1", key("k")), svc("s2", key("k"), tcp(443)))
		c.run(t)
		if a, b := c.service("s1").Held, c.service("s2").Held; !equal(a, b) {
			t.Errorf("they have %v and %v", a, b)
		}
	})
}

func TestExclude(t *testing.T) {
	c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.4")}, policies: rules(exclude("10.0.0.1-10.0.0.2"))}
	c.add(svc("old", key("k"), holds("10.0.0.2", 1)), svc("names", ask("10.0.0.1")), svc("shares", key("k"), tcp(443)), svc("n"))
	t.Run("it is never given, not shared either; who has it keeps it", func(t *testing.T) {
		c.expect(t, "old 10.0.0.2, names -, shares 10.0.0.3, n 10.0.0.4")
	})
	c.says(t, "names", `the requested address 10.0.0.1 is one that AddressPolicy "p" excludes from pool "a" (AddressExcluded)`)
	c.says(t, "old", `assigned 10.0.0.2 from pool "a" (IPAllocated)`)
}

func TestExclusive(t *testing.T) {
	c := &sim{
		pools:    pools{pool("mine", "10.0.1.1/32", tenant(0, "x")), pool("open", "10.0.0.1-10.0.0.9")},
		policies: rules(exclusive),
	}
	c.add(svc("x/in-use", holds("10.0.0.7", 1)), svc("x/n1"), svc("x/n2"), svc("x/asks", askPool("open")), svc("y/n"))
	t.Run("whom it admits waits and falls through to no other pool; others are not concerned, nor who asks, nor who has one", func(t *testing.T) {
		c.expect(t, "in-use 10.0.0.7, n1 10.0.1.1, n2 -, asks 10.0.0.1, n 10.0.0.2")
	})
	c.says(t, "n2", `no IPv4 address is free in pool "mine": enlarge the pool or add another (PoolExhausted)`)
}

func TestBadAddressPolicyStopsGiving(t *testing.T) {
	c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9")}, policies: rules(exclude("nonsense"))}
	c.add(svc("old", holds("10.0.0.2", 1)), svc("n"), svc("names", ask("10.0.0.3")))
	c.expect(t, "old 10.0.0.2, n -, names -")
	says := `pool "a" obeys AddressPolicy "p", which is invalid, and gives nothing new until that is corrected: see its Events (PoolInvalid)`
	c.says(t, "n", says)
	c.says(t, "names", says)
}

func TestQuotas(t *testing.T) {
	many := pools{pool("a", "10.0.0.1-10.0.0.9,fd00::1-fd00::9"), pool("b", "10.0.1.1-10.0.1.9"), pool("free", "10.0.2.1/32", onRequest)}
	both := func(options ...func(*spec)) []v1alpha1.AddressPolicy {
		return rules(append(options, onlyPools("a", "b"))...)
	}
	t.Run("it counts the addresses of one policy's pools", func(t *testing.T) {
		c := &sim{pools: many, policies: both(quota(2, "x"))}
		c.add(svc("n1"), svc("n2", askPool("b")), svc("n3"), svc("n4", ask("10.0.0.9")), svc("n5", askPool("free")), svc("y/n6"))
		c.expect(t, "n1 -, n2 10.0.1.1, n3 -, n4 10.0.0.9, n5 10.0.2.1, n6 10.0.0.1")
	})
	t.Run("the message names the policy and the numbers", func(t *testing.T) {
		c := &sim{pools: many, policies: both(quota(5), quota(1, "x"))}
		c.add(svc("n1"), svc("n2"), svc("n3", require))
		c.expect(t, "n1 10.0.0.1, n2 -, n3 -")
		c.says(t, "n2", `AddressPolicy "p" sets a quota of 1 for namespace "x" (spec.quotas[1]), and 1 are in use, 1 more needed: release some or raise the quota (QuotaExceeded)`)
		c.says(t, "n3", `AddressPolicy "p" sets a quota of 1 for namespace "x" (spec.quotas[1]), and 1 are in use, 2 more needed: release some or raise the quota (QuotaExceeded)`)
	})
	t.Run("it is for all its namespaces together", func(t *testing.T) {
		c := &sim{pools: many, policies: both(quota(2, "x", "y"))}
		c.add(svc("x/n1"), svc("y/n2"), svc("y/n3"), svc("z/n4"))
		c.expect(t, "n1 10.0.0.1, n2 10.0.0.2, n3 -, n4 10.0.0.3")
	})
	t.Run("lowering it takes nothing away, and who replaces an address may", func(t *testing.T) {
		c := &sim{pools: many, policies: both(quota(1, "x"))}
		c.add(svc("n1", holds("10.0.0.1", 1)), svc("n2", holds("10.0.0.2", 1), ask("10.0.0.7")), svc("n3"))
		c.expect(t, "n1 10.0.0.1, n2 10.0.0.7, n3 -")
		c.says(t, "n3", `AddressPolicy "p" sets a quota of 1 for namespace "x" (spec.quotas[0]), and 2 are in use, 1 more needed: release some or raise the quota (QuotaExceeded)`)
	})
	t.Run("an address in no pool any more is replaced, as far as the quota goes", func(t *testing.T) {
		c := &sim{pools: many, policies: both(quota(1, "x"))}
		c.add(svc("n1", holds("10.9.9.1", 1)), svc("n2", holds("10.9.9.2", 2)))
		c.expect(t, "n1 10.0.0.1, n2 10.9.9.2")
	})
	t.Run("a shared address counts once, for the one who got it first", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9", crossNamespace)}, policies: rules(quota(1, "x"), quota(1, "y"))}
		c.add(svc("x/n1", key("k"), holds("10.0.0.1", 1)), svc("x/n2", key("k"), tcp(81)), svc("y/n3", key("k"), tcp(82)), svc("y/n4"), svc("y/n5"))
		c.expect(t, "n1 10.0.0.1, n2 10.0.0.1, n3 10.0.0.1, n4 10.0.0.2, n5 -")
	})
	t.Run("an address that its holder leaves counts for the one who shares it meanwhile", func(t *testing.T) {
		c := &sim{pools: many, policies: both(quota(1, "x"))}
		c.add(svc("n1", key("k"), holds("10.0.0.1", 1), ask("10.0.0.2")), svc("n2", key("k"), tcp(81), ask("10.0.0.1")))
		c.expect(t, "n1 10.0.0.2, n2 -")
	})
	t.Run("preferred families: as many as the quota allows, and it is said", func(t *testing.T) {
		c := &sim{pools: many, policies: both(quota(3, "x"))}
		c.add(svc("n1", prefer), svc("n2", prefer))
		c.expect(t, "n1 10.0.0.1 fd00::1, n2 10.0.0.2")
		c.says(t, "n2", `assigned 10.0.0.2 from pool "a", which has no IPv6 address to give: AddressPolicy "p" sets a quota of 3 for namespace "x" (spec.quotas[0]), and 3 are in use, 1 more needed: release some or raise the quota (PartlyAllocated)`)
	})
	t.Run("another policy's pool gives in its stead", func(t *testing.T) {
		c := &sim{pools: many, policies: rules(quota(1, "x"), onlyPools("a"))}
		c.add(svc("n1"), svc("n2"))
		c.expect(t, "n1 10.0.0.1, n2 10.0.1.1")
	})
	t.Run("none at all", func(t *testing.T) {
		c := &sim{pools: many, policies: both(quota(0))}
		c.add(svc("n1"))
		c.expect(t, "n1 -")
	})
	t.Run("what comes free is given", func(t *testing.T) {
		c := &sim{pools: many, policies: both(quota(1))}
		c.add(svc("n1"), svc("n2"))
		c.expect(t, "n1 10.0.0.1, n2 -")
		c.remove("n1")
		c.expect(t, "n2 10.0.0.1")
	})
}

func TestRightfulIsWhatDecideKeeps(t *testing.T) {
	p := compile(pool("a", "10.0.0.1-10.0.0.9"))
	services := []Service{
		svc("late", holds("10.0.0.1 10.0.0.5", 2)), svc("early", holds("10.0.0.1", 1)), svc("restored", holds("10.0.0.2", 0)), svc("hand", holds("10.0.0.2", 1)),
		svc("share1", key("k"), holds("10.0.0.3", 1)), svc("share2", key("k"), tcp(81), holds("10.0.0.3", 2)), svc("tie1", holds("10.0.0.4", 3)), svc("tie2", holds("10.0.0.4", 3)),
	}
	want := "[[10.0.0.5] [10.0.0.1] [10.0.0.2] [] [10.0.0.3] [10.0.0.3] [10.0.0.4] []]"
	if got := fmt.Sprint(Rightful(p, services)); got != want {
		t.Errorf("rightful are\n%s, want\n%s", got, want)
	}
}
