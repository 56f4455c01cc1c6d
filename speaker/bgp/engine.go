//go:build linux

package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/log"
	"github.com/osrg/gobgp/v3/pkg/server"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	engineLimit  = 5 * time.Second        // for the engine to take a connection: it takes milliseconds
	engineFree   = 500 * time.Millisecond // for its state machine to end: it takes less than one
	enginePause  = 2 * time.Millisecond   // before another attempt
	restartTime  = 120                    // seconds that the neighbor keeps routes over a restart of this process (RFC 4724)
	deferralTime = 10                     // seconds; never waited for, see open.forEngine
	engineHold   = 90                     // seconds, of the engine where the session has no hold time
	feedInterval = 25 * time.Second       // of KEEPALIVE messages to such an engine
)

// identity is what a GoBGP server is started with.
type identity struct {
	asn uint32
	id  netip.Addr
}

// engine is one GoBGP server with at most one neighbor, the relay. It listens on a random address of 127.0.0.0/8, and
// the relay calls from that same address, so no other process is taken for it by accident.
type engine struct {
	servers *servers

	mu      sync.Mutex
	server  *gobgp // nil: not started
	runs    identity
	address netip.AddrPort
	open    bool // there is a neighbor
}

// ensure makes the engine run with an identity. It says whether it was started, with an empty table.
func (e *engine) ensure(id identity) (started bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil && e.runs == id {
		return false, nil
	}
	e.stopLocked()
	s := e.servers.take()
	address, err := start(s, id)
	if err != nil {
		e.servers.give(s)
		return false, fmt.Errorf("starting its engine: %w", err)
	}
	e.server, e.runs, e.address = s, id, address
	return true, nil
}

// start starts a server that listens on a free address.
func start(s *gobgp, id identity) (netip.AddrPort, error) {
	var errs []error
	for range 5 {
		a, err := freeAddress()
		if err == nil {
			err = s.StartBgp(context.Background(), &api.StartBgpRequest{Global: &api.Global{
				Asn: id.asn, RouterId: id.id.String(), Families: []uint32{0, 1}, // IPv4 and IPv6 unicast
				ListenAddresses: []string{a.Addr().String()}, ListenPort: int32(a.Port()),
			}})
		}
		if err == nil {
			return a, nil
		}
		errs = append(errs, err)
	}
	return netip.AddrPort{}, errors.Join(errs...)
}

// freeAddress returns a loopback address and a port that nothing listens on.
func freeAddress() (netip.AddrPort, error) {
	r := rand.Uint32()
	a := netip.AddrFrom4([4]byte{127, byte(r>>16)%254 + 1, byte(r >> 8), byte(r)%254 + 1})
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer l.Close()
	return netip.AddrPortFrom(a, l.Addr().(*net.TCPAddr).AddrPort().Port()), nil
}

// connect gives the engine a neighbor, and connects to it as that neighbor.
func (e *engine) connect(ctx context.Context, want plan.Session) (net.Conn, message, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.disconnectLocked()
	if err := e.server.AddPeer(ctx, &api.AddPeerRequest{Peer: e.neighbor(want)}); err != nil {
		return nil, nil, fmt.Errorf("adding the neighbor to the engine: %w", err)
	}
	e.open = true
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	for {
		c, first, err := e.call(ctx)
		if err == nil {
			return c, first, nil
		}
		pause(ctx, enginePause)
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("connecting to the engine: %w", err)
		}
	}
}

// call opens a connection to the engine and reads its OPEN. The engine closes a connection that comes too early.
func (e *engine) call(ctx context.Context) (net.Conn, message, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(e.address.Addr(), 0))}
	c, err := d.DialContext(ctx, "tcp4", e.address.String())
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	m, err := readMessage(c, make([]byte, maxLength))
	if err == nil && m.kind() != typeOpen {
		err = fmt.Errorf("the engine sent a message of type %d", m.kind())
	}
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	_ = c.SetReadDeadline(time.Time{})
	return c, m, nil
}

// neighbor is the relay, as the engine sees it. Addresses, TTL and password are the relay's business.
func (e *engine) neighbor(want plan.Session) *api.Peer {
	asn := want.PeerASN // 0: any, and open.accept decides
	hold, keepalive := uint64(want.HoldTime/time.Second), uint64(want.KeepaliveTime/time.Second)
	if hold == 0 {
		hold, keepalive = engineHold, 0
	}
	p := &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: e.address.Addr().String(), PeerAsn: asn},
		Timers:    &api.Timers{Config: &api.TimersConfig{HoldTime: hold, KeepaliveInterval: keepalive}},
		Transport: &api.Transport{PassiveMode: true, LocalAddress: e.address.Addr().String()},
		GracefulRestart: &api.GracefulRestart{
			Enabled: want.GracefulRestart, RestartTime: restartTime, DeferralTime: deferralTime, LocalRestarting: want.GracefulRestart,
		},
	}
	for _, f := range familiesOf(want) {
		p.AfiSafis = append(p.AfiSafis, &api.AfiSafi{
			Config:            &api.AfiSafiConfig{Family: f, Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: want.GracefulRestart}},
		})
	}
	return p
}

