//go:build linux

package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const wait = 10 * time.Second // for what takes milliseconds

// fakePeer is a neighbor on the loopback interface that says what a test makes it say.
type fakePeer struct {
	t testing.TB
	l net.Listener
}

// fakeConn is one connection to it.
type fakeConn struct {
	net.Conn
	t testing.TB
}

func newFakePeer(t testing.TB) *fakePeer {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &fakePeer{t, l}
}

// session is a session with the fake peer.
func (p *fakePeer) session(change ...func(*plan.Session)) plan.Session {
	a := p.l.Addr().(*net.TCPAddr).AddrPort()
	s := plan.Session{
		Peer: "fake", Address: a.Addr(), Port: a.Port(), MyASN: 65001, PeerASN: 65002, ConnectTime: time.Second,
		HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, IPv4: true, IPv6: true,
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

// accept waits for a connection and reads the OPEN.
func (p *fakePeer) accept() (*fakeConn, message) {
	p.t.Helper()
	_ = p.l.(*net.TCPListener).SetDeadline(time.Now().Add(wait))
	c, err := p.l.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	f := &fakeConn{c, p.t}
	m := f.next()
	if m.kind() != typeOpen {
		p.t.Fatalf("the first message has type %d", m.kind())
	}
	return f, m
}

// fakeOpen is what the fake peer says of itself.
func fakeOpen() open {
	return open{asn: 65002, id: netip.MustParseAddr("10.0.0.2"), ipv4: true, ipv6: true, refresh: true, fourOctetASN: true}
}

// establish accepts a connection and brings the session up.
func (p *fakePeer) establish() *fakeConn {
	p.t.Helper()
	c, _ := p.accept()
	c.say(fakeOpen().forEngine(90), newMessage(typeKeepalive))
	if m := c.next(); m.kind() != typeKeepalive {
		p.t.Fatalf("a message of type %d answers the OPEN", m.kind())
	}
	return c
}

// next reads a message.
func (c *fakeConn) next() message {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(wait))
	m, err := readMessage(c, make([]byte, maxLength))
	if err != nil {
		c.t.Fatalf("reading a message: %v", err)
	}
	return m
}

// nextOf reads messages until one of a type comes.
func (c *fakeConn) nextOf(kind byte) message {
	c.t.Helper()
	for {
		if m := c.next(); m.kind() == kind {
			return m
		}
	}
}

func (c *fakeConn) say(list ...message) {
	c.t.Helper()
	for _, m := range list {
		if _, err := c.Write(m); err != nil {
			c.t.Fatalf("writing a message: %v", err)
		}
	}
}

// running is a Speaker that runs until the test ends.
type running struct {
	*Speaker
	t    testing.TB
	stop func()
}

func run(t testing.TB, change ...func(*Config)) *running {
	cfg := Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Node: "node"}
	for _, c := range change {
		c(&cfg)
	}
	s := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	r := &running{s, t, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		ended <- nil
	}}
	t.Cleanup(r.stop)
	return r
}

func (r *running) apply(sessions []plan.Session, routes ...plan.Route) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*wait)
	defer cancel()
	if err := r.Apply(ctx, Want{Sessions: sessions, Routes: routes}); err != nil {
		r.t.Fatal(err)
	}
}

// await waits until the state of the fake peer's session passes a check; every change has to be told.
func (r *running) await(check func(SessionState) error) SessionState {
	r.t.Helper()
	deadline := time.After(wait)
	for {
		now := r.Sessions()[0]
		err := check(now)
		if err == nil {
			return now
		}
		select {
		case <-r.Changed():
		case <-deadline:
			r.t.Fatalf("still %v; state is %+v", err, now)
		}
	}
}

func (r *running) awaitState(want State) SessionState {
	r.t.Helper()
	return r.await(func(s SessionState) error {
		if s.State != want {
			return fmt.Errorf("the state is %s, want %s", s.State, want)
		}
		return nil
	})
}

func (r *running) awaitError(text string) SessionState {
	r.t.Helper()
	return r.await(func(s SessionState) error {
		if !strings.Contains(s.LastError, text) {
			return fmt.Errorf("the last error is %q, want %q", s.LastError, text)
		}
		return nil
	})
}
