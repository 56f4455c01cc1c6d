//go:build linux && (netns || vm || bench || soak)

package bfd

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

// limit is how long the tests wait for what takes a second or two.
const limit = 20 * time.Second

// node is a namespace with a Monitor that runs in it.
type node struct {
	*Monitor
	t    testing.TB
	ns   *netnstest.NS
	stop func() // ends Run, without a word to the neighbors
}

// newNode starts a Monitor in ns.
func newNode(t testing.TB, ns *netnstest.NS) *node {
	t.Helper()
	n := &node{t: t, ns: ns, Monitor: New(Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go ns.Do(func() { ended <- n.Run(ctx) })
	n.stop = func() {
		cancel()
		select {
		case <-n.stopped:
		case <-time.After(limit):
			t.Error("Run does not end")
		}
	}
	t.Cleanup(func() {
		n.stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return n
}

// apply makes want the wanted set.
func (n *node) apply(want ...Session) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := n.Apply(ctx, want); err != nil {
		n.t.Fatal(err)
	}
}

// await waits until a session's state is as it should be, and returns it.
func (n *node) await(p Path, what string, is func(State) bool) State {
	n.t.Helper()
	var s State
	netnstest.Eventually(n.t, limit, func() error {
		if s = n.States()[p]; !is(s) {
			return fmt.Errorf("%s is not %s: %+v", p, what, s)
		}
		return nil
	})
	return s
}

func (n *node) awaitUp(p Path) State {
	n.t.Helper()
	return n.await(p, "Up", func(s State) bool { return s.Local == Up && s.Remote == Up })
}

// pair makes two namespaces joined by a veth, wire in both, with the addresses .1/::1 and .2/::2.
func pair(t testing.TB) (a, b *netnstest.NS) {
	t.Helper()
	a, b = netnstest.New(t), netnstest.New(t)
	netnstest.Veth(t, a, "wire", b, "wire")
	for i, ns := range []*netnstest.NS{a, b} {
		ns.Lines(t, fmt.Sprintf(`
			ip addr add 192.0.2.%d/24 dev wire
			ip addr add fd00::%d/64 dev wire nodad`, i+1, i+1))
	}
	return a, b
}

func at(s string) netip.Addr { return netip.MustParseAddr(s) }

// parameters are those of the tests: 100 ms x 3 both ways.
func parameters() Parameters {
	return Parameters{DesiredMinTx: 100 * time.Millisecond, RequiredMinRx: 100 * time.Millisecond, DetectMultiplier: 3}
}

// to returns a session to a peer.
func to(peer string) Session {
	return Session{Path{Peer: at(peer)}, parameters()}
}
