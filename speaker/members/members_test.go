package members

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// patience is how long a test waits for what takes a second at most.
const patience = 10 * time.Second

// cluster is a set of members on loopback addresses, all with the same port.
type cluster struct {
	t     *testing.T
	port  uint16
	base  [4]byte // of the members' addresses
	peers map[string]netip.Addr
}

// member is one running member.
type member struct {
	*Members
	t       *testing.T
	changed chan struct{} // holds a value when something changed
	stop    func() error  // ends Run without a word to the others
}

func newCluster(t *testing.T, nodes ...string) *cluster {
	t.Parallel()
	c := &cluster{t: t, base: [4]byte{127, byte(rand.IntN(250) + 1), byte(rand.IntN(256)), 0}, peers: map[string]netip.Addr{}}
	for i, node := range nodes {
		a := c.base
		a[3] = byte(i + 1)
		c.peers[node] = netip.AddrFrom4(a)
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(c.peers[nodes[0]], 0).String())
	if err != nil {
		t.Fatal(err)
	}
	c.port = l.Addr().(*net.TCPAddr).AddrPort().Port()
	_ = l.Close()
	return c
}

// start runs a member; tune changes it before.
func (c *cluster) start(node string, tune ...func(*Members)) *member {
	c.t.Helper()
	m := &member{t: c.t, changed: make(chan struct{}, 1)}
	m.Members = New(Config{
		Log: slog.New(slog.DiscardHandler), Node: node, Address: c.peers[node], Port: c.port, Key: bytes.Repeat([]byte{1}, KeySize),
		Peers: func() map[string]netip.Addr { return c.peers },
		Changed: func() {
			select {
			case m.changed <- struct{}{}:
			default:
			}
		},
	})
	for _, f := range tune {
		f(m.Members)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = m.Run(ctx)
	}()
	m.stop = func() error {
		cancel()
		<-done
		return err
	}
	c.t.Cleanup(func() { _ = m.stop() })
	return m
}

// sees waits until the member sees just these alive, told by Changed each time, and returns how long that took.
func (m *member) sees(nodes ...string) time.Duration {
	m.t.Helper()
	began := time.Now()
	late := time.After(patience)
	for !slices.Equal(names(m.Alive()), nodes) {
		select {
		case <-m.changed:
		case <-late:
			m.t.Fatalf("%s sees %v, want %v", m.config.Node, m.Alive(), nodes)
		}
	}
	return time.Since(began)
}

// names returns the names of members.
func names(members []plan.Member) []string {
	out := []string{}
	for _, m := range members {
		out = append(out, m.Node)
	}
	return out
}

func (m *member) awaitReady() {
	m.t.Helper()
	select {
	case <-m.Ready():
	case <-time.After(patience):
		m.t.Fatalf("%s is not ready", m.config.Node)
	}
}

func TestMembersJoinAndKnowTheOthersWhenReady(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	a := c.start("a")
	a.awaitReady()
	if got := names(a.Alive()); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("the first one sees %v", got)
	}
	b := c.start("b")
	a.sees("a", "b")
	b.sees("a", "b")
	last := c.start("c")
	last.awaitReady()
	if got := names(last.Alive()); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Fatalf("ready, but sees %v: it would announce what others do", got)
	}
	a.sees("a", "b", "c")
	b.sees("a", "b", "c")
}

func TestAKilledMemberIsNoticed(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	a, b, last := c.start("a"), c.start("b"), c.start("c")
	a.sees("a", "b", "c")
	b.sees("a", "b", "c")
	last.sees("a", "b", "c")
	if err := last.stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("noticed after %s and %s", a.sees("a", "b"), b.sees("a", "b"))

	again := c.start("c") // as after a reboot
	again.sees("a", "b", "c")
	a.sees("a", "b", "c")
	b.sees("a", "b", "c")
}

