//go:build linux

package bfd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// A tick is the least time between two rounds. What falls into it is done together, up to a tick late, so that many
	// sessions need few rounds: waking up is what costs. It is the ticksPerInterval-th part of the shortest interval.
	leastTick, mostTick = time.Millisecond, 10 * time.Millisecond
	// pile bounds how many packets are left waiting for the next round, and mostPatience how long: see patienceOf.
	pile         = 64
	mostPatience = 100 * time.Millisecond
	// atOnce bounds how many packets are read from one socket in a round. It is more than a socket's buffer holds, so that
	// after a pause everything that came meanwhile is taken before a session is found silent.
	atOnce = 4096
)

// loop is what runs: it is owned by the goroutine of Run.
type loop struct {
	*Monitor
	table    *table
	sockets  *sockets
	leaving  map[*session]struct{} // those that say farewell
	tick     time.Duration
	steady   bool           // all sessions are Up
	patience time.Duration  // of packets, where that is so
	left     bool           // Leave was called
	told     []chan<- error // of callers of Leave
	news     bool           // States is to be published
	waiting  bool           // the sockets are armed
	scratch  []byte
	inbox    inbox
}

func newLoop(m *Monitor) (*loop, error) {
	s, err := newSockets()
	if err != nil {
		return nil, err
	}
	return &loop{
		Monitor: m, table: newTable(rand.Uint32), sockets: s, leaving: map[*session]struct{}{},
		tick: mostTick,
	}, nil
}

// run does one round after the other: it waits for a request, a packet, or for the time to do something. Sessions that were
// taken down on purpose have said so when it ends.
func (l *loop) run(ctx context.Context) error {
	ended := make(chan struct{})
	var ringer sync.WaitGroup
	ringer.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-ctx.Done():
				l.sockets.poller.ring()
				return
			case <-l.bell:
				l.sockets.poller.ring()
			}
		}
	})
	defer func() {
		close(ended)
		ringer.Wait()
		l.sockets.close()
	}()
	for ctx.Err() == nil || len(l.leaving) > 0 {
		readable, err := l.sockets.poller.wait(l.sleep())
		if err != nil {
			return err
		}
		l.waiting = l.waiting && !readable
		l.answer()
		l.round(time.Now())
	}
	return nil
}

// answer does what callers have asked for.
func (l *loop) answer() {
	for {
		select {
		case r := <-l.requests:
			l.handle(r)
		default:
			return
		}
	}
}

// sleep returns how long there is nothing to do. Where that is not long, packets are left to that round; where all
// sessions are Up that is nearly always so, since packets only say that nothing is new and are read before a session is
// found silent.
func (l *loop) sleep() time.Duration {
	wait := time.Hour
	if next := l.table.next(); !next.IsZero() {
		wait = max(time.Until(next), l.tick)
	}
	patience := l.tick
	if l.steady {
		patience = max(patience, l.patience)
	}
	if wait > patience && !l.waiting {
		l.waiting = true
		l.sockets.arm()
	}
	return wait
}

// round takes what came in, does what is due and sends what there is to send. Packets come first: after a pause of this
// process its sessions are not down if packets are waiting.
func (l *loop) round(now time.Time) {
	for fd, from := range l.sockets.listening {
		l.read(fd, from, now)
	}
	for _, e := range l.sockets.echoes {
		l.readEcho(e, now)
	}
	l.table.advance(now)
	l.flush(now)
	if l.news {
		l.news = false
		l.steady = l.table.steady()
		l.publish(l.snapshot())
	}
}

// read takes what a socket has.
func (l *loop) read(fd int, from listener, now time.Time) {
	for range atOnce {
		d, err := l.inbox.read(fd, from)
		switch {
		case err == nil && from.port == portEcho:
			l.takeEcho(d, now)
		case err == nil:
			l.counters.drop(l.table.receive(d, now), &l.counters.received)
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EINTR):
		default:
			l.log.Warn("cannot receive BFD packets", "socket", from.String(), "error", err)
			return
		}
	}
}

// flush sends what the sessions have to send and takes note of their news.
func (l *loop) flush(now time.Time) {
	for _, one := range l.table.take() {
		for _, p := range one.out {
			l.send(one, p)
		}
		one.out = one.out[:0]
		if one.sendEcho {
			one.sendEcho = false
			l.sendEcho(one)
		}
		if one.machine.news {
			one.machine.news = false
			l.tell(one)
		}
		if one.done() {
			l.forget(one)
		}
	}
}

// send sends a control packet. That it cannot be sent is the path's trouble: the neighbor notices.
func (l *loop) send(one *session, p packet) {
	l.scratch = p.append(l.scratch[:0])
	err := l.sockets.send(one.to, l.scratch)
	if err == nil {
		l.counters.sent.Add(1)
		one.tally.Sent++
	}
	l.noteFault(one, err)
}

// noteFault remembers why a packet could not be sent, and says so once.
func (l *loop) noteFault(one *session, err error) {
	text := ""
	if err != nil {
		l.counters.failed.Add(1)
		text = err.Error()
	}
	if text == one.fault {
		return
	}
	one.fault, l.news = text, true
	if text != "" {
		l.log.Warn("cannot send BFD packets", "session", one.Path.String(), "error", err)
	}
}

