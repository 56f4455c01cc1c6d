package allocator

// This file holds the rules of AddressPolicy that need memory: retain, reuseDelay, LeastRecentlyUsed, and their claims.

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

func TestRetain(t *testing.T) {
	hour := rules(retain(time.Hour))
	t.Run("a re-created Service gets its address back, before anyone and without asking", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.2,fd00::1-fd00::2")}, policies: hour}
		c.add(svc("web", require), svc("api"))
		c.expect(t, "web 10.0.0.1 fd00::1, api 10.0.0.2")
		c.remove("web")
		c.expect(t, "api 10.0.0.2")
		c.recheck(t, time.Hour)
		c.add(svc("n"), svc("n6", v6), svc("web", require))
		c.expect(t, "api 10.0.0.2, n -, n6 fd00::2, web 10.0.0.1 fd00::1")
		c.recheck(t, 0)
	})
	t.Run("deleted and created anew before anyone looked", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32")}, policies: hour}
		c.add(svc("web"))
		c.run(t)
		c.remove("web")
		c.add(svc("aaa"), svc("web"))
		c.expect(t, "aaa -, web 10.0.0.1")
		c.claimed(t, "10.0.0.1 x/web")
	})
	t.Run("nobody else gets it, not even by asking, until the time is over", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32")}, policies: hour}
		c.add(svc("web"))
		c.run(t)
		c.remove("web")
		c.run(t)
		c.add(svc("n"), svc("asks", ask("10.0.0.1")), svc("y/web"))
		c.expect(t, "n -, asks -, web -")
		c.says(t, "asks", "the requested address 10.0.0.1 is retained for x/web until 2023-11-15T00:13:20Z (AddressReserved)")
		c.wait(time.Hour - time.Second)
		c.expect(t, "n -, asks -, web -")
		c.recheck(t, time.Second)
		c.wait(time.Second)
		c.expect(t, "n -, asks 10.0.0.1, web -")
		c.claimed(t, "10.0.0.1 x/asks")
	})
	t.Run("only where the pool would give it to the Service", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1-10.0.1.9")}, policies: hour}
		c.add(svc("web"), svc("other", askPool("a")))
		c.expect(t, "web 10.0.1.1, other 10.0.0.1")
		c.remove("web", "other")
		c.run(t)
		c.add(svc("web", askPool("b")), svc("other", v6))
		c.expect(t, "web 10.0.1.1, other -")
		c.remove("web")
		c.run(t)
		onRequest(&c.pools[1])
		c.add(svc("web"))
		c.expect(t, "other -, web -")
	})
	t.Run("a Service that moves to another address leaves nothing behind", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.2")}, policies: hour}
		c.add(svc("web"))
		c.run(t)
		c.service("web").Addresses = parse("10.0.0.2")
		c.add(svc("n"))
		c.expect(t, "web 10.0.0.2, n 10.0.0.1")
	})
	t.Run("the time stands in the claim, whatever becomes of the policy", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32")}, policies: hour}
		c.add(svc("web"))
		c.run(t)
		c.remove("web")
		c.run(t)
		c.policies = nil
		c.add(svc("n"))
		c.expect(t, "n -")
		c.claimed(t, "10.0.0.1 x/web (released)")
		c.wait(time.Hour)
		c.expect(t, "n 10.0.0.1")
		c.claimed(t)
	})
}

func TestReuseDelay(t *testing.T) {
	c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.2")}, policies: rules(reuseDelay(90 * time.Second))}
	c.add(svc("n1"), svc("n2"))
	c.run(t)
	c.remove("n1")
	c.run(t)
	c.add(svc("n3"), svc("asks", ask("10.0.0.1")), svc("n1"))
	t.Run("an address rests after its release, for everyone", func(t *testing.T) {
		c.expect(t, "n2 10.0.0.2, n3 -, asks -, n1 -")
		c.says(t, "asks", "the requested address 10.0.0.1 was released a short time ago and rests until 2023-11-14T23:14:50Z (AddressResting)")
		c.says(t, "n3", `no IPv4 address is free in pool "a": enlarge the pool or add another (PoolExhausted)`)
		c.recheck(t, 90*time.Second)
	})
	t.Run("then it is given", func(t *testing.T) {
		c.wait(90 * time.Second)
		c.expect(t, "n2 10.0.0.2, n3 -, asks 10.0.0.1, n1 -")
		c.recheck(t, 0)
	})
	t.Run("the Service that it is retained for gets it nevertheless", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32")}, policies: rules(reuseDelay(time.Hour), retain(time.Minute))}
		c.add(svc("web"))
		c.run(t)
		c.remove("web")
		c.run(t)
		c.add(svc("web"))
		c.expect(t, "web 10.0.0.1")
		c.remove("web")
		c.run(t)
		c.wait(time.Minute)
		c.add(svc("web"))
		c.expect(t, "web -")
		c.recheck(t, 59*time.Minute)
	})
	t.Run("what a Service gave up rests too", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.2")}, policies: rules(reuseDelay(time.Hour))}
		c.add(svc("web"))
		c.run(t)
		c.service("web").Addresses = parse("10.0.0.2")
		c.add(svc("n"))
		c.expect(t, "web 10.0.0.2, n -")
	})
	t.Run("times are whole seconds, rounded up", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1/32")}, policies: rules(reuseDelay(time.Second)), now: now.Add(300 * time.Millisecond)}
		c.add(svc("web"))
		c.run(t)
		c.remove("web")
		c.run(t)
		c.recheck(t, 1700*time.Millisecond)
	})
}

