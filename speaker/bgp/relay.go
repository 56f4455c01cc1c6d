//go:build linux

package bgp

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	openLimit    = 30 * time.Second       // for the neighbor's OPEN
	farewell     = 300 * time.Millisecond // to send a last NOTIFICATION, and again for the neighbor to close
	feedPause    = time.Second            // at most one KEEPALIVE in this time stands for UPDATE messages that were dropped
	batchSize    = 1 << 15                // bytes that are written to the neighbor at a time
	refreshPause = time.Second            // between two requests for all routes that the engine gets
)

// relay joins the connection to a neighbor and that to the engine. It sends on what the engine says, and tells the engine
// of the neighbor only what it needs: that there is one, and that it lives. Every message that the engine gets is written
// here. It has a goroutine for each direction.
type relay struct {
	want         plan.Session
	outer, inner net.Conn
	hello        message          // the engine's OPEN
	opened       func(open) error // the neighbor's OPEN is in; an error refuses it
	established  func()           // the neighbor's KEEPALIVE is in
	counters     *counters

	open           open         // the neighbor's
	hold           atomic.Int64 // negotiated; a time.Duration
	isGraceful     atomic.Bool  // the neighbor keeps the routes when the connection ends without a NOTIFICATION
	refreshPending atomic.Bool
	lastFeed       time.Time
	keepalives     int        // from the engine
	toInner        sync.Mutex // held while a message is written
	toOuter        sync.Mutex // ... or several
	closing        bool       // nothing more is written to the neighbor, and it is not listened to longer; guarded by toOuter
	done           chan struct{}
	work           sync.WaitGroup
}

// said is the reason of an end that the engine has told the neighbor.
type said string

func (s said) Error() string { return string(s) }

