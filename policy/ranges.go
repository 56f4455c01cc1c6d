package policy

import (
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strings"
)

// Family is an IP address family.
type Family uint8

// The two families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of a valid address; an IPv4-mapped IPv6 address counts as IPv6.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Other returns the other family.
func (f Family) Other() Family {
	if f == IPv4 {
		return IPv6
	}
	return IPv4
}

// String returns "IPv4" or "IPv6".
func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

// Range is a span of addresses of one family, both ends included. It is comparable; ParseRange makes only valid ones.
type Range struct{ From, To netip.Addr }

// ParseRange reads what an IPAddressPool's spec.addresses holds: a CIDR such as "192.0.2.0/24", all of whose addresses
// belong to the range whichever of them is written, or two addresses such as "192.0.2.10-192.0.2.20". The error says
// in one clause what is wrong.
func ParseRange(s string) (Range, error) {
	from, to, isSpan := strings.Cut(s, "-")
	if !isSpan {
		return parseCIDR(s)
	}
	a, err := parseAddr(from)
	if err != nil {
		return Range{}, err
	}
	b, err := parseAddr(to)
	if err != nil {
		return Range{}, err
	}
	switch {
	case FamilyOf(a) != FamilyOf(b):
		return Range{}, fmt.Errorf("range %q mixes IPv4 and IPv6", s)
	case b.Less(a):
		return Range{}, fmt.Errorf("range %q ends before it starts", s)
	}
	return Range{a, b}, nil
}

func parseCIDR(s string) (Range, error) {
	p, err := netip.ParsePrefix(strings.TrimSpace(s))
	if err != nil {
		return Range{}, fmt.Errorf("%q is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20", s)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return Range{}, fmt.Errorf("%q mixes IPv4 and IPv6", s)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return Range{p.Masked().Addr(), lastOf(p)}, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", strings.TrimSpace(s))
	}
	return a.Unmap(), nil
}

// lastOf returns the highest address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		host := 8*(i+1) - p.Bits() // bits of this byte that belong to the host part
		switch {
		case host >= 8:
			b[i] = 0xff
		case host > 0:
			b[i] |= byte(1<<host - 1)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Contains says whether the address lies in the range.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.From.BitLen() && !a.Less(r.From) && !r.To.Less(a)
}

// Overlaps says whether the ranges share an address.
func (r Range) Overlaps(o Range) bool {
	return r.From.BitLen() == o.From.BitLen() && !r.To.Less(o.From) && !o.To.Less(r.From)
}

// Family returns the family of the range's addresses.
func (r Range) Family() Family { return FamilyOf(r.From) }

// Size returns the number of addresses, or math.MaxInt64 where there are more.
func (r Range) Size() int64 {
	from, to := new(big.Int).SetBytes(r.From.AsSlice()), new(big.Int).SetBytes(r.To.AsSlice())
	if n := to.Sub(to, from).Add(to, big.NewInt(1)); n.IsInt64() {
		return n.Int64()
	}
	return math.MaxInt64
}

// String returns the range as two addresses, or as one where it holds just one.
func (r Range) String() string {
	if r.From == r.To {
		return r.From.String()
	}
	return r.From.String() + "-" + r.To.String()
}

// subtract returns what is left of the range without the other one: none, one or two ranges in ascending order.
func (r Range) subtract(o Range) []Range {
	if !r.Overlaps(o) {
		return []Range{r}
	}
	var rest []Range
	if r.From.Less(o.From) {
		rest = append(rest, Range{r.From, o.From.Prev()})
	}
	if o.To.Less(r.To) {
		rest = append(rest, Range{o.To.Next(), r.To})
	}
	return rest
}

// overlap returns the addresses that both ranges hold; they must overlap.
func (r Range) overlap(o Range) Range {
	if r.From.Less(o.From) {
		r.From = o.From
	}
	if o.To.Less(r.To) {
		r.To = o.To
	}
	return r
}

// widest returns the length of the shortest prefix all of whose addresses the range holds.
func (r Range) widest() int {
	for bits := range r.From.BitLen() {
		p := netip.PrefixFrom(r.From, bits).Masked()
		if p.Addr() != r.From { // the first such prefix that begins in the range
			next := lastOf(p).Next()
			if p = netip.PrefixFrom(next, bits); !next.IsValid() {
				continue
			}
		}
		if r.Contains(p.Addr()) && r.Contains(lastOf(p)) {
			return bits
		}
	}
	return r.From.BitLen()
}
