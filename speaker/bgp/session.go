//go:build linux

package bgp

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	defaultPort        = 179
	defaultConnectTime = 10 * time.Second // longest pause between attempts where the session gives none
	firstPause         = time.Second      // between the first attempts; doubled each time
	stable             = 10 * time.Second // a session that was established this long is opened again at once
	multiHopTTL        = 255
)

// ending is why a session or its connection is ended from here, and what the neighbor is told.
type ending struct {
	why            string
	code, subcode  byte          // of the NOTIFICATION
	keepIfGraceful bool          // close without a NOTIFICATION where the neighbor then keeps the routes
	pause          time.Duration // before the next attempt
}

func (e ending) Error() string { return e.why }

func (e ending) notification() message {
	if e.code == cease && (e.subcode == ceaseShutdown || e.subcode == ceaseReset) {
		return newNotification(e.code, e.subcode, communication(e.why))
	}
	return newNotification(e.code, e.subcode, nil)
}

// session is one session's life: attempts to connect, one after the other. The goroutine of run owns it; others give it
// routes, change what is wanted, or end it.
type session struct {
	peer     string
	speaker  *Speaker
	log      *slog.Logger
	engine   *engine
	rib      *rib
	counters counters
	life     context.Context // ends with the session; the cause is an ending
	kill     context.CancelCauseFunc
	done     chan struct{}

	mu     sync.Mutex
	want   plan.Session
	cancel context.CancelCauseFunc // of what is done at the moment
	state  SessionState

	// Of the goroutine of run only:
	finder     *finder
	stopFinder func()
	extended   bool // the neighbor took IPv6 next hops for IPv4 prefixes when last seen; or was not seen
	attempts   int  // since the session was last stable
}

func newSession(s *Speaker, want plan.Session) *session {
	x := &session{
		peer: want.Peer, speaker: s, want: want, done: make(chan struct{}), extended: true,
		log:    s.cfg.Log.With("peer", want.Peer),
		engine: &engine{servers: s.servers},
		state:  SessionState{Peer: want.Peer, State: Idle, Since: time.Now()},
		cancel: func(error) {}, stopFinder: func() {},
	}
	x.rib = newRIB(x.engine)
	x.life, x.kill = context.WithCancelCause(context.Background())
	return x
}

// identity is what the session's engine runs with.
func (x *session) identity(want plan.Session) identity {
	id := want.RouterID
	if !id.IsValid() {
		id = x.speaker.cfg.RouterID
	}
	if !id.IsValid() {
		id = routerID(x.speaker.cfg.Node)
	}
	return identity{ownASN(want), id}
}

