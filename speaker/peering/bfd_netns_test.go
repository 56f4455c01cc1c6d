//go:build linux && netns

package peering

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/peertest"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Each kind of session comes up with BFD beside it, in the mode that FRR speaks. A black hole is found by both ends at
// once, with the reason told; afterwards all comes back.
func TestBFDWithFRR(t *testing.T) {
	for _, x := range []struct {
		name, address string
		change        func(*plan.Session)
		lines         []string
		multihop      bool
	}{
		{name: "eBGP, IPv4", address: peer4},
		{name: "eBGP, IPv6", address: peer6},
		{name: "iBGP", address: peer4, change: func(s *plan.Session) { s.LocalASN = 65002 }, lines: []string{"neighbor 192.0.2.1 remote-as 65002"}},
		{name: "multihop", address: peer4, change: func(s *plan.Session) { s.MultiHop = true },
			lines: []string{"neighbor 192.0.2.1 ebgp-multihop 5"}, multihop: true},
		{name: "unnumbered", change: func(s *plan.Session) { s.Interface, s.PeerASN, s.ASN = "e1", 0, policy.ASNExternal }, lines: []string{
			"neighbor e1 interface remote-as external", "neighbor e1 bfd profile fast", "address-family ipv4 unicast", "neighbor e1 activate"}},
		{name: "echo", address: peer4, change: func(s *plan.Session) { s.BFD.Echo = true }, lines: []string{
			"bfd", "profile fast", "echo-mode", "echo transmit-interval 50", "echo receive-interval 50"}},
		{name: "passive", address: peer4, change: func(s *plan.Session) { s.BFD.Passive = true }},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			runtime.LockOSThread() // routers end with the thread that starts them
			a, b := segment(t)
			from := own4
			if x.address == peer6 {
				from = own6
			}
			router := peertest.FRR(t, b, frrConfig(from))
			if len(x.lines) > 0 && x.lines[0] == "bfd" {
				router.Configure(x.lines...)
			} else if len(x.lines) > 0 {
				router.Configure(append([]string{"router bgp 65002"}, x.lines...)...)
			}
			s := newSpeaker(t, a)
			want := session(x.address)
			if x.change != nil {
				x.change(&want)
			}
			s.apply(wants(want))
			now := s.await("is up")
			awaitRoute(t, b, true)
			up := 0
			for _, p := range bfdPeers(t, router) {
				if p.Status == "up" {
					up++
					if p.Multihop != x.multihop {
						t.Errorf("FRR's session is %+v", p)
					}
				}
			}
			if up != 1 {
				t.Errorf("FRR has %d BFD sessions that are up: %+v", up, bfdPeers(t, router))
			}
			end := blackHole(t, b)
			began := time.Now()
			awaitRoute(t, b, false)
			t.Logf("FRR's route was gone after %v", time.Since(began))
			netnstest.Eventually(t, limit, func() error {
				if e := s.state("router").LastError; !strings.HasPrefix(e, "BFD is down: ") {
					return fmt.Errorf("last error is %q", e)
				}
				return nil
			})
			end()
			if again := s.await("is up"); !again.Since.After(now.Since) {
				t.Errorf("the session is the old one: %+v", again)
			}
			awaitRoute(t, b, true)
		})
	}
}

// BIRD speaks multihop BFD on iBGP, also to a neighbor on the link, and single hop on eBGP.
func TestBFDWithBIRD(t *testing.T) {
	for _, x := range []struct {
		name string
		asn  uint32
	}{{"eBGP", 65002}, {"iBGP", 65001}} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			runtime.LockOSThread()
			a, b := segment(t)
			r := peertest.BIRD(t, b, fmt.Sprintf(`
log stderr all;
router id 10.0.0.2;
protocol device { scan time 1; }
protocol direct { ipv4; }
protocol kernel { ipv4 { export where source = RTS_BGP; import none; }; }
protocol bfd { interface "e1" { interval 100 ms; multiplier 3; }; multihop { interval 100 ms; multiplier 3; }; }
protocol bgp speaker {
	local 192.0.2.2 as %d;
	neighbor 192.0.2.1 as 65001;
	passive on;
	bfd on;
	error wait time 1, 2;
	ipv4 { import all; export none; };
}
`, x.asn))
			s := newSpeaker(t, a)
			s.apply(wants(session(peer4, func(s *plan.Session) { s.PeerASN, s.IPv6, s.BFD.MinimumTTL = x.asn, false, 64 })))
			s.await("is up")
			if out := r.Birdc("show bfd sessions"); !strings.Contains(out, "Up") {
				t.Error(out)
			}
			end := blackHole(t, b)
			began := time.Now()
			netnstest.Eventually(t, limit, func() error {
				if out := r.Birdc("show route"); strings.Contains(out, "203.0.113.1/32") {
					return fmt.Errorf("BIRD has %s", out)
				}
				return nil
			})
			t.Logf("BIRD's route was gone after %v", time.Since(began))
			end()
			s.await("is up")
		})
	}
}

