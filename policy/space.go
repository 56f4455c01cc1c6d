package policy

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"sort"
)

// Space is the addresses of one family that a pool may give, apart from what avoidBuggyIPs keeps back: its ranges without
// what its AddressPolicy excludes, in the order in which the pool lists them.
type Space struct {
	Ranges []Range
	ends   []uint64 // ends[i]: the number of addresses in Ranges[:i+1], or math.MaxUint64 where there are more
}

// newSpace returns the addresses of the family in the ranges and not in the excluded ones, which are sorted and disjoint.
func newSpace(ranges []Range, f Family, excluded []Range) Space {
	var s Space
	for _, r := range ranges {
		if r.Family() == f {
			s.Ranges = append(s.Ranges, r.without(excluded)...)
		}
	}
	var sum uint64
	for _, r := range s.Ranges {
		n := r.size()
		if sum += n; sum < n {
			sum = math.MaxUint64
		}
		s.ends = append(s.ends, sum)
	}
	return s
}

// Size returns the number of addresses, or math.MaxUint64 where there are more.
func (s *Space) Size() uint64 {
	if len(s.ends) == 0 {
		return 0
	}
	return s.ends[len(s.ends)-1]
}

// At returns the address number n, counted from 0 and less than Size.
func (s *Space) At(n uint64) netip.Addr {
	i := sort.Search(len(s.ends), func(i int) bool { return n < s.ends[i] })
	if i > 0 {
		n -= s.ends[i-1]
	}
	return plus(s.Ranges[i].From, n)
}

// without returns what is left of the range without the excluded ones, which are sorted and disjoint.
func (r Range) without(excluded []Range) []Range {
	from := sort.Search(len(excluded), func(i int) bool { return !excluded[i].To.Less(r.From) })
	var rest []Range
	for _, o := range excluded[from:] {
		if r.To.Less(o.From) {
			break
		}
		parts := r.subtract(o)
		if len(parts) == 0 {
			return rest
		}
		last := parts[len(parts)-1]
		if !o.To.Less(last.From) { // nothing is left above o
			return append(rest, parts...)
		}
		rest = append(rest, parts[:len(parts)-1]...)
		r = last
	}
	return append(rest, r)
}

// sortRanges sorts ranges and joins those that overlap or touch.
func sortRanges(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return a.From.Compare(b.From) })
	var out []Range
	for _, r := range ranges {
		if n := len(out); n > 0 && out[n-1].From.BitLen() == r.From.BitLen() && !out[n-1].To.Less(r.From.Prev()) {
			if out[n-1].To.Less(r.To) {
				out[n-1].To = r.To
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// size returns the number of addresses, or math.MaxUint64 where there are more.
func (r Range) size() uint64 {
	fromHi, fromLo := halves(r.From)
	toHi, toLo := halves(r.To)
	lo, borrow := bits.Sub64(toLo, fromLo, 0)
	if hi, _ := bits.Sub64(toHi, fromHi, borrow); hi > 0 || lo == math.MaxUint64 {
		return math.MaxUint64
	}
	return lo + 1
}

// plus returns the address n above a; the caller knows that there is one.
func plus(a netip.Addr, n uint64) netip.Addr {
	hi, lo := halves(a)
	lo, carry := bits.Add64(lo, n, 0)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi+carry)
	binary.BigEndian.PutUint64(b[8:], lo)
	sum := netip.AddrFrom16(b)
	if a.Is4() {
		return sum.Unmap()
	}
	return sum
}

// halves returns an address as a number of 128 bits; an IPv4 address counts as IPv4-mapped.
func halves(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}
