//go:build linux && netns

package peertest

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

func TestFRRAndBIRDPeer(t *testing.T) {
	t.Parallel()
	a, b := netnstest.New(t), netnstest.New(t)
	netnstest.Veth(t, a, "peer", b, "peer")
	a.Command(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "peer")
	b.Command(t, "ip", "addr", "add", "192.0.2.2/24", "dev", "peer")
	frr := FRR(t, a, `
frr defaults datacenter
hostname a
router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 neighbor 192.0.2.2 remote-as 65002
 neighbor 192.0.2.2 timers connect 1
 exit
bfd
 peer 192.0.2.2 local-address 192.0.2.1 interface peer
`)
	bird := BIRD(t, b, `
log stderr all;
router id 192.0.2.2;
protocol device { }
protocol bfd { neighbor 192.0.2.1 dev "peer" local 192.0.2.2; }
protocol bgp a {
	local 192.0.2.2 as 65002;
	neighbor 192.0.2.1 as 65001;
	connect delay time 1;
	error wait time 1, 2;
	ipv4 { import all; export none; };
}
`)
	up := func() error {
		if out := bird.Birdc("show protocols a"); !strings.Contains(out, "Established") {
			return errors.New(out)
		}
		if out := bird.Birdc("show bfd sessions"); !strings.Contains(out, "Up") {
			return errors.New(out)
		}
		if out := frr.Vtysh("show bfd peers brief"); !strings.Contains(out, "up") {
			return errors.New(out)
		}
		return nil
	}
	netnstest.Eventually(t, limit, up)
	frr.Kill("bgpd")
	frr.Kill("bfdd")
	netnstest.Eventually(t, limit, func() error {
		if up() == nil {
			return errors.New("still up")
		}
		return nil
	})
	frr.Start("bfdd")
	frr.Start("bgpd")
	netnstest.Eventually(t, 2*limit, up)
	bird.Stop()
	bird.Start()
}