func TestLeaveIsNoticedAtOnceAndGoesOnAnswering(t *testing.T) {
	c := newCluster(t, "a", "b")
	a, b := c.start("a"), c.start("b")
	a.sees("a", "b")
	b.sees("a", "b")
	began := time.Now()
	if err := b.Leave(patience); err != nil {
		t.Fatal(err)
	}
	a.sees("a")
	if took := time.Since(began); took > 700*time.Millisecond { // below what a killed one takes
		t.Errorf("noticed after %s, as late as a crash", took)
	}
	// a asks b to join again, as it asks every node that is not alive: b stays gone.
	time.Sleep(rejoinInterval + 200*time.Millisecond)
	if !slices.Equal(names(a.Alive()), []string{"a"}) {
		t.Errorf("the one that left is back: %v", a.Alive())
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if err := c.start("b").stop(); err != nil { // a restart at once
		t.Fatal(err)
	}
	c.start("b").sees("a", "b")
	a.sees("a", "b")
}

func TestLeaveWhereRunDoesNotRun(t *testing.T) {
	c := newCluster(t, "a", "b")
	b := c.start("b")
	a := c.start("a")
	a.sees("a", "b")
	b.sees("a", "b")
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	if err := a.Leave(patience); err != nil { // the library would panic
		t.Errorf("after its end: %v", err)
	}
	if err := New(b.config).Leave(patience); err != nil {
		t.Errorf("before its start: %v", err)
	}
}

func TestAWrongKeyIsRefused(t *testing.T) {
	c := newCluster(t, "a", "b", "stranger")
	a := c.start("a")
	stranger := c.start("stranger", func(m *Members) { m.config.Key = bytes.Repeat([]byte{2}, KeySize) })
	stranger.awaitReady()
	b := c.start("b") // it asks both
	a.sees("a", "b")
	b.sees("a", "b")
	if got := names(stranger.Alive()); !slices.Equal(got, []string{"stranger"}) {
		t.Errorf("the stranger sees %v", got)
	}
}

func TestTwoHalvesThatLostEachOtherJoinAgain(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	var cut atomic.Bool
	half := map[string]bool{"a": true, "b": true}
	split := func(m *Members) {
		m.open = func(at netip.AddrPort, log *slog.Logger) (memberlist.NodeAwareTransport, error) {
			t, err := newTransport(at, log)
			return &cutTransport{t, func(to string) bool {
				for node, address := range c.peers {
					if strings.HasPrefix(to, address.String()+":") {
						return cut.Load() && half[node] != half[m.config.Node]
					}
				}
				return false
			}}, err
		}
	}
	a := c.start("a", split)
	a.awaitReady()
	b := c.start("b", split)
	b.awaitReady()
	last := c.start("c", split)
	everyone := func() {
		t.Helper()
		for _, m := range []*member{a, b, last} {
			m.sees("a", "b", "c")
		}
	}
	everyone()
	cut.Store(true)
	a.sees("a", "b")
	b.sees("a", "b")
	last.sees("c")
	cut.Store(false)
	everyone()
}

// cutTransport loses what is sent to some addresses.
type cutTransport struct {
	memberlist.NodeAwareTransport
	lost func(to string) bool
}

func (c *cutTransport) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	if c.lost(to.Addr) {
		return time.Now(), nil
	}
	return c.NodeAwareTransport.WriteToAddress(b, to)
}

func (c *cutTransport) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if c.lost(to.Addr) {
		return nil, errors.New("cut")
	}
	return c.NodeAwareTransport.DialAddressTimeout(to, timeout)
}

