//go:build linux && bench

package peering

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/peertest"
	"github.com/fairlead-lb/fairlead/speaker/bgp"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// A benchmark fails on ten times what is expected; the figures depend on the machine.

// manyRoutes is how many routes a large installation has.
const manyRoutes = 10_000

func prefixN(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{203, byte(n >> 16), byte(n >> 8), byte(n)}), 32)
}

// spoke is a router on a segment of its own with the speaker: 192.0.N.1 and 192.0.N.2.
func spoke(b testing.TB, hub *netnstest.NS, n int) *peertest.Router {
	ns := netnstest.New(b)
	dev := fmt.Sprintf("e%d", n)
	netnstest.Veth(b, hub, dev, ns, dev)
	hub.Command(b, "ip", "addr", "add", fmt.Sprintf("192.0.%d.1/24", n), "dev", dev)
	ns.Command(b, "ip", "addr", "add", fmt.Sprintf("192.0.%d.2/24", n), "dev", dev)
	return peertest.FRR(b, ns, fmt.Sprintf(`
frr defaults datacenter
router bgp 65002
 bgp router-id 10.0.0.2
 no bgp ebgp-requires-policy
 neighbor 192.0.%d.1 remote-as 65001
 neighbor 192.0.%[1]d.1 passive
 neighbor 192.0.%[1]d.1 timers connect 1
`, n), "zebra", "bgpd")
}

// prefixes returns how many prefixes a router has from the speaker; -1 while it is not ready for connections.
func prefixes(r *peertest.Router) int {
	var got struct {
		IPv4 struct {
			Peers map[string]struct{ PfxRcd int }
		} `json:"ipv4Unicast"`
	}
	out, err := r.TryVtysh("show bgp summary json")
	if err != nil || json.Unmarshal([]byte(out), &got) != nil {
		return -1
	}
	for _, p := range got.IPv4.Peers {
		return p.PfxRcd
	}
	return -1
}

func awaitPrefixes(b testing.TB, r *peertest.Router, want int) {
	netnstest.Eventually(b, time.Minute, func() error {
		if n := prefixes(r); n != want {
			return fmt.Errorf("the router has %d routes, want %d", n, want)
		}
		return nil
	})
}

// awaitNeighbor waits until a router waits for the speaker, and has let go of one that was there before.
func awaitNeighbor(b testing.TB, r *peertest.Router, n int) {
	netnstest.Eventually(b, limit, func() error {
		if out := r.Vtysh(fmt.Sprintf("show bgp neighbors 192.0.%d.1", n)); !strings.Contains(out, "BGP state = Active") {
			return fmt.Errorf("FRR says %s", out)
		}
		return nil
	})
}

// BenchmarkManyRoutes: a speaker starts with 10,000 routes; until the last one is in the last router's table. Then what
// that costs at rest: memory, and the processor while nothing happens.
func BenchmarkManyRoutes(b *testing.B) {
	for _, peers := range []int{1, 4} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			runtime.LockOSThread()
			hub := netnstest.New(b)
			var x plan.Plan
			var routers []*peertest.Router
			for i := range peers {
				routers = append(routers, spoke(b, hub, 2+i))
				s := session(fmt.Sprintf("192.0.%d.2", 2+i), func(s *plan.Session) { s.Peer, s.BFD = fmt.Sprintf("r%d", i), plan.BFD{} })
				x.Sessions = append(x.Sessions, s)
				for n := range manyRoutes {
					x.Routes = append(x.Routes, plan.Route{Peer: s.Peer, Prefix: prefixN(n)})
				}
			}
			for b.Loop() {
				for i, r := range routers {
					awaitNeighbor(b, r, 2+i)
				}
				s := newSpeaker(b, hub)
				began := time.Now()
				s.apply(x)
				for _, r := range routers {
					awaitPrefixes(b, r, manyRoutes)
				}
				took := time.Since(began)
				time.Sleep(2 * time.Second)
				const idle = 20 * time.Second
				before := processor(b, s.cmd.Process.Pid)
				time.Sleep(idle)
				used := processor(b, s.cmd.Process.Pid) - before
				b.ReportMetric(float64(took.Milliseconds()), "ms-to-last-route")
				b.ReportMetric(float64(resident(b, s.cmd.Process.Pid))/(1<<20), "MiB-resident")
				b.ReportMetric(100*used.Seconds()/idle.Seconds(), "%core-idle")
				s.end(syscall.SIGKILL)
				if took > 40*time.Second {
					b.Errorf("the last route came after %v", took)
				}
			}
		})
	}
}

// processor is the time that a process has had.
func processor(b testing.TB, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // clock ticks, 100 a second
}

