//go:build linux

package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/bfd"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// world is all that a Guard depends on.
type world struct {
	t       *testing.T
	changed chan struct{} // of the Monitor

	mu      sync.Mutex
	states  map[bfd.Path]bfd.State
	held    []bfd.Session
	told    map[string]bool // "to: of is missed", "to: of is heard"
	asked   []string        // "address on link n times"
	answers map[string]bool // what comes of asking on a link, by its name
	broken  map[string]bool // links on which nobody can be asked
	frames  uint64          // received so far on each link
	more    uint64          // received on it while a node is asked
}

func (w *world) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (w *world) Apply(_ context.Context, all []bfd.Session) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = all
	return nil
}

func (w *world) States() map[bfd.Path]bfd.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.states)
}

func (w *world) Changed() <-chan struct{} { return w.changed }

func (w *world) ask(_ context.Context, l plan.Link, address netip.Addr, times int, every time.Duration) (bool, error) {
	time.Sleep(time.Duration(times) * every)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, fmt.Sprintf("%s on %s %d times", address, l.Name, times))
	w.frames += w.more
	if w.broken[l.Name] {
		return false, errors.New("broken")
	}
	return w.answers[l.Name], nil
}

func (w *world) received(plan.Link) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.frames, nil
}

func (w *world) tell(node string, message []byte) error {
	from, of, misses, ok := decode(message)
	if !ok || from != "self" {
		w.t.Errorf("%q is told %q", node, message)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[fmt.Sprintf("%s: %s is %s", node, of, map[bool]string{true: "missed", false: "heard"}[misses])] = true
	return errors.New("it gets lost") // which holds up nothing
}

const port = 7944

// becomes sets the state of the session with an address.
func (w *world) becomes(address string, s bfd.State) {
	s.Since = time.Now()
	w.mu.Lock()
	w.states[bfd.Path{Peer: netip.MustParseAddr(address), Local: netip.MustParseAddr("192.0.2.1"), Port: port}] = s
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
	synctest.Wait()
}

func up() bfd.State   { return bfd.State{Local: bfd.Up, RemoteDiscriminator: 1} }
func gone() bfd.State { return bfd.State{Local: bfd.Down, Diagnostic: bfd.DetectionExpired} }

// owner and mate are companions; their links are where the owner can be asked.
func owner(links ...string) plan.Companion {
	c := plan.Companion{Node: "owner", Address: netip.MustParseAddr("192.0.2.3"), Watched: true, Mates: []string{"mate"}}
	for i, name := range links {
		c.Links = append(c.Links, plan.Link{Index: i + 1, Name: name})
	}
	return c
}

func mate() plan.Companion {
	return plan.Companion{Node: "mate", Address: netip.MustParseAddr("192.0.2.2")}
}

// guard runs a Guard of those companions in a bubble of time.
func guard(t *testing.T, all []plan.Companion, fn func(*world, *Guard)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, changed: make(chan struct{}, 1), states: map[bfd.Path]bfd.State{}, told: map[string]bool{}, answers: map[string]bool{}, broken: map[string]bool{}}
		g := New(Config{
			Log: slog.New(slog.DiscardHandler), Node: "self", Address: netip.MustParseAddr("192.0.2.1"), Port: port, Monitor: w,
			Ask: w.ask, Frames: w.received, Tell: w.tell,
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.Run(ctx) }()
		if err := g.Apply(ctx, all); err != nil {
			t.Fatal(err)
		}
		fn(w, g)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		if err := g.Apply(context.Background(), nil); !errors.Is(err, errStopped) {
			t.Errorf("Apply after the end returned %v", err)
		}
	})
}

// TestAnOwnerIsLostAndComesBack: it is asked on each of its links, the other candidate is told, and only when that one says
// that it misses it too, it is lost, which Changed tells.
func TestAnOwnerIsLostAndComesBack(t *testing.T) {
	guard(t, []plan.Companion{mate(), owner("eth0", "eth1")}, func(w *world, g *Guard) {
		w.becomes("192.0.2.2", up())
		w.becomes("192.0.2.3", up())
		if got := slices.Sorted(maps.Keys(g.Hears())); !slices.Equal(got, []string{"mate", "owner"}) {
			t.Errorf("hears %q", got)
		}
		<-g.Changed()
		w.becomes("192.0.2.3", gone())
		if got := slices.Sorted(maps.Keys(g.Hears())); !slices.Equal(got, []string{"mate"}) {
			t.Errorf("hears %q when the owner is gone", got)
		}
		<-g.Changed()
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if len(g.Lost()) != 0 {
			t.Fatalf("lost before the other candidate said so: %v", g.Lost())
		}
		slices.Sort(w.asked)
		if want := []string{"192.0.2.3 on eth0 5 times", "192.0.2.3 on eth1 5 times"}; !slices.Equal(w.asked, want) {
			t.Errorf("asked %q, want %q", w.asked, want)
		}
		if !w.told["mate: owner is missed"] {
			t.Errorf("told: %v", w.told)
		}
		message := encode("mate", word{of: "owner", misses: true})
		g.Heard(message)
		clear(message) // it belongs to the caller
		synctest.Wait()
		select {
		case <-g.Changed():
		default:
			t.Error("nothing is said to have changed")
		}
		if !maps.Equal(g.Lost(), map[string]bool{"owner": true}) {
			t.Fatalf("lost: %v", g.Lost())
		}
		w.becomes("192.0.2.3", up())
		if len(g.Lost()) != 0 || !w.told["mate: owner is heard"] {
			t.Errorf("it is back, but lost are %v, told %v", g.Lost(), w.told)
		}
	})
}

