//go:build bench

package members

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sys/unix"
)

const (
	simulatedPort = 7947
	quiet         = 10 * time.Second // for which packets are counted
	deaths        = 5
)

// BenchmarkSize tells what the membership of many nodes costs each, and how soon a node's death is known, with the real
// library over a network in memory: encoding and encryption are real, sockets are not. All nodes share this machine's cores,
// so where they are many, each of their seconds takes several here, or they would wait for a core more than for each other.
func BenchmarkSize(b *testing.B) {
	for _, c := range []struct{ members, seconds int }{{3, 1}, {100, 1}, {1000, 4}} {
		b.Run(fmt.Sprint(c.members), func(b *testing.B) {
			for b.Loop() {
				size(b, c.members, c.seconds)
			}
		})
	}
}

// size measures n members; each of their seconds takes some here.
func size(b *testing.B, n, seconds int) {
	before := memory()
	lan := &network{nodes: map[string]*wire{}, slowness: time.Duration(seconds)}
	joinTogether := max(10, n/10)
	nodes := make([]*simulated, n)
	began := time.Now()
	for i := range nodes {
		nodes[i] = lan.start(b, i)
		if i%joinTogether == 0 { // all share a few cores here, so they cannot all come at once
			lan.complete(b, nodes[:i+1])
		}
	}
	lan.complete(b, nodes)
	b.ReportMetric(time.Since(began).Seconds(), "s-to-join-all")
	lan.calm()
	b.ReportMetric(float64(memory()-before)/float64(n)/1024, "KiB/node")

	packets, sent, used := lan.packets.Load(), lan.bytes.Load(), processor()
	time.Sleep(quiet * lan.slowness)
	perNode := float64(n) * quiet.Seconds()
	b.ReportMetric(float64(lan.packets.Load()-packets)/perNode, "packets/s/node")
	b.ReportMetric(float64(lan.bytes.Load()-sent)/perNode, "bytes/s/node")
	b.ReportMetric((processor()-used).Seconds()/quiet.Seconds(), "cores") // for all n, in their seconds

	var first, last []time.Duration
	at := n / 2
	for range deaths {
		soonest, latest := lan.kill(b, nodes[at], slices.Delete(slices.Clone(nodes), at, at+1))
		first, last = append(first, soonest/lan.slowness), append(last, latest/lan.slowness)
		nodes[at] = lan.start(b, at)
		lan.complete(b, nodes)
		lan.calm()
	}
	slices.Sort(first)
	slices.Sort(last)
	b.Logf("a death was known to the first after %v, to all after %v", first, last)
	b.ReportMetric(first[deaths/2].Seconds(), "s-to-first")
	b.ReportMetric(last[deaths/2].Seconds(), "s-to-all")
	b.ReportMetric(last[deaths-1].Seconds(), "s-to-all-worst")
	b.ReportMetric(0, "ns/op")
	for _, s := range nodes {
		_ = s.list.Shutdown()
	}
}

// simulated is one member in memory, configured as the product's are. What the product makes of the list is left out: its
// cost here would be that of all nodes at once.
type simulated struct {
	list  *memberlist.Memberlist
	wire  *wire
	alive atomic.Int64
}

// NotifyJoin counts.
func (s *simulated) NotifyJoin(*memberlist.Node) { s.alive.Add(1) }

// NotifyLeave counts.
func (s *simulated) NotifyLeave(*memberlist.Node) { s.alive.Add(-1) }

// NotifyUpdate is nothing.
func (s *simulated) NotifyUpdate(*memberlist.Node) {}

// network joins the members' transports.
type network struct {
	mu             sync.RWMutex
	nodes          map[string]*wire // by endpoint
	slowness       time.Duration    // how much longer everything takes than it does
	packets, bytes atomic.Int64
}

// start runs member i, which asks members before it to join.
func (n *network) start(b *testing.B, i int) *simulated {
	at := func(i int) *net.UDPAddr {
		address := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24+uint32(i)+1)))
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, simulatedPort))
	}
	s := &simulated{wire: &wire{net: n, at: at(i), in: make(chan *memberlist.Packet, 256), dialed: make(chan net.Conn)}}
	n.mu.Lock()
	n.nodes[s.wire.at.String()] = s.wire
	n.mu.Unlock()
	m := New(Config{
		Log: slog.New(slog.DiscardHandler), Node: fmt.Sprintf("node-%d", i), Address: at(i).AddrPort().Addr(), Port: simulatedPort,
		Key: bytes.Repeat([]byte{1}, KeySize),
	})
	c := m.listConfig()
	c.Events, c.Transport = s, s.wire
	for _, d := range []*time.Duration{&c.ProbeInterval, &c.ProbeTimeout, &c.GossipInterval, &c.GossipToTheDeadTime, &c.PushPullInterval, &c.TCPTimeout} {
		*d *= n.slowness
	}
	var err error
	if s.list, err = memberlist.Create(c); err != nil {
		b.Fatal(err)
	}
	var peers []string
	for k := range min(i, askedFirst) {
		peers = append(peers, at(i*k/askedFirst).String())
	}
	for range 10 { // the product asks again, too
		if _, err = s.list.Join(peers); err == nil || i == 0 {
			return s
		}
		time.Sleep(rejoinInterval)
	}
	b.Fatal(err)
	return nil
}

