// Package addrset holds sets of IP addresses as ranges, in memory and as text: addresses come from pools and are mostly
// neighbors, so that thousands of them take a few lines. It is pure.
package addrset

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Set is a set of addresses: ranges in ascending order, none of which overlaps or touches another. The zero value is empty.
type Set []Range

// Range is the addresses from First to Last, both included, of one family. It is comparable.
type Range struct{ First, Last netip.Addr }

// String returns "192.0.2.1", or "192.0.2.1-192.0.2.9" for more than one.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// Of returns the set of the addresses, which are in any order.
func Of(addresses []netip.Addr) Set {
	sorted := slices.Clone(addresses)
	slices.SortFunc(sorted, netip.Addr.Compare)
	var out Set
	for _, a := range sorted {
		if n := len(out); n > 0 && (out[n-1].Last == a || out[n-1].Last.Next() == a) {
			out[n-1].Last = a
			continue
		}
		out = append(out, Range{a, a})
	}
	return out
}

// Parse reads what Texts returned. What does not parse is left out and returned as an error, one for all.
func Parse(texts []string) (Set, error) {
	var out Set
	bad := 0
	var last error
	for _, text := range texts {
		r, err := parse(text)
		if err != nil {
			bad, last = bad+1, err
			continue
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Range) int { return cmp.Or(a.First.Compare(b.First), a.Last.Compare(b.Last)) })
	joined := out[:0]
	for _, r := range out {
		if n := len(joined); n > 0 && r.First.BitLen() == joined[n-1].Last.BitLen() && !joined[n-1].Last.Less(r.First) {
			if joined[n-1].Last.Less(r.Last) {
				joined[n-1].Last = r.Last
			}
			continue
		}
		joined = append(joined, r)
	}
	if bad > 0 {
		return joined, fmt.Errorf("%d of %d ranges: %w", bad, len(texts), last)
	}
	return joined, nil
}

func parse(text string) (Range, error) {
	first, last, spans := strings.Cut(text, "-")
	if !spans {
		last = first
	}
	a, err := netip.ParseAddr(first)
	if err != nil {
		return Range{}, fmt.Errorf("%q is no range of addresses: %w", text, err)
	}
	b, err := netip.ParseAddr(last)
	if err != nil {
		return Range{}, fmt.Errorf("%q is no range of addresses: %w", text, err)
	}
	if a.BitLen() != b.BitLen() || b.Less(a) || a.Zone() != "" || b.Zone() != "" {
		return Range{}, fmt.Errorf("%q is no range of addresses", text)
	}
	return Range{a, b}, nil
}

// Texts returns the ranges as Parse reads them.
func (s Set) Texts() []string {
	out := make([]string, len(s))
	for i, r := range s {
		out[i] = r.String()
	}
	return out
}

// Contains says whether the address is in the set.
func (s Set) Contains(a netip.Addr) bool {
	i, exact := slices.BinarySearchFunc(s, a, func(r Range, a netip.Addr) int { return r.First.Compare(a) })
	if exact {
		return true
	}
	return i > 0 && s[i-1].First.BitLen() == a.BitLen() && !s[i-1].Last.Less(a)
}
