//go:build linux

package bgp

import "github.com/fairlead-lb/fairlead/speaker/plan"

// Resets returns what of a session cannot be changed while it is established, in words; none: nothing does. Timers are
// taken over by the next connection, BFD at once.
func Resets(was, now plan.Session) []string {
	var out []string
	add := func(changed bool, what string) {
		if changed {
			out = append(out, what)
		}
	}
	add(was.Address != now.Address, "address")
	add(was.Interface != now.Interface, "interface")
	add(was.VRF != now.VRF, "VRF")
	add(was.Source != now.Source, "source address")
	add(was.Port != now.Port, "port")
	add(was.MyASN != now.MyASN, "own AS number")
	add(was.LocalASN != now.LocalASN, "local AS number")
	add(was.PeerASN != now.PeerASN || was.ASN != now.ASN, "AS number of the peer")
	add(was.RouterID != now.RouterID, "router ID")
	add(was.Password != now.Password, "password")
	add(was.MultiHop != now.MultiHop, "eBGP multihop")
	add(was.GracefulRestart != now.GracefulRestart, "graceful restart")
	add(was.IPv4 != now.IPv4 || was.IPv6 != now.IPv6, "address families")
	return out
}

// sameNeighbor says whether two sessions are, to the neighbor, one that comes back: it then keeps the routes over the
// reset where graceful restart is negotiated. Else it has to be told.
func sameNeighbor(was, now plan.Session) bool {
	was.Password, was.MultiHop = now.Password, now.MultiHop
	return len(Resets(was, now)) == 0
}

// ownASN is the AS number that the neighbor sees.
func ownASN(x plan.Session) uint32 {
	if x.LocalASN != 0 {
		return x.LocalASN
	}
	return x.MyASN
}
