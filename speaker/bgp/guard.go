//go:build linux

package bgp

import (
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	flapWindow  = 60 * time.Second // in which downs are counted, and for which BFD has to be up to be trusted again
	flapsFree   = 2                // downs in flapWindow that cost nothing
	maxFlapWait = 30 * time.Second
)

// flapGuard is the back-off of a session that BFD takes down again and again: the third down within 60 s waits for 1 s,
// each further one twice as long, up to 30 s. BFD that was up for 60 s clears it.
type flapGuard struct {
	downs   []time.Time
	wait    time.Duration
	upSince time.Time // the zero value: not up
}

// up tells that BFD is up.
func (g *flapGuard) up(now time.Time) {
	if g.upSince.IsZero() {
		g.upSince = now
	}
}

// down tells that BFD went down, and returns how long the session is not to be opened.
func (g *flapGuard) down(now time.Time) time.Duration {
	if !g.upSince.IsZero() && now.Sub(g.upSince) >= flapWindow {
		*g = flapGuard{}
	}
	g.upSince = time.Time{}
	g.downs = append(g.downs, now)
	for now.Sub(g.downs[0]) > flapWindow {
		g.downs = g.downs[1:]
	}
	if g.wait == 0 && len(g.downs) <= flapsFree {
		return 0
	}
	g.wait = min(max(2*g.wait, time.Second), maxFlapWait)
	return g.wait
}

// guard couples one session with BFD (RFC 5882). It decides; the coupling does.
type guard struct {
	flaps   flapGuard
	session time.Time       // since when the session is established that is guarded
	over    bool            // that one was reset
	chosen  bool            // BFD was up once, in the mode of multi
	multi   bool            // multihop
	downs   map[bool]uint64 // last seen, by multihop
}

// verdict is what is to be done for a session.
type verdict struct {
	want  []BFDSession
	reset bool // the session, since BFD went down
	why   string
	wait  time.Duration // before it is opened again
	words string        // the state of BFD, to be shown
}

// judge looks at a session and its BFD sessions.
func (g *guard) judge(now time.Time, want plan.Session, is SessionState, bfd []BFDState) verdict {
	if !want.BFD.Enabled {
		*g = guard{flaps: g.flaps}
		return verdict{}
	}
	if is.State != Established {
		g.session, g.over, g.chosen, g.downs = time.Time{}, false, false, nil
		return verdict{words: "waits for the BGP session"}
	}
	if g.session != is.Since {
		g.session, g.over, g.chosen, g.downs = is.Since, false, false, nil
		bfd = nil // of the connection before
	}
	if g.over {
		return verdict{words: "is down"}
	}
	return g.watch(now, want, is, bfd)
}

func (g *guard) watch(now time.Time, want plan.Session, is SessionState, bfd []BFDState) verdict {
	v := verdict{words: "is down: the peer has not answered yet"}
	for _, b := range bfd {
		if g.chosen && b.MultiHop != g.multi {
			continue
		}
		if b.State == BFDUp || b.Downs > 0 {
			g.chosen, g.multi = true, b.MultiHop
		}
		if b.State == BFDUp {
			g.flaps.up(now)
		}
		if b.State != BFDDown || g.chosen {
			v.words = "is " + string(b.State)
			if b.Reason != "" && b.State != BFDUp {
				v.words += ": " + b.Reason
			}
		}
		if b.Downs > g.downs[b.MultiHop] {
			g.over = true
			return verdict{reset: true, why: "BFD is down: " + b.Reason, wait: g.flaps.down(now), words: v.words}
		}
		if g.chosen {
			break
		}
	}
	for _, multi := range g.modes(want, is) {
		v.want = append(v.want, BFDSession{
			Peer: want.Peer, Local: is.Local, Remote: is.Remote, Device: device(want), MultiHop: multi, BFD: want.BFD,
		})
	}
	return v
}

// modes returns which modes are tried: multihop or not follows the session, and where the neighbor is of the own AS, its
// implementation: FRR takes it for a neighbor on the link if it is one, BIRD does not.
func (g *guard) modes(want plan.Session, is SessionState) []bool {
	switch {
	case g.chosen:
		return []bool{g.multi}
	case want.MultiHop:
		return []bool{true}
	case is.PeerASN == ownASN(want):
		return []bool{false, true}
	default:
		return []bool{false}
	}
}

// device is what the packets of a session are bound to.
func device(want plan.Session) string {
	if want.Interface != "" {
		return want.Interface
	}
	return want.VRF
}
