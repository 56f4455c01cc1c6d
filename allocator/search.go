package allocator

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/policy"
)

// searchKey names the addresses of one family of one pool. It is comparable.
type searchKey struct {
	pool   string
	family policy.Family
}

// search finds free addresses of one family of a pool. During one pass nothing becomes free, so it never looks twice at
// what is taken: its work goes with the number of addresses in use, not with the size of the pool.
type search struct {
	space  *policy.Space
	taken  func(netip.Addr) bool
	full   func(block netip.Addr) bool // whether the whole block that begins there is in use; nil: nobody knows
	lowest position
	// For LeastRecentlyUsed: the addresses to be used again, the one released longest ago first.
	released []netip.Addr
}

// position is an address in one of the ranges of a space.
type position struct {
	index int        // of the range
	at    netip.Addr // invalid: the beginning of the range
}

// first returns the first free address in the order of the ranges.
func (s *search) first() (netip.Addr, bool) {
	for ; s.lowest.index < len(s.space.Ranges); s.lowest = (position{index: s.lowest.index + 1}) {
		r := s.space.Ranges[s.lowest.index]
		at := s.lowest.at
		if !at.IsValid() {
			at = r.From
		}
		for at != r.To && s.taken(at) {
			at = s.past(at, r.To)
		}
		s.lowest.at = at
		if at != r.To || !s.taken(at) {
			return at, true
		}
	}
	return netip.Addr{}, false
}

// past returns the next address of the range to look at, after one that is taken: the one above it, or the last one of a
// block that is full.
func (s *search) past(at, to netip.Addr) netip.Addr {
	if s.full != nil && ending(at, 0) == at && s.full(at) {
		if last := ending(at, 255); !to.Less(last) {
			return last
		}
	}
	return at.Next()
}

// ending returns the address of the same block of 256 with that last byte.
func ending(a netip.Addr, last byte) netip.Addr {
	b := a.As16()
	b[15] = last
	out := netip.AddrFrom16(b)
	if a.Is4() {
		return out.Unmap()
	}
	return out
}

// oldest returns the address that was released longest ago and is not in use.
func (s *search) oldest(inUse func(netip.Addr) bool) (netip.Addr, bool) {
	for len(s.released) > 0 && inUse(s.released[0]) {
		s.released = s.released[1:]
	}
	if len(s.released) == 0 {
		return netip.Addr{}, false
	}
	return s.released[0], true
}

// hashes is how many addresses a name points to, one after the other. Where all but one in a hundred are taken, one name in
// four finds all of its own taken; where all but one in ten are, one in 700,000.
const hashes = 128

// hashed returns the first free address of those that the name points to, or the first free one at all. How the taken ones
// lie makes no difference.
func (s *search) hashed(name string) (netip.Addr, bool) {
	size := s.space.Size()
	if size == 0 {
		return netip.Addr{}, false
	}
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails, says package hash
	start := h.Sum64()
	for i := range uint64(hashes) {
		if a := s.space.At(mix(start, i) % size); !s.taken(a) {
			return a, true
		}
	}
	return s.first()
}

// mix returns number i of the sequence that begins with a hash (SplitMix64).
func mix(start, i uint64) uint64 {
	x := start + i*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// free returns a free address of the pool that nobody has a right to, by the pool's strategy. The name is what StableHash
// goes by.
func (st *state) free(pool *policy.Pool, f policy.Family, name Key) (netip.Addr, bool) {
	taken := func(a netip.Addr) bool { return st.taken(pool, a) }
	strategy := v1alpha1.LowestFirst
	if pool.Rules != nil {
		strategy = pool.Rules.Strategy
	}
	key := searchKey{pool.Name, f}
	s := st.searches[key]
	if s == nil {
		if strategy == v1alpha1.LeastRecentlyUsed {
			s = &search{
				space: pool.Space(f), full: st.full, released: st.releasedFrom(pool, f),
				taken: func(a netip.Addr) bool { return st.claims[a] != nil || taken(a) },
			}
		} else {
			s = &search{space: pool.Space(f), taken: taken, full: st.full}
		}
		st.searches[key] = s
	}
	if strategy == v1alpha1.StableHash {
		return s.hashed(name.String())
	}
	if a, ok := s.first(); ok {
		return a, true
	}
	return s.oldest(taken)
}

// full says whether all 256 addresses of a block have holders.
func (st *state) full(block netip.Addr) bool { return st.blocks[block] == 256 }

// taken says whether an address of the pool is not free for just anyone.
func (st *state) taken(pool *policy.Pool, a netip.Addr) bool {
	if len(st.holders[a]) > 0 || pool.Avoids(a) || st.reserved[a] != nil {
		return true
	}
	c := st.claims[a]
	return c != nil && !c.over(st.Now)
}

// releasedFrom returns the addresses of the pool that may be used again, the one released longest ago first.
func (st *state) releasedFrom(pool *policy.Pool, f policy.Family) []netip.Addr {
	var out []netip.Addr
	for a, c := range st.claims {
		if policy.FamilyOf(a) == f && c.over(st.Now) && pool.Gives(a) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b netip.Addr) int {
		return cmp.Or(st.claims[a].ReleasedAt.Compare(st.claims[b].ReleasedAt), a.Compare(b))
	})
	return out
}
