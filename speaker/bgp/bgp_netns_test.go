//go:build linux && netns && !race

package bgp

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

func communities(t *testing.T, list ...string) (out policy.Communities) {
	for _, text := range list {
		c, err := policy.ParseCommunity(text)
		if err != nil {
			t.Fatal(err)
		}
		out = out.Union(c)
	}
	return out
}

// Both families over IPv4 and over IPv6, into FRR's kernel; and withdrawn again. The session is established at once.
func TestFRRTakesBothFamiliesOverBoth(t *testing.T) {
	for name, address := range map[string]string{"over IPv4": peer4, "over IPv6": peer6} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := newFRR(t, w.segment("e1", 2), frrConfig())
			w.want.Sessions = []plan.Session{session4(func(s *plan.Session) { s.Address = netip.MustParseAddr(address) })}
			w.want.Routes = []plan.Route{route("router", "203.0.113.1/32"), route("router", "2001:db8:f::1/128"), route("router", "198.51.100.0/24")}
			began := time.Now()
			w.apply()
			now := w.awaitState("router", Established)
			t.Logf("established after %v: %+v", time.Since(began), now)
			for _, r := range w.want.Routes {
				f.awaitPath(r.Prefix.String(), func(p path) error { return equal("AS path", p.AsPath.String, "65001") })
				f.awaitKernel(r.Prefix.String(), true)
			}
			if now := w.state("router"); now.Prefixes4 != 2 || now.Prefixes6 != 1 || now.Pending != 0 || now.PeerASN != 65002 ||
				now.HoldTime != 9*time.Second || now.Keepalive != 3*time.Second || now.Remote != netip.MustParseAddr(address) {
				t.Errorf("state is %+v", now)
			}
			w.want.Routes = w.want.Routes[:1]
			w.apply()
			f.awaitKernel("2001:db8:f::1/128", false)
			f.awaitKernel("198.51.100.0/24", false)
			w.want = Want{}
			w.apply()
			f.awaitKernel("203.0.113.1/32", false)
		})
	}
}

// A changed attribute is an update. Local preference goes to neighbors of the own AS only.
func TestAttributesReachFRR(t *testing.T) {
	w := newWorld(t)
	f := newFRR(t, w.segment("e1", 2), frrConfig())
	w.want.Sessions = []plan.Session{session4()}
	r := route("router", "203.0.113.1/32", func(r *plan.Route) {
		r.LocalPref, r.Communities, r.Weight = 250, communities(t, "65001:7", "65535:65281", "large:65001:1:2"), 4
	})
	w.want.Routes = []plan.Route{r}
	w.apply()
	f.awaitPath("203.0.113.1/32", func(p path) error {
		return all(
			equal("local preference", p.LocalPref, 0),
			equal("communities", len(p.Community.List), 2),
			equal("large communities", len(p.Large.List), 1),
			equal("extended communities", p.Extended.String, "LB:65001:500000 (4.000 Mbps)"),
		)
	})
	since := w.state("router").Since
	w.want.Routes[0].Communities, w.want.Routes[0].Weight = communities(t, "65001:8"), 0
	w.apply()
	f.awaitPath("203.0.113.1/32", func(p path) error {
		return all(equal("communities", len(p.Community.List), 1), equal("large communities", len(p.Large.List), 0), equal("extended", p.Extended.String, ""))
	})
	w.want.Drain = true
	w.apply()
	f.awaitPath("203.0.113.1/32", func(p path) error { return equal("communities", len(p.Community.List), 2) })
	if now := w.state("router"); now.Since != since || now.State != Established {
		t.Errorf("the session was reset: %+v", now)
	}
}

func TestLocalPreferenceInTheOwnAS(t *testing.T) {
	w := newWorld(t)
	f := newFRR(t, w.segment("e1", 2), frrConfig())
	f.Configure("router bgp 65002", "neighbor 192.0.2.1 remote-as 65002")
	w.want.Sessions = []plan.Session{session4(func(s *plan.Session) { s.LocalASN = 65002 })}
	w.want.Routes = []plan.Route{
		route("router", "203.0.113.1/32", func(r *plan.Route) { r.LocalPref = 250 }),
		route("router", "203.0.113.2/32"),
	}
	w.apply()
	f.awaitPath("203.0.113.1/32", func(p path) error { return equal("local preference", p.LocalPref, 250) })
	f.awaitPath("203.0.113.2/32", func(p path) error { return equal("local preference", p.LocalPref, 100) })
	w.want.Drain = true
	w.apply()
	f.awaitPath("203.0.113.1/32", func(p path) error {
		return all(equal("local preference", p.LocalPref, 0), equal("communities", len(p.Community.List), 1))
	})
}

