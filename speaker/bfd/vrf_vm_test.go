//go:build linux && vm

package bfd

import (
	"testing"
)

// A session in a VRF, single hop and multihop; its end is told as any other's.
func TestVRF(t *testing.T) {
	nsA, nsB := pair(t)
	nsA.Lines(t, `
		ip link add red type vrf table 10
		ip link set red up
		ip link set wire master red
		ip addr replace 192.0.2.1/24 dev wire
		ip addr replace fd00::1/64 dev wire nodad`)
	a, b := newNode(t, nsA), newNode(t, nsB)
	for _, addresses := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"fd00::1", "fd00::2"}} {
		for _, multihop := range []bool{false, true} {
			there, back := to(addresses[1]), to(addresses[0])
			there.VRF, there.Multihop, back.Multihop = "red", multihop, multihop
			there.Local, there.MinimumTTL, back.MinimumTTL = at(addresses[0]), 254, 254
			a.apply(there)
			b.apply(back)
			a.awaitUp(there.Path)
			b.awaitUp(back.Path)
			a.apply()
			b.await(back.Path, "told of the end", func(s State) bool { return s.Local == Down && s.Remote == AdminDown })
		}
	}
}