func familiesOf(want plan.Session) (out []*api.Family) {
	if want.IPv4 {
		out = append(out, apiFamily(familyIPv4))
	}
	if want.IPv6 {
		out = append(out, apiFamily(familyIPv6))
	}
	return out
}

func apiFamily(f family) *api.Family {
	return &api.Family{Afi: api.Family_Afi(f), Safi: api.Family_SAFI_UNICAST}
}

// disconnect takes the neighbor from the engine; its table stays.
func (e *engine) disconnect() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.disconnectLocked()
}

func (e *engine) disconnectLocked() {
	if !e.open {
		return
	}
	e.open = false
	select { // of a neighbor that was given up on
	case <-e.server.freed:
	default:
	}
	_ = e.server.DeletePeer(context.Background(), &api.DeletePeerRequest{Address: e.address.Addr().String()})
	select {
	case <-e.server.freed:
	case <-time.After(engineFree):
	}
}

// stop ends the engine.
func (e *engine) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopLocked()
}

func (e *engine) stopLocked() {
	if e.server == nil {
		return
	}
	e.disconnectLocked()
	_ = e.server.StopBgp(context.Background(), &api.StopBgpRequest{})
	e.server.empty()
	e.servers.give(e.server)
	e.server = nil
}

// add puts a path into the table, in place of one with the same prefix, and announces it.
func (e *engine) add(p *api.Path) error {
	_, err := e.server.AddPath(context.Background(), &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: p})
	return err
}

// remove takes a path from the table and withdraws it.
func (e *engine) remove(p *api.Path) error {
	return e.server.DeletePath(context.Background(), &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Path: p})
}

// servers makes GoBGP servers and takes them back: the goroutine of a server never ends, so it is used again.
//
// The race detector reports a server that is started while another one works on its table: StartBgp writes two variables
// of GoBGP's, SelectionOptions and UseMultiplePaths, which the other reads. What is written is the zero value that stands
// there already. Sessions that one Apply adds are started before any of them has a route; a test that adds one later is
// not run with the race detector.
type servers struct {
	log  *slog.Logger
	mu   sync.Mutex
	free []*gobgp
}

// gobgp is a GoBGP server.
type gobgp struct {
	*server.BgpServer
	freed <-chan struct{} // yields a value when the state machine of a deleted neighbor has ended
}

// empty lets go of the table, which a server else keeps until it is started the next time.
func (g *gobgp) empty() {
	_ = g.StartBgp(context.Background(), &api.StartBgpRequest{Global: &api.Global{Asn: transitionASN, RouterId: "0.0.0.1", ListenPort: -1}})
}

func (s *servers) take() *gobgp {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		x := s.free[n-1]
		s.free = s.free[:n-1]
		return x
	}
	freed := make(chan struct{}, 1)
	x := server.NewBgpServer(server.LoggerOption(engineLog{s.log, freed}))
	go x.Serve()
	return &gobgp{x, freed}
}

func (s *servers) give(x *gobgp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, x)
}

// engineLog is what GoBGP logs to. What matters to a user the relay knows better; the rest is for debugging. Its Fatal
// and Panic end nothing.
type engineLog struct {
	log   *slog.Logger
	freed chan<- struct{} // see gobgp
}

func (l engineLog) Panic(msg string, f log.Fields) { l.write(slog.LevelError, msg, f) }
func (l engineLog) Fatal(msg string, f log.Fields) { l.write(slog.LevelError, msg, f) }
func (l engineLog) Error(msg string, f log.Fields) { l.write(slog.LevelWarn, msg, f) }
func (l engineLog) Warn(msg string, f log.Fields)  { l.write(slog.LevelDebug, msg, f) }
func (l engineLog) Info(string, log.Fields)        {}
func (l engineLog) SetLevel(log.LogLevel)          {}
func (l engineLog) GetLevel() log.LogLevel         { return log.WarnLevel }

// Debug hears that a state machine has ended, which GoBGP tells in no other way. A server that is stopped before that
// takes from the state machine what it still reads.
func (l engineLog) Debug(msg string, _ log.Fields) {
	if msg == "freed fsm.h" {
		signal(l.freed)
	}
}

func (l engineLog) write(level slog.Level, msg string, f log.Fields) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "GoBGP: "+msg, "fields", fmt.Sprint(f))
	}
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
