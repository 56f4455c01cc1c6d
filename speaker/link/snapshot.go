//go:build linux

package link

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// tables is what the kernel says, all of it.
type tables struct {
	links     []rtnetlink.LinkMessage
	addresses []rtnetlink.AddressMessage
}

// snapshot returns the links of t that can carry announcements, with their usable addresses, sorted by index.
func snapshot(t tables, exclude []*regexp.Regexp) []plan.LinkState {
	kinds := kindsByIndex(t.links)
	prefixes := prefixesByIndex(t.addresses)
	out := []plan.LinkState{}
	for _, m := range t.links {
		if !usable(m, kinds) || excluded(m.Attributes.Name, exclude) {
			continue
		}
		out = append(out, plan.LinkState{
			Link:     plan.Link{Index: int(m.Index), Name: m.Attributes.Name, MAC: [6]byte(m.Attributes.Address)},
			Prefixes: prefixes[m.Index],
		})
	}
	slices.SortFunc(out, func(a, b plan.LinkState) int { return cmp.Compare(a.Index, b.Index) })
	return out
}

// usable reports whether frames can be sent and received on a link, and whether it has addresses to resolve: it is up
// and running, no loopback, not NOARP, has an Ethernet address, and does not belong to a bridge, bond or team.
func usable(m rtnetlink.LinkMessage, kinds map[uint32]string) bool {
	const wanted = unix.IFF_UP | unix.IFF_LOWER_UP
	if m.Attributes == nil || m.Flags&wanted != wanted || m.Flags&(unix.IFF_LOOPBACK|unix.IFF_NOARP) != 0 {
		return false
	}
	switch m.Attributes.OperationalState {
	case rtnetlink.OperStateUp, rtnetlink.OperStateUnknown: // unknown: the driver does not tell (RFC 2863)
	default:
		return false
	}
	return m.Type == unix.ARPHRD_ETHER && len(m.Attributes.Address) == 6 && !enslaved(*m.Attributes, kinds)
}

// enslaved reports whether another interface takes the frames of this one before a packet socket sees them. Every kind
// of master does (bridge, bond, team, Open vSwitch), but for a VRF, which only chooses routes.
func enslaved(a rtnetlink.LinkAttributes, kinds map[uint32]string) bool {
	return a.Master != nil && *a.Master != 0 && kinds[*a.Master] != "vrf"
}

// kindsByIndex returns the driver's kind of every virtual interface.
func kindsByIndex(links []rtnetlink.LinkMessage) map[uint32]string {
	out := map[uint32]string{}
	for _, m := range links {
		if m.Attributes != nil && m.Attributes.Info != nil {
			out[m.Index] = m.Attributes.Info.Kind
		}
	}
	return out
}

func excluded(name string, exclude []*regexp.Regexp) bool {
	return slices.ContainsFunc(exclude, func(re *regexp.Regexp) bool { return re.MatchString(name) })
}

// prefixesByIndex returns the addresses of every interface, sorted, with their on-link prefix lengths. Those that
// duplicate address detection has not passed, or that failed it, are left out (RFC 4862, 5.4).
func prefixesByIndex(addresses []rtnetlink.AddressMessage) map[uint32][]netip.Prefix {
	out := map[uint32][]netip.Prefix{}
	for _, m := range addresses {
		if p, ok := prefix(m); ok {
			out[m.Index] = append(out[m.Index], p)
		}
	}
	for index, p := range out {
		slices.SortFunc(p, netip.Prefix.Compare)
		out[index] = slices.Compact(p)
	}
	return out
}

// prefix reads one address. IFA_LOCAL is the interface's own where IFA_ADDRESS is the peer's.
func prefix(m rtnetlink.AddressMessage) (netip.Prefix, bool) {
	if m.Attributes == nil || (uint32(m.Flags)|m.Attributes.Flags)&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
		return netip.Prefix{}, false
	}
	ip := m.Attributes.Local
	if ip == nil {
		ip = m.Attributes.Address
	}
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Prefix{}, false
	}
	p := netip.PrefixFrom(a.Unmap(), int(m.PrefixLength))
	return p, p.IsValid()
}
