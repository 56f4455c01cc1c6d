package allocator

import (
	"math"
	"net/netip"

	"github.com/fairlead-lb/fairlead/policy"
)

// Usage is how much of one pool is in use. It is comparable.
type Usage struct {
	Pool       string
	IPv4, IPv6 Count
	Services   int64 // that have at least one address of the pool
}

// Count is how many addresses of one family a pool has. A number that exceeds 64 bits, as a large IPv6 prefix has it, is
// given as math.MaxInt64.
type Count struct {
	Assigned  int64 // in use; an address that several Services share counts once
	Available int64 // free; what the pool never gives does not count
}

// UsageOf counts for each pool, in the order of the policy, what the decisions take of it.
func UsageOf(p *policy.Policy, decisions []Decision) []Usage {
	out := make([]Usage, len(p.Pools))
	at := make(map[*policy.Pool]*tally, len(p.Pools))
	for i := range p.Pools {
		out[i].Pool = p.Pools[i].Name
		at[&p.Pools[i]] = &tally{Usage: &out[i], last: -1}
	}
	seen := make(map[netip.Addr]struct{}, len(decisions))
	for i, d := range decisions {
		for _, a := range d.Addresses {
			pool, ok := p.PoolOf(a)
			if !ok {
				continue
			}
			t := at[pool]
			t.service(i)
			if _, ok := seen[a]; !ok {
				seen[a] = struct{}{}
				t.address(a, pool.Counts(a))
			}
		}
	}
	for pool, t := range at {
		t.IPv4.Available = free(pool.Size(policy.IPv4), t.taken4)
		t.IPv6.Available = free(pool.Size(policy.IPv6), t.taken6)
	}
	return out
}

// tally counts for one pool.
type tally struct {
	*Usage
	last           int    // index of the decision counted last
	taken4, taken6 uint64 // addresses in use among those that the pool gives
}

// service counts the Service of a decision, once.
func (t *tally) service(index int) {
	if t.last != index {
		t.last = index
		t.Services++
	}
}

// address counts an address in use; an avoided or excluded one takes nothing from what is free.
func (t *tally) address(a netip.Addr, given bool) {
	count, taken := &t.IPv4, &t.taken4
	if policy.FamilyOf(a) == policy.IPv6 {
		count, taken = &t.IPv6, &t.taken6
	}
	count.Assigned++
	if given {
		*taken++
	}
}

func free(size, taken uint64) int64 { return int64(min(size-taken, math.MaxInt64)) }
