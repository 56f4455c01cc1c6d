//go:build linux && (netns || vm) && !race

package bgp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/peertest"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// limit is how long the tests wait for what takes a second or less.
const limit = 20 * time.Second

// Addresses of the segment that a speaker and a router share.
const (
	own4, peer4 = "192.0.2.1", "192.0.2.2"
	own6, peer6 = "2001:db8::1", "2001:db8::2"
)

// within is the network of a namespace.
type within struct{ ns *netnstest.NS }

func (w within) dial(ctx context.Context, t target) (c net.Conn, err error) {
	w.ns.Do(func() { c, err = kernel{}.dial(ctx, t) })
	return c, err
}

func (w within) companion(a netip.Addr) (b netip.Addr) {
	w.ns.Do(func() { b = kernel{}.companion(a) })
	return b
}

func (w within) link(name string) (l *net.Interface, err error) {
	w.ns.Do(func() { l, err = kernel{}.link(name) })
	return l, err
}

func (w within) discover(l *net.Interface) (a advertising, err error) {
	w.ns.Do(func() { a, err = kernel{}.discover(l) })
	return a, err
}

// world is a speaker in a namespace of its own, and routers in others.
type world struct {
	*Speaker
	t        *testing.T
	ns       *netnstest.NS
	registry *prometheus.Registry
	stop     func()
	want     Want
}

// emptyWorld makes a namespace without a speaker. The test keeps its thread: routers end with the thread that starts them.
func emptyWorld(t *testing.T) *world {
	t.Parallel()
	runtime.LockOSThread()
	return &world{t: t, ns: netnstest.New(t), registry: prometheus.NewRegistry()}
}

// newWorld makes a speaker that runs in an empty namespace.
func newWorld(t *testing.T, change ...func(*Config)) *world {
	w := emptyWorld(t)
	cfg := Config{
		Log:        slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		Registerer: w.registry, Node: "node", RouterID: netip.MustParseAddr("10.0.0.1"),
	}
	for _, c := range change {
		c(&cfg)
	}
	w.Speaker = New(cfg)
	w.node = within{w.ns}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		ended <- nil
	}
	t.Cleanup(w.stop)
	return w
}

// segment joins a new namespace to the speaker's: dev in both, with addresses of both families.
func (w *world) segment(dev string, n int) *netnstest.NS {
	ns := netnstest.New(w.t)
	netnstest.Veth(w.t, w.ns, dev, ns, dev)
	for i, x := range []*netnstest.NS{w.ns, ns} {
		x.Command(w.t, "ip", "addr", "add", fmt.Sprintf("192.0.%d.%d/24", n, i+1), "dev", dev)
		x.Command(w.t, "ip", "addr", "add", fmt.Sprintf("2001:db8:%x::%d/64", n-2, i+1), "dev", dev, "nodad")
	}
	return ns
}

// apply is Apply with the world's want.
func (w *world) apply() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := w.Apply(ctx, w.want); err != nil {
		w.t.Fatal(err)
	}
}

