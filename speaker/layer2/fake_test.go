//go:build linux

package layer2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// network is a kernel with links that record what is done to them.
type network struct {
	mu      sync.Mutex
	events  []string              // in order: open, close, join, leave, filter, frame
	conns   map[segment]*fakeConn // open ones
	groups  map[string]int        // users by interface index and address
	sent    []sentFrame
	gone    map[int]bool // interfaces that do not exist any more
	sendErr error        // of every write
	start   time.Time
	sleep   time.Duration // how long the process did not run
	random  float64       // what is drawn
}

type sentFrame struct {
	at    time.Duration // since the start
	link  string
	frame []byte
}

// fakeConn is a socket of a network.
type fakeConn struct {
	*network
	segment
	filter []bpf.RawInstruction
	frames chan []byte
	others chan []byte // of PACKET_OTHERHOST
	errs   chan error
	closed chan struct{}
	reads  int
}

func newNetwork() *network {
	return &network{conns: map[segment]*fakeConn{}, groups: map[string]int{}, gone: map[int]bool{}, start: time.Now(), random: 0.5}
}

// slept returns how long the process did not run.
func (n *network) slept() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sleep
}

// draw returns what is set by setRandom.
func (n *network) draw() float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.random
}

func (n *network) setRandom(r float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.random = r
}

// stop makes the process not run for a while: the clock goes on and nothing happens.
func (n *network) stop(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sleep += d
}

func (n *network) log(format string, args ...any) {
	n.events = append(n.events, fmt.Sprintf(format, args...))
}

func (n *network) listen(link plan.Link, f family, filter []bpf.RawInstruction) (conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone[link.Index] {
		return nil, unix.ENODEV
	}
	c := &fakeConn{network: n, segment: segment{link, f}, filter: filter,
		frames: make(chan []byte), others: make(chan []byte), errs: make(chan error), closed: make(chan struct{})}
	n.conns[c.segment] = c
	n.log("open %s %s", link.Name, f)
	return c, nil
}

func (n *network) check(link plan.Link) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone[link.Index] {
		return errors.New("no such interface")
	}
	return nil
}

func (n *network) join(index int, a netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone[index] {
		return unix.ENODEV
	}
	n.groups[fmt.Sprint(index, " ", a)]++
	n.log("join %d %s", index, a)
	return nil
}

func (n *network) leave(index int, a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := fmt.Sprint(index, " ", a)
	if n.groups[key]--; n.groups[key] == 0 {
		delete(n.groups, key)
	}
	n.log("leave %d %s", index, a)
}

func (n *network) close() {}

func (c *fakeConn) ReadBatch(into []received) (int, error) {
	c.mu.Lock()
	c.reads++
	c.mu.Unlock()
	select {
	case f := <-c.frames:
		into[0].n, into[0].other = copy(into[0].buf, f), false
		return 1, nil
	case f := <-c.others:
		into[0].n, into[0].other = copy(into[0].buf, f), true
		return 1, nil
	case err := <-c.errs:
		return 0, err
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

// filterSize returns how many instructions the filter has.
func (c *fakeConn) filterSize() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.filter)
}

// readCount returns how often ReadFrom was called.
func (c *fakeConn) readCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads
}

func (c *fakeConn) WriteBatch(frames [][]byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sendErr != nil {
		return 0, c.sendErr
	}
	for _, f := range frames {
		c.sent = append(c.sent, sentFrame{time.Since(c.start), c.link.Name, slices.Clone(f)})
		c.log("frame %s %s", c.link.Name, c.family)
	}
	return len(frames), nil
}

func (c *fakeConn) SetBPF(filter []bpf.RawInstruction) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.filter = filter
	c.log("filter %s %s", c.link.Name, c.family)
	return nil
}

func (c *fakeConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.closed)
	delete(c.conns, c.segment)
	c.log("close %s %s", c.link.Name, c.family)
	return nil
}

// take returns and forgets the frames that were sent.
func (n *network) take() []sentFrame {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.sent
	n.sent = nil
	return out
}

// takeEvents returns and forgets the events, as lines.
func (n *network) takeEvents() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := strings.Join(n.events, "\n")
	n.events = nil
	return out
}

// conn returns the open socket of a segment.
func (n *network) conn(link plan.Link, f family) *fakeConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conns[segment{link, f}]
}

// bench is an announcer that runs on a network.
type bench struct {
	*network
	*Announcer
	registry *prometheus.Registry
	stop     context.CancelFunc
	ended    chan error
}

// inBubble runs f with a running announcer, in a bubble with its own time.
func inBubble(t *testing.T, cfg Config, f func(t *testing.T, b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, cfg)
		f(t, b)
		b.shutDown(t)
	})
}

// newBench starts an announcer on a network of its own.
func newBench(t testing.TB, cfg Config) *bench {
	n := newNetwork()
	registry := prometheus.NewRegistry()
	cfg.Log, cfg.Registerer = slog.New(slog.DiscardHandler), registry
	a := New(cfg)
	a.listen, a.check, a.groups = n.listen, n.check, n
	a.random = n.draw
	a.pulse.now = func() time.Duration { return time.Hour + time.Since(n.start) + n.slept() }
	ctx, stop := context.WithCancel(context.Background())
	b := &bench{n, a, registry, stop, make(chan error, 1)}
	go func() { b.ended <- a.Run(ctx) }()
	return b
}

// shutDown ends the announcer and checks that it leaves nothing.
func (b *bench) shutDown(t testing.TB) {
	b.stop()
	if err := <-b.ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
	if len(b.conns) != 0 || len(b.network.groups) != 0 || len(b.Announced()) != 0 {
		t.Errorf("left after the end: sockets %v, groups %v, announced %v", b.conns, b.network.groups, b.Announced())
	}
}

// apply applies a set that has to be announced without an error.
func (b *bench) apply(t testing.TB, want ...plan.Announcement) {
	t.Helper()
	if err := b.Apply(context.Background(), want); err != nil {
		t.Fatal(err)
	}
}

// metric returns the value of a series, by its label values; ok is false if there is no such series.
func (b *bench) metric(t testing.TB, name string, labels ...string) (value float64, ok bool) {
	t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(values, labels) {
				return m.GetCounter().GetValue(), true
			}
		}
	}
	return 0, false
}
