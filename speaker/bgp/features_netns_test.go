//go:build linux && netns && !race

package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/peertest"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Unnumbered: the neighbor is found on the link, with a password too; the link goes and comes back.
func TestUnnumbered(t *testing.T) {
	w := newWorld(t)
	router := netnstest.New(t)
	netnstest.Veth(t, w.ns, "u1", router, "u1")
	f := newFRR(t, router, `
frr defaults datacenter
router bgp 65002
 bgp router-id 10.0.0.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor u1 interface remote-as external
 neighbor u1 password secret
 address-family ipv4 unicast
  neighbor u1 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor u1 activate
 exit-address-family
`)
	w.want.Sessions = []plan.Session{session4(func(s *plan.Session) {
		s.Address, s.Interface, s.PeerASN, s.ASN, s.Password = netip.Addr{}, "u1", 0, policy.ASNExternal, "secret"
	})}
	w.want.Routes = []plan.Route{route("router", "203.0.113.1/32"), route("router", "2001:db8:f::1/128")}
	w.apply()
	now := w.awaitState("router", Established)
	if !now.Local.IsLinkLocalUnicast() || !now.Remote.IsLinkLocalUnicast() || now.Interface != "u1" || now.Local.Zone() != "" {
		t.Errorf("addresses are %s, %s on %q", now.Local, now.Remote, now.Interface)
	}
	f.awaitKernel("203.0.113.1/32", true)
	f.awaitKernel("2001:db8:f::1/128", true)
	w.ns.Command(t, "ip", "link", "del", "u1")
	w.awaitError("router", "there is no interface u1")
	netnstest.Veth(t, w.ns, "u1", router, "u1")
	w.awaitState("router", Established)
	f.awaitKernel("203.0.113.1/32", true)
}

// The session of an interface that is not there waits, and says for what.
func TestUnnumberedWaitsForItsInterface(t *testing.T) {
	w := newWorld(t)
	w.want.Sessions = []plan.Session{session4(func(s *plan.Session) { s.Address, s.Interface = netip.Addr{}, "u1" })}
	w.apply()
	reason := func(want string) {
		t.Helper()
		netnstest.Eventually(t, limit, func() error {
			if now := w.state("router"); now.State != Idle || !strings.Contains(now.Reason, want) {
				return fmt.Errorf("state is %+v, want %q", now, want)
			}
			return nil
		})
	}
	reason("there is no interface u1")
	netnstest.Veth(t, w.ns, "u1", netnstest.New(t), "u1")
	reason("no router advertisement was heard on u1 yet")
}

// A neighbor two hops away, on another port, from another source address, with a password; and not without multihop.
func TestMultiHop(t *testing.T) {
	w := newWorld(t)
	hop := w.segment("e1", 2)
	far := netnstest.New(t)
	netnstest.Veth(t, hop, "e2", far, "e2")
	hop.Lines(t, `
		sysctl -qw net.ipv4.ip_forward=1
		ip addr add 192.0.3.1/24 dev e2`)
	far.Lines(t, `
		ip addr add 192.0.3.2/24 dev e2
		ip route add 192.0.2.0/24 via 192.0.3.1`)
	w.ns.Lines(t, `
		ip addr add 192.0.2.11/24 dev e1
		ip route add 192.0.3.0/24 via 192.0.2.2`)
	f := newFRR(t, far, `
frr defaults datacenter
router bgp 65002
 bgp router-id 10.0.0.2
 no bgp ebgp-requires-policy
 neighbor 192.0.2.11 remote-as 65001
 neighbor 192.0.2.11 ebgp-multihop 5
 neighbor 192.0.2.11 passive
 neighbor 192.0.2.11 password secret
`, "zebra", "bgpd -p 1179")
	s := session4(func(s *plan.Session) {
		s.Address, s.Port, s.Source = netip.MustParseAddr("192.0.3.2"), 1179, netip.MustParseAddr("192.0.2.11")
		s.Password = "secret"
	})
	w.want = Want{Sessions: []plan.Session{s}, Routes: []plan.Route{route("router", "203.0.113.1/32")}}
	w.apply()
	w.awaitError("router", "without eBGP multihop it has to be on the link")
	w.want.Sessions[0].MultiHop = true
	w.apply()
	now := w.awaitState("router", Established)
	if now.Local != s.Source {
		t.Errorf("the local address is %s, want %s", now.Local, s.Source)
	}
	f.awaitKernel("203.0.113.1/32", true)
	w.want.Sessions[0].Source = netip.MustParseAddr("192.0.2.99")
	w.apply()
	w.awaitError("router", "the source address 192.0.2.99 is not an address of this node")
}

