package allocator

import (
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
			{svc("m", holds("10.0.0.2", 1), from("a")), "10.0.0.2 @a", `keeps 10.0.0.2 although no pool has it any more: no IPv4 address is free in pool "a": enlarge the pool or add another (AddressOrphaned)`},
		}},
		{"every pool is gone: everything is kept", nil, given{
			{svc("n", holds("10.0.0.1", 1), from("a")), "10.0.0.1 @a", "keeps 10.0.0.1 although no pool has it any more: there is no IPAddressPool: create one (AddressOrphaned)"},
			{svc("asks", askPool("a"), holds("10.0.0.2", 1), from("a")), "10.0.0.2 @a", `keeps 10.0.0.2 although no pool has it any more: the requested pool "a" does not exist (AddressOrphaned)`},
			{svc("names", ask("10.0.0.3"), holds("10.0.0.3", 1), from("a")), "10.0.0.3 @a", "keeps 10.0.0.3 although no pool has it any more: the requested address 10.0.0.3 is in no pool (AddressOrphaned)"},
			{svc("two", require, holds("10.0.0.4 fd00::4", 1), from("a,b")), "10.0.0.4 fd00::4 @a,b", ""},
			{svc("unknown-origin", holds("10.0.0.5", 1)), "10.0.0.5 @", ""},
		}},
		{"the pool loses one family of a dual-stack Service: the other address stays, a new one comes from the same pool", pools{pool("a", "10.0.0.1/32,fd00::9/128"), pool("b", "10.0.1.1/32,fd00::1:1/128")}, given{
			{svc("n", prefer, holds("10.0.0.1 fd00::1", 1), from("a")), "10.0.0.1 fd00::9 @a", ""},
		}},
		{"the pool loses one family and has no other: both are kept", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32,fd00::1:1/128")}, given{
			{svc("n", prefer, holds("10.0.0.1 fd00::1", 1), from("a")), "10.0.0.1 fd00::1 @a", `keeps 10.0.0.1 and fd00::1 although no pool has fd00::1 any more: pool "a" has no IPv6 address to give (AddressOrphaned)`},
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
			{svc("late", holds("10.0.0.1", 2)), "", `lost 10.0.0.1 to x/early, which held it earlier; no IPv4 address is free in pool "a": enlarge the pool or add another (AddressConflict)`},
		}},
		{"the loser keeps its other family's address", pools{pool("a", "10.0.0.1/32,fd00::1/128")}, given{
			{svc("early", holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("late", require, holds("10.0.0.1 fd00::1", 2)), "fd00::1 @a", `keeps fd00::1: lost 10.0.0.1 to x/early, which held it earlier; no pair of an IPv4 and an IPv6 address is free in pool "a": enlarge the pool or add another (AddressConflict)`},
		}},
	})
}

