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
// what is taken: its work and its memory go with the number of addresses in use, not with the size of the pool.
type search struct {
	space  *policy.Space
	taken  func(netip.Addr) bool
	lowest position
	// Of some taken addresses that above came past: one above it, with none free between. Invalid: there is none above.
	next map[netip.Addr]netip.Addr
	// Of a range that is full: a later one, with none free between. 0: it may not be full.
	nextRange []int
	released  []netip.Addr // for LeastRecentlyUsed: those to be used again, the one released longest ago first
}

// position is an address in one of the ranges of a space.
type position struct {
	index int // of the range
	at    netip.Addr
}

func newSearch(space *policy.Space, taken func(netip.Addr) bool) *search {
	s := &search{space: space, taken: taken}
	if len(space.Ranges) > 0 {
		s.lowest.at = space.Ranges[0].From
	}
	return s
}

// first returns the first free address in the order of the ranges.
func (s *search) first() (netip.Addr, bool) {
	p := &s.lowest
	for ranges := s.space.Ranges; p.index < len(ranges); {
		for p.at.IsValid() && !ranges[p.index].To.Less(p.at) {
			if !s.taken(p.at) {
				return p.at, true
			}
			p.at = p.at.Next()
		}
		if p.index++; p.index < len(ranges) {
			p.at = ranges[p.index].From
		}
	}
	return netip.Addr{}, false
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

// hashed returns the free address that the hash of a name points to, or the next one above it; after the last address
// comes the first.
func (s *search) hashed(name string) (netip.Addr, bool) {
	if len(s.space.Ranges) == 0 {
		return netip.Addr{}, false
	}
	if s.next == nil {
		s.next = map[netip.Addr]netip.Addr{}
		s.nextRange = make([]int, len(s.space.Ranges))
	}
	if a, ok := s.above(s.pointedAt(name)); ok {
		return a, true
	}
	return s.above(position{0, s.space.Ranges[0].From})
}

// pointedAt returns the position that the hash of a name points to.
func (s *search) pointedAt(name string) position {
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails, says package hash
	index, at := s.space.At(h.Sum64() % s.space.Size())
	return position{index, at}
}

// above returns the first free address at or after the position, in the order of the ranges.
func (s *search) above(p position) (netip.Addr, bool) {
	ranges := s.space.Ranges
	for {
		a := s.inRange(ranges[p.index], p.at)
		if a.IsValid() {
			return a, true
		}
		following := s.rangeFrom(p.index + 1)
		if p.at == ranges[p.index].From {
			s.nextRange[p.index] = following
		}
		if following == len(ranges) {
			return netip.Addr{}, false
		}
		p = position{following, ranges[following].From}
	}
}

// milestone says whether a way past the address gets a shortcut: one address in 64, so that few steps lead to the next one
// and the shortcuts are small beside what they are about.
func milestone(a netip.Addr) bool {
	b := a.As16()
	return b[15]&63 == 0
}

// inRange returns the first free address of the range from a on, or an invalid one.
func (s *search) inRange(r policy.Range, a netip.Addr) netip.Addr {
	start := a
	for a.IsValid() && !r.To.Less(a) && s.taken(a) {
		a = s.following(a)
	}
	for b := start; b != a; { // shorten the way for the next one who comes along it
		c := s.following(b)
		if milestone(b) {
			s.next[b] = a
		}
		b = c
	}
	if !a.IsValid() || r.To.Less(a) {
		return netip.Addr{}
	}
	return a
}

// following returns the next address above a taken one that is to be looked at, or an invalid one.
func (s *search) following(a netip.Addr) netip.Addr {
	if milestone(a) {
		if b, ok := s.next[a]; ok {
			return b
		}
	}
	return a.Next()
}

// rangeFrom returns the index of the first range from i on that may not be full, or the number of ranges.
func (s *search) rangeFrom(i int) int {
	start := i
	for i < len(s.nextRange) && s.nextRange[i] != 0 {
		i = s.nextRange[i]
	}
	for start < i {
		start, s.nextRange[start] = s.nextRange[start], i
	}
	return i
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
			s = newSearch(pool.Space(f), func(a netip.Addr) bool { return st.claims[a] != nil || taken(a) })
			s.released = st.releasedFrom(pool, f)
		} else {
			s = newSearch(pool.Space(f), taken)
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
