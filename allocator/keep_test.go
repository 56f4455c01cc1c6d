package allocator

import (
	"fmt"
	"testing"
)

func TestAddressInUseStays(t *testing.T) {
	check(t, []rule{
		{"pool renamed: it stays under the new name", pools{pool("new", "10.0.0.1-10.0.0.9")}, given{
			{svc("n", holds("10.0.0.5", 1), from("old")), "10.0.0.5 @new", `assigned 10.0.0.5 from pool "new" (IPAllocated)`},
		}},
		{"pool split: it stays under the part that has it", pools{pool("low", "10.0.0.1-10.0.0.4"), pool("high", "10.0.0.5-10.0.0.9")}, given{
			{svc("n", holds("10.0.0.2", 1), from("all")), "10.0.0.2 @low", ""},
			{svc("m", holds("10.0.0.5", 1), from("all")), "10.0.0.5 @high", ""},
		}},
		{"a dual-stack Service's pool is split by family", pools{pool("four", "10.0.0.1/32"), pool("six", "fd00::1/128")}, given{
			{svc("n", require, holds("10.0.0.1 fd00::1", 1), from("both")), "10.0.0.1 fd00::1 @four,six", ""},
		}},
		{"pool shrunk: it moves when a new address is there, and the old one is not given away yet", pools{pool("a", "10.0.0.1-10.0.0.2"), pool("b", "10.0.0.9/32", onRequest)}, given{
			{svc("n", holds("10.0.0.7", 1), from("a")), "10.0.0.1 @a", `assigned 10.0.0.1 from pool "a" (IPAllocated)`},
			{svc("m", ask("10.0.0.9"), holds("10.0.0.2", 1)), "10.0.0.9 @b", ""},
			{svc("waits"), "", ""},
		}},
		{"pool shrunk and full: it is kept", pools{pool("a", "10.0.0.1/32")}, given{
			{svc("n", holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("m", holds("10.0.0.2", 1), from("a")), "10.0.0.2 @a", `keeps 10.0.0.2 until 2023-11-14T23:18:20Z although no pool has it any more: no IPv4 address is free in pool "a": enlarge the pool or add another (AddressOrphaned)`},
		}},
		{"every pool is gone: everything is kept", nil, given{
			{svc("n", holds("10.0.0.1", 1), from("a")), "10.0.0.1 @a", "keeps 10.0.0.1 until 2023-11-14T23:18:20Z although no pool has it any more: there is no IPAddressPool: create one (AddressOrphaned)"},
			{svc("asks", askPool("a"), holds("10.0.0.2", 1), from("a")), "10.0.0.2 @a", `keeps 10.0.0.2 until 2023-11-14T23:18:20Z although no pool has it any more: the requested pool "a" does not exist (AddressOrphaned)`},
			{svc("names", ask("10.0.0.3"), holds("10.0.0.3", 1), from("a")), "10.0.0.3 @a", "keeps 10.0.0.3 until 2023-11-14T23:18:20Z although no pool has it any more: the requested address 10.0.0.3 is in no pool (AddressOrphaned)"},
			{svc("two", require, holds("10.0.0.4 fd00::4", 1), from("a,b")), "10.0.0.4 fd00::4 @a,b", ""},
			{svc("unknown-origin", holds("10.0.0.5", 1)), "10.0.0.5 @", ""},
		}},
		{"the pool loses one family of a dual-stack Service: the other address stays, a new one comes from the same pool", pools{pool("a", "10.0.0.1/32,fd00::9/128"), pool("b", "10.0.1.1/32,fd00::1:1/128")}, given{
			{svc("n", prefer, holds("10.0.0.1 fd00::1", 1), from("a")), "10.0.0.1 fd00::9 @a", ""},
		}},
		{"the pool loses one family and has no other: both are kept", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32,fd00::1:1/128")}, given{
			{svc("n", prefer, holds("10.0.0.1 fd00::1", 1), from("a")), "10.0.0.1 fd00::1 @a", `keeps 10.0.0.1 and fd00::1 until 2023-11-14T23:18:20Z although no pool has fd00::1 any more: pool "a" has no IPv6 address to give (AddressOrphaned)`},
		}},
		{"after a restart an address stays whose annotation names a pool that is bad now", pools{pool("a", "10.0.0.1-10.0.0.4", broken), pool("b", "10.0.1.1/32")}, given{
			{svc("n", holds("10.0.0.7", 1), from("a")), "10.0.0.7 @a", `assigned 10.0.0.7 from pool "a" (IPAllocated)`},
			{svc("m", prefer, holds("10.0.0.8 fd00::8", 1), from("b,a")), "10.0.0.8 fd00::8 @a", ""},
			{svc("o", holds("10.0.0.9", 2), from("b")), "10.0.1.1 @b", ""},
		}},
		{"an annotation that names a good pool which does not have the address changes nothing", pools{pool("a", "10.0.0.1/32")}, given{
			{svc("n", holds("10.9.9.9", 1), from("a")), "10.0.0.1 @a", ""},
		}},
		{"an address let go in this pass is given away only in the next", pools{pool("a", "10.0.0.1-10.0.0.2")}, given{
			{svc("n", ask("10.0.0.2"), holds("10.0.0.1", 1)), "10.0.0.2 @a", ""},
			{svc("m", ask("10.0.0.1")), "", "the requested address 10.0.0.1 is in use by x/n (AddressInUse)"},
			{svc("o"), "", ""},
		}},
	})
}

func TestTwoServicesWithOneAddress(t *testing.T) {
	a := pools{pool("a", "10.0.0.1-10.0.0.9")}
	check(t, []rule{
		{"the earlier assigned-at keeps it", a, given{
			{svc("late", holds("10.0.0.1", 2)), "10.0.0.2 @a", ""},
			{svc("early", holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
		}},
		{"an absent assigned-at is the earliest", a, given{
			{svc("early", holds("10.0.0.1", 1)), "10.0.0.2 @a", ""},
			{svc("absent", holds("10.0.0.1", 0)), "10.0.0.1 @a", ""},
		}},
		{"a tie goes by UID", a, given{
			{svc("n2", holds("10.0.0.1", 1)), "10.0.0.2 @a", ""},
			{svc("n1", holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
		}},
		{"the loser waits where no other is to be had", pools{pool("a", "10.0.0.1/32")}, given{
			{svc("early", holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("late", holds("10.0.0.1", 2)), "", `no IPv4 address is free in pool "a": enlarge the pool or add another (PoolExhausted)`},
		}},
		{"the loser keeps its other family's address", pools{pool("a", "10.0.0.1/32,fd00::1/128")}, given{
			{svc("early", holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("late", require, holds("10.0.0.1 fd00::1", 2)), "fd00::1 @a", `keeps fd00::1: no pair of an IPv4 and an IPv6 address is free in pool "a": enlarge the pool or add another (PoolExhausted)`},
		}},
	})
}

func TestWhatASharedAddressIsLostTo(t *testing.T) {
	p := compile(pool("a", "10.0.0.1-10.0.0.9"))
	decisions := decide(p, []Service{svc("early", key("k"), holds("10.0.0.1", 1)), svc("late", key("k"), holds("10.0.0.1", 2)), svc("other", holds("10.0.0.1", 3))})
	for i, want := range []string{"[]", "[{10.0.0.1 x/early  on the same port}]", "[{10.0.0.1 x/early }]"} {
		if got := fmt.Sprint(decisions[i].Lost); got != want {
			t.Errorf("Service %d lost %s, want %s", i, got, want)
		}
	}
}
