//go:build linux && (netns || bench)

package peering

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/peertest"
	"github.com/fairlead-lb/fairlead/speaker/bgp"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// limit is how long the tests wait for what takes a second or less.
const limit = 20 * time.Second

// childVariable makes the test program a speaker: it takes orders from its standard input and says on its standard output
// how its sessions are, whenever that changes.
const childVariable = "FAIRLEAD_TEST_PEERING"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// drainTime is that of the speaker.
const drainTime = 3 * time.Second

// child is the speaker. It takes plans.
func child() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p := New(Config{Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), RouterID: netip.MustParseAddr("10.0.0.1"), DrainTime: drainTime})
	running, end := context.WithCancel(context.Background())
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(running) }()
	plans := make(chan plan.Plan)
	go func() {
		for in := json.NewDecoder(os.Stdin); ; {
			var x plan.Plan
			if in.Decode(&x) != nil {
				return
			}
			plans <- x
		}
	}()
	for out := json.NewEncoder(os.Stdout); ; {
		var err error
		select {
		case err := <-ended:
			return err
		case x := <-plans:
			err = p.Apply(running, x)
		case <-ctx.Done():
			if err := p.HandOver(running); err != nil {
				return err
			}
			end()
			return <-ended
		case <-p.Changed():
			err = out.Encode(p.Sessions())
		}
		if err != nil {
			return err
		}
	}
}

// speaker is a speaker in a process of its own, in a namespace.
type speaker struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.Writer
	ended chan struct{}

	mu       sync.Mutex
	sessions []bgp.SessionState
}

func newSpeaker(t testing.TB, ns *netnstest.NS) *speaker {
	t.Helper()
	s := &speaker{t: t, cmd: exec.Command(os.Args[0]), ended: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), childVariable+"=1")
	s.cmd.Stderr = t.Output()
	in, err := s.cmd.StdinPipe()
	s.in = in
	out, err2 := s.cmd.StdoutPipe()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	ns.Do(func() { err = s.cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var now []bgp.SessionState
			if json.Unmarshal(lines.Bytes(), &now) == nil {
				s.mu.Lock()
				s.sessions = now
				s.mu.Unlock()
			}
		}
		_ = s.cmd.Wait()
	}()
	t.Cleanup(func() { s.end(syscall.SIGKILL) })
	return s
}

// end sends a signal and waits until the process has ended.
func (s *speaker) end(sig syscall.Signal) {
	_ = s.cmd.Process.Signal(sig)
	<-s.ended
}

func (s *speaker) apply(x plan.Plan) {
	s.t.Helper()
	if err := json.NewEncoder(s.in).Encode(x); err != nil {
		s.t.Fatal(err)
	}
}

func (s *speaker) state(peer string) bgp.SessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.sessions {
		if x.Peer == peer {
			return x
		}
	}
	return bgp.SessionState{}
}

// await waits until the session with the router is established and BFD is as it should be.
func (s *speaker) await(words string) bgp.SessionState {
	s.t.Helper()
	var now bgp.SessionState
	netnstest.Eventually(s.t, limit, func() error {
		if now = s.state("router"); now.State != bgp.Established || now.BFD != words {
			return fmt.Errorf("the session is %s (%s; last error %q), BFD %q, want %q", now.State, now.Reason, now.LastError, now.BFD, words)
		}
		return nil
	})
	return now
}

// Addresses of the segment that a speaker and a router share.
const (
	own4, peer4 = "192.0.2.1", "192.0.2.2"
	own6, peer6 = "2001:db8::1", "2001:db8::2"
)

// segment makes two namespaces with a link e1, of a speaker and of a router.
func segment(t testing.TB) (speaker, router *netnstest.NS) {
	t.Helper()
	speaker, router = netnstest.New(t), netnstest.New(t)
	netnstest.Veth(t, speaker, "e1", router, "e1")
	for i, ns := range []*netnstest.NS{speaker, router} {
		ns.Lines(t, fmt.Sprintf(`
			sysctl -qw net.ipv4.ip_forward=1
			ip addr add 192.0.2.%d/24 dev e1
			ip addr add 2001:db8::%[1]d/64 dev e1 nodad`, i+1))
	}
	return speaker, router
}

