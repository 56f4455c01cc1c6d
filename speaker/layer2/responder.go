//go:build linux

package layer2

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// readPause is waited after the kernel said that the link is down, so that reading goes on but never spins.
const readPause = 100 * time.Millisecond

// segment is what one socket is bound to: one family on one link.
type segment struct {
	link   plan.Link
	family family
}

// responder answers requests on one segment, from one socket.
type responder struct {
	segment
	conn    conn
	targets atomic.Pointer[targets] // what is answered for now
	*shared
	ignored map[reason]prometheus.Counter
	ctx     context.Context // ends when the responder is closed
	cancel  context.CancelFunc

	watchedSeen int // requests for watched addresses since the last rest; owned by serve

	filtering sync.Mutex  // held while the filter is replaced
	resting   bool        // watched addresses are not let through
	wake      *time.Timer // ends the rest
}

// shared is what all responders use.
type shared struct {
	log     *slog.Logger
	pulse   *pulse
	heard   chan<- heard
	peer    func(mac [6]byte) (node string, ok bool)
	own     atomic.Pointer[map[macAddr]bool]             // hardware addresses of the links that are answered on
	watched atomic.Pointer[map[netip.Addr]*atomic.Int64] // see Watch
	asked   func()                                       // an address of ours was asked for
}

// serve answers until the responder is closed or its socket fails in a way that only a new one can mend.
func (r *responder) serve() {
	batch := newBatch(batchSize)
	for {
		n, err := r.conn.ReadBatch(batch)
		switch {
		case r.ctx.Err() != nil:
			return
		case err == nil:
			r.handle(batch[:n])
		case errors.Is(err, unix.ENETDOWN): // told once for each time that the link goes down; works again when it is up
			r.log.Info("link is down", "interface", r.link.Name, "family", r.family)
			pause(r.ctx, readPause)
		default:
			r.log.Warn("socket failed, announcements end until they are applied again",
				"interface", r.link.Name, "family", r.family, "error", err)
			pause(r.ctx, readPause) // one that fails again and again must not spin either
			return
		}
	}
}

// handle answers those of some frames that are to be answered.
func (r *responder) handle(batch []received) {
	ours, now := *r.targets.Load(), int64(r.pulse.now())
	paused := r.pulse.paused()
	var answers [][]byte
	var answered []*entry // for each of answers
	for i := range batch {
		d := ignore(reasonPaused)
		if !paused {
			d = r.decide(&batch[i], ours, now)
		}
		if d.ignored != "" {
			r.ignored[d.ignored].Inc()
			continue
		}
		e := ours[d.target]
		e.requests.Add(1)
		e.asked.Store(now)
		answers, answered = append(answers, d.reply), append(answered, e)
	}
	if len(answers) == 0 {
		return
	}
	r.asked()
	send(r.conn, answers, func(i int, err error) {
		if err != nil {
			r.log.Debug("answer not sent", "address", answered[i].Address, "interface", r.link.Name, "error", err)
			return
		}
		answered[i].responses.Add(1)
	})
}

// decide is family.answer with what the kernel says of the frame, and with what is known of its addresses.
func (r *responder) decide(in *received, ours targets, now int64) decision {
	frame := in.frame()
	if in.other && len(frame) >= ethernetHeader {
		if dst := macAddr(frame[:6]); dst == r.link.MAC || !isHost(dst) {
			return ignore(reasonVLAN) // nothing else makes this the frame of another station
		}
	}
	d := r.family.answer(frame, r.link.MAC, ours)
	if d.ignored == reasonNotOurs {
		if at, ok := (*r.watched.Load())[d.target]; ok {
			at.Store(now)
			r.countWatched()
		}
	}
	if d.claim != (claim{}) {
		if (*r.own.Load())[d.claim.mac] {
			return ignore(reasonOwn)
		}
		select {
		case r.heard <- heard{ours[d.claim.address], d.claim}:
		default: // there are plenty already
		}
	}
	if d.reply != nil && ours[d.target].silent.Load() {
		return ignore(reasonSilent)
	}
	if d.reply != nil && ours[d.target].leaving.Load() {
		if _, ok := r.peer(macAddr(frame[6:12])); ok { // it may be the successor, silent as long as this one answers it
			return ignore(reasonSilent)
		}
	}
	return d
}

// widen makes next, which holds what is answered for now, what is answered for. If the filter cannot be replaced,
// nothing changes.
func (r *responder) widen(next targets) error {
	r.filtering.Lock()
	defer r.filtering.Unlock()
	if err := r.setFilter(next); err != nil {
		return err
	}
	r.targets.Store(&next)
	return nil
}

// narrow makes next, which is a part of what is answered for now, what is answered for. If the filter cannot be
// replaced, it passes more than needed, which changes nothing for others.
func (r *responder) narrow(next targets) error {
	r.filtering.Lock()
	defer r.filtering.Unlock()
	r.targets.Store(&next)
	return r.setFilter(next)
}

// refilter makes the filter fit what is watched now.
func (r *responder) refilter() error {
	r.filtering.Lock()
	defer r.filtering.Unlock()
	return r.setFilter(*r.targets.Load())
}

func (r *responder) setFilter(t targets) error {
	return r.attach(t, r.conn.SetBPF)
}

// attach gives set the filter for t and what is watched.
func (r *responder) attach(t targets, set func([]bpf.RawInstruction) error) error {
	return r.family.attach(slices.Collect(maps.Keys(t)), r.onlyWatched(t), set)
}

// onlyWatched returns the addresses beside t that requests are let through for.
func (r *responder) onlyWatched(t targets) (out []netip.Addr) {
	if r.resting {
		return nil
	}
	for a := range *r.watched.Load() {
		if _, ok := t[a]; !ok && familyOf(a) == r.family {
			out = append(out, a)
		}
	}
	return out
}

// close ends serve and closes the socket.
func (r *responder) close() {
	r.cancel()
	r.filtering.Lock()
	defer r.filtering.Unlock()
	if r.wake != nil {
		r.wake.Stop()
	}
	_ = r.conn.Close()
}

// listenFunc opens the socket of a segment.
type listenFunc func(link plan.Link, f family, filter []bpf.RawInstruction) (conn, error)

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
