//go:build linux

package layer2

import (
	"bytes"
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	answerEvery    = time.Second     // an address is announced against another speaker at most this often
	silence        = 3 * time.Second // an address is left to another speaker until it was not heard for this long
	probeEvery     = silence / 6     // the other speaker is asked this often meanwhile, so that it is heard while it lives
	conflictMemory = 5 * time.Minute // a conflict is told until there was no sign of it for this long
	maxRivals      = 4               // hardware addresses that are remembered for one address on one link
	refereeTick    = 100 * time.Millisecond
	refereeRest    = time.Second // a tick while there are only conflicts to remember
)

// Conflict is another host that uses an address which is announced here.
type Conflict struct {
	Address netip.Addr
	Link    plan.Link
	MAC     [6]byte   // the other host's
	Node    string    // the node whose speaker it is; "" for a foreign host, which is never answered
	Since   time.Time // when it was noticed first
	Last    time.Time // when it was noticed last, to a tenth of a second
	Silent  bool      // the address is left to other speakers on this link at present
}

// HardwareAddr returns the other host's MAC as the net package's type.
func (c Conflict) HardwareAddr() net.HardwareAddr { return net.HardwareAddr(c.MAC[:]) }

// compare orders conflicts by address, link and hardware address.
func (c Conflict) compare(d Conflict) int {
	return cmp.Or(c.Address.Compare(d.Address), cmp.Compare(c.Link.Index, d.Link.Index), bytes.Compare(c.MAC[:], d.MAC[:]))
}

// heard is a claim on an entry, as a responder heard it.
type heard struct {
	entry *entry
	claim claim
}

// referee settles conflicts with other speakers, and remembers those with anybody. Two speakers announce one address
// where they do not know of each other, or while their views differ for a moment. The one whose rendezvous hash for the
// address is lower falls silent when it hears the other, and stays so until the other was not heard for a while. The
// other one answers with an announcement, but not at once: if the address is just being moved on purpose, its own plan
// will say so.
type referee struct {
	node     string // this one
	grace    time.Duration
	peer     func(mac [6]byte) (node string, ok bool)
	outranks func(address netip.Addr, node string) bool
	counter  *prometheus.CounterVec
	pulse    *pulse
	heard    chan heard
	single   chan<- []single // to gratuitous
	changed  func()          // a conflict began or ended, or an address fell silent or not
	now      atomic.Pointer[[]Conflict]

	// Owned by the goroutine of run.
	contests map[*entry]*contest
}

// contest is all that is known of the conflicts of one entry.
type contest struct {
	rivals    map[macAddr]*Conflict
	answerAt  time.Time // when to answer; zero: not
	answered  time.Time // last
	higher    time.Time // when a speaker was heard last to which the address is left
	probed    time.Time // last
	contested time.Time // when a speaker was heard last that does not outrank this one
	announced time.Time // when such a one was heard last to announce it
}

func newReferee(cfg Config, m *metrics, p *pulse, changed func()) *referee {
	return &referee{
		node:     cfg.Node,
		grace:    cfg.ConflictGrace,
		peer:     cfg.Peer,
		outranks: func(address netip.Addr, other string) bool { return cfg.Outranks(address, cfg.Node, other) },
		counter:  m.conflicts,
		pulse:    p,
		heard:    make(chan heard, 256),
		changed:  changed,
		contests: map[*entry]*contest{},
	}
}

// run settles until ctx ends.
func (r *referee) run(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	touched, resting := false, true
	for {
		select {
		case <-ctx.Done():
			return nil
		case h := <-r.heard:
			if resting {
				resting = false
				tick.Reset(refereeTick)
			}
			touched = r.hear(h, time.Now()) || touched
		case <-tick.C:
			singles, ended := r.tick(time.Now())
			if touched || ended {
				r.publish()
			}
			touched, resting = false, !r.busy()
			switch {
			case !resting:
				tick.Reset(refereeTick)
			case len(r.contests) > 0:
				tick.Reset(refereeRest)
			}
			if !r.order(ctx, singles) {
				return nil
			}
		}
	}
}

// busy says whether an entry is silent or has something to answer, so that the next tick is not to be late.
func (r *referee) busy() bool {
	for e, c := range r.contests {
		if e.silent.Load() || !c.answerAt.IsZero() {
			return true
		}
	}
	return false
}

// order hands singles to gratuitous; it returns false if ctx ended.
func (r *referee) order(ctx context.Context, singles []single) bool {
	if len(singles) == 0 {
		return true
	}
	select {
	case r.single <- singles:
		return true
	case <-ctx.Done():
		return false
	}
}

