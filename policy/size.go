package policy

import (
	"math"
	"net/netip"
)

// Size returns how many addresses of the family the pool may give, in use or not, or math.MaxUint64 where there are more.
// What avoidBuggyIPs keeps back or its AddressPolicy excludes does not count.
func (p *Pool) Size(f Family) uint64 {
	space := p.Space(f)
	n := space.Size()
	if f == IPv6 || !p.AvoidBuggyIPs {
		return n
	}
	for _, r := range space.Ranges {
		n -= r.buggy()
	}
	return n
}

// Counts says whether Size counts the address, which the pool owns.
func (p *Pool) Counts(a netip.Addr) bool { return !p.Avoids(a) && !p.Rules.Excludes(a) }

// buggy returns how many addresses of an IPv4 range end in .0 or .255.
func (r Range) buggy() uint64 {
	_, from := halves(r.From)
	_, to := halves(r.To)
	return buggyBelow(to&math.MaxUint32+1) - buggyBelow(from&math.MaxUint32)
}

// buggyBelow returns how many IPv4 addresses less than the given one end in .0 or .255.
func buggyBelow(a uint64) uint64 { return 2*(a/256) + min(a%256, 1) }