// TestDeadPeersHoldUpNobody: nodes without power neither answer nor refuse; a listener that never answers stands in.
func TestDeadPeersHoldUpNobody(t *testing.T) {
	dead := []string{"d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"}
	c := newCluster(t, append(dead, "a", "b")...)
	for _, node := range dead {
		l, err := net.Listen("tcp", netip.AddrPortFrom(c.peers[node], c.port).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	a := c.start("a")
	began := time.Now()
	a.awaitReady()
	if took := time.Since(began); took > 5*tcpTimeout {
		t.Errorf("ready after %s: the dead ones were asked one after the other", took)
	}
	b := c.start("b")
	a.sees("a", "b")
	b.sees("a", "b")
	began = time.Now()
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*tcpTimeout {
		t.Errorf("ended after %s", took)
	}
}

func TestRunSaysWhyItCannotStart(t *testing.T) {
	c := newCluster(t, "a")
	l, err := net.Listen("tcp", netip.AddrPortFrom(c.peers["a"], c.port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	m := c.start("a")
	done := make(chan error, 1)
	go func() { done <- m.stop() }()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(patience):
		t.Error("Run does not end")
	}
}

// TestRunLeavesNoGoroutineBehind is not parallel: it looks at all goroutines.
func TestRunLeavesNoGoroutineBehind(t *testing.T) {
	t.Run("", func(t *testing.T) {
		c := newCluster(t, "a", "b")
		a, b := c.start("a"), c.start("b")
		a.sees("a", "b")
		b.sees("a", "b")
		_ = b.Leave(time.Second)
		_, _ = a.stop(), b.stop()
	})
	stacks := make([]byte, 1<<20)
	late := time.Now().Add(patience)
	for {
		left := 0
		for _, stack := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(stack, "/speaker/members.") && !strings.Contains(stack, "testing.") {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%d goroutines are left:\n%s", left, stacks)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestFactsReachTheOthers(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	before := plan.Facts{Started: time.UnixMilli(1_700_000_000_123), Links: 7, CameUp: time.UnixMilli(1_700_000_900_123), Settling: time.Minute}
	a := c.start("a", func(m *Members) { m.Publish(before) })
	b := c.start("b")
	a.sees("a", "b")
	b.knows("a", before)
	after := before
	after.Settled, after.Links = true, 8
	a.Publish(after)
	if self := a.Alive()[0]; self.Facts != after {
		t.Errorf("a itself does not know at once what it published: %+v", self)
	}
	b.knows("a", after)
	a.knows("a", after)
	third := c.start("c") // that comes later
	third.knows("a", after)
}

// knows waits until the member sees another one say this of itself.
func (m *member) knows(node string, want plan.Facts) {
	m.t.Helper()
	late := time.After(patience)
	for {
		i := slices.IndexFunc(m.Alive(), func(x plan.Member) bool { return x.Node == node })
		if i >= 0 && m.Alive()[i].Facts == want {
			return
		}
		select {
		case <-m.changed:
		case <-late:
			m.t.Fatalf("%s sees %+v, want %+v of %s", m.config.Node, m.Alive(), want, node)
		}
	}
}

func TestFactsEncoding(t *testing.T) {
	old := plan.Facts{Settled: true, Started: time.UnixMilli(1_700_000_000_123), Links: 1 << 63}
	f := old
	f.CameUp, f.Settling = time.UnixMilli(1_700_000_900_123), time.Minute
	if got := decodeFacts(encodeFacts(f)); got != f {
		t.Errorf("%+v comes back as %+v", f, got)
	}
	later := append(encodeFacts(f), 9)
	later[0]++
	if got := decodeFacts(later); got != f {
		t.Errorf("a later version comes back as %+v", got)
	}
	if n := len(encodeFacts(f)); n > memberlist.MetaMaxSize {
		t.Errorf("%d bytes, of which others hear %d", n, memberlist.MetaMaxSize)
	}
	for n := range factsSize {
		want := plan.Facts{}
		if n >= facts1Size { // what version 1 says
			want = old
		}
		if got := decodeFacts(encodeFacts(f)[:n]); got != want {
			t.Errorf("%d bytes come back as %+v", n, got)
		}
	}
}

func TestAMessageReachesOneMember(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	heard := make(chan string, 10)
	as := func(node string) func(*Members) {
		return func(m *Members) { m.config.Heard = func(b []byte) { heard <- node + " hears " + string(b) } }
	}
	a := c.start("a", as("a"))
	c.start("b", as("b"))
	c.start("c") // takes no messages
	a.sees("a", "b", "c")
	if err := errors.Join(a.Tell("b", []byte("hello")), a.Tell("c", []byte("hello"))); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-heard:
		if got != "b hears hello" {
			t.Error(got)
		}
	case <-time.After(patience):
		t.Error("the message was not heard")
	}
	if a.Tell("d", nil) == nil {
		t.Error("told a member that is not there")
	}
}

// TestConfirm: another member has to answer, if there is one.
func TestConfirm(t *testing.T) {
	c := newCluster(t, "a", "b")
	if err := New(Config{}).Confirm(t.Context()); err == nil {
		t.Error("confirmed without running")
	}
	a := c.start("a")
	a.awaitReady()
	if err := a.Confirm(t.Context()); err != nil {
		t.Errorf("alone: %v", err)
	}
	b := c.start("b")
	a.sees("a", "b")
	if err := a.Confirm(t.Context()); err != nil {
		t.Errorf("with another one: %v", err)
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if err := a.Confirm(t.Context()); err == nil && len(a.Alive()) > 1 {
		t.Error("confirmed by nobody, before the other one's death was noticed")
	}
	a.sees("a")
	if err := a.Confirm(t.Context()); err != nil {
		t.Errorf("alone again: %v", err)
	}
}