func TestLeastRecentlyUsed(t *testing.T) {
	c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.4")}, policies: rules(strategy(v1alpha1.LeastRecentlyUsed))}
	c.add(svc("n1"), svc("n2"), svc("n3"))
	c.expect(t, "n1 10.0.0.1, n2 10.0.0.2, n3 10.0.0.3")
	for _, name := range []string{"n3", "n1", "n2"} {
		c.remove(name)
		c.wait(time.Minute)
		c.run(t)
	}
	t.Run("never-used ones come first, in order, then the one released longest ago", func(t *testing.T) {
		c.add(svc("m1"))
		c.expect(t, "m1 10.0.0.4")
		c.add(svc("m2"), svc("m3"))
		c.expect(t, "m1 10.0.0.4, m2 10.0.0.3, m3 10.0.0.1")
		c.add(svc("m4"), svc("m5"))
		c.expect(t, "m1 10.0.0.4, m2 10.0.0.3, m3 10.0.0.1, m4 10.0.0.2, m5 -")
	})
	t.Run("of those released at the same time the lowest comes first", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.8")}, policies: rules(strategy(v1alpha1.LeastRecentlyUsed))}
		for range 8 {
			c.add(svc(fmt.Sprint("n", c.added)))
		}
		c.run(t)
		c.services = nil
		c.run(t)
		c.add(svc("m1"), svc("m2"), svc("m3"))
		c.expect(t, "m1 10.0.0.1, m2 10.0.0.2, m3 10.0.0.3")
	})
	t.Run("the memory is bounded; what fell out of it counts as never used", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.0/16")}, policies: rules(strategy(v1alpha1.LeastRecentlyUsed)), claims: map[netip.Addr]Claim{}}
		a := netip.MustParseAddr("10.0.0.0")
		for i := range maxHistory + 2 {
			c.claims[a] = Claim{Address: a, Service: Key{"x", "gone"}, UID: "gone", Pool: "a", ReleasedAt: epoch.Add(time.Duration((i*7)%(maxHistory+2)) * time.Second)}
			a = a.Next()
		}
		c.add(svc("n"))
		c.run(t)
		if len(c.claims) != maxHistory+1 {
			t.Errorf("%d claims", len(c.claims))
		}
		c.add(svc("m"))
		c.expect(t, fmt.Sprintf("n %s, m 10.0.0.0", a)) // .0.0 was the first to be released
	})
}

