//go:build linux

package layer2

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

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
	metrics *metrics
	log     *slog.Logger
	ctx     context.Context // ends when the responder is closed
	cancel  context.CancelFunc
}

// serve answers until the responder is closed or its socket fails in a way that only a new one can mend.
func (r *responder) serve() {
	buf := make([]byte, maxFrame)
	for {
		n, _, err := r.conn.ReadFrom(buf)
		switch {
		case r.ctx.Err() != nil:
			return
		case err == nil:
			r.handle(buf[:n])
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

// handle answers one frame, if it is to be answered.
func (r *responder) handle(frame []byte) {
	ours := *r.targets.Load()
	d := r.family.answer(frame, r.link.MAC, ours)
	if d.reply == nil {
		r.metrics.ignored.WithLabelValues(r.family.String(), string(d.ignored)).Inc()
		return
	}
	c := ours[d.target]
	c.requests.Inc()
	if err := send(r.conn, d.reply); err != nil {
		r.log.Debug("answer not sent", "address", d.target, "interface", r.link.Name, "error", err)
		return
	}
	c.responses.Inc()
}

// widen makes next, which holds what is answered for now, what is answered for. If the filter cannot be replaced,
// nothing changes.
func (r *responder) widen(next targets) error {
	if err := r.setFilter(next); err != nil {
		return err
	}
	r.targets.Store(&next)
	return nil
}

// narrow makes next, which is a part of what is answered for now, what is answered for. If the filter cannot be
// replaced, it passes more than needed, which changes nothing for others.
func (r *responder) narrow(next targets) error {
	r.targets.Store(&next)
	return r.setFilter(next)
}

func (r *responder) setFilter(t targets) error {
	return r.family.attach(slices.Collect(maps.Keys(t)), r.conn.SetBPF)
}

// close ends serve and closes the socket.
func (r *responder) close() {
	r.cancel()
	_ = r.conn.Close()
}

// with returns a copy of the set with addresses added.
func (t targets) with(addresses []netip.Addr, count func(netip.Addr) *counters) targets {
	next := make(targets, len(t)+len(addresses))
	maps.Copy(next, t)
	for _, a := range addresses {
		next[a] = count(a)
	}
	return next
}

// without returns a copy of the set without addresses.
func (t targets) without(addresses []netip.Addr) targets {
	next := maps.Clone(t)
	for _, a := range addresses {
		delete(next, a)
	}
	return next
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
