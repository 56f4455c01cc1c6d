//go:build e2e

package stories

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

const watchedAddress = "172.25.254.50"

// watched is an address whose pods are on other nodes than its owner, so that nothing but the announcement is lost with
// that node.
type watched struct {
	*story
	address netip.Addr
	owner   int // the node that announces it at first
}

// watch makes such an address.
func (s *story) watch(name string) *watched {
	s.Helper()
	pods := []*cluster.Pod{s.pod(0, name), s.pod(1, name), s.pod(2, name)}
	s.apply(pool("first-pool", watchedAddress+"-172.25.254.99") + service(name, ""))
	s.hasAddresses(name, watchedAddress)
	w := &watched{s, netip.MustParseAddr(watchedAddress), nodeIndex(s.announcer(watchedAddress))}
	s.must(lab.SetPodReady(s.ctx, pods[w.owner], false))
	s.eventually("the other nodes' pods answer, and no other", func() error {
		probe := w.probe()
		time.Sleep(400 * time.Millisecond)
		report := probe.Stop()
		if report.Answered < 10 || report.By[pods[w.owner].Name] > 0 {
			return errors.Join(errors.New("not yet"), report.LastError)
		}
		return nil
	})
	return w
}

// probe asks at the address every 20 ms until it is stopped.
func (w *watched) probe() *cluster.Probe {
	return lab.Outside().Probe(cluster.URL(w.address, 8080), 20*time.Millisecond, 200*time.Millisecond)
}

// elsewhere waits until exactly one node answers for the address that is not the one named.
func (w *watched) elsewhere(node int) int {
	w.Helper()
	var at int
	w.eventually("another node announces the address", func() error {
		who := w.whoHas(watchedAddress)
		if len(who) != 1 || lab.HostOf(who[0]) == lab.Node(node) {
			return errors.New("not yet")
		}
		at = nodeIndex(lab.HostOf(who[0]))
		return nil
	})
	return at
}

// die cuts a node's link and kills its speaker.
func (w *watched) die(node int) {
	w.Helper()
	w.must(errors.Join(lab.Cut(w.ctx, node), lab.speakers[node].Kill()))
}

// revive gives a node its link back and starts its speaker.
func (s *story) revive(node int, args ...string) {
	s.Helper()
	s.eventually("the link is back", func() error { return lab.Heal(s.ctx, node) })
	s.eventually("the node reaches the API server", func() error {
		conn, err := lab.Node(node).Dial(s.ctx, "tcp", strings.TrimPrefix(lab.RESTConfig().Host, "https://"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	p, err := lab.StartSpeaker(context.Background(), node, args...)
	s.must(err)
	lab.speakers[node] = p
	s.must(lab.WaitReady(context.Background(), p))
}

// settle starts all speakers anew, with that long until each is settled, and waits until they are.
func (s *story) settle(after time.Duration) {
	s.Helper()
	restart := func(args ...string) {
		for i, p := range lab.speakers {
			s.must(p.Kill())
			s.revive(i, args...)
		}
	}
	s.Cleanup(func() { restart() })
	restart("--failback-after=" + after.String())
	time.Sleep(after + time.Second)
}

// A node that dies as soon as it has its addresses back is no other death than the first one.
func TestNewcomerThatDiesIsReplaced(t *testing.T) {
	s := begin(t)
	s.settle(2 * time.Second)
	w := s.watch("newcomer")
	w.die(w.owner)
	w.elsewhere(w.owner)
	s.revive(w.owner, "--failback-after=2s")
	s.eventually("the address is back", func() error {
		if who := s.whoHas(watchedAddress); len(who) != 1 || lab.HostOf(who[0]) != lab.Node(w.owner) {
			return errors.New("not yet")
		}
		return nil
	})
	probe := w.probe()
	time.Sleep(200 * time.Millisecond)
	w.die(w.owner)
	w.elsewhere(w.owner)
	time.Sleep(time.Second)
	report := probe.Stop()
	t.Logf("longest gap %s", report.Gap)
	if report.Gap > 1500*time.Millisecond {
		t.Errorf("a client was without an answer for %s, want 1.5 s at most", report.Gap)
	}
}

// stays looks for that long whether exactly the node answers for the address.
func (w *watched) stays(node int, during time.Duration) {
	w.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); {
		who, err := lab.Outside().WhoHas(w.ctx, w.address, 100*time.Millisecond)
		w.must(err)
		if len(who) != 1 || lab.HostOf(who[0]) != lab.Node(node) {
			w.Fatalf("%v answers for the address, want %s alone", who, lab.Node(node).Name)
		}
	}
}

// A speaker that does not run for 800 ms keeps its addresses; one that does not for long loses them, and is silent when it
// wakes, since the others have them.
func TestPausedSpeaker(t *testing.T) {
	s := begin(t)
	s.settle(6 * time.Second) // a pause makes a newcomer of it
	w := s.watch("paused")
	owner := lab.speakers[w.owner]
	t.Cleanup(func() { _ = owner.Signal(unix.SIGCONT) })
	for range 3 {
		s.must(owner.Signal(unix.SIGSTOP))
		time.Sleep(800 * time.Millisecond)
		s.must(owner.Signal(unix.SIGCONT))
		w.stays(w.owner, 2*time.Second)
	}
	s.must(owner.Signal(unix.SIGSTOP))
	successor := w.elsewhere(w.owner)
	time.Sleep(time.Second)
	s.must(owner.Signal(unix.SIGCONT))
	w.stays(successor, 2*time.Second)
}

// Every node loses a fifth of what the speakers send each other, in both directions, and nothing moves.
func TestPacketLossMovesNothing(t *testing.T) {
	s := begin(t)
	w := s.watch("loss")
	for _, n := range lab.Nodes() {
		_, err := n.Run(s.ctx, "nft", "add table inet loss; add chain inet loss in { type filter hook input priority 0; }; "+
			"add rule inet loss in meta l4proto udp udp dport { 7944, 7947 } numgen random mod 100 < 20 drop")
		s.must(err)
		t.Cleanup(func() {
			_, err := n.Run(context.Background(), "nft", "delete table inet loss")
			s.must(err)
		})
	}
	w.stays(w.owner, 15*time.Second)
}