func TestClaims(t *testing.T) {
	hour := rules(retain(time.Hour))
	t.Run("one for each address of the policy's pools, for those in use before too", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9,fd00::1/128"), pool("b", "10.0.1.1/32")}, policies: rules(retain(time.Hour), onlyPools("a"))}
		c.add(svc("old", holds("10.0.0.5", 1)), svc("n", require), svc("other", askPool("b")), svc("nowhere", holds("10.9.9.9", 1), askPool("z")))
		c.run(t)
		c.claimed(t, "10.0.0.1 x/n", "10.0.0.5 x/old", "fd00::1 x/n")
	})
	t.Run("no policy, no claims", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9")}, policies: rules(strategy(v1alpha1.StableHash))}
		c.add(svc("n"))
		c.run(t)
		c.claimed(t)
	})
	t.Run("they go when the policy asks for none any more", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9")}, policies: hour}
		c.add(svc("n"))
		c.run(t)
		c.policies = nil
		c.run(t)
		c.claimed(t)
	})
	t.Run("a pool that is gone takes nothing from them", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9")}, policies: hour}
		c.add(svc("n"))
		c.run(t)
		c.pools = nil
		c.run(t)
		c.claimed(t, "10.0.0.1 x/n")
	})
	t.Run("a Service whose status could not be written gets the address that it claimed", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9")}, policies: hour}
		c.add(svc("web"))
		c.pass(func(Key) bool { return true })
		c.claimed(t, "10.0.0.1 x/web")
		c.add(svc("asks", ask("10.0.0.1")))
		c.pass(func(Key) bool { return true })
		c.says(t, "asks", "the requested address 10.0.0.1 is claimed by x/web (AddressReserved)")
		c.expect(t, "web 10.0.0.1, asks -")
	})
	t.Run("what a Service claims and does not want any more is released", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9")}, policies: rules(reuseDelay(time.Hour))}
		c.add(svc("web"))
		c.pass(func(Key) bool { return true })
		c.service("web").Addresses = parse("10.0.0.2")
		c.add(svc("asks", ask("10.0.0.1")))
		c.pass(nil)
		c.says(t, "asks", "the requested address 10.0.0.1 is claimed by x/web (AddressReserved)")
		c.expect(t, "web 10.0.0.2, asks -")
		c.says(t, "asks", "the requested address 10.0.0.1 was released a short time ago and rests until 2023-11-15T00:13:20Z (AddressResting)")
	})
	t.Run("a shared address passes from holder to holder, and is released with the last", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9")}, policies: hour}
		c.add(svc("n1", key("k")))
		c.run(t)
		c.add(svc("n2", key("k"), tcp(81)))
		c.expect(t, "n1 10.0.0.1, n2 10.0.0.1")
		c.claimed(t, "10.0.0.1 x/n1")
		c.remove("n1")
		c.expect(t, "n2 10.0.0.1")
		c.claimed(t, "10.0.0.1 x/n2")
		c.add(svc("n1", key("k")))
		c.expect(t, "n2 10.0.0.1, n1 10.0.0.1")
		c.remove("n1", "n2")
		c.run(t)
		c.claimed(t, "10.0.0.1 x/n2 (released)")
	})
	t.Run("a claim that contradicts a status gives way", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9")}, policies: hour}
		c.claims = map[netip.Addr]Claim{netip.MustParseAddr("10.0.0.1"): {Address: netip.MustParseAddr("10.0.0.1"), Service: Key{"x", "b"}, UID: "b", Pool: "a"}}
		c.add(svc("n1", holds("10.0.0.1", 1)))
		c.expect(t, "n1 10.0.0.1")
		c.claimed(t, "10.0.0.1 x/n1")
	})
	t.Run("they are written before the status, all in the order of their addresses", func(t *testing.T) {
		c := &sim{pools: pools{pool("a", "10.0.0.1-10.0.0.9")}, policies: hour}
		c.add(svc("n1"), svc("n2", ask("10.0.0.3")), svc("n3", key("k")), svc("n4", key("k"), tcp(81)))
		c.pass(nil)
		var got []string
		for _, w := range c.outcome.Claims {
			got = append(got, fmt.Sprint(w.Op, " ", w.Address, " ", w.Service))
		}
		if want := []string{"create 10.0.0.1 x/n1", "create 10.0.0.2 x/n3", "create 10.0.0.3 x/n2"}; !slices.Equal(got, want) {
			t.Errorf("the writes are %q, want %q", got, want)
		}
	})
}

func TestClaimsAreNamedAfterTheirAddress(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1":   "192.0.2.1",
		"::":          "0000-0000-0000-0000-0000-0000-0000-0000",
		"2001:db8::1": "2001-0db8-0000-0000-0000-0000-0000-0001",
		"fd00::":      "fd00-0000-0000-0000-0000-0000-0000-0000",
	} {
		a := netip.MustParseAddr(address)
		if got := ClaimName(a); got != want || len(validation.IsDNS1123Subdomain(got)) > 0 {
			t.Errorf("%s: %s, want %s; %v", a, got, want, validation.IsDNS1123Subdomain(got))
		}
		o := v1alpha1.AddressClaim{ObjectMeta: metav1.ObjectMeta{Name: want}, Spec: (&Claim{Address: a}).Spec()}
		if c, err := ClaimOf(&o); err != nil || c.Address != a {
			t.Errorf("%s is read as %v, %v", a, c, err)
		}
		o.Name = "other"
		if _, err := ClaimOf(&o); err == nil {
			t.Errorf("%s under another name is read", a)
		}
	}
	if _, err := ClaimOf(&v1alpha1.AddressClaim{}); err == nil {
		t.Error("a claim without an address is read")
	}
}
