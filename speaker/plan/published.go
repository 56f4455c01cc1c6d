package plan

import (
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Published returns what the speaker of a node tells the others of a link that is up: its subnets without those of
// link-local addresses, which say nothing.
func (l *LinkState) Published() NodeLink {
	out := NodeLink{Name: l.Name, Up: true}
	for _, p := range l.Prefixes {
		if !p.Addr().IsLinkLocalUnicast() {
			out.Subnets = append(out.Subnets, p.Masked())
		}
	}
	slices.SortFunc(out.Subnets, netip.Prefix.Compare)
	out.Subnets = slices.Compact(out.Subnets)
	return out
}

// DigestOf returns a digest of the names and subnets of links that are up; 0 for none. It is the exclusive or of one for
// each link, so that who knows what was published of them can tell which of them went down since.
func DigestOf(links []LinkState) uint64 {
	var sum uint64
	for i := range links {
		l := links[i].Published()
		sum ^= l.digest()
	}
	return sum
}

// digest returns a number that a link with another name or other subnets does not have.
func (l *NodeLink) digest() uint64 {
	d := xxhash.New()
	_, _ = d.WriteString(l.Name)
	for _, p := range l.Subnets {
		text, _ := p.MarshalBinary()
		_, _ = d.Write(append(text, 0))
	}
	return d.Sum64()
}

// Since returns what was published of a node's links, with those down of which the digest that its speaker tells says
// that they went down since: one or two, or all. A digest that cannot be told changes nothing; what is published next will
// say so.
func Since(published []NodeLink, digest uint64) []NodeLink {
	missing := digest
	for i := range published {
		if published[i].Up {
			missing ^= published[i].digest()
		}
	}
	switch {
	case missing == 0:
		return published
	case digest == 0:
		return down(published, func(int) bool { return true })
	}
	for i := range published {
		for j := i; j < len(published); j++ {
			if sum := published[i].digest(); i == j && sum == missing || i != j && sum^published[j].digest() == missing {
				return down(published, func(at int) bool { return at == i || at == j })
			}
		}
	}
	return published
}

// down returns a copy of links with some of them down.
func down(links []NodeLink, which func(int) bool) []NodeLink {
	out := slices.Clone(links)
	for i := range out {
		out[i].Up = out[i].Up && !which(i)
	}
	return out
}