// What is no failure of the path takes no session down: the router gives BFD up on purpose (RFC 5882 section 3.2), and
// a profile that changes is agreed on while the session is up.
func TestWhatDoesNotTakeASessionDown(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	a, b := segment(t)
	router := peertest.FRR(t, b, frrConfig(own4))
	s := newSpeaker(t, a)
	want := wants(session(peer4))
	s.apply(want)
	since := s.await("is up").Since
	want.Sessions[0].BFD.TransmitInterval, want.Sessions[0].BFD.DetectMultiplier = 200*time.Millisecond, 5
	s.apply(want)
	netnstest.Eventually(t, limit, func() error {
		if p := bfdPeers(t, router); len(p) != 1 || p[0].Status != "up" || p[0].RemoteTransmit != 200 {
			return fmt.Errorf("FRR's session is %+v", p)
		}
		return nil
	})
	if now := s.await("is up"); now.Since != since {
		t.Errorf("the session is another one: %+v", now)
	}
	want.Sessions[0].BFD.Enabled = false
	s.apply(want)
	netnstest.Eventually(t, limit, func() error {
		if now := s.state("router"); now.BFD != "" {
			return fmt.Errorf("BFD %s", now.BFD)
		}
		return nil
	})
	// FRR 8.4 takes its own end of BGP down here, so only this end's view of AdminDown is looked at.
	want.Sessions[0].BFD.Enabled = true
	s.apply(want)
	s.await("is up")
	router.Configure("bfd", "profile fast", "shutdown")
	time.Sleep(time.Second)
	if now := s.state("router"); strings.Contains(now.LastError, "BFD is down") {
		t.Errorf("AdminDown counts as a failure: %+v", now)
	}
}

// How the end of the process looks to FRR's kernel: its routes, its BGP session and its BFD session.
func TestSIGTERM(t *testing.T) {
	for _, x := range []struct {
		name     string
		graceful bool
		leaves   bool
		kept     bool // the route stays
	}{
		{"(a) for good: graceful shutdown, then Cease and AdminDown", true, true, false},
		{"(b) graceful restart: not a word", true, false, true},
		{"(c) else: Cease, then AdminDown", false, false, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			runtime.LockOSThread()
			a, b := segment(t)
			router := peertest.FRR(t, b, frrConfig(own4))
			s := newSpeaker(t, a)
			want := wants(session(peer4, func(s *plan.Session) { s.GracefulRestart = x.graceful }))
			want.Leaves = x.leaves
			s.apply(want)
			s.await("is up")
			awaitRoute(t, b, true)
			began, spare := time.Now(), 2*time.Second
			_ = s.cmd.Process.Signal(syscall.SIGTERM)
			if x.leaves {
				netnstest.Eventually(t, limit, func() error { // RFC 8326
					if out := router.Vtysh("show bgp ipv4 unicast " + vip); !strings.Contains(out, "graceful-shutdown") {
						return fmt.Errorf("FRR has %s", out)
					}
					return nil
				})
				if is := hasRoute(t, b); !is || time.Since(began) >= drainTime {
					t.Errorf("after %v of %v the route is there: %v", time.Since(began), drainTime, is)
				}
				spare += drainTime
			}
			<-s.ended
			if took := time.Since(began); took > spare {
				t.Errorf("the end took %v", took)
			}
			if x.kept {
				time.Sleep(time.Second) // three detection times, and the end of the connection
				if !hasRoute(t, b) {
					t.Error("the route is gone")
				}
				newSpeaker(t, a).apply(want)
				netnstest.Eventually(t, limit, func() error {
					if out := router.Vtysh("show bgp ipv4 unicast " + vip); strings.Contains(out, "stale") || strings.Contains(out, "Stale") {
						return fmt.Errorf("the route is stale: %s", out)
					}
					return nil
				})
			} else {
				awaitRoute(t, b, false)
			}
			if told := strings.Contains(router.Log("bgpd"), "NOTIFICATION: received from neighbor 192.0.2.1 6/"); told == x.kept {
				t.Errorf("FRR heard Cease: %v", told)
			}
			// AdminDown, as FRR words it. Where FRR let go of its session first, there is nothing to tell.
			log := router.Log("bfdd")
			if told := strings.Contains(log, "reason:neighbor-down"); x.kept && told || !x.kept && !told && strings.Contains(log, "up -> down") {
				t.Errorf("FRR's BFD was told that the session ends on purpose: %v\n%s", told, log)
			}
		})
	}
}
