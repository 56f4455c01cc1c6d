//go:build linux

package bgp

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// A relay that is ended while it begins to listen to a neighbor ends all the same, whatever comes first, and does not wait
// until the neighbor has had its time to open.
func TestRelayEndsWhileItBegins(t *testing.T) {
	var work sync.WaitGroup
	for range 100 {
		outer, neighbor := connected(t)
		inner, engine := net.Pipe()
		t.Cleanup(func() { _, _ = neighbor.Close(), engine.Close() })
		ctx, cancel := context.WithCancelCause(context.Background())
		work.Go(func() {
			r := &relay{want: plan.Session{HoldTime: time.Minute}, outer: outer, inner: inner, hello: fakeOpen().forEngine(90), counters: &counters{}}
			ended := make(chan error, 1)
			go func() { ended <- r.run(ctx) }()
			cancel(ending{why: "the session is no longer wanted", code: cease, subcode: ceaseDeconfigured})
			select {
			case <-ended:
			case <-time.After(10 * farewell):
				t.Error("the relay still runs")
			}
		})
	}
	work.Wait()
}

// connected returns both ends of a connection.
func connected(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err == nil {
		b, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}
