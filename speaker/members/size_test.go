package members

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	simulatedPort = 7947
	startWithin   = 10 * time.Second // in which all members of a simulation start
	lookEvery     = 5 * time.Millisecond
	bearable      = 0.05 // the loss of packets at which nobody who lives is taken for dead
)

// trial is what a membership of some size goes through.
type trial struct {
	members int
	quiet   time.Duration // of the rest, and with each loss
	deaths  int           // one after the other
	rack    int           // members that die at once
	losses  []float64     // shares of the packets
}

// TestSize: memberships of some sizes keep what the docs promise.
func TestSize(t *testing.T) {
	for _, x := range []trial{
		{members: 3, quiet: 10 * time.Minute, deaths: 5, losses: []float64{bearable}},
		{members: 100, quiet: 5 * time.Second, deaths: 1, rack: 4, losses: []float64{bearable}},
	} {
		t.Run(fmt.Sprint(x.members), x.run)
	}
}

// run simulates the product's membership, with the real library and its encryption, over a network in memory and in virtual
// time: the clock goes on when everybody waits, so that no member waits for a processor.
func (x trial) run(t *testing.T) { synctest.Test(t, x.simulate) }

func (x trial) simulate(t *testing.T) {
	before := memory()
	s := newSimulation(t, x.members)
	defer s.stop()
	began := time.Now()
	for _, node := range slices.Sorted(maps.Keys(s.peers)) {
		s.run(node)
		time.Sleep(startWithin / time.Duration(x.members))
	}
	s.agree(patience)
	t.Logf("%d members that start within %v see each other after %v, with %d connections", x.members, startWithin, time.Since(began), s.net.dialed.Load())
	s.calm()
	t.Logf("memory per member: %d KiB", (memory()-before)/int64(x.members)>>10)

	packets, bytes, streamed, used := s.net.packets.Load(), s.net.bytes.Load(), s.net.streamed.Load(), processor()
	s.watch(x.quiet, 0)
	per := float64(x.members) * x.quiet.Seconds()
	t.Logf("at rest, per member and second: %.1f packets with %.0f bytes, %.0f bytes by TCP, %.0f µs of a core",
		float64(s.net.packets.Load()-packets)/per, float64(s.net.bytes.Load()-bytes)/per, float64(s.net.streamed.Load()-streamed)/per,
		float64((processor()-used).Microseconds())/per)

	var first, last []time.Duration
	for i := range x.deaths {
		soonest, latest := s.die(known(x.members), s.names[(i+1)*x.members/(x.deaths+1)])
		first, last = append(first, soonest), append(last, latest)
	}
	slices.Sort(first)
	slices.Sort(last)
	t.Logf("of %d deaths, the median one is known to the first after %v and to all after %v, the worst after %v and %v",
		x.deaths, first[x.deaths/2], last[x.deaths/2], first[x.deaths-1], last[x.deaths-1])
	if x.rack > 0 {
		soonest, latest := s.die(known(x.members), s.names[:x.rack]...)
		t.Logf("%d deaths at once are known to the first after %v, to all after %v", x.rack, soonest, latest)
	}
	for _, loss := range x.losses {
		s.watch(x.quiet, loss)
	}
}

// TestFewAreAskedToJoin: each answers with all that it knows, so that a few are enough where all live.
func TestFewAreAskedToJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, 12)
		defer s.stop()
		for _, node := range s.names[:11] {
			s.run(node)
			s.running[node].awaitReady()
		}
		s.agree(patience)
		before := s.net.dialed.Load()
		s.run(s.names[11])
		s.running[s.names[11]].awaitReady()
		if got := names(s.running[s.names[11]].Alive()); !slices.Equal(got, s.names) {
			t.Fatalf("ready, but sees %v", got)
		}
		if n := s.net.dialed.Load() - before; n != askedFirst {
			t.Errorf("%d connections were opened, want %d", n, askedFirst)
		}
	})
}

// known is within what time all members of so many know a death. A suspicion grows with the size. Before it comes the first
// probe of the dead one, for which there is one in an interval on average, so that one in 400 deaths waits for longer than
// six; after it the word has to reach all.
func known(members int) time.Duration {
	suspicion := time.Duration(float64(suspicionMult*probeInterval) * max(1, math.Log10(float64(members))))
	return 6*probeInterval + probeInterval + suspicion + 500*time.Millisecond
}

// simulation is a membership on a network in memory.
type simulation struct {
	*cluster
	names   []string
	net     *network
	running map[string]*member

	mu      sync.Mutex
	started map[string]netip.Addr // those of the peers that ran once
	went    map[string]int        // how many members said of one that it went
}

func newSimulation(t *testing.T, members int) *simulation {
	s := &simulation{
		cluster: &cluster{t: t, port: simulatedPort, peers: map[string]netip.Addr{}}, net: newNetwork(), running: map[string]*member{},
		started: map[string]netip.Addr{}, went: map[string]int{},
	}
	for i := range members {
		node := fmt.Sprintf("node-%04d", i)
		s.names = append(s.names, node)
		s.peers[node] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	}
	return s
}

