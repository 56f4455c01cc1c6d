package allocator

import (
	"testing"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/policy"
)

type (
	pools = []v1beta1.IPAddressPool
	given = []expect
)

func TestChoiceOfAddress(t *testing.T) {
	check(t, []rule{
		{"the lowest free address comes first", pools{pool("a", "10.0.0.1-10.0.0.4")}, given{
			{svc("old", holds("10.0.0.2", 1)), "10.0.0.2 @a", `assigned 10.0.0.2 from pool "a" (IPAllocated)`},
			{svc("n1"), "10.0.0.1 @a", `assigned 10.0.0.1 from pool "a" (IPAllocated)`},
			{svc("n2"), "10.0.0.3 @a", ""},
		}},
		{"earlier created Services are served first, then by namespace and name", pools{pool("a", "10.0.0.1-10.0.0.4")}, given{
			{svc("x/b", created(2)), "10.0.0.4 @a", ""},
			{svc("y/a", created(1)), "10.0.0.3 @a", ""},
			{svc("x/c", created(1)), "10.0.0.2 @a", ""},
			{svc("x/a", created(1)), "10.0.0.1 @a", ""},
		}},
		{"ranges are used in the order in which the pool lists them", pools{pool("a", "10.0.0.9-10.0.0.9,10.0.0.1-10.0.0.2")}, given{
			{svc("n1"), "10.0.0.9 @a", ""},
			{svc("n2"), "10.0.0.1 @a", ""},
			{svc("n3"), "10.0.0.2 @a", ""},
		}},
		{"the first and the last address of a network and of the address space are given", pools{pool("a", "0.0.0.0/31,255.255.255.254/31")}, given{
			{svc("n1"), "0.0.0.0 @a", ""},
			{svc("n2"), "0.0.0.1 @a", ""},
			{svc("n3"), "255.255.255.254 @a", ""},
			{svc("n4"), "255.255.255.255 @a", ""},
			{svc("n5"), "", `no IPv4 address is free in pool "a": enlarge the pool or add another (PoolExhausted)`},
		}},
		{"avoidBuggyIPs passes over .0 and .255", pools{pool("a", "10.0.0.0/31,10.0.0.254/31,10.0.1.0/32", avoidBuggy)}, given{
			{svc("n1"), "10.0.0.1 @a", ""},
			{svc("n2"), "10.0.0.254 @a", ""},
			{svc("n3"), "", ""},
		}},
		{"avoidBuggyIPs holds for a requested address too, and not for IPv6", pools{pool("a", "10.0.0.0/24,fd00::/120", avoidBuggy)}, given{
			{svc("n1", ask("10.0.0.255")), "", `the requested address 10.0.0.255 is one that pool "a" avoids (avoidBuggyIPs) (AddressNotInPool)`},
			{svc("n2", v6), "fd00:: @a", ""},
		}},
		{"avoidBuggyIPs takes nothing away", pools{pool("a", "10.0.0.0/24", avoidBuggy)}, given{
			{svc("old", holds("10.0.0.0", 1)), "10.0.0.0 @a", `assigned 10.0.0.0 from pool "a" (IPAllocated)`},
		}},
		{"a Service gets an address of its own family", pools{pool("a", "10.0.0.1/32,fd00::1/128")}, given{
			{svc("n4"), "10.0.0.1 @a", ""},
			{svc("n6", v6), "fd00::1 @a", ""},
			{svc("n7", v6, created(1)), "", `no IPv6 address is free in pool "a": enlarge the pool or add another (PoolExhausted)`},
		}},
		{"wrong family: no pool has any", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.0.2/32")}, given{
			{svc("n6", v6), "", `there is no IPv6 address in pools "a" or "b" (FamilyUnavailable)`},
		}},
	})
}