// tell logs that the state changed, and has it published.
func (l *loop) tell(one *session) {
	l.news = true
	if one.local == one.told {
		return
	}
	l.log.Info("BFD session", "session", one.Path.String(), "state", one.local.String(), "was", one.told.String(),
		"reason", one.diagnostic.String(), "remote", one.remote.String(), "remoteReason", one.remoteDiagnostic.String())
	one.told = one.local
}

// forget ends a session that has said farewell.
func (l *loop) forget(one *session) {
	delete(l.leaving, one)
	if len(l.leaving) == 0 {
		l.sockets.keep(l.sessions())
		l.answerLeave()
	}
}

func (l *loop) answerLeave() {
	for _, done := range l.told {
		done <- nil
	}
	l.told = nil
}

func (l *loop) snapshot() map[Path]State {
	states := make(map[Path]State, len(l.table.byPath))
	for path, one := range l.table.byPath {
		states[path] = one.state()
	}
	return states
}

func (l *loop) packets() map[Path]Packets {
	out := make(map[Path]Packets, len(l.table.byPath))
	for path, one := range l.table.byPath {
		out[path] = one.tally
	}
	return out
}

// handle does what a caller of Apply, Leave or Packets asks for.
func (l *loop) handle(r request) {
	now := time.Now()
	switch {
	case r.packets != nil:
		r.packets <- l.packets()
	case r.leave:
		l.left = true
		l.told = append(l.told, r.done)
		l.removeBut(nil, now)
		if len(l.leaving) == 0 {
			l.answerLeave()
		}
	case l.left:
		r.done <- ErrStopped
	default:
		err := l.apply(r.want, now)
		l.round(now) // what is new is sent, and published, before Apply returns
		r.done <- err
	}
}

// apply brings the sessions to want.
func (l *loop) apply(want []Session, now time.Time) error {
	var errs []error
	indexes := map[string]int{}
	kept := map[Path]bool{}
	for _, s := range want {
		if kept[s.Path] {
			errs = append(errs, fmt.Errorf("BFD session %s: wanted more than once", s.Path))
			continue
		}
		if err := l.start(s, indexes, now); err != nil {
			errs = append(errs, fmt.Errorf("BFD session %s: %w", s.Path, err))
		}
		kept[s.Path] = true
	}
	l.removeBut(kept, now)
	l.sockets.keep(l.sessions())
	l.tick, l.patience, l.news = tickOf(l.table.byPath), patienceOf(l.table.byPath), true
	return errors.Join(errs...)
}

// tickOf returns the tick that suits the sessions.
func tickOf(sessions map[Path]*session) time.Duration {
	least := mostTick * ticksPerInterval
	for _, one := range sessions {
		least = min(least, one.DesiredMinTx, one.RequiredMinRx)
		if one.echoWanted() {
			least = min(least, one.EchoInterval)
		}
	}
	return max(leastTick, least/ticksPerInterval)
}

// patienceOf returns how long packets may wait where all sessions are Up: not longer than a neighbor waits for the next
// one of ours, and not so long that their sockets overflow. Echo packets of a neighbor are to come back at once.
func patienceOf(sessions map[Path]*session) time.Duration {
	patience, rate := mostPatience, 0.0
	for _, one := range sessions {
		if one.echoWanted() {
			return 0
		}
		patience = min(patience, one.DesiredMinTx)
		rate += 1 / one.RequiredMinRx.Seconds()
	}
	return min(patience, time.Duration(pile/max(rate, 1)*float64(time.Second)))
}

// start starts a session or changes the one that runs.
func (l *loop) start(s Session, indexes map[string]int, now time.Time) error {
	if err := s.Validate(); err != nil {
		return err
	}
	index, err := interfaceIndex(s.Interface, indexes)
	if err != nil {
		return err
	}
	if err := l.sockets.prepare(s); err != nil {
		return err
	}
	one, runs := l.table.byPath[s.Path]
	if !runs {
		l.dropFarewell(s.Path)
		one = l.table.add(s, index, now)
		one.told = one.local
	} else {
		l.table.configure(one, s.Parameters, now)
	}
	if one.index != index || !runs {
		one.index, one.to = index, newDestination(s.Path, index)
	}
	if one.echoWanted() {
		return l.sockets.prepareEcho(s)
	}
	return nil
}

// interfaceIndex looks an interface up, once for a map of what is known.
func interfaceIndex(name string, known map[string]int) (int, error) {
	if name == "" {
		return 0, nil
	}
	if index, ok := known[name]; ok {
		return index, nil
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	known[name] = i.Index
	return i.Index, nil
}

// removeBut takes down the sessions whose path is not in kept.
func (l *loop) removeBut(kept map[Path]bool, now time.Time) {
	for path, one := range l.table.byPath {
		if !kept[path] {
			l.leaving[one] = struct{}{}
			l.table.remove(one, now)
			l.news = true
		}
	}
}

// dropFarewell ends the farewell of a session that is wanted again: the neighbor must not hear both.
func (l *loop) dropFarewell(path Path) {
	for one := range l.leaving {
		if one.Path == path {
			one.remaining = 0
			l.table.touch(one)
		}
	}
}

// sessions lists all that need sockets.
func (l *loop) sessions() []*session {
	out := make([]*session, 0, len(l.table.byPath)+len(l.leaving))
	for _, one := range l.table.byPath {
		out = append(out, one)
	}
	for one := range l.leaving {
		out = append(out, one)
	}
	return out
}