func (s *simulation) run(node string) {
	s.mu.Lock()
	s.started[node] = s.peers[node]
	s.mu.Unlock()
	s.running[node] = s.start(node, func(m *Members) {
		m.open, m.config.Log, m.config.Peers = s.net.open, slog.New(obituaries{s}), s.published
	})
}

// published returns the addresses of the members that started so far, which have published them.
func (s *simulation) published() map[string]netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.started)
}

// die cuts members off, all at once, and lets them come back when all others know. It returns when the first and the last
// of the others knew of all of them.
func (s *simulation) die(within time.Duration, nodes ...string) (first, last time.Duration) {
	s.t.Helper()
	s.forget()
	for _, node := range nodes {
		_ = s.net.wire(s.running[node].endpoint(s.peers[node])).Shutdown()
		go s.running[node].stop()
		delete(s.running, node)
	}
	first, last = s.agree(within)
	for _, node := range nodes {
		if n := s.said(node); n != len(s.running) {
			s.t.Errorf("%d of %d said that %s went", n, len(s.running), node)
		}
	}
	for _, node := range nodes {
		s.run(node)
	}
	s.agree(patience)
	s.calm()
	return first, last
}

// watch waits, while some of the packets get lost, and counts who is taken for dead, since all live.
func (s *simulation) watch(how time.Duration, loss float64) {
	s.t.Helper()
	s.forget()
	s.net.lose(loss)
	time.Sleep(how)
	s.net.lose(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Logf("with %.0f %% of the packets lost, %d of %d members that live were taken for dead in %v, by %d others all in all",
		100*loss, len(s.went), len(s.running), how, sum(s.went))
	if loss <= bearable && len(s.went) > 0 {
		s.t.Errorf("taken for dead by so many: %v", s.went)
	}
}

func sum(counts map[string]int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

// calm waits until what all know is told no more: what is sent then is probes and their answers. Among a thousand that
// takes more than a minute after they have started.
func (s *simulation) calm() {
	s.t.Helper()
	const over, limit = 2 * time.Second, 10 * time.Minute
	most := 1.02 * 2 * float64(len(s.running)) * float64(over/probeInterval)
	for began := time.Now(); time.Since(began) < limit; {
		before := s.net.packets.Load()
		time.Sleep(over)
		if float64(s.net.packets.Load()-before) <= most {
			return
		}
	}
	s.t.Fatalf("members send more than probes after %v", limit)
}

// forget starts counting anew.
func (s *simulation) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.went)
}

// said is how many said that one went.
func (s *simulation) said(node string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.went[node]
}

// agree waits until those that run see just each other, and returns when the first and the last did.
func (s *simulation) agree(within time.Duration) (first, last time.Duration) {
	s.t.Helper()
	want := slices.Sorted(maps.Keys(s.running))
	began := time.Now()
	waiting := maps.Clone(s.running)
	for {
		for node, m := range waiting {
			if alive := *m.alive.Load(); len(alive) == len(want) && slices.Equal(names(alive), want) {
				delete(waiting, node)
			}
		}
		took := time.Since(began)
		if first == 0 && len(waiting) < len(want) {
			first = took
		}
		if len(waiting) == 0 {
			return first, took
		}
		if took > within {
			for node, m := range waiting {
				seen := names(*m.alive.Load())
				s.t.Logf("%s misses %v, and sees %v, which are dead", node, without(want, seen), without(seen, want))
			}
			s.t.Fatalf("after %v, %d of %d do not see just those that live", took, len(waiting), len(want))
		}
		time.Sleep(lookEvery)
	}
}

// without returns those of a sorted list that are not in another one.
func without(these, those []string) (out []string) {
	for _, x := range these {
		if _, found := slices.BinarySearch(those, x); !found {
			out = append(out, x)
		}
	}
	return out
}

// stop ends all members, and what the library still does for them.
func (s *simulation) stop() {
	var g errgroup.Group
	for _, m := range s.running {
		g.Go(m.stop)
	}
	if err := g.Wait(); err != nil {
		s.t.Error(err)
	}
	time.Sleep(patience)
}

// obituaries counts what members log of others that went, which is what a user reads.
type obituaries struct{ s *simulation }

// Enabled says that debugging is not of interest.
func (obituaries) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// Handle counts.
func (o obituaries) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "a speaker went" {
		return nil
	}
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "node" {
			o.s.went[a.Value.String()]++
		}
		return true
	})
	return nil
}

// WithAttrs is not used.
func (o obituaries) WithAttrs([]slog.Attr) slog.Handler { return o }

// WithGroup is not used.
func (o obituaries) WithGroup(string) slog.Handler { return o }

// memory is what the process uses, without what is free.
func memory() int64 {
	runtime.GC()
	runtime.GC() // what pools keep is free after the second one
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
