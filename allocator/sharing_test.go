package allocator

import "testing"

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
		{"ranges of ports count too", one, given{
			{svc("old", key("k"), tcp(80), alsoPorts("10000-20000/UDP,21"), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("within", key("k"), udp(10001), ask("10.0.0.1")), "", "the requested address 10.0.0.1 is in use by x/old on the same port (AddressInUse)"},
			{svc("across", key("k"), tcp(81), alsoPorts("20000-20001/UDP"), ask("10.0.0.1")), "", "the requested address 10.0.0.1 is in use by x/old on the same port (AddressInUse)"},
			{svc("beside", key("k"), udp(20001), alsoPorts("22-79,10000-20000/TCP"), ask("10.0.0.1")), "10.0.0.1 @a", ""},
		}},
		{"a range that becomes larger is refused for the newcomer, never for the holder", some, given{
			{svc("old", key("k"), tcp(80), holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("new", key("k"), udp(80), alsoPorts("70-90"), holds("10.0.0.1", 2)), "10.0.0.2 @a", ""},
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
		{"its pool goes: those who share across namespaces go on together", nil, given{
			{svc("x/n1", key("k"), holds("10.0.0.1", 1), from("a")), "10.0.0.1 @a", ""},
			{svc("y/n2", key("k"), tcp(443), holds("10.0.0.1", 2), from("a")), "10.0.0.1 @a", ""},
		}},
		{"a shared address in no pool any more: it moves, together", pools{pool("a", "10.0.0.1-10.0.0.9")}, given{
			{svc("n1", key("k"), holds("10.9.9.9", 1)), "10.0.0.1 @a", ""},
			{svc("n2", key("k"), tcp(443), holds("10.9.9.9", 1)), "10.0.0.1 @a", ""},
		}},
	})
}