// resident is the memory that a process has, in bytes.
func resident(b testing.TB, pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// measures are times of the same thing, in any order.
type measures []time.Duration

func (m measures) report(b *testing.B, expected time.Duration) {
	slices.Sort(m)
	b.ReportMetric(float64(m[len(m)/2].Milliseconds()), "ms-median")
	b.ReportMetric(float64(m[len(m)-1].Milliseconds()), "ms-worst")
	if worst := m[len(m)-1]; worst > 10*expected {
		b.Errorf("%v is more than ten times what is expected: %v", worst, expected)
	}
}

// BenchmarkStart: from the start of the process until its session with a router that waits for it is established.
func BenchmarkStart(b *testing.B) {
	runtime.LockOSThread()
	hub := netnstest.New(b)
	r := spoke(b, hub, 2)
	x := plan.Plan{Sessions: []plan.Session{session(peer4, func(s *plan.Session) { s.BFD = plan.BFD{} })}}
	for b.Loop() {
		var all measures
		for range 10 {
			awaitNeighbor(b, r, 2)
			began := time.Now()
			s := newSpeaker(b, hub)
			s.apply(x)
			netnstest.Eventually(b, limit, func() error {
				if now := s.state("router"); now.State != bgp.Established {
					return fmt.Errorf("the session is %+v", now)
				}
				return nil
			})
			all = append(all, time.Since(began))
			s.end(syscall.SIGKILL)
		}
		all.report(b, 1700*time.Millisecond)
	}
}

// BenchmarkNodeLoss: a node is lost without a word. How long until the router's kernel has no route to it any more, with
// BFD at 50 ms x 3, and without BFD at a hold time of 3 s.
func BenchmarkNodeLoss(b *testing.B) {
	for _, x := range []struct {
		name     string
		runs     int
		expected time.Duration
		change   func(*plan.Session)
		words    string
	}{
		{"BFD=50msx3", 20, 250 * time.Millisecond, func(s *plan.Session) {
			s.BFD.TransmitInterval, s.BFD.ReceiveInterval = 50*time.Millisecond, 50*time.Millisecond
		}, "is up"},
		{"hold=3s", 5, 4 * time.Second, func(s *plan.Session) {
			s.BFD, s.HoldTime, s.KeepaliveTime = plan.BFD{}, 3*time.Second, time.Second
		}, ""},
	} {
		b.Run(x.name, func(b *testing.B) {
			runtime.LockOSThread()
			hub, ns := segment(b)
			config := strings.ReplaceAll(frrConfig(own4), "interval 100", "interval 50")
			if x.words == "" {
				config = strings.ReplaceAll(config, " neighbor 192.0.2.1 bfd profile fast\n", "")
			}
			peertest.FRR(b, ns, config)
			for b.Loop() {
				var all measures
				for range x.runs {
					s := newSpeaker(b, hub) // a new one is not cautious yet
					s.apply(wants(session(peer4, x.change)))
					s.await(x.words)
					awaitRoute(b, ns, true)
					time.Sleep(300 * time.Millisecond)
					lost := blackHole(b, hub)
					began := time.Now() // nft has returned: the hole is there
					awaitRoute(b, ns, false)
					all = append(all, time.Since(began))
					s.end(syscall.SIGKILL)
					lost()
				}
				all.report(b, x.expected)
			}
		})
	}
}

// BenchmarkClientGap: a router spreads a client's flows over two nodes, one of which is lost. The gap is the longest time
// without an answer that a flow sees, with BFD at 50 ms x 3.
func BenchmarkClientGap(b *testing.B) {
	runtime.LockOSThread()
	router := netnstest.New(b)
	router.Lines(b, "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=1")
	client := netnstest.New(b)
	netnstest.Veth(b, router, "c", client, "c")
	router.Command(b, "ip", "addr", "add", "198.51.100.1/24", "dev", "c")
	client.Lines(b, "ip addr add 198.51.100.2/24 dev c\nip route add default via 198.51.100.1")
	config := "frr defaults datacenter\nbfd\n profile fast\n receive-interval 50\n transmit-interval 50\n exit\nexit\nrouter bgp 65002\n bgp router-id 10.0.0.2\n no bgp ebgp-requires-policy\n"
	nodes := make([]*netnstest.NS, 2)
	for i := range nodes {
		nodes[i] = netnstest.New(b)
		dev := fmt.Sprintf("e%d", i)
		netnstest.Veth(b, router, dev, nodes[i], dev)
		router.Command(b, "ip", "addr", "add", fmt.Sprintf("192.0.%d.2/24", 2+i), "dev", dev)
		nodes[i].Lines(b, fmt.Sprintf("ip addr add 192.0.%d.1/24 dev %s\nip addr add %s dev lo\nip route add default via 192.0.%[1]d.2", 2+i, dev, vip))
		config += fmt.Sprintf(" neighbor 192.0.%d.1 remote-as 65001\n neighbor 192.0.%[1]d.1 passive\n neighbor 192.0.%[1]d.1 timers connect 1\n neighbor 192.0.%[1]d.1 bfd profile fast\n", 2+i)
	}
	peertest.FRR(b, router, config+" address-family ipv4 unicast\n  maximum-paths 8\n")
	start := func(i int) *speaker {
		s := newSpeaker(b, nodes[i])
		s.apply(wants(session(fmt.Sprintf("192.0.%d.2", 2+i), func(s *plan.Session) {
			s.RouterID = netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})
			s.BFD.TransmitInterval, s.BFD.ReceiveInterval = 50*time.Millisecond, 50*time.Millisecond
		})))
		return s
	}
	for _, ns := range nodes {
		echo(b, ns)
	}
	speakers := []*speaker{start(0), start(1)}
	hops := func() int { return strings.Count(router.Command(b, "ip", "route", "show", vip), "via") }
	for b.Loop() {
		var all measures
		for range 10 {
			for _, s := range speakers {
				s.await("is up")
			}
			netnstest.Eventually(b, limit, func() error {
				if n := hops(); n != 2 {
					return fmt.Errorf("%d next hops", n)
				}
				return nil
			})
			f := newFlows(b, client)
			time.Sleep(300 * time.Millisecond)
			heal := blackHole(b, nodes[1])
			time.Sleep(time.Second)
			all = append(all, f.stop())
			speakers[1].end(syscall.SIGKILL)
			heal()
			speakers[1] = start(1) // a new one is not cautious yet
		}
		all.report(b, 250*time.Millisecond)
	}
}