// hear takes in one claim, and reports whether there is something new to tell.
func (r *referee) hear(h heard, now time.Time) bool {
	if h.entry.gone.Load() || r.pulse.paused() {
		return false
	}
	node, isPeer := r.peer(h.claim.mac)
	if isPeer && node == r.node {
		return false
	}
	c, ok := r.contests[h.entry]
	if !ok {
		c = &contest{rivals: map[macAddr]*Conflict{}}
		r.contests[h.entry] = c
	}
	host := hostForeign
	if isPeer {
		host = hostSpeaker
	}
	r.counter.WithLabelValues(h.entry.Address.String(), host).Inc()
	c.remember(h, node, now)
	if isPeer {
		r.judge(h, c, node, now)
	}
	return true
}

// remember takes down a rival; the one that was not heard for the longest time makes room.
func (c *contest) remember(h heard, node string, now time.Time) {
	rival, ok := c.rivals[h.claim.mac]
	if !ok {
		if len(c.rivals) >= maxRivals {
			oldest := h.claim.mac
			for mac, other := range c.rivals {
				if o := c.rivals[oldest]; o == nil || other.Last.Before(o.Last) {
					oldest = mac
				}
			}
			delete(c.rivals, oldest)
		}
		rival = &Conflict{Address: h.entry.Address, Link: h.entry.Link, MAC: h.claim.mac, Since: now}
		c.rivals[h.claim.mac] = rival
	}
	rival.Last, rival.Node = now, node
}

// judge decides who keeps the address: this speaker, or that of node, which claims it.
func (r *referee) judge(h heard, c *contest, node string, now time.Time) {
	e := h.entry
	switch {
	case !h.claim.announces, !e.leaving.Load() && r.outranks(e.Address, node):
		if c.answerAt.IsZero() {
			c.answerAt = now
			if now.Sub(c.contested) > silence {
				c.answerAt = now.Add(r.grace)
			}
			if next := c.answered.Add(answerEvery); next.After(c.answerAt) {
				c.answerAt = next
			}
		}
		if c.contested = now; h.claim.announces {
			c.announced = now
		}
	default:
		if c.higher = now; !e.silent.Swap(true) {
			c.probed, c.answerAt = now, time.Time{}
			r.changed()
		}
	}
}

// tick does what is due, and reports whether something is over.
func (r *referee) tick(now time.Time) (out []single, ended bool) {
	for e, c := range r.contests {
		for mac, rival := range c.rivals {
			if now.Sub(rival.Last) >= conflictMemory {
				delete(c.rivals, mac)
				ended = true
			}
		}
		if e.leaving.Load() && now.Sub(c.announced) < r.grace && !e.silent.Swap(true) { // the successor was heard before the plan came
			c.higher = now
			r.changed()
		}
		if s, ok := c.due(e, now); ok {
			out = append(out, s)
			if s.kind == singleRestart {
				ended = true
				r.changed()
			}
		}
		if e.gone.Load() || len(c.rivals) == 0 {
			delete(r.contests, e)
			ended = true
		}
	}
	return out, ended
}

// due returns what has to be sent for an entry now.
func (c *contest) due(e *entry, now time.Time) (single, bool) {
	switch silent := e.silent.Load(); {
	case e.leaving.Load():
	case silent && now.Sub(c.higher) >= silence:
		e.silent.Store(false)
		return single{e, singleRestart}, true
	case silent && now.Sub(c.probed) >= probeEvery:
		c.probed = now
		return single{e, singleProbe}, true
	case !silent && !c.answerAt.IsZero() && !c.answerAt.After(now):
		c.answered, c.answerAt = now, time.Time{}
		return single{e, singleAnswer}, true
	}
	return single{}, false
}

// publish makes what is known the snapshot, and says so if there is more or less than before.
func (r *referee) publish() {
	var out []Conflict
	for e, c := range r.contests {
		for _, rival := range c.rivals {
			told := *rival
			told.Silent = e.silent.Load()
			out = append(out, told)
		}
	}
	slices.SortFunc(out, Conflict.compare)
	last := r.now.Swap(&out)
	if !slices.EqualFunc(deref(last), out, func(a, b Conflict) bool { return a.compare(b) == 0 && a.Node == b.Node && a.Silent == b.Silent }) {
		r.changed()
	}
}

// deref returns what a snapshot holds, if there is one.
func deref[T any](p *[]T) []T {
	if p == nil {
		return nil
	}
	return *p
}