// BIRD takes only next hops of the prefix's family, or RFC 8950 where it is configured.
func TestBIRDTakesBothFamiliesOverBoth(t *testing.T) {
	for _, x := range []struct{ name, address, extended, via4 string }{
		{"over IPv4", peer4, "off", own4},
		{"over IPv6, RFC 8950", peer6, "on", own6},
		{"over IPv6, without", peer6, "off", own4},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t)
			ns := w.segment("e1", 2)
			local := own4
			if x.address == peer6 {
				local = own6
			}
			b := peertest.BIRD(t, ns, fmt.Sprintf(`
log stderr all;
router id 10.0.0.2;
protocol device { scan time 1; }
protocol direct { ipv4; ipv6; }
protocol bgp speaker {
	local %s as 65001;
	neighbor %s as 65001;
	passive on;
	ipv4 { import all; export none; extended next hop %s; };
	ipv6 { import all; export none; };
}
`, x.address, local, x.extended))
			w.want.Sessions = []plan.Session{session4(func(s *plan.Session) { s.Address, s.PeerASN = netip.MustParseAddr(x.address), 65001 })}
			w.want.Routes = []plan.Route{
				route("router", "203.0.113.1/32", func(r *plan.Route) { r.LocalPref, r.Communities = 150, communities(t, "65001:7", "large:1:2:3") }),
				route("router", "2001:db8:f::1/128"),
			}
			w.apply()
			for prefix, via := range map[string]string{"203.0.113.1/32": x.via4, "2001:db8:f::1/128": own6} {
				netnstest.Eventually(t, limit, func() error {
					out, _ := b.TryBirdc("show route all " + prefix) // an error while there is none
					if !strings.Contains(out, "via "+via+" on e1") {
						return fmt.Errorf("want via %s: %s", via, out)
					}
					return nil
				})
			}
			out := b.Birdc("show route all 203.0.113.1/32")
			for _, want := range []string{"BGP.local_pref: 150", "BGP.community: (65001,7)", "BGP.large_community: (1, 2, 3)"} {
				if !strings.Contains(out, want) {
					t.Errorf("BIRD lacks %q: %s", want, out)
				}
			}
		})
	}
}

// Different routes and attributes go to different peers; what one sends is learned by none, and no other gets it; a peer
// that fails disturbs no other. The loopback address of the engine is never seen outside.
func TestPeersAreApart(t *testing.T) {
	w := newWorld(t)
	one := newFRR(t, w.segment("e1", 2), frrConfig(`router bgp 65002
 address-family ipv4 unicast
  network 198.51.100.0/24
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:e::/48
 exit-address-family`))
	two := newFRR(t, w.segment("e2", 3), strings.ReplaceAll(frrConfig(), "192.0.2.1", "192.0.3.1"))
	w.want.Sessions = []plan.Session{
		session4(),
		session4(func(s *plan.Session) { s.Peer, s.Address = "two", netip.MustParseAddr("192.0.3.2") }),
		session4(func(s *plan.Session) { s.Peer, s.Address = "absent", netip.MustParseAddr("192.0.3.77") }),
	}
	w.want.Routes = []plan.Route{
		route("router", "203.0.113.1/32", func(r *plan.Route) { r.Communities = communities(t, "1:1") }),
		route("router", "203.0.113.2/32"),
		route("two", "203.0.113.1/32", func(r *plan.Route) { r.Communities = communities(t, "2:2", "2:3") }),
	}
	w.apply()
	one.awaitPath("203.0.113.1/32", func(p path) error { return equal("communities", len(p.Community.List), 1) })
	one.awaitPath("203.0.113.2/32", nil)
	two.awaitPath("203.0.113.1/32", func(p path) error { return equal("communities", len(p.Community.List), 2) })
	netnstest.Eventually(t, limit, func() error { // router has sent what it has
		if w.session("router").counters.in[typeUpdate].Load() < 2 {
			return errors.New("router has sent no routes")
		}
		return nil
	})
	since := w.state("router").Since
	// A change of two's routes shows that all before it was sent.
	w.want.Routes = append(w.want.Routes, route("two", "203.0.113.9/32"))
	w.apply()
	two.awaitPath("203.0.113.9/32", nil)
	table := two.Vtysh("show bgp ipv4 unicast json")
	for _, foreign := range []string{"198.51.100.0", "203.0.113.2/32"} {
		if strings.Contains(table, foreign) {
			t.Errorf("two has %s: %s", foreign, table)
		}
	}
	if out := two.Vtysh("show bgp ipv6 unicast json"); strings.Contains(out, "2001:db8:e::") {
		t.Errorf("two has router's IPv6 route: %s", out)
	}
	if now := w.state("absent"); now.State == Established || now.Pending != 0 {
		t.Errorf("absent is %+v", now)
	}
	w.want.Sessions = w.want.Sessions[:1]
	w.want.Routes = w.want.Routes[:2]
	w.apply()
	if now := w.state("router"); now.Since != since || now.State != Established {
		t.Errorf("router was disturbed: %+v", now)
	}
	two.awaitKernel("203.0.113.1/32", false)
	if out := w.ns.Command(t, "ip", "route", "show", "198.51.100.0/24"); strings.TrimSpace(out) != "" {
		t.Errorf("the speaker's kernel has a peer's route: %s", out)
	}
}