// A right password, a wrong one, and a changed one, which resets this session and tells so.
func TestPasswords(t *testing.T) {
	for name, address := range map[string]string{"IPv4": peer4, "IPv6": peer6} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := newFRR(t, w.segment("e1", 2), frrConfig())
			f.Configure("router bgp 65002", "neighbor 192.0.2.1 password one", "neighbor 2001:db8::1 password one")
			s := session4(func(s *plan.Session) { s.Address, s.Password = netip.MustParseAddr(address), "two" })
			w.want = Want{Sessions: []plan.Session{s}, Routes: []plan.Route{route("router", "203.0.113.1/32")}}
			w.apply()
			w.awaitError("router", "a wrong password looks the same")
			w.want.Sessions[0].Password = "one"
			w.apply()
			f.awaitPath("203.0.113.1/32", nil)
			w.want.Sessions[0].Password = "three"
			w.apply()
			w.awaitError("router", "a wrong password")
			f.Configure("router bgp 65002", "neighbor 192.0.2.1 password three", "neighbor 2001:db8::1 password three")
			w.awaitState("router", Established)
			f.awaitPath("203.0.113.1/32", nil)
		})
	}
}

// The neighbor's AS number decides, before a route goes out.
func TestASNumbers(t *testing.T) {
	w := newWorld(t)
	f := newFRR(t, w.segment("e1", 2), frrConfig())
	w.want.Routes = []plan.Route{route("router", "203.0.113.1/32")}
	for _, step := range []struct {
		name   string
		change func(*plan.Session)
		want   string // an error, or "" for a session
	}{
		{"another number", func(s *plan.Session) { s.PeerASN = 65009 }, "the peer has AS 65002, and AS 65009 is expected"},
		{"not internal", func(s *plan.Session) { s.PeerASN, s.ASN = 0, policy.ASNInternal }, "not internal"},
		{"external", func(s *plan.Session) { s.PeerASN, s.ASN = 0, policy.ASNExternal }, ""},
		{"our number is refused", func(s *plan.Session) { s.MyASN = 65007 }, "refuses this end's AS number"},
		{"local AS", func(s *plan.Session) { s.MyASN, s.LocalASN = 65007, 65001 }, ""},
	} {
		w.want.Sessions = []plan.Session{session4(step.change)}
		w.apply()
		if step.want != "" {
			w.awaitError("router", step.want)
			continue
		}
		w.awaitState("router", Established)
		f.awaitPath("203.0.113.1/32", func(p path) error { return equal("AS path", p.AsPath.String, "65001") })
	}
	f.Configure("no router bgp 65002", "router bgp 65001", "bgp router-id 10.0.0.2", "neighbor 192.0.2.1 remote-as 65001", "neighbor 192.0.2.1 passive")
	w.want.Sessions = []plan.Session{session4(func(s *plan.Session) { s.PeerASN, s.ASN = 0, policy.ASNExternal })}
	w.apply()
	w.awaitError("router", "not external")
	w.want.Sessions = []plan.Session{session4(func(s *plan.Session) { s.PeerASN, s.ASN = 0, policy.ASNInternal })}
	w.apply()
	w.awaitState("router", Established)
	f.awaitPath("203.0.113.1/32", func(p path) error { return equal("AS path", p.AsPath.String, "Local") })
}

// With graceful restart, the routes stay in FRR's kernel while this process ends and comes back; the one that is not
// announced any more goes when the new process has announced the others. Without, they go at once.
func TestGracefulRestart(t *testing.T) {
	w := newWorld(t)
	f := newFRR(t, w.segment("e1", 2), frrConfig())
	w.want.Sessions = []plan.Session{session4(func(s *plan.Session) { s.GracefulRestart = true })}
	w.want.Routes = []plan.Route{route("router", "203.0.113.1/32"), route("router", "203.0.113.2/32"), route("router", "2001:db8:f::1/128")}
	w.apply()
	for _, r := range w.want.Routes {
		f.awaitKernel(r.Prefix.String(), true)
	}
	if !w.state("router").Graceful {
		t.Fatalf("graceful restart is not negotiated: %+v", w.state("router"))
	}
	events := monitor(t, f.ns)
	began := time.Now()
	w.stop()
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("Run took %v to end", d)
	}
	again := New(Config{Log: w.cfg.Log, RouterID: w.cfg.RouterID})
	again.node = w.node
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- again.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	w.Speaker = again
	w.want.Routes = []plan.Route{w.want.Routes[0], w.want.Routes[2]}
	w.apply()
	w.awaitState("router", Established)
	f.awaitKernel("203.0.113.2/32", false)
	for _, line := range events() {
		t.Log(line)
		if prefix := "203.0.113.2"; !contains(line, prefix) && (contains(line, "203.0.113.1") || contains(line, "2001:db8:f::1")) {
			t.Errorf("a route was touched: %s", line)
		}
	}
	w.want.Sessions[0].GracefulRestart = false
	w.apply()
	netnstest.Eventually(t, limit, func() error { return equal("graceful", w.state("router").Graceful, false) })
	f.awaitKernel("203.0.113.1/32", true)
	cancel()
	f.awaitKernel("203.0.113.1/32", false)
}