// run relays until one end closes, an error comes up, or ctx ends; both connections are closed then. It returns why.
func (r *relay) run(ctx context.Context) error {
	r.done = make(chan struct{})
	r.hold.Store(int64(r.want.HoldTime))
	ended := make(chan error, 2)
	r.work.Go(func() { ended <- r.fromEngine() })
	r.work.Go(func() { ended <- r.fromNeighbor() })
	var why error
	select {
	case why = <-ended:
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	r.close(why)
	r.work.Wait()
	return why
}

// close closes both connections, the neighbor's with the NOTIFICATION that the reason asks for.
func (r *relay) close(why error) {
	_ = r.outer.SetWriteDeadline(time.Now().Add(farewell)) // also ends a write that hangs
	var told said
	tells := errors.As(why, &told)
	r.toOuter.Lock()
	r.closing = true
	if n := r.lastWord(why); n != nil {
		if _, err := r.outer.Write(n); err == nil {
			r.counters.sent(n)
			tells = true
		}
	}
	r.toOuter.Unlock()
	if tells {
		r.awaitClose()
	}
	close(r.done)
	_ = r.outer.Close()
	_ = r.inner.Close()
}

// lastWord is the NOTIFICATION that tells the neighbor, or nil.
func (r *relay) lastWord(why error) message {
	var v *violation
	if errors.As(why, &v) {
		return newNotification(v.code, v.subcode, v.data)
	}
	var e ending
	if errors.As(why, &e) && !(e.keepIfGraceful && r.isGraceful.Load()) {
		return e.notification()
	}
	return nil
}

// awaitClose gives the neighbor time to read the NOTIFICATION: closing a socket with unread data resets the connection,
// and what the neighbor has not read would be lost.
func (r *relay) awaitClose() {
	if c, ok := r.outer.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = r.outer.SetReadDeadline(time.Now().Add(farewell))
	_, _ = io.Copy(io.Discard, r.outer)
}

// fromEngine sends the engine's messages to the neighbor, as many at a time as there are.
func (r *relay) fromEngine() error {
	if r.want.HoldTime == 0 {
		binary.BigEndian.PutUint16(r.hello[holdTimeOffset:], 0)
	}
	r.counters.sent(r.hello)
	if err := r.send(r.hello); err != nil {
		return err
	}
	in := bufio.NewReaderSize(r.inner, batchSize)
	buf, batch := make([]byte, maxLength), make([]byte, 0, batchSize+maxLength)
	for {
		m, err := readMessage(in, buf)
		if err != nil {
			return errors.New("this end closed the connection")
		}
		if r.passes(m) {
			batch = append(batch, m...)
			r.counters.sent(m)
		}
		if in.Buffered() > 0 && len(batch) < batchSize && m.kind() != typeNotification {
			continue
		}
		if err := r.send(batch); err != nil {
			return err
		}
		batch = batch[:0]
		if m.kind() == typeNotification {
			return said(describeSent(m, time.Duration(r.hold.Load())))
		}
	}
}

// passes says whether a message of the engine is for the neighbor: without a hold time only the first KEEPALIVE is.
func (r *relay) passes(m message) bool {
	if m.kind() != typeKeepalive {
		return true
	}
	r.keepalives++
	return r.keepalives == 1 || r.hold.Load() != 0
}

// send writes whole messages to the neighbor. That it does not read for the hold time is an error.
func (r *relay) send(b []byte) error {
	r.toOuter.Lock()
	defer r.toOuter.Unlock()
	if r.closing || len(b) == 0 {
		return nil
	}
	limit := time.Duration(r.hold.Load())
	if limit == 0 {
		limit = engineHold * time.Second
	}
	_ = r.outer.SetWriteDeadline(time.Now().Add(limit))
	if _, err := r.outer.Write(b); err != nil {
		return errors.New(describeLoss(err, "the peer did not read anything for "+limit.String()))
	}
	return nil
}

// fromNeighbor reads the neighbor's messages.
func (r *relay) fromNeighbor() error {
	in := bufio.NewReaderSize(r.outer, 1<<16)
	buf := make([]byte, maxLength)
	r.listenUntil(time.Now().Add(openLimit))
	first, err := r.read(in, buf)
	if err != nil {
		return err
	}
	if first.kind() != typeOpen {
		return &violation{5, 0, nil, fmt.Sprintf("the peer sent a message of type %d before its OPEN", first.kind())} // RFC 6608
	}
	if err := r.greet(first); err != nil {
		return err
	}
	r.listenUntil(time.Time{})
	for up := false; ; {
		m, err := r.read(in, buf)
		if err != nil {
			return err
		}
		switch {
		case m.kind() == typeOpen, !up && m.kind() != typeKeepalive:
			return &violation{5, 0, nil, fmt.Sprintf("the peer sent a message of type %d where none may come", m.kind())}
		case m.kind() == typeKeepalive:
			err = r.tell(newMessage(typeKeepalive))
			if !up {
				up = true
				r.work.Go(r.feed)
				r.established()
			}
		case m.kind() == typeUpdate:
			err = r.alive()
		case m.kind() == typeRefresh:
			err = r.refresh(m)
		}
		if err != nil {
			return err
		}
	}
}

// listenUntil says until when the neighbor is listened to, but for a relay that closes: its own deadline stays.
func (r *relay) listenUntil(t time.Time) {
	r.toOuter.Lock()
	defer r.toOuter.Unlock()
	if !r.closing {
		_ = r.outer.SetReadDeadline(t)
	}
}

// read reads a message of the neighbor. A NOTIFICATION is an error, in words.
func (r *relay) read(in io.Reader, buf []byte) (message, error) {
	m, err := readMessage(in, buf)
	var v *violation
	switch {
	case errors.As(err, &v):
		return nil, err
	case err != nil:
		return nil, errors.New(describeLoss(err, fmt.Sprintf("the peer sent no OPEN for %v after the connection was open", openLimit)))
	}
	r.counters.received(m)
	if m.kind() == typeNotification {
		return nil, errors.New(describeReceived(m))
	}
	return m, nil
}

// greet takes the neighbor's OPEN and hands the engine another one that says as much of it as matters.
func (r *relay) greet(m message) error {
	o, err := parseOpen(m)
	if err != nil {
		return err
	}
	r.open = o
	r.isGraceful.Store(o.graceful && r.want.GracefulRestart)
	if err := r.opened(o); err != nil {
		return err
	}
	hold, _ := o.negotiated(r.want)
	r.hold.Store(int64(hold))
	forEngine := o.holdTime
	if hold == 0 {
		forEngine = engineHold // a hold time of 0 the engine does not know: see feed
	}
	return r.tell(o.forEngine(forEngine))
}

// tell writes a message to the engine.
func (r *relay) tell(m message) error {
	r.toInner.Lock()
	defer r.toInner.Unlock()
	if _, err := r.inner.Write(m); err != nil {
		pause(context.Background(), 10*time.Millisecond) // for fromEngine to find out why
		return errors.New("this end closed the connection")
	}
	return nil
}

// alive tells the engine that the neighbor lives: an UPDATE counts as a KEEPALIVE (RFC 4271, section 8.2.2).
func (r *relay) alive() error {
	if time.Since(r.lastFeed) < feedPause {
		return nil
	}
	r.lastFeed = time.Now()
	return r.tell(newMessage(typeKeepalive))
}

// feed keeps an engine alive whose session has no hold time.
func (r *relay) feed() {
	if r.hold.Load() != 0 {
		return
	}
	t := time.NewTicker(feedInterval)
	defer t.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-t.C:
			_ = r.tell(newMessage(typeKeepalive)) // an error shows elsewhere
		}
	}
}

// refresh has all routes sent again (RFC 2918). Requests that come quicker than once in refreshPause are answered
// together: each costs as much as the first.
func (r *relay) refresh(m message) error {
	f := family(binary.BigEndian.Uint16(m.body()))
	if safi := m.body()[3]; safi != 1 || f != familyIPv4 && f != familyIPv6 {
		return nil
	}
	if r.refreshPending.Swap(true) {
		return nil
	}
	r.work.Go(func() {
		select {
		case <-r.done:
		case <-time.After(refreshPause):
			r.refreshPending.Store(false)
			if r.open.ipv4 && r.want.IPv4 {
				_ = r.tell(newMessage(typeRefresh, 0, byte(familyIPv4), 0, 1))
			}
			if r.open.ipv6 && r.want.IPv6 {
				_ = r.tell(newMessage(typeRefresh, 0, byte(familyIPv6), 0, 1))
			}
		}
	})
	return nil
}
