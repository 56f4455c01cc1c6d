//go:build linux && netns && !race

package bgp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// 10,000 routes to each of two routers; one change then is one UPDATE to one of them. The limits are wide: figures are
// for the benchmarks.
func TestTenThousandRoutes(t *testing.T) {
	w := newWorld(t)
	const routes = 10_000
	routers := map[string]*frr{}
	for i, peer := range []string{"a", "b"} {
		dev := "e" + peer
		ns := w.segment(dev, 2+i)
		own, address := fmt.Sprintf("192.0.%d.1", 2+i), fmt.Sprintf("192.0.%d.2", 2+i)
		routers[peer] = newFRR(t, ns, fmt.Sprintf(`
frr defaults datacenter
router bgp 65002
 bgp router-id 10.0.0.2
 no bgp ebgp-requires-policy
 neighbor %s remote-as 65001
 neighbor %[1]s passive
`, own))
		w.want.Sessions = append(w.want.Sessions, session4(func(s *plan.Session) { s.Peer, s.Address = peer, netip.MustParseAddr(address) }))
		for n := range routes {
			w.want.Routes = append(w.want.Routes, plan.Route{Peer: peer, Prefix: prefixN(n)})
		}
	}
	has := func(f *frr, n int) error {
		var got struct {
			IPv4 struct {
				Peers map[string]struct{ PfxRcd int }
			} `json:"ipv4Unicast"`
		}
		if err := json.Unmarshal([]byte(f.Vtysh("show bgp summary json")), &got); err != nil {
			return err
		}
		for _, p := range got.IPv4.Peers {
			if p.PfxRcd == n {
				return nil
			}
		}
		return fmt.Errorf("FRR has %+v, want %d", got, n)
	}
	for _, f := range routers { // ready for connections
		netnstest.Eventually(t, limit, func() error { return has(f, 0) })
	}
	began := time.Now()
	w.apply()
	t.Logf("applied after %v", time.Since(began))
	for peer, f := range routers {
		w.awaitState(peer, Established)
		netnstest.Eventually(t, limit, func() error { return has(f, routes) })
		t.Logf("%s has all after %v", peer, time.Since(began))
	}
	_, resident := memory(t)
	t.Logf("resident: %d MB", resident>>20)
	updates := func(peer string) uint64 { return w.session(peer).counters.out[typeUpdate].Load() }
	a, b := updates("a"), updates("b")
	w.want.Routes[7].Communities = communities(t, "65001:1")
	began = time.Now()
	w.apply()
	netnstest.Eventually(t, limit, func() error { return equal("UPDATE messages to a", updates("a"), a+1) })
	t.Logf("one change took %v", time.Since(began))
	routers["a"].awaitPath(prefixN(7).String(), func(p path) error { return equal("communities", len(p.Community.List), 1) })
	if updates("a") != a+1 || updates("b") != b {
		t.Errorf("UPDATE messages: %d to a, %d to b; want 1 and 0", updates("a")-a, updates("b")-b)
	}
}
