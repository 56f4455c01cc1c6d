//go:build linux

package bgp

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// BFD is what a Speaker needs of an implementation of BFD (RFC 5880). It has to run as long as the Speaker does.
type BFD interface {
	// Apply makes want the set of sessions. One that is not wanted any more goes to AdminDown before it ends.
	Apply(ctx context.Context, want []BFDSession) error
	// States returns the state of every session.
	States() []BFDState
	// Changed yields a value after States has changed.
	Changed() <-chan struct{}
}

// BFDSession is a BFD session that guards an established BGP session. It is comparable; Peer and MultiHop name it.
type BFDSession struct {
	Peer          string
	Local, Remote netip.Addr // of the BGP connection; link-local ones without a zone
	Device        string     // the link of an unnumbered neighbor, a VRF, or ""
	MultiHop      bool       // RFC 5883, or else RFC 5881
	BFD           plan.BFD
}

// BFDPhase is the state of a BFD session (RFC 5880, section 6.2).
type BFDPhase string

// The states, as they are shown.
const (
	BFDAdminDown BFDPhase = "adminDown" // either end: this says nothing of the path (RFC 5882, section 3.2)
	BFDDown      BFDPhase = "down"
	BFDInit      BFDPhase = "init"
	BFDUp        BFDPhase = "up"
)

// BFDState is how a BFD session is.
type BFDState struct {
	Peer     string
	MultiHop bool
	State    BFDPhase
	Reason   string // why it is not up, in words
	Downs    uint64 // how often it went from up to down, but for AdminDown
}

const coupleRetry = time.Second // after BFD failed to take the wanted sessions

// couple keeps BFD sessions beside the established BGP sessions that want them, and resets a BGP session when BFD goes
// down, until ctx ends. It returns the BFD sessions that it leaves behind.
func (s *Speaker) couple(ctx context.Context) []BFDSession {
	if s.cfg.BFD == nil {
		return nil
	}
	guards := map[string]*guard{}
	var have []BFDSession
	for {
		want := s.judge(guards)
		var retry <-chan time.Time
		if !slices.Equal(have, want) {
			if err := s.cfg.BFD.Apply(ctx, want); err != nil {
				if ctx.Err() == nil {
					s.cfg.Log.Warn("some BGP sessions are not guarded by BFD", "error", err)
				}
				retry = time.After(coupleRetry)
			} else {
				have = want
			}
		}
		select {
		case <-ctx.Done():
			return have
		case <-s.dirty:
		case <-s.cfg.BFD.Changed():
		case <-retry:
		}
	}
}

// judge looks at all sessions, resets those that BFD found down, and returns the BFD sessions that are wanted.
func (s *Speaker) judge(guards map[string]*guard) []BFDSession {
	states := map[string][]BFDState{}
	for _, b := range s.cfg.BFD.States() {
		states[b.Peer] = append(states[b.Peer], b)
	}
	var want []BFDSession
	words, next := map[string]string{}, map[string]*guard{}
	for _, x := range s.all() {
		g := guards[x.peer]
		if g == nil {
			g = &guard{}
		}
		next[x.peer] = g
		v := g.judge(time.Now(), x.wanted(), x.current(), states[x.peer])
		if v.reset {
			x.reset(ending{why: v.why, code: cease, subcode: ceaseBFDDown, pause: v.wait})
		}
		if v.words != "" {
			words[x.peer] = v.words
		}
		want = append(want, v.want...)
	}
	clear(guards)
	for peer, g := range next {
		guards[peer] = g
	}
	s.show(words)
	return want
}

// show makes words the state of BFD that Sessions tells.
func (s *Speaker) show(words map[string]string) {
	s.mu.Lock()
	same := len(words) == len(s.guarded)
	for peer, w := range words {
		same = same && s.guarded[peer] == w
	}
	s.guarded = words
	s.mu.Unlock()
	if !same {
		signal(s.changed)
	}
}

// unguard leaves BFD only the sessions whose neighbor waits for this process to come back.
func (s *Speaker) unguard(kept map[string]bool, have []BFDSession) {
	if s.cfg.BFD == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), coupleRetry)
	defer cancel()
	have = slices.DeleteFunc(have, func(b BFDSession) bool { return !kept[b.Peer] })
	if err := s.cfg.BFD.Apply(ctx, have); err != nil {
		s.cfg.Log.Warn("BFD did not take the end of BGP sessions", "error", err)
	}
}