// A black hole is found by the hold timer at both ends, and the session comes back.
func TestBlackHole(t *testing.T) {
	w := newWorld(t)
	ns := w.segment("e1", 2)
	f := newFRR(t, ns, frrConfig())
	w.want.Sessions = []plan.Session{session4(func(s *plan.Session) { s.HoldTime, s.KeepaliveTime = 3*time.Second, time.Second })}
	w.want.Routes = []plan.Route{route("router", "203.0.113.1/32")}
	w.apply()
	f.awaitKernel("203.0.113.1/32", true)
	began := time.Now()
	ns.Lines(t, `
		nft add table inet hole
		nft add chain inet hole in { type filter hook input priority 0 ; policy drop ; }
		nft add chain inet hole out { type filter hook output priority 0 ; policy drop ; }`)
	f.awaitKernel("203.0.113.1/32", false)
	t.Logf("FRR's route was gone after %v", time.Since(began))
	w.awaitError("router", "hold timer expired: nothing was heard from the peer for 3s")
	ns.Command(t, "nft", "delete", "table", "inet", "hole")
	w.awaitState("router", Established)
	f.awaitKernel("203.0.113.1/32", true)
}

// An operator's shutdown, with its text; and that the prefix limit of the neighbor is told.
func TestRefusalsOfFRR(t *testing.T) {
	w := newWorld(t)
	f := newFRR(t, w.segment("e1", 2), frrConfig())
	w.want.Sessions = []plan.Session{session4()}
	w.want.Routes = []plan.Route{route("router", "203.0.113.1/32"), route("router", "203.0.113.2/32")}
	w.apply()
	f.awaitKernel("203.0.113.2/32", true)
	f.Configure("router bgp 65002", "neighbor 192.0.2.1 shutdown message maintenance until noon")
	w.awaitError("router", `Cease, Administrative Shutdown: "maintenance until noon"`)
	f.Configure("router bgp 65002", "no neighbor 192.0.2.1 shutdown")
	w.awaitState("router", Established)
	f.Configure("router bgp 65002", "address-family ipv4 unicast", "neighbor 192.0.2.1 maximum-prefix 1")
	w.awaitError("router", "Cease, Maximum Number of Prefixes Reached")
}

// The neighbor knows the node by its permanent address, and not by one that comes with router advertisements.
func TestPermanentSourceAddress(t *testing.T) {
	w := newWorld(t)
	f := newFRR(t, w.segment("e1", 2), frrConfig())
	w.ns.Command(t, "ip", "addr", "add", "2001:db8::ffff/64", "dev", "e1", "nodad", "valid_lft", "3600", "preferred_lft", "3600")
	var kernels netip.Addr
	w.ns.Do(func() { kernels = chosenSource(netip.MustParseAddr(peer6), "") })
	if kernels.String() != "2001:db8::ffff" {
		t.Fatalf("the kernel would take %s", kernels)
	}
	w.want.Sessions = []plan.Session{session4(func(s *plan.Session) { s.Address = netip.MustParseAddr(peer6) })}
	w.want.Routes = []plan.Route{route("router", "2001:db8:f::1/128")}
	w.apply()
	if now := w.awaitState("router", Established); now.Local.String() != own6 {
		t.Errorf("the local address is %s", now.Local)
	}
	f.awaitKernel("2001:db8:f::1/128", true)
}