func TestChoiceOfPool(t *testing.T) {
	check(t, []rule{
		{"there is no pool", nil, given{
			{svc("n"), "", "there is no IPAddressPool: create one (NoPool)"},
		}},
		{"pools without serviceAllocation are asked by name", pools{pool("b", "10.0.1.1/32"), pool("a", "10.0.0.1/32")}, given{
			{svc("n1"), "10.0.0.1 @a", ""},
			{svc("n2"), "10.0.1.1 @b", ""},
			{svc("n3"), "", `no IPv4 address is free in pools "a" or "b": enlarge the pool or add another (PoolExhausted)`},
		}},
		{"pools with serviceAllocation come first: the lower priority first, 0 last", pools{
			pool("open", "10.0.0.1/32"), pool("last", "10.0.0.2/32", tenant(0, "x")), pool("second", "10.0.0.3/32", tenant(20, "x")), pool("first", "10.0.0.4/32", tenant(10, "x")),
		}, given{
			{svc("n1"), "10.0.0.4 @first", ""},
			{svc("n2"), "10.0.0.3 @second", ""},
			{svc("n3"), "10.0.0.2 @last", ""},
			{svc("n4"), "10.0.0.1 @open", ""},
		}},
		{"a pool of others gives nothing", pools{pool("a", "10.0.0.1/32", tenant(1, "other"))}, given{
			{svc("n"), "", "no pool is open to this Service: every pool has autoAssign off or a serviceAllocation that does not admit it (NoPool)"},
			{svc("asks", askPool("a")), "", `pool "a" does not admit this Service: see its serviceAllocation (PoolNotAllowed)`},
			{svc("names", ask("10.0.0.1")), "", `pool "a" does not admit this Service: see its serviceAllocation (PoolNotAllowed)`},
			{svc("other/n"), "10.0.0.1 @a", ""},
		}},
		{"serviceAllocation that changes takes nothing away", pools{pool("a", "10.0.0.1/32", tenant(1, "other"))}, given{
			{svc("old", holds("10.0.0.1", 1), from("a")), "10.0.0.1 @a", `assigned 10.0.0.1 from pool "a" (IPAllocated)`},
			{svc("named", holds("10.0.0.1", 2), from("a"), key("k")), "", ""},
		}},
		{"autoAssign off: only for Services that ask", pools{pool("a", "10.0.0.1-10.0.0.3", onRequest)}, given{
			{svc("n"), "", "no pool is open to this Service: every pool has autoAssign off or a serviceAllocation that does not admit it (NoPool)"},
			{svc("asks", askPool("a")), "10.0.0.1 @a", ""},
			{svc("names", ask("10.0.0.3")), "10.0.0.3 @a", ""},
			{svc("old", holds("10.0.0.2", 1)), "10.0.0.2 @a", ""},
		}},
		{"a requested pool gives even where another would be asked first", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32")}, given{
			{svc("n", askPool("b")), "10.0.1.1 @b", ""},
			{svc("m", askPool("b"), created(1)), "", `no IPv4 address is free in pool "b": enlarge the pool or add another (PoolExhausted)`},
		}},
		{"an unknown pool is requested", pools{pool("a", "10.0.0.1/32")}, given{
			{svc("n", askPool("z")), "", `the requested pool "z" does not exist (UnknownPool)`},
		}},
		{"a bad pool gives nothing new", pools{pool("a", "10.0.0.1-10.0.0.9", broken)}, given{
			{svc("old", holds("10.0.0.2", 1), from("a")), "10.0.0.2 @a", `assigned 10.0.0.2 from pool "a" (IPAllocated)`},
			{svc("n"), "", `pool "a" is invalid and gives nothing new until it is corrected: see its Events (PoolInvalid)`},
			{svc("asks", askPool("a")), "", `pool "a" is invalid and gives nothing new until it is corrected: see its Events (PoolInvalid)`},
			{svc("names", ask("10.0.0.5")), "", `pool "a" is invalid and gives nothing new until it is corrected: see its Events (PoolInvalid)`},
		}},
		{"a bad pool is passed over for a good one", pools{pool("a", "10.0.0.1-10.0.0.9", broken), pool("b", "10.0.1.1/32")}, given{
			{svc("n"), "10.0.1.1 @b", ""},
		}},
	})
}