func TestSharing(t *testing.T) {
	one := pools{pool("a", "10.0.0.1/32")}
	some := pools{pool("a", "10.0.0.1-10.0.0.9")}
	both := pools{pool("a", "10.0.0.1/32", crossNamespace)}
	check(t, []rule{
		{"same key, other ports: the shared address comes before a free one", pools{pool("a", "10.0.0.1-10.0.0.9")}, given{
			{svc("old", key("k"), holds("10.0.0.5", 1)), "10.0.0.5 @a", ""},
			{svc("n", key("k"), tcp(443)), "10.0.0.5 @a", `assigned 10.0.0.5 from pool "a" (IPAllocated)`},
			{svc("m", key("k"), udp(80)), "10.0.0.5 @a", ""},
		}},
		{"even where an earlier pool has a free address", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32")}, given{
			{svc("old", key("k"), holds("10.0.1.1", 1)), "10.0.1.1 @b", ""},
			{svc("n", key("k"), tcp(443)), "10.0.1.1 @b", ""},
		}},
		{"but not from a pool that does not give to this Service", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32", onRequest)}, given{
			{svc("old", key("k"), holds("10.0.1.1", 1)), "10.0.1.1 @b", ""},
			{svc("n", key("k"), tcp(443)), "10.0.0.1 @a", ""},
		}},
		{"new Services share among themselves", some, given{
			{svc("n1", key("k")), "10.0.0.1 @a", ""},
			{svc("n2", key("k"), tcp(443)), "10.0.0.1 @a", ""},
			{svc("n3", key("k"), tcp(443)), "10.0.0.2 @a", ""},
			{svc("n4", key("k"), tcp(8080)), "10.0.0.1 @a", ""},
			{svc("n5", key("l"), tcp(8081)), "10.0.0.3 @a", ""},
		}},
		{"one who holds another address stays there", some, given{
			{svc("n1", key("k"), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("n2", key("k"), tcp(443), holds("10.0.0.2", 2)), "10.0.0.2 @a", ""},
		}},
		{"dual-stack Services share both addresses", pools{pool("a", "10.0.0.1-10.0.0.9,fd00::1-fd00::9")}, given{
			{svc("n1", key("k"), require, holds("10.0.0.4 fd00::4", 1)), "10.0.0.4 fd00::4 @a", ""},
			{svc("n2", key("k"), require, tcp(443)), "10.0.0.4 fd00::4 @a", ""},
		}},
		{"without a key there is no sharing", one, given{
			{svc("old", key("k"), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("n", tcp(443), ask("10.0.0.1")), "", "the requested address 10.0.0.1 is in use by x/old (AddressInUse)"},
		}},
		{"a requested address is shared on these terms too, and what stands against it is said", one, given{
			{svc("old", key("k"), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("good", key("k"), tcp(443), ask("10.0.0.1")), "10.0.0.1 @a", ""},
			{svc("key", key("l"), tcp(444), ask("10.0.0.1")), "", "the requested address 10.0.0.1 is in use by x/old under another sharing key (AddressInUse)"},
			{svc("port", key("k"), ask("10.0.0.1")), "", "the requested address 10.0.0.1 is in use by x/old on the same port (AddressInUse)"},
			{svc("local", key("k"), tcp(445), local("app=a"), ask("10.0.0.1")), "", "the requested address 10.0.0.1 is in use by x/old under another externalTrafficPolicy (AddressInUse)"},
			{svc("y/ns", key("k"), tcp(446), ask("10.0.0.1")), "", "the requested address 10.0.0.1 is in use by x/old in another namespace (its pool does not allow that) (AddressInUse)"},
		}},
		{"Local: only for the same pods", one, given{
			{svc("old", key("k"), local("app=a"), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("same", key("k"), tcp(443), local("app=a")), "10.0.0.1 @a", ""},
			{svc("other", key("k"), tcp(444), local("app=b"), ask("10.0.0.1")), "", "the requested address 10.0.0.1 is in use by x/old for other pods (externalTrafficPolicy is Local) (AddressInUse)"},
		}},
		{"across namespaces where the pool allows it", both, given{
			{svc("x/old", key("k"), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("y/n", key("k"), tcp(443)), "10.0.0.1 @a", ""},
		}},
		{"across namespaces never with Local: the same selector means other pods", both, given{
			{svc("x/old", key("k"), local("app=a"), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("y/n", key("k"), tcp(443), local("app=a")), "", ""},
		}},
		{"a sole holder changes its key and ports in place", one, given{
			{svc("old", key("new"), tcp(81), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
		}},
		{"two holders come to conflict: the newcomer loses and moves, never the holder", some, given{
			{svc("new", key("k"), tcp(80), holds("10.0.0.1", 2)), "10.0.0.2 @a", ""},
			{svc("old", key("k"), tcp(80), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
		}},
		{"so too when the holder changes its key, and the others stay together", some, given{
			{svc("old", key("changed"), tcp(80), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("new1", key("k"), tcp(81), holds("10.0.0.1", 2)), "10.0.0.2 @a", ""},
			{svc("new2", key("k"), tcp(82), holds("10.0.0.1", 3)), "10.0.0.2 @a", ""},
		}},
		{"a newcomer that fits two holders stays when a third goes", some, given{
			{svc("b", key("k"), tcp(81), holds("10.0.0.1", 2)), "10.0.0.1 @a", ""},
			{svc("c", key("k"), tcp(82), holds("10.0.0.1", 3)), "10.0.0.1 @a", ""},
		}},
		{"the pool stops to allow it: the newcomer moves", some, given{
			{svc("x/old", key("k"), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("y/new", key("k"), tcp(443), holds("10.0.0.1", 2)), "10.0.0.2 @a", ""},
		}},
		{"a shared address in no pool any more: it moves, together", pools{pool("a", "10.0.0.1-10.0.0.9")}, given{
			{svc("n1", key("k"), holds("10.9.9.9", 1)), "10.0.0.1 @a", ""},
			{svc("n2", key("k"), tcp(443), holds("10.9.9.9", 1)), "10.0.0.1 @a", ""},
		}},
	})
}
