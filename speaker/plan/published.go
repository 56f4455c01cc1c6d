package plan

import (
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Published returns what the speaker of a node tells the others of a link that is up: its subnets without those of
// link-local addresses, which say nothing.
func (l *LinkState) Published() NodeLink {
	out := NodeLink{Name: l.Name, Up: true, Unsettled: l.Unsettled}
	for _, p := range l.Prefixes {
		if !p.Addr().IsLinkLocalUnicast() {
			out.Subnets = append(out.Subnets, p.Masked())
		}
	}
	slices.SortFunc(out.Subnets, netip.Prefix.Compare)
	out.Subnets = slices.Compact(out.Subnets)
	return out
}

// DigestOf returns a digest of the names and subnets of links that are up, and of which are unsettled; 0 for none. It is the
// exclusive or of one for each link, so that who knows what was published of them can tell what became of them since.
func DigestOf(links []LinkState) uint64 {
	var sum uint64
	for i := range links {
		l := links[i].Published()
		sum ^= l.digest()
	}
	return sum
}

// digest returns a number that a link in another state, or with another name or other subnets, does not have; 0 if it is
// down.
func (l *NodeLink) digest() uint64 {
	if !l.Up {
		return 0
	}
	d := xxhash.New()
	_, _ = d.WriteString(l.Name)
	for _, p := range l.Subnets {
		text, _ := p.MarshalBinary()
		_, _ = d.Write(append(text, 0))
	}
	if l.Unsettled {
		_, _ = d.WriteString("\xffunsettled") // no name and no prefix ends so
	}
	return d.Sum64()
}

// change is what may have become of one link.
type change struct {
	at int // among the links
	to NodeLink
	by uint64 // what that does to the digest
}

// Since returns what was published of a node's links, with what the digest that its speaker tells says became of them
// since: one or two went down, came back or settled, or all went down. A digest that cannot be told changes nothing; what
// is published next will say so.
func Since(published []NodeLink, digest uint64) []NodeLink {
	missing := digest
	for i := range published {
		missing ^= published[i].digest()
	}
	if missing == 0 {
		return published
	}
	if digest == 0 {
		out := slices.Clone(published)
		for i := range out {
			out[i].Up = false
		}
		return out
	}
	all := changes(published)
	for i, c := range all {
		if c.by == missing {
			return with(published, c)
		}
		for _, d := range all[i+1:] {
			if c.at != d.at && c.by^d.by == missing {
				return with(published, c, d)
			}
		}
	}
	return published
}

// changes returns all that may become of each link: that it is down, up and unsettled, or up and settled.
func changes(links []NodeLink) (out []change) {
	for i := range links {
		now := &links[i]
		for _, state := range []struct{ up, unsettled bool }{{false, false}, {true, true}, {true, false}} {
			if to := (NodeLink{now.Name, state.up, now.Subnets, state.unsettled}); to.Up != now.Up || to.Up && to.Unsettled != now.Unsettled {
				out = append(out, change{i, to, now.digest() ^ to.digest()})
			}
		}
	}
	return out
}

// Settle returns links as they are where none is unsettled.
func Settle(links []NodeLink) []NodeLink {
	out := slices.Clone(links)
	for i := range out {
		out[i].Unsettled = false
	}
	return out
}

// with returns a copy of links after changes.
func with(links []NodeLink, changes ...change) []NodeLink {
	out := slices.Clone(links)
	for _, c := range changes {
		out[c.at] = c.to
	}
	return out
}
