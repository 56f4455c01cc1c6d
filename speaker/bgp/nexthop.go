//go:build linux

package bgp

import "net/netip"

// hops are the next hops of a session's routes, by family of the prefix.
type hops struct{ v4, v6 netip.Addr }

// chooseHops returns the next hops for a connection with a local address. other is an address of the other family on the
// same interface, if there is one; extended says that the neighbor takes IPv6 next hops for IPv4 prefixes (RFC 8950).
func chooseHops(local, other netip.Addr, extended bool) hops {
	local = local.WithZone("")
	switch {
	case local.Is4() && other.Is6():
		return hops{v4: local, v6: other}
	case local.Is4(): // RFC 4760 leaves nothing better than an IPv4-mapped address; FRR takes it, BIRD does not
		return hops{v4: local, v6: netip.AddrFrom16(local.As16())}
	case !extended && other.Is4():
		return hops{v4: other, v6: local}
	default:
		return hops{v4: local, v6: local}
	}
}
