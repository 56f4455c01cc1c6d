package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/internal/portrange"
)

// Ports is a range of ports of an address. It is comparable.
type Ports struct {
	Address netip.Addr
	portrange.Range
}

// String returns the address and the range.
func (p Ports) String() string { return p.Address.String() + " " + p.Range.String() }

// Overlaps says whether the two have a port in common.
func (p Ports) Overlaps(o Ports) bool { return p.Address == o.Address && p.Range.Overlaps(o.Range) }

// TakenBy says whether a process that listens on o gets packets to a port of p.
func (p Ports) TakenBy(o Ports) bool {
	if o.Address.IsUnspecified() && (o.Address.Is6() || p.Address.Is4()) {
		o.Address = p.Address
	}
	return p.Overlaps(o)
}

// Compare orders by address, protocol and port.
func (p Ports) Compare(o Ports) int {
	if c := p.Address.Compare(o.Address); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(p.Protocol, o.Protocol), cmp.Compare(p.First, o.First), cmp.Compare(p.Last, o.Last))
}

// Marked is a range of ports whose packets get a firewall mark.
type Marked struct {
	Ports
	Mark uint32
}

// String returns the ports and the mark.
func (m Marked) String() string { return fmt.Sprintf("%s mark %d", m.Ports, m.Mark) }

// Allowed lets a source use ports that are guarded.
type Allowed struct {
	Ports
	From netip.Prefix
}

// String returns the ports and the source.
func (a Allowed) String() string { return fmt.Sprintf("%s from %s", a.Ports, a.From) }

// Filter is what packets meet beside the virtual servers: marks, refusals, masquerading. Its lists are sorted, and have
// nothing twice. Only packets in a connection's original direction meet it.
type Filter struct {
	Open       []Ports        // what the plan's addresses answer; their other ports are rejected
	Marks      []Marked       // from anywhere
	External   []Marked       // from outside the cluster, instead of Marks
	Closed     []Ports        // from outside the cluster: dropped
	Guarded    []Ports        // only sources that are Allowed may
	Allowed    []Allowed      //
	Masquerade []Ports        // the real server sees an address of this node
	Preserve   []Ports        // of those, what keeps the address of a client outside the cluster
	ClusterIPs []Ports        // masqueraded unless the client is inside the cluster
	Hairpin    []netip.Addr   // real servers on this node: masqueraded when they reach themselves
	Internal   []netip.Prefix // the sources inside the cluster
	Ping       bool           // the plan's addresses answer pings
}

// normalize sorts every list and drops what stands twice.
func (f *Filter) normalize() {
	for _, list := range []*[]Ports{&f.Open, &f.Closed, &f.Guarded, &f.Masquerade, &f.Preserve, &f.ClusterIPs} {
		*list = unique(*list, Ports.Compare)
	}
	for _, list := range []*[]Marked{&f.Marks, &f.External} {
		*list = unique(*list, func(a, b Marked) int { return cmp.Or(a.Ports.Compare(b.Ports), cmp.Compare(a.Mark, b.Mark)) })
	}
	f.Allowed = unique(f.Allowed, func(a, b Allowed) int { return cmp.Or(a.Ports.Compare(b.Ports), comparePrefix(a.From, b.From)) })
	f.Hairpin = unique(f.Hairpin, netip.Addr.Compare)
	f.Internal = unique(f.Internal, comparePrefix)
}

// Equal says whether two filters are the same. Both are normalized.
func (f *Filter) Equal(o *Filter) bool {
	return slices.Equal(f.Open, o.Open) && slices.Equal(f.Marks, o.Marks) && slices.Equal(f.External, o.External) && slices.Equal(f.Closed, o.Closed) &&
		slices.Equal(f.Guarded, o.Guarded) && slices.Equal(f.Allowed, o.Allowed) && slices.Equal(f.Masquerade, o.Masquerade) &&
		slices.Equal(f.Preserve, o.Preserve) && slices.Equal(f.ClusterIPs, o.ClusterIPs) && slices.Equal(f.Hairpin, o.Hairpin) &&
		slices.Equal(f.Internal, o.Internal) && f.Ping == o.Ping
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func unique[T comparable](list []T, compare func(T, T) int) []T {
	slices.SortFunc(list, compare)
	return slices.Compact(list)
}