// calm waits until the packets that members send are no more than a second before.
func (n *network) calm() {
	for last := int64(1 << 62); ; {
		before := n.packets.Load()
		time.Sleep(2 * time.Second)
		now := n.packets.Load() - before
		if now*100 >= last*98 {
			return
		}
		last = now
	}
}

// complete waits until each member sees all. One that does not asks to join again after a while, as the product does.
func (n *network) complete(b *testing.B, members []*simulated) {
	next := time.Now()
	await(b, members, func(s *simulated) bool {
		if s.alive.Load() == int64(len(members)) {
			return true
		}
		if time.Since(next) > 0 {
			next = time.Now().Add(rejoinInterval * n.slowness / 4)
			other := members[0]
			if s == other {
				other = members[len(members)-1]
			}
			go func() { _, _ = s.list.Join([]string{other.wire.at.String()}) }()
		}
		return false
	})
}

// kill cuts a member off and returns when the first and the last of the others knew.
func (n *network) kill(b *testing.B, victim *simulated, others []*simulated) (first, last time.Duration) {
	began := time.Now()
	victim.wire.dead.Store(true)
	had := others[0].alive.Load()
	gone := func(s *simulated) bool {
		if s.alive.Load() == had {
			return false
		}
		if first == 0 {
			first = time.Since(began)
		}
		return true
	}
	await(b, others, gone)
	last = time.Since(began)
	_ = victim.list.Shutdown()
	return first, last
}

// await waits until something holds for all members.
func await(b *testing.B, members []*simulated, holds func(*simulated) bool) {
	waiting := slices.Clone(members)
	for end := time.Now().Add(5 * time.Minute); len(waiting) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%d of %d members do not see it", len(waiting), len(members))
		}
		waiting = slices.DeleteFunc(waiting, holds)
	}
}

// wire is one member's transport.
type wire struct {
	net    *network
	at     *net.UDPAddr
	in     chan *memberlist.Packet
	dialed chan net.Conn
	dead   atomic.Bool
}

// FinalAdvertiseAddr returns the address on the network.
func (w *wire) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return w.at.IP, w.at.Port, nil }

// WriteTo sends a packet, which is lost where nobody reads.
func (w *wire) WriteTo(b []byte, to string) (time.Time, error) {
	now := time.Now()
	if w.dead.Load() {
		return now, nil
	}
	w.net.packets.Add(1)
	w.net.bytes.Add(int64(len(b)))
	if peer := w.net.at(to); peer != nil {
		select {
		case peer.in <- &memberlist.Packet{Buf: b, From: w.at, Timestamp: now}:
		default:
		}
	}
	return now, nil
}

// WriteToAddress is WriteTo: the address says it all.
func (w *wire) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	return w.WriteTo(b, to.Addr)
}

// DialTimeout opens a connection; a dead node does not refuse it.
func (w *wire) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	late := time.After(timeout)
	if peer := w.net.at(to); peer != nil && !w.dead.Load() {
		here, there := net.Pipe()
		select {
		case peer.dialed <- there:
			return here, nil
		case <-late:
			return nil, errors.New("nobody accepts")
		}
	}
	<-late
	return nil, errors.New("no answer")
}

// DialAddressTimeout is DialTimeout: the address says it all.
func (w *wire) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return w.DialTimeout(to.Addr, timeout)
}

// PacketCh is where packets come in.
func (w *wire) PacketCh() <-chan *memberlist.Packet { return w.in }

// StreamCh is where connections come in.
func (w *wire) StreamCh() <-chan net.Conn { return w.dialed }

// Shutdown has nothing to close.
func (w *wire) Shutdown() error { return nil }

// at returns the live node with an endpoint, or nil.
func (n *network) at(endpoint string) *wire {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if w := n.nodes[endpoint]; w != nil && !w.dead.Load() {
		return w
	}
	return nil
}

// memory is what the process uses, without what is free.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// processor is the time that the process used.
func processor() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