func TestRequestedAddress(t *testing.T) {
	check(t, []rule{
		{"it is given, and before anyone who takes any address", pools{pool("a", "10.0.0.1-10.0.0.3")}, given{
			{svc("n", created(1)), "10.0.0.2 @a", ""},
			{svc("asks", ask("10.0.0.1"), created(9)), "10.0.0.1 @a", `assigned 10.0.0.1 from pool "a" (IPAllocated)`},
		}},
		{"the earlier created of two gets it", pools{pool("a", "10.0.0.1-10.0.0.3")}, given{
			{svc("n2", ask("10.0.0.1"), created(2)), "", "the requested address 10.0.0.1 is in use by x/n1 (AddressInUse)"},
			{svc("n1", ask("10.0.0.1"), created(1)), "10.0.0.1 @a", ""},
		}},
		{"it is in use, and the message says by whom", pools{pool("a", "10.0.0.1-10.0.0.3")}, given{
			{svc("old", holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("n", ask("10.0.0.1")), "", "the requested address 10.0.0.1 is in use by x/old (AddressInUse)"},
		}},
		{"it is in no pool", pools{pool("a", "10.0.0.1-10.0.0.3")}, given{
			{svc("n", ask("10.0.0.4")), "", "the requested address 10.0.0.4 is in no pool (AddressNotInPool)"},
		}},
		{"it is in another pool than the requested one", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32")}, given{
			{svc("n", ask("10.0.0.1"), askPool("b")), "", `the requested address 10.0.0.1 is in pool "a", but pool "b" is requested (InvalidRequest)`},
		}},
		{"what cannot be had leaves the old address", pools{pool("a", "10.0.0.1-10.0.0.9"), pool("mine", "10.0.1.1/32", tenant(1, "y"))}, given{
			{svc("other", holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
			{svc("in-use", ask("10.0.0.1"), holds("10.0.0.2", 2)), "10.0.0.2 @a", "keeps 10.0.0.2: the requested address 10.0.0.1 is in use by x/other (AddressInUse)"},
			{svc("nowhere", ask("10.9.9.9"), holds("10.0.0.3", 2)), "10.0.0.3 @a", "keeps 10.0.0.3: the requested address 10.9.9.9 is in no pool (AddressNotInPool)"},
			{svc("no-pool", askPool("z"), holds("10.0.0.4", 2)), "10.0.0.4 @a", `keeps 10.0.0.4: the requested pool "z" does not exist (UnknownPool)`},
			{svc("not-mine", askPool("mine"), holds("10.0.0.5", 2)), "10.0.0.5 @a", `keeps 10.0.0.5: pool "mine" does not admit this Service: see its serviceAllocation (PoolNotAllowed)`},
			{svc("garbled", invalid(`"x" is not an IP address`), holds("10.0.0.6", 2)), "10.0.0.6 @a", `keeps 10.0.0.6: "x" is not an IP address (InvalidRequest)`},
		}},
		{"it replaces the old address where it can be had", pools{pool("a", "10.0.0.1-10.0.0.9"), pool("b", "10.0.1.1/32")}, given{
			{svc("n1", ask("10.0.0.7"), holds("10.0.0.1", 1)), "10.0.0.7 @a", ""},
			{svc("n2", askPool("b"), holds("10.0.0.2", 1)), "10.0.1.1 @b", ""},
		}},
		{"it is kept once held, whatever becomes of the pool", pools{pool("a", "10.0.0.0-10.0.0.9", broken, avoidBuggy, tenant(1, "y"))}, given{
			{svc("old", ask("10.0.0.0"), holds("10.0.0.0", 1)), "10.0.0.0 @a", `assigned 10.0.0.0 from pool "a" (IPAllocated)`},
		}},
		{"invalid requests get nothing", pools{pool("a", "10.0.0.1/32")}, given{
			{svc("n", invalid("nonsense is requested")), "", "nonsense is requested (InvalidRequest)"},
		}},
		{"one of each family, even from two pools", pools{pool("a", "10.0.0.1/32"), pool("b", "fd00::1/128")}, given{
			{svc("n", prefer, ask("fd00::1 10.0.0.1")), "10.0.0.1 fd00::1 @a,b", `assigned 10.0.0.1 and fd00::1 from pools "a" and "b" (IPAllocated)`},
		}},
		{"two of which one cannot be had give nothing", pools{pool("a", "10.0.0.1/32,fd00::1/128")}, given{
			{svc("n", prefer, ask("10.0.0.1 fd00::2")), "", "the requested address fd00::2 is in no pool (AddressNotInPool)"},
		}},
		{"one of two preferred families is all that is asked for", pools{pool("a", "10.0.0.1/32,fd00::1/128")}, given{
			{svc("n", prefer, ask("10.0.0.1")), "10.0.0.1 @a", `assigned 10.0.0.1 from pool "a" (IPAllocated)`},
		}},
		{"one of two preferred families leaves what is held of the other", pools{pool("a", "10.0.0.1-10.0.0.2,fd00::1/128")}, given{
			{svc("n", prefer, ask("10.0.0.2"), holds("10.0.0.1 fd00::1", 1)), "10.0.0.2 fd00::1 @a", ""},
		}},
	})
}

func TestDualStack(t *testing.T) {
	check(t, []rule{
		{"required: the first pool with both", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32,fd00::1/128")}, given{
			{svc("n", require), "10.0.1.1 fd00::1 @b", `assigned 10.0.1.1 and fd00::1 from pool "b" (IPAllocated)`},
		}},
		{"required: never from two pools", pools{pool("a", "10.0.0.1/32"), pool("b", "fd00::1/128")}, given{
			{svc("n", require), "", `there is no pair of an IPv4 and an IPv6 address in pools "a" or "b" (FamilyUnavailable)`},
		}},
		{"required: one family is full", pools{pool("a", "10.0.0.1-10.0.0.9,fd00::1/128")}, given{
			{svc("old", v6, holds("fd00::1", 1)), "fd00::1 @a", ""},
			{svc("n", require), "", `no pair of an IPv4 and an IPv6 address is free in pool "a": enlarge the pool or add another (PoolExhausted)`},
		}},
		{"required: one address is completed from its own pool", pools{pool("a", "10.0.0.1/32,fd00::1/128"), pool("b", "10.0.1.1/32,fd00::2/128")}, given{
			{svc("n", require, holds("10.0.1.1", 1)), "10.0.1.1 fd00::2 @b", ""},
		}},
		{"required: where its own pool cannot, both come from another", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32,fd00::2/128")}, given{
			{svc("n", require, holds("10.0.0.1", 1)), "10.0.1.1 fd00::2 @b", ""},
		}},
		{"required: where no pool can, the one address stays", pools{pool("a", "10.0.0.1/32")}, given{
			{svc("n", require, holds("10.0.0.1", 1)), "10.0.0.1 @a", `keeps 10.0.0.1: there is no pair of an IPv4 and an IPv6 address in pool "a" (FamilyUnavailable)`},
		}},
		{"preferred: the first pool with both wins over an earlier one", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32,fd00::1/128")}, given{
			{svc("n", prefer), "10.0.1.1 fd00::1 @b", ""},
		}},
		{"preferred: else the first family, wherever it is", pools{pool("a", "fd00::1/128"), pool("b", "10.0.0.1/32")}, given{
			{svc("n", prefer), "10.0.0.1 @b", `assigned 10.0.0.1 from pool "b", which has no IPv6 address to give (PartlyAllocated)`},
		}},
		{"preferred: the first family of the Service decides", pools{pool("a", "10.0.0.1/32"), pool("b", "fd00::1/128")}, given{
			{svc("n", prefer6), "fd00::1 @b", `assigned fd00::1 from pool "b", which has no IPv4 address to give (PartlyAllocated)`},
		}},
		{"preferred: else the other family", pools{pool("a", "fd00::1/128")}, given{
			{svc("n", prefer), "fd00::1 @a", ""},
		}},
		{"preferred: nothing of either family", pools{pool("a", "fd00::1/128")}, given{
			{svc("old", v6, holds("fd00::1", 1)), "fd00::1 @a", ""},
			{svc("n", prefer), "", `no IPv4 or IPv6 address is free in pool "a": enlarge the pool or add another (PoolExhausted)`},
		}},
		{"preferred: the same pool adds the missing one, in the order of the families", pools{pool("a", "10.0.0.1/32,fd00::1-fd00::2")}, given{
			{svc("n", prefer, holds("10.0.0.1", 1)), "10.0.0.1 fd00::1 @a", `assigned 10.0.0.1 and fd00::1 from pool "a" (IPAllocated)`},
		}},
		{"preferred: v6 first", pools{pool("a", "10.0.0.1/32,fd00::1-fd00::2")}, given{
			{svc("n", prefer6, holds("10.0.0.1", 1)), "fd00::1 10.0.0.1 @a", ""},
		}},
		{"preferred: it never jumps to a pool with both", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32,fd00::1/128")}, given{
			{svc("n", prefer, holds("10.0.0.1", 1)), "10.0.0.1 @a", `assigned 10.0.0.1 from pool "a", which has no IPv6 address to give (PartlyAllocated)`},
		}},
		{"preferred: not even when its pool is closed to it meanwhile", pools{pool("a", "10.0.0.1/32,fd00::1/128", onRequest), pool("b", "10.0.1.1/32,fd00::2/128"), pool("c", "10.0.2.1/32,fd00::3/128", tenant(1, "y"))}, given{
			{svc("n", prefer, holds("10.0.0.1", 1)), "10.0.0.1 @a", `assigned 10.0.0.1 from pool "a", which has no IPv6 address to give (PartlyAllocated)`},
			{svc("m", prefer, holds("10.0.2.1", 1)), "10.0.2.1 @c", ""},
			{svc("asks", prefer, askPool("a"), created(9)), "fd00::1 @a", ""},
		}},
		{"preferred: one address in a bad pool stays as it is", pools{pool("a", "10.0.0.1/32,fd00::1/128", broken), pool("b", "10.0.1.1/32,fd00::2/128")}, given{
			{svc("n", prefer, holds("10.0.0.1", 1)), "10.0.0.1 @a", ""},
		}},
		{"preferred: another pool is asked for", pools{pool("a", "10.0.0.1/32"), pool("b", "10.0.1.1/32,fd00::1/128")}, given{
			{svc("n", prefer, holds("10.0.0.1", 1), askPool("b")), "10.0.1.1 fd00::1 @b", ""},
		}},
		{"a family that is no longer wanted is let go, and free in the next pass", pools{pool("a", "10.0.0.1/32,fd00::1/128")}, given{
			{svc("n", holds("10.0.0.1 fd00::1", 1)), "10.0.0.1 @a", ""},
			{svc("waits", v6), "", ""},
		}},
		{"two addresses of one family in a status come to one", pools{pool("a", "10.0.0.1-10.0.0.9")}, given{
			{svc("n", holds("10.0.0.3 10.0.0.2", 1)), "10.0.0.3 @a", ""},
			{svc("m", families(policy.IPv4)), "10.0.0.1 @a", ""},
			{svc("o"), "10.0.0.4 @a", ""},
		}},
	})
}

func TestDeletingServiceGetsNothingNew(t *testing.T) {
	check(t, []rule{{"", pools{pool("a", "10.0.0.1-10.0.0.9,fd00::1/128")}, given{
		{svc("keeps", deleting, holds("10.0.0.1", 1)), "10.0.0.1 @a", `assigned 10.0.0.1 from pool "a" (IPAllocated)`},
		{svc("half", deleting, prefer, holds("10.0.0.2", 1)), "10.0.0.2 @a", ""},
		{svc("waits", deleting), "", "the Service is being deleted and gets no new address (ServiceDeleting)"},
		{svc("asks", deleting, ask("10.0.0.9")), "", ""},
		{svc("moves", deleting, ask("10.0.0.9"), holds("10.0.0.3", 1)), "10.0.0.3 @a", ""},
	}}})
}
