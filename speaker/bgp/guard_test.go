//go:build linux

package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

func TestFlapGuard(t *testing.T) {
	var g flapGuard
	now := time.Unix(0, 0)
	for i, want := range []int{0, 0, 1, 2, 4, 8, 16, 30, 30} {
		now = now.Add(5 * time.Second)
		g.up(now.Add(-time.Second))
		if got := g.down(now); got != time.Duration(want)*time.Second {
			t.Errorf("down %d waits for %v, want %d s", i+1, got, want)
		}
	}
	g.up(now)
	if got := g.down(now.Add(59 * time.Second)); got != maxFlapWait {
		t.Errorf("after 59 s of up: %v", got)
	}
	now = now.Add(time.Hour)
	g.up(now)
	if got := g.down(now.Add(time.Minute)); got != 0 {
		t.Errorf("after 60 s of up: %v", got)
	}
	var slow flapGuard
	for i := range 10 {
		if got := slow.down(time.Unix(int64(i)*31, 0)); got != 0 {
			t.Errorf("a down every 31 s waits for %v", got)
		}
	}
}

// The script reads: session state, BFD states -> BFD sessions, reset.
func TestGuard(t *testing.T) {
	at := time.Unix(1000, 0)
	want := plan.Session{Peer: "p", MyASN: 1, PeerASN: 2, VRF: "red", BFD: plan.BFD{Enabled: true}}
	up := SessionState{State: Established, Since: at, PeerASN: 2, Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("192.0.2.2")}
	bfd := func(multi bool, s BFDPhase, downs uint64) BFDState {
		return BFDState{Peer: "p", MultiHop: multi, State: s, Downs: downs, Reason: "no packets"}
	}
	modes := func(v verdict) (out []bool) {
		for _, x := range v.want {
			out = append(out, x.MultiHop)
		}
		return out
	}
	internalPeer, multiHop, idle := up, want, SessionState{State: Active}
	internalPeer.PeerASN = 1
	multiHop.MultiHop = true
	type step struct {
		want  plan.Session
		is    SessionState
		bfd   []BFDState
		modes []bool
		reset bool
	}
	for name, steps := range map[string][]step{
		"not before the session is up": {{want, idle, nil, nil, false}},
		"single hop":                   {{want, up, nil, []bool{false}, false}},
		"multihop":                     {{multiHop, up, nil, []bool{true}, false}},
		"own AS: both":                 {{want, internalPeer, nil, []bool{false, true}, false}},
		"own AS: the first that answers": {
			{want, internalPeer, []BFDState{bfd(false, BFDDown, 0), bfd(true, BFDDown, 0)}, []bool{false, true}, false},
			{want, internalPeer, []BFDState{bfd(false, BFDDown, 0), bfd(true, BFDUp, 0)}, []bool{true}, false},
			{want, internalPeer, []BFDState{bfd(true, BFDDown, 1)}, nil, true},
		},
		"down resets once": {
			{want, up, nil, []bool{false}, false},
			{want, up, []BFDState{bfd(false, BFDUp, 0)}, []bool{false}, false},
			{want, up, []BFDState{bfd(false, BFDDown, 1)}, nil, true},
			{want, up, []BFDState{bfd(false, BFDDown, 1)}, nil, false},
			{want, idle, nil, nil, false},
			{want, SessionState{State: Established, Since: at.Add(1)}, nil, []bool{false}, false},
		},
		"a peer without BFD keeps its session": {
			{want, up, []BFDState{bfd(false, BFDDown, 0)}, []bool{false}, false},
			{want, up, []BFDState{bfd(false, BFDInit, 0)}, []bool{false}, false},
		},
		"AdminDown says nothing of the path": {
			{want, up, nil, []bool{false}, false},
			{want, up, []BFDState{bfd(false, BFDUp, 0)}, []bool{false}, false},
			{want, up, []BFDState{bfd(false, BFDAdminDown, 0)}, []bool{false}, false},
		},
		"a flap between two looks": {
			{want, up, nil, []bool{false}, false},
			{want, up, []BFDState{bfd(false, BFDUp, 1)}, nil, true},
		},
		"switched off": {
			{want, up, nil, []bool{false}, false},
			{plan.Session{Peer: "p"}, up, []BFDState{bfd(false, BFDDown, 1)}, nil, false},
		},
	} {
		var g guard
		for i, s := range steps {
			v := g.judge(at, s.want, s.is, s.bfd)
			if !slices.Equal(modes(v), s.modes) || v.reset != s.reset {
				t.Errorf("%s, step %d: modes %v, reset %v; want %v, %v", name, i, modes(v), v.reset, s.modes, s.reset)
			}
			for _, x := range v.want {
				if x.Remote != s.is.Remote || x.Device != "red" {
					t.Errorf("%s, step %d: %+v", name, i, x)
				}
			}
		}
	}
}

