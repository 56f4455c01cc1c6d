//go:build linux && vm

package layer2

import (
	"net/netip"
	"testing"
)

// TestVLANAndBond: links that are VLANs and bonds, which not every kernel has; the other kinds are in TestKindsOfInterfaces.
func TestVLANAndBond(t *testing.T) {
	const bond = `
		ip link set eth0 down
		ip link add bond0 type bond mode active-backup miimon 50
		ip link set eth0 master bond0
		sysctl -qw net.ipv6.conf.bond0.accept_dad=0
		ip link set bond0 up
		ip link set eth0 up`
	for _, c := range []struct{ link, setup, segment string }{
		{"vlan10", `
			ip link add link eth0 name vlan10 type vlan id 10
			sysctl -qw net.ipv6.conf.vlan10.accept_dad=0
			ip link set vlan10 up`, "10"},
		{"bond0", bond, ""},
		{"vlan20", bond + `
			ip link add link bond0 name vlan20 type vlan id 20
			sysctl -qw net.ipv6.conf.vlan20.accept_dad=0
			ip link set vlan20 up`, "20"},
	} {
		t.Run(c.link, func(t *testing.T) {
			w := newWorldOf(t)
			s := w.newSpeakerOn(c.link, c.setup)
			if c.segment != "" { // the client is in that VLAN
				w.client.Lines(t, `
					ip link set port1 nomaster
					ip link add link port1 name tagged type vlan id `+c.segment+`
					ip link set tagged master lan
					ip link set tagged up`)
				w.awaitForwarding("tagged")
				awaitUp(t, w.client, "lan")
			}
			s.apply(vip4, vip6)
			for _, a := range []netip.Addr{vip4, vip6} {
				w.resolve(a, s)
				w.client.Command(t, "ip", "neigh", "change", a.String(), "dev", "lan", "lladdr", s.link.HardwareAddr().String(), "nud", "probe")
				w.awaitNeighbor(a, s, "REACHABLE")
			}
		})
	}
}