// echo answers UDP at the address that is announced.
func echo(b testing.TB, ns *netnstest.NS) {
	var c net.PacketConn
	var err error
	ns.Do(func() { c, err = net.ListenPacket("udp4", strings.TrimSuffix(vip, "/32")+":7") })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	go func() {
		for buf := make([]byte, 64); ; {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(buf[:n], from)
		}
	}()
}

// flows ask every few milliseconds from many ports.
type flows struct {
	ended atomic.Bool
	work  sync.WaitGroup
	mu    sync.Mutex
	gap   time.Duration
	heard int // flows that were answered at all
	b     testing.TB
}

func newFlows(b testing.TB, ns *netnstest.NS) *flows {
	f := &flows{b: b}
	for range 16 {
		var c net.Conn
		var err error
		ns.Do(func() { c, err = net.Dial("udp4", strings.TrimSuffix(vip, "/32")+":7") })
		if err != nil {
			b.Fatal(err)
		}
		f.work.Go(func() {
			defer c.Close()
			f.follow(c)
		})
	}
	return f
}

func (f *flows) follow(c net.Conn) {
	answers := make(chan time.Time, 1024)
	go func() {
		defer close(answers)
		for buf := make([]byte, 64); ; {
			_, err := c.Read(buf)
			if err != nil && !strings.Contains(err.Error(), "refused") && !strings.Contains(err.Error(), "unreachable") {
				return
			}
			if err == nil {
				answers <- time.Now()
			}
		}
	}()
	for !f.ended.Load() {
		_, _ = c.Write([]byte("x"))
		time.Sleep(5 * time.Millisecond)
	}
	_ = c.SetReadDeadline(time.Now())
	var last time.Time
	var gap time.Duration
	for at := range answers {
		if !last.IsZero() {
			gap = max(gap, at.Sub(last))
		}
		last = at
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gap = max(f.gap, gap)
	if !last.IsZero() {
		f.heard++
	}
}

// stop ends the flows and returns the longest gap of any.
func (f *flows) stop() time.Duration {
	f.ended.Store(true)
	f.work.Wait()
	if f.heard < 16 {
		f.b.Errorf("%d of 16 flows were answered", f.heard)
	}
	return f.gap
}

// BenchmarkFullLoad: both cores are busy for a minute with three times as many processes as there are cores; BFD at 100 ms
// x 3 with a router beside them must not go down.
func BenchmarkFullLoad(b *testing.B) {
	runtime.LockOSThread()
	hub, ns := segment(b)
	router := peertest.FRR(b, ns, frrConfig(own4))
	s := newSpeaker(b, hub)
	s.apply(wants(session(peer4)))
	for b.Loop() {
		since := s.await("is up").Since
		var burners []*exec.Cmd
		for range 3 * runtime.NumCPU() {
			cmd := exec.Command("sh", "-c", "while :; do :; done")
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			burners = append(burners, cmd)
		}
		time.Sleep(time.Minute)
		for _, cmd := range burners {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		downs := 0
		if now := s.await("is up"); now.Since != since {
			downs++
		}
		downs += strings.Count(router.Log("bfdd"), "up -> down")
		b.ReportMetric(float64(downs), "false-downs")
		if downs > 0 {
			b.Errorf("%d false downs", downs)
		}
	}
}