// fast is a BFD session of 100 ms x 3.
var fast = plan.BFD{
	Enabled: true, TransmitInterval: 100 * time.Millisecond, ReceiveInterval: 100 * time.Millisecond, EchoInterval: 50 * time.Millisecond,
	DetectMultiplier: 3, MinimumTTL: 254,
}

// session is an eBGP session with the router.
func session(address string, change ...func(*plan.Session)) plan.Session {
	s := plan.Session{
		Peer: "router", Port: 179, MyASN: 65001, PeerASN: 65002, BFD: fast, IPv4: true, IPv6: true,
		HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, ConnectTime: time.Second,
	}
	if address != "" {
		s.Address = netip.MustParseAddr(address)
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

// vip is what is announced.
const vip = "203.0.113.1/32"

func wants(s plan.Session) plan.Plan {
	return plan.Plan{Sessions: []plan.Session{s}, Routes: []plan.Route{{Peer: s.Peer, Prefix: netip.MustParsePrefix(vip)}}}
}

// frrConfig is a router that asks for BFD of 100 ms x 3 on its session with the speaker at an address.
func frrConfig(address string, lines ...string) string {
	return strings.ReplaceAll(`
frr defaults datacenter
hostname router
bfd
 profile fast
  receive-interval 100
  transmit-interval 100
 exit
exit
router bgp 65002
 bgp router-id 10.0.0.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp graceful-restart
 neighbor ADDRESS remote-as 65001
 neighbor ADDRESS passive
 neighbor ADDRESS timers connect 1
 neighbor ADDRESS bfd profile fast
 address-family ipv4 unicast
  neighbor ADDRESS activate
 exit-address-family
 address-family ipv6 unicast
  neighbor ADDRESS activate
 exit-address-family
`, "ADDRESS", address) + strings.Join(lines, "\n") + "\n"
}

// hasRoute says whether a namespace's kernel has a BGP route to the address that is announced.
func hasRoute(t testing.TB, ns *netnstest.NS) bool {
	return strings.TrimSpace(ns.Command(t, "ip", "route", "show", vip, "proto", "bgp")) != ""
}

func awaitRoute(t testing.TB, ns *netnstest.NS, want bool) {
	t.Helper()
	netnstest.Eventually(t, limit, func() error {
		if got := hasRoute(t, ns); got != want {
			return fmt.Errorf("route in the kernel: %v, want %v", got, want)
		}
		return nil
	})
}

// blackHole makes a namespace's link swallow everything both ways; what it returns ends that.
func blackHole(t testing.TB, ns *netnstest.NS) (end func()) {
	t.Helper()
	ns.Lines(t, `
		nft add table inet hole
		nft add chain inet hole in { type filter hook input priority 0 ; policy drop ; }
		nft add chain inet hole out { type filter hook output priority 0 ; policy drop ; }`)
	return func() { ns.Command(t, "nft", "delete", "table", "inet", "hole") }
}

// bfdOf is FRR's view of a BFD session.
type bfdOf struct {
	Peer, Status, Diagnostic string
	Multihop                 bool
	RemoteDiagnostic         string `json:"remote-diagnostic"`
	RemoteEcho               int    `json:"remote-echo-receive-interval"`
	TransmitInterval         int    `json:"transmit-interval"`
	RemoteTransmit           int    `json:"remote-transmit-interval"`
}

// bfdPeers returns FRR's BFD sessions.
func bfdPeers(t testing.TB, r *peertest.Router) (out []bfdOf) {
	t.Helper()
	text := r.Vtysh("show bfd peers json")
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}