// TestWhatAskingComesTo: a link that answers, or on which nobody can be asked, keeps a node that is missed; where there is
// no other candidate, so does that nothing else was received meanwhile.
func TestWhatAskingComesTo(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*world)
		lost bool
	}{
		"silence, and others are heard":   {func(w *world) { w.more = 1 }, true},
		"silence, and nobody is heard":    {func(*world) {}, false},
		"an answer on the second link":    {func(w *world) { w.more, w.answers["eth1"] = 1, true }, false},
		"the second link cannot be asked": {func(w *world) { w.more, w.broken["eth1"] = 1, true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := owner("eth0", "eth1")
			o.Mates = nil
			guard(t, []plan.Companion{o}, func(w *world, g *Guard) {
				c.set(w)
				w.becomes("192.0.2.3", up())
				w.becomes("192.0.2.3", gone())
				time.Sleep(time.Minute)
				synctest.Wait()
				if g.Lost()["owner"] != c.lost {
					t.Errorf("lost: %v, want %t", g.Lost(), c.lost)
				}
			})
		})
	}
}

// TestWhatASessionSays: only silence of one that was heard is a sign of death.
func TestWhatASessionSays(t *testing.T) {
	for _, c := range []struct {
		name string
		bfd.State
		want signal
	}{
		{"up", up(), hears},
		{"silent", gone(), missed},
		{"silent, but heard since", bfd.State{Local: bfd.Down, Diagnostic: bfd.DetectionExpired, RemoteDiscriminator: 7}, unheard},
		{"it said that it goes down", bfd.State{Local: bfd.Down, Diagnostic: bfd.NeighborDown, RemoteDiscriminator: 7}, unheard},
		{"new", bfd.State{Local: bfd.Down}, unheard},
		{"half open", bfd.State{Local: bfd.Init, RemoteDiscriminator: 7}, unheard},
	} {
		if got := signalOf(c.State); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestSessions: one with each companion of this node's family, which is missed after three packets in 300 ms, and never more
// than maxSessions; two nodes that are companions of very many tend to choose each other.
func TestSessions(t *testing.T) {
	six := plan.Companion{Node: "six", Address: netip.MustParseAddr("2001:db8::1")}
	guard(t, []plan.Companion{mate(), owner("eth0"), six}, func(w *world, _ *Guard) {
		synctest.Wait()
		var with []string
		for _, s := range w.held {
			with = append(with, fmt.Sprintf("%s-%s:%d", s.Local, s.Peer, s.Port))
			if want := (bfd.Parameters{DesiredMinTx: 100 * time.Millisecond, RequiredMinRx: 100 * time.Millisecond, DetectMultiplier: 3}); s.Parameters != want {
				t.Errorf("%s: %+v", s.Peer, s.Parameters)
			}
		}
		if got, want := strings.Join(with, " "), "192.0.2.1-192.0.2.2:7944 192.0.2.1-192.0.2.3:7944"; got != want {
			t.Errorf("sessions are %s, want %s", got, want)
		}
	})

	const many = 300
	var all []plan.Companion
	for i := range many {
		all = append(all, plan.Companion{Node: fmt.Sprintf("node-%d", i), Address: netip.AddrFrom4([4]byte{192, 0, 2 + byte(i/250), byte(i % 250)})})
	}
	guard(t, all, func(w *world, _ *Guard) {
		synctest.Wait()
		if len(w.held) != maxSessions {
			t.Errorf("%d sessions, want %d", len(w.held), maxSessions)
		}
	})
	chosen := map[[2]string]bool{}
	for _, self := range all {
		for _, c := range closest(self.Node, slices.DeleteFunc(slices.Clone(all), func(c plan.Companion) bool { return c.Node == self.Node })) {
			chosen[[2]string{self.Node, c.Node}] = true
		}
	}
	mutual := 0
	for pair := range chosen {
		if chosen[[2]string{pair[1], pair[0]}] {
			mutual++
		}
	}
	if share := float64(mutual) / float64(len(chosen)); share < 0.8 {
		t.Errorf("%.0f %% of the choices are mutual", 100*share)
	}
}