// routerID derives a router ID from a node's name. It changes only with the name, unlike the node's addresses.
func routerID(node string) netip.Addr {
	h := fnv.New32a()
	_, _ = h.Write([]byte(node))
	n := h.Sum32() | 1 // not 0.0.0.0
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// announce makes routes what the session announces.
func (x *session) announce(ctx context.Context, routes []plan.Route, drain bool) error {
	return x.rib.wants(ctx, routes, drain)
}

// wanted returns what is wanted of the session now.
func (x *session) wanted() plan.Session {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.want
}

// change makes now what is wanted, with a reset if nothing less will do.
func (x *session) change(now plan.Session) {
	x.mu.Lock()
	was := x.want
	x.want = now
	x.mu.Unlock()
	if was == now {
		return
	}
	what := Resets(was, now)
	if len(what) == 0 {
		x.log.Info("BGP session changed; timers hold from the next connection on")
		return
	}
	x.log.Info("BGP session is reset, since what cannot be changed otherwise has changed", "changed", what)
	x.reset(ending{
		why:  "the configuration of the session has changed: " + listed(what),
		code: cease, subcode: ceaseConfiguration, keepIfGraceful: sameNeighbor(was, now),
	})
}

// reset ends the connection, or the pause before the next.
func (x *session) reset(e ending) {
	x.mu.Lock()
	cancel := x.cancel
	x.mu.Unlock()
	cancel(e)
}

// end ends the session and returns when it has ended.
func (x *session) end(e ending) {
	x.kill(e)
	<-x.done
}

// phase returns a context for what is done next; reset and end cancel it.
func (x *session) phase() (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(x.life)
	x.mu.Lock()
	x.cancel = cancel
	x.mu.Unlock()
	return ctx, cancel
}

// run opens connections until the session is ended.
func (x *session) run() {
	defer close(x.done)
	defer x.engine.stop()
	defer func() { x.stopFinder() }()
	for x.life.Err() == nil {
		ctx, cancel := x.phase()
		began := time.Now()
		err := x.attempt(ctx)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel(nil)
		if x.life.Err() != nil {
			x.log.Info("BGP session ended", "reason", context.Cause(x.life))
			return
		}
		x.await(err, time.Since(began))
	}
}

// await records why a connection or an attempt has ended and waits for the time of the next.
func (x *session) await(err error, lasted time.Duration) {
	was := x.current()
	ctx, cancel := x.phase()
	defer cancel(nil)
	wait := x.backoff(err, was, lasted)
	x.report(was, err.Error())
	var e ending
	if errors.As(err, &e) && e.pause > 0 {
		x.fail(Idle, err.Error())
	} else {
		x.fail(Active, err.Error())
	}
	pause(ctx, wait)
}

// backoff returns how long to wait before the next attempt.
func (x *session) backoff(err error, was SessionState, lasted time.Duration) time.Duration {
	var e ending
	if errors.As(err, &e) {
		x.attempts = 0
		return e.pause
	}
	if was.State == Established && lasted >= stable {
		x.attempts = 0
		return 0
	}
	limit := x.wanted().ConnectTime
	if limit == 0 {
		limit = defaultConnectTime
	}
	d := limit
	if x.attempts < 10 {
		d = min(firstPause<<x.attempts, limit)
	}
	x.attempts++
	return d - time.Duration(rand.Int64N(int64(d)/4+1)) // RFC 4271, section 10
}

// report logs why a connection or an attempt has ended, once.
func (x *session) report(was SessionState, why string) {
	switch {
	case was.State == Established:
		x.log.Warn("BGP session is down", "reason", why)
	case was.LastError != why:
		x.log.Warn("BGP session cannot be established", "reason", why)
	default:
		x.log.Debug("BGP session still cannot be established", "reason", why)
	}
}

// attempt opens a connection and returns why it could not or why it has ended.
func (x *session) attempt(ctx context.Context) error {
	want := x.wanted()
	id := x.identity(want)
	if err := x.rib.replace(func() (bool, error) { return x.engine.ensure(id) }); err != nil {
		return err
	}
	t, err := x.locate(ctx, want)
	if err != nil {
		return err
	}
	x.enter(Connect, "connecting to "+t.String())
	outer, err := x.speaker.node.dial(ctx, t)
	if err != nil {
		return errors.New(describeDial(t, err))
	}
	defer outer.Close()
	local := addressOf(outer.LocalAddr())
	x.reach(ctx, local, id.asn)
	inner, hello, err := x.engine.connect(ctx, want)
	if err != nil {
		return err
	}
	defer x.engine.disconnect()
	x.set(func(s *SessionState) {
		s.State, s.Reason = OpenSent, "waiting for the peer's OPEN"
		s.Local, s.Remote, s.Interface = local.WithZone(""), t.remote.Addr().WithZone(""), want.Interface
	})
	return (&relay{
		want: want, outer: outer, inner: inner, hello: hello, counters: &x.counters,
		opened:      func(o open) error { return x.opened(ctx, o, want, id, local) },
		established: x.established,
	}).run(ctx)
}

// reach gives the routes the next hops of a connection.
func (x *session) reach(ctx context.Context, local netip.Addr, asn uint32) {
	h := chooseHops(local, x.speaker.node.companion(local), x.extended)
	if err := x.rib.reach(ctx, h, asn); err != nil && ctx.Err() == nil {
		x.log.Error("some routes are not announced", "error", err)
	}
}

// opened takes the neighbor's OPEN, or refuses it.
func (x *session) opened(ctx context.Context, o open, want plan.Session, id identity, local netip.Addr) error {
	if err := o.accept(want, id.id); err != nil {
		return err
	}
	if o.extendedHop != x.extended {
		x.extended = o.extendedHop
		x.reach(ctx, local, id.asn)
	}
	hold, keepalive := o.negotiated(want)
	x.set(func(s *SessionState) {
		s.State, s.Reason = OpenConfirm, "waiting for the peer's KEEPALIVE"
		s.PeerASN, s.PeerRouterID, s.HoldTime, s.Keepalive = o.asn, o.id, hold, keepalive
		s.Capabilities, s.Graceful = o.capabilities(), o.graceful && want.GracefulRestart
		s.IPv4, s.IPv6 = o.ipv4 && want.IPv4, o.ipv6 && want.IPv6
	})
	return nil
}

func (x *session) established() {
	x.set(func(s *SessionState) { s.State, s.Reason = Established, "" })
	now := x.current()
	x.log.Info("BGP session is established", "address", now.Remote, "asn", now.PeerASN, "hold", now.HoldTime, "graceful", now.Graceful)
}

// locate returns where to connect to. An unnumbered neighbor is waited for.
func (x *session) locate(ctx context.Context, want plan.Session) (target, error) {
	t := target{device: want.VRF, source: want.Source, password: string(want.Password), ttl: ttl(want)}
	port := want.Port
	if port == 0 {
		port = defaultPort
	}
	if want.Interface != "" {
		t.device = want.Interface
	}
	address := want.Address
	if !address.IsValid() {
		var err error
		if address, err = x.find(ctx, want.Interface); err != nil {
			return target{}, err
		}
	} else {
		x.stopFinder()
		x.finder, x.stopFinder = nil, func() {}
	}
	if address.IsLinkLocalUnicast() && want.Interface != "" {
		l, err := x.speaker.node.link(want.Interface)
		if err != nil {
			return target{}, err
		}
		address = address.WithZone(strconv.Itoa(l.Index))
	}
	t.remote = netip.AddrPortFrom(address, port)
	return t, nil
}

// find waits for the neighbor on an interface.
func (x *session) find(ctx context.Context, name string) (netip.Addr, error) {
	if x.finder == nil || x.finder.name != name {
		x.stopFinder()
		ctx, cancel := context.WithCancel(x.life)
		x.finder = newFinder(x.speaker.node, name, func(why string) {
			x.reset(ending{why: why, code: cease, subcode: ceaseReset, keepIfGraceful: true})
		})
		ended := make(chan struct{})
		go func(f *finder) {
			defer close(ended)
			f.run(ctx)
		}(x.finder)
		x.stopFinder = func() {
			cancel()
			<-ended
		}
	}
	for {
		a, problem := x.finder.neighbor()
		if a.IsValid() {
			return a, nil
		}
		x.enter(Idle, problem)
		select {
		case <-ctx.Done():
			return netip.Addr{}, ctx.Err()
		case <-x.finder.changed:
		}
	}
}

// ttl is that of the packets to a neighbor: one of another AS is on the link unless the session says otherwise.
func ttl(want plan.Session) int {
	switch {
	case internal(want):
		return 0
	case want.MultiHop:
		return multiHopTTL
	default:
		return 1
	}
}

// internal says whether the neighbor has to be of the own AS.
func internal(want plan.Session) bool {
	return want.ASN == policy.ASNInternal || want.ASN == policy.ASNGiven && want.PeerASN == ownASN(want)
}

func addressOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