// session4 is an eBGP session with the router on the first segment.
func session4(change ...func(*plan.Session)) plan.Session {
	s := plan.Session{
		Peer: "router", Address: netip.MustParseAddr(peer4), Port: 179, MyASN: 65001, PeerASN: 65002,
		HoldTime: 9 * time.Second, KeepaliveTime: 3 * time.Second, ConnectTime: time.Second, IPv4: true, IPv6: true,
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func route(peer, prefix string, change ...func(*plan.Route)) plan.Route {
	r := plan.Route{Peer: peer, Prefix: netip.MustParsePrefix(prefix)}
	for _, c := range change {
		c(&r)
	}
	return r
}

// state returns a session's state.
func (w *world) state(peer string) SessionState {
	for _, s := range w.Sessions() {
		if s.Peer == peer {
			return s
		}
	}
	return SessionState{}
}

// awaitState waits until a session has a state.
func (w *world) awaitState(peer string, want State) SessionState {
	w.t.Helper()
	var now SessionState
	netnstest.Eventually(w.t, limit, func() error {
		if now = w.state(peer); now.State != want {
			return fmt.Errorf("%s is %s (%s; last error %q), want %s", peer, now.State, now.Reason, now.LastError, want)
		}
		return nil
	})
	return now
}

// awaitError waits until a session's last error contains a text.
func (w *world) awaitError(peer, text string) {
	w.t.Helper()
	netnstest.Eventually(w.t, limit, func() error {
		if now := w.state(peer); !strings.Contains(now.LastError, text) {
			return fmt.Errorf("%s is %s (%s), last error %q, want %q", peer, now.State, now.Reason, now.LastError, text)
		}
		return nil
	})
}

// frrConfig is a router on the first segment that takes everything from the speaker and sends it nothing but what the
// lines make it send.
func frrConfig(lines ...string) string {
	return strings.ReplaceAll(`
frr defaults datacenter
hostname router
router bgp 65002
 bgp router-id 10.0.0.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 bgp graceful-restart
 neighbor 192.0.2.1 remote-as 65001
 neighbor 192.0.2.1 passive
 neighbor 2001:db8::1 remote-as 65001
 neighbor 2001:db8::1 passive
 address-family ipv4 unicast
  neighbor 192.0.2.1 activate
  neighbor 2001:db8::1 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 192.0.2.1 activate
  neighbor 2001:db8::1 activate
 exit-address-family
`, "\n\n", "\n") + strings.Join(lines, "\n") + "\n"
}

// frr is a router on a segment.
type frr struct {
	*peertest.Router
	t  *testing.T
	ns *netnstest.NS
}

func newFRR(t *testing.T, ns *netnstest.NS, config string, daemons ...string) *frr {
	if len(daemons) == 0 {
		daemons = []string{"zebra", "bgpd"}
	}
	return &frr{peertest.FRR(t, ns, config, daemons...), t, ns}
}

// path is what FRR shows of a path to a prefix.
type path struct {
	Valid     bool
	LocalPref int `json:"locPrf"`
	Community struct{ List []string }
	Large     struct{ List []string } `json:"largeCommunity"`
	Extended  struct{ String string } `json:"extendedCommunity"`
	AsPath    struct{ String string } `json:"aspath"`
	Nexthops  []struct {
		IP, Scope  string
		Accessible bool
	}
}

// path returns FRR's path to a prefix, if there is exactly one.
func (f *frr) path(prefix string) (path, error) {
	fam := "ipv4"
	if strings.Contains(prefix, ":") {
		fam = "ipv6"
	}
	out := f.Vtysh(fmt.Sprintf("show bgp %s unicast %s json", fam, prefix))
	var got struct{ Paths []path }
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return path{}, fmt.Errorf("%w: %s", err, out)
	}
	if len(got.Paths) != 1 {
		return path{}, fmt.Errorf("FRR has %d paths to %s: %s", len(got.Paths), prefix, out)
	}
	return got.Paths[0], nil
}

// awaitPath waits until FRR has a path to a prefix that passes a check.
func (f *frr) awaitPath(prefix string, check func(path) error) {
	f.t.Helper()
	netnstest.Eventually(f.t, limit, func() error {
		p, err := f.path(prefix)
		if err == nil && check != nil {
			err = check(p)
		}
		return err
	})
}

// awaitKernel waits until FRR's kernel has, or has not, a route to a prefix.
func (f *frr) awaitKernel(prefix string, want bool) {
	f.t.Helper()
	netnstest.Eventually(f.t, limit, func() error {
		if got := f.kernelHas(prefix); got != want {
			return fmt.Errorf("route to %s in the kernel: %v, want %v", prefix, got, want)
		}
		return nil
	})
}

func (f *frr) kernelHas(prefix string) bool {
	args := []string{"route", "show", prefix, "proto", "bgp"}
	if strings.Contains(prefix, ":") {
		args = append([]string{"-6"}, args...)
	}
	return strings.TrimSpace(f.ns.Command(f.t, "ip", args...)) != ""
}

// equal is a check that a value is as wanted.
func equal[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s is %v, want %v", what, got, want)
	}
	return nil
}

func all(errs ...error) error { return errors.Join(errs...) }

func contains(s, part string) bool { return strings.Contains(s, part) }

// monitor follows the changes of routes in a namespace; what it returns ends it and yields a line for each.
func monitor(t *testing.T, ns *netnstest.NS) func() []string {
	t.Helper()
	var out lines
	cmd := exec.Command("ip", "monitor", "route")
	cmd.Stdout = &out
	var err error
	ns.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	// It listens when it shows a change that is made for it.
	netnstest.Eventually(t, limit, func() error {
		ns.Command(t, "ip", "route", "replace", "unreachable", "192.0.0.8/32")
		ns.Command(t, "ip", "route", "del", "unreachable", "192.0.0.8/32")
		if !strings.Contains(out.String(), "192.0.0.8") {
			return errors.New("ip monitor does not listen")
		}
		return nil
	})
	return func() []string {
		end()
		return strings.Split(strings.TrimSpace(out.String()), "\n")
	}
}

// lines collects what a process writes.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
