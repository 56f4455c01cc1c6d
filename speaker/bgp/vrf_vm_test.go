//go:build linux && vm && !race

package bgp

import (
	"fmt"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Two neighbors have one address, in a VRF each: the sessions are apart, and one that names no VRF finds no way.
func TestVRF(t *testing.T) {
	w := newWorld(t)
	neighbors := map[string]*fakePeer{}
	for i, vrf := range []string{"red", "blue"} {
		ns := netnstest.New(t)
		dev := fmt.Sprintf("e%d", i)
		netnstest.Veth(t, w.ns, dev, ns, "e")
		w.ns.Lines(t, fmt.Sprintf(`
			ip link add %s type vrf table %d
			ip link set %[1]s up
			ip link set %[3]s master %[1]s
			ip addr add 192.0.2.1/24 dev %[3]s`, vrf, 10+i, dev))
		ns.Command(t, "ip", "addr", "add", "192.0.2.2/24", "dev", "e")
		var l net.Listener
		var err error
		ns.Do(func() { l, err = net.Listen("tcp4", "192.0.2.2:179") })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		neighbors[vrf] = &fakePeer{t, l}
		w.want.Sessions = append(w.want.Sessions, session4(func(s *plan.Session) { s.Peer, s.VRF = vrf, vrf }))
		w.want.Routes = append(w.want.Routes, route(vrf, fmt.Sprintf("203.0.113.%d/32", i)))
	}
	w.want.Sessions = append(w.want.Sessions, session4(func(s *plan.Session) { s.Peer = "none" }))
	w.apply()
	for vrf, p := range neighbors {
		c := p.establish()
		w.awaitState(vrf, Established)
		c.nextOf(typeUpdate)
		if now := w.state(vrf); now.Prefixes4 != 1 || now.Local.String() != own4 {
			t.Errorf("%s is %+v", vrf, now)
		}
	}
	w.awaitError("none", "there is no route to 192.0.2.2")
	if n, err := testutil.GatherAndCount(w.registry, "metallb_bgp_session_up"); err != nil || n != 3 {
		t.Errorf("%d series, %v", n, err)
	}
	w.want.Sessions[0].VRF = "green"
	w.apply()
	w.awaitError("red", "there is no interface green")
}