// fakeBFD is a BFD whose sessions are what a test makes them.
type fakeBFD struct {
	mu      sync.Mutex
	want    []BFDSession
	states  []BFDState
	changed chan struct{}
}

func (f *fakeBFD) Apply(_ context.Context, want []BFDSession) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.want = slices.Clone(want)
	f.states = nil
	for _, x := range want {
		f.states = append(f.states, BFDState{Peer: x.Peer, MultiHop: x.MultiHop, State: BFDDown})
	}
	return nil
}

func (f *fakeBFD) States() []BFDState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.states)
}

func (f *fakeBFD) Changed() <-chan struct{} { return f.changed }

func (f *fakeBFD) wanted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.want)
}

func (f *fakeBFD) set(s BFDPhase, downs uint64) {
	f.mu.Lock()
	for i := range f.states {
		f.states[i].State, f.states[i].Downs, f.states[i].Reason = s, downs, "control detection time expired"
	}
	f.mu.Unlock()
	signal(f.changed)
}

// BFD starts with the session, takes it down at once, and starts again with the next; a planned end ends it, too.
func TestBFDTakesTheSessionDown(t *testing.T) {
	b := &fakeBFD{changed: make(chan struct{}, 1)}
	p := newFakePeer(t)
	r := run(t, func(c *Config) { c.BFD = b })
	sessions := []plan.Session{p.session(func(s *plan.Session) { s.BFD.Enabled = true })}
	r.apply(sessions)
	c := p.establish()
	awaitBFD := func(want int) {
		t.Helper()
		for end := time.Now().Add(wait); b.wanted() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d BFD sessions, want %d", b.wanted(), want)
			}
		}
	}
	awaitBFD(1)
	b.set(BFDUp, 0)
	r.await(func(s SessionState) error { return wantText(s.BFD, "is up") })
	b.set(BFDDown, 1)
	if n := c.nextOf(typeNotification); n.body()[0] != cease || n.body()[1] != ceaseBFDDown {
		t.Errorf("NOTIFICATION is %v", n.body())
	}
	_ = c.Close()
	awaitBFD(0)
	r.awaitError("BFD is down: control detection time expired")
	c = p.establish()
	awaitBFD(1)
	r.apply(nil)
	c.nextOf(typeNotification)
	awaitBFD(0)
}

// The end of Run leaves BFD alone where the neighbor waits for this process, and else ends it.
func TestBFDAtTheEndOfRun(t *testing.T) {
	for _, graceful := range []bool{false, true} {
		b := &fakeBFD{changed: make(chan struct{}, 1)}
		p := newFakePeer(t)
		r := run(t, func(c *Config) { c.BFD = b })
		r.apply([]plan.Session{p.session(func(s *plan.Session) { s.BFD.Enabled, s.GracefulRestart = true, graceful })})
		c, _ := p.accept()
		o := fakeOpen()
		o.graceful, o.restartTime = true, 120
		c.say(o.forEngine(90), newMessage(typeKeepalive))
		r.await(func(s SessionState) error { return wantText(s.BFD, "has not answered") })
		r.stop()
		if got := b.wanted() == 1; got != graceful {
			t.Errorf("graceful %v: BFD is left %v", graceful, got)
		}
	}
}

func wantText(got, want string) error {
	if strings.Contains(got, want) {
		return nil
	}
	return fmt.Errorf("text is %q, want %q", got, want)
}
