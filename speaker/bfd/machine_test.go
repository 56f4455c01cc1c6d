//go:build linux

package bfd

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

const ms = time.Millisecond

// peerIs is the discriminator of the other end in the tests, ourIs that of the machine.
const (
	peerIs = 77
	ourIs  = 5
)

func epoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// rig is a machine with a clock that the test moves.
type rig struct {
	*machine
	t   *testing.T
	now time.Time
}

// newRig makes a machine at 50 ms x 3 both ways, changed by f.
func newRig(t *testing.T, f func(*Session)) *rig {
	s := Session{
		Path{Peer: netip.MustParseAddr("192.0.2.2")},
		Parameters{DesiredMinTx: 50 * ms, RequiredMinRx: 50 * ms, DetectMultiplier: 3},
	}
	if f != nil {
		f(&s)
	}
	r := &rig{t: t, now: epoch()}
	r.machine = newMachine(s, ourIs, func() float64 { return 0.5 }, r.now)
	return r
}

// from is a packet of the other end at 100 ms x 3.
func from(s Status) packet {
	return packet{state: s, multiplier: 3, mine: peerIs, yours: ourIs, desiredTx: 100 * ms, requiredRx: 100 * ms}
}

// hear lets the machine receive packets.
func (r *rig) hear(packets ...packet) {
	for _, p := range packets {
		r.receive(p, r.now)
	}
}

// up brings the session Up and confirms its poll.
func (r *rig) up() {
	r.hear(from(Down), from(Init))
	final := from(Up)
	final.final = true
	r.hear(final)
	if r.local != Up || r.polling {
		r.t.Fatalf("not Up and settled: %+v", r.machine)
	}
	r.out = nil
}

// pass lets time pass, with advance called whenever it has to be.
func (r *rig) pass(d time.Duration) {
	end := r.now.Add(d)
	for next := r.next(); due(next, end); next = r.next() {
		if next.After(r.now) {
			r.now = next
		}
		r.advance(r.now)
	}
	r.now = end
}

// sent returns what was sent since the last call.
func (r *rig) sent() []packet {
	out := r.out
	r.out = nil
	return out
}

func (r *rig) one() packet {
	r.t.Helper()
	out := r.sent()
	if len(out) != 1 {
		r.t.Fatalf("sent %d packets, want 1: %+v", len(out), out)
	}
	return out[0]
}

// TestTransitions is section 6.2's picture, with the diagnostics of section 4.1.
func TestTransitions(t *testing.T) {
	tests := []struct {
		local, remote, want Status
		diagnostic          Diagnostic
	}{
		{Down, AdminDown, Down, NoDiagnostic},
		{Down, Down, Init, NoDiagnostic},
		{Down, Init, Up, NoDiagnostic},
		{Down, Up, Down, NoDiagnostic},
		{Init, AdminDown, Down, NeighborDown},
		{Init, Down, Init, NoDiagnostic},
		{Init, Init, Up, NoDiagnostic},
		{Init, Up, Up, NoDiagnostic},
		{Up, AdminDown, Down, NeighborDown},
		{Up, Down, Down, NeighborDown},
		{Up, Init, Up, NoDiagnostic},
		{Up, Up, Up, NoDiagnostic},
		{AdminDown, Init, AdminDown, AdminDownDiag},
	}
	failures := map[Status]uint64{Down: 1} // of a session that is Up; AdminDown is none (RFC 5882 section 3.2)
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%v hears %v", tt.local, tt.remote), func(t *testing.T) {
			r := newRig(t, nil)
			switch tt.local {
			case Init:
				r.hear(from(Down))
			case Up:
				r.up()
			case AdminDown:
				r.shut(r.now)
			}
			r.sent()
			r.hear(from(tt.remote))
			if r.local != tt.want || r.diagnostic != tt.diagnostic {
				t.Fatalf("is %v (%v), want %v (%v)", r.local, r.diagnostic, tt.want, tt.diagnostic)
			}
			if want := failures[tt.remote]; tt.local == Up && r.downs != want {
				t.Errorf("counts as %d failures of the path, want %d", r.downs, want)
			}
			if changed := tt.local != tt.want; changed != (len(r.sent()) == 1) {
				t.Error("a change of state is told by one packet at once, and nothing else is (section 6.8.7)")
			}
		})
	}
}

func TestSlowStart_6_8_3(t *testing.T) {
	r := newRig(t, nil)
	r.pass(10 * time.Second)
	out := r.sent()
	if len(out) < 11 || len(out) > 14 { // the first at once, then one in 0.75 to 1 s
		t.Errorf("%d packets in 10 s", len(out))
	}
	for _, p := range out {
		if p.desiredTx != time.Second || p.requiredRx != 50*ms || p.state != Down || p.yours != 0 || p.poll {
			t.Fatalf("sent %+v", p)
		}
	}
}

func TestGoingUpPolls_6_8_3(t *testing.T) {
	r := newRig(t, nil)
	r.hear(from(Down), from(Init))
	out := r.sent()
	if p := out[len(out)-1]; p.state != Up || !p.poll || p.desiredTx != 50*ms {
		t.Fatalf("sent %+v", p)
	}
	r.pass(200 * ms)
	if out := r.sent(); len(out) < 2 || !out[0].poll { // faster at once, as the interval is reduced; at what the other end takes
		t.Fatalf("sent %+v", out)
	}
	final := from(Up)
	final.final = true
	r.hear(final)
	r.pass(100 * ms)
	if p := r.one(); p.poll || p.final {
		t.Fatalf("sent %+v", p)
	}
}

func TestDetection_6_8_4(t *testing.T) {
	r := newRig(t, nil)
	r.up() // three times the larger of 50 ms, which we take, and 100 ms, which it sends
	for range 5 {
		r.pass(299 * ms)
		r.hear(from(Up))
	}
	r.pass(299 * ms)
	r.sent()
	if r.local != Up {
		t.Fatal("went down too early")
	}
	r.pass(1 * ms)
	if p := r.one(); p.state != Down || p.diagnostic != DetectionExpired || p.yours != 0 || p.desiredTx != time.Second {
		t.Fatalf("sent %+v", p)
	}
	if r.yours != 0 || r.downs != 1 {
		t.Errorf("%+v", r.machine)
	}
	r.pass(990 * ms) // slow again
	if n := len(r.sent()); n != 1 {
		t.Errorf("%d packets in a second while Down", n)
	}
	r.hear(from(Down), from(Up))
	if r.local != Up || r.diagnostic != NoDiagnostic {
		t.Errorf("not Up again: %+v", r.machine)
	}
}

func TestInitExpires_6_8_4(t *testing.T) {
	r := newRig(t, nil)
	r.hear(from(Down))
	r.pass(300 * ms)
	if r.local != Down || r.diagnostic != DetectionExpired {
		t.Errorf("%+v", r.machine)
	}
}

func TestIntervals_6_8_2(t *testing.T) {
	r := newRig(t, nil)
	r.up()
	slow := from(Up)
	slow.requiredRx = 400 * ms
	r.hear(slow)
	r.keepHearing(slow, 4*time.Second)
	if n := len(r.sent()); n < 10 || n > 14 {
		t.Errorf("%d packets in 4 s at 400 ms", n)
	}
	r.hear(from(Up)) // back to 100 ms: the next one is not later than 100 ms after the last
	r.pass(100 * ms)
	if n := len(r.sent()); n == 0 {
		t.Error("a shorter interval is not honored at once")
	}
	none := from(Up)
	none.requiredRx = 0
	r.hear(none)
	r.keepHearing(none, 4*time.Second)
	if n := len(r.sent()); n != 0 {
		t.Errorf("%d packets to one that wants none (section 6.8.7)", n)
	}
	poll := none
	poll.poll = true
	r.hear(poll)
	if p := r.one(); !p.final {
		t.Errorf("its poll is answered by %+v", p)
	}
}

// keepHearing lets time pass with a packet each 100 ms.
func (r *rig) keepHearing(p packet, d time.Duration) {
	for ; d > 0; d -= 100 * ms {
		r.hear(p)
		r.pass(100 * ms)
	}
}

func TestDemandMode_6_6(t *testing.T) {
	r := newRig(t, nil)
	r.up()
	quiet := from(Up)
	quiet.demand = true
	r.hear(quiet)
	r.keepHearing(quiet, time.Second)
	if n := len(r.sent()); n != 0 || r.local != Up {
		t.Errorf("%d packets to one in demand mode; %v", n, r.local)
	}
	r.configure(Parameters{DesiredMinTx: 60 * ms, RequiredMinRx: 60 * ms, DetectMultiplier: 3}, r.now)
	r.keepHearing(quiet, time.Second)
	if n := len(r.sent()); n < 8 {
		t.Errorf("%d packets of a Poll Sequence", n)
	}
}

func TestPollIsAnsweredAtOnce_6_5(t *testing.T) {
	r := newRig(t, nil)
	r.up()
	poll := from(Up)
	poll.poll, poll.desiredTx = true, 500*ms
	r.hear(poll)
	if p := r.one(); !p.final || p.poll {
		t.Errorf("answer %+v", p)
	}
	if r.detectionTime() != 1500*ms {
		t.Errorf("detection time %v", r.detectionTime())
	}
}

func TestParameterChange_6_8_3(t *testing.T) {
	slower := Parameters{DesiredMinTx: 500 * ms, RequiredMinRx: 600 * ms, DetectMultiplier: 4}
	faster := Parameters{DesiredMinTx: 20 * ms, RequiredMinRx: 20 * ms, DetectMultiplier: 3}
	final := from(Up)
	final.final, final.requiredRx, final.desiredTx = true, 10*ms, 10*ms
	plain := final
	plain.final = false

	r := newRig(t, nil)
	r.up()
	r.hear(plain)
	r.sent()
	r.configure(slower, r.now)
	if p := r.one(); !p.poll || p.desiredTx != 500*ms || p.requiredRx != 600*ms || p.multiplier != 4 || p.state != Up {
		t.Fatalf("sent %+v", p)
	}
	if r.interval() != 50*ms || r.detectionTime() != 1800*ms {
		t.Errorf("before the confirmation: every %v, detection %v", r.interval(), r.detectionTime())
	}
	r.hear(final)
	if r.interval() != 500*ms || r.polling {
		t.Errorf("after the confirmation: every %v", r.interval())
	}
	r.configure(faster, r.now)
	if r.interval() != 20*ms || r.detectionTime() != 1800*ms {
		t.Errorf("before the confirmation: every %v, detection %v", r.interval(), r.detectionTime())
	}
	r.hear(final)
	if r.detectionTime() != 60*ms || r.local != Up || r.downs != 0 {
		t.Errorf("after the confirmation: detection %v, %v", r.detectionTime(), r.local)
	}
	r.sent()
	r.configure(faster, r.now)
	if n := len(r.sent()); n != 0 || r.polling {
		t.Error("no change is a change")
	}
}

func TestChangeDuringPoll_6_5(t *testing.T) {
	r := newRig(t, nil)
	r.up()
	p := r.params
	p.DesiredMinTx = 400 * ms
	r.configure(p, r.now)
	p.DesiredMinTx = 700 * ms
	r.configure(p, r.now)
	final := from(Up)
	final.final = true
	r.hear(final)
	if r.interval() != 100*ms || !r.polling {
		t.Errorf("an answer that may be to the first values is taken as one to the second: %v", r.interval())
	}
	r.hear(final)
	if r.interval() != 700*ms || r.polling {
		t.Errorf("%v, polling %v", r.interval(), r.polling)
	}
}

func TestPassive_6_1(t *testing.T) {
	r := newRig(t, func(s *Session) { s.Passive = true })
	r.pass(10 * time.Second)
	if out := r.sent(); len(out) != 0 || !r.next().IsZero() {
		t.Fatalf("sent %+v before anything was heard", out)
	}
	r.up()
	r.pass(time.Second) // it expires: silent again, though active ones say that they are down
	if out := r.sent(); r.local != Down || out[len(out)-1].state != Up {
		t.Errorf("%v; sent %+v", r.local, out[len(out)-1])
	}
}

func TestJitter_6_8_7(t *testing.T) {
	for multiplier, limits := range map[uint8][2]float64{1: {0.75, 0.9}, 3: {0.75, 1}} {
		r := newRig(t, func(s *Session) { s.DetectMultiplier = multiplier })
		random := rand.New(rand.NewPCG(1, 2))
		r.random = random.Float64
		least, most := 1.0, 0.0
		for range 10_000 {
			f := r.jittered(time.Second).Seconds()
			least, most = min(least, f), max(most, f)
		}
		late := 1.0 / ticksPerInterval // advance is called that much late
		if least < limits[0] || most+late > limits[1] || most-least < 0.04 {
			t.Errorf("multiplier %d: between %v and %v, and up to %v late", multiplier, least, most, late)
		}
	}
}

func TestAdminDown_6_8_16(t *testing.T) {
	r := newRig(t, nil)
	r.up()
	begin := r.now
	r.shut(r.now)
	for !r.done() {
		r.pass(1 * ms)
	}
	out := r.sent()
	if len(out) != farewells || r.now.Sub(begin) > (farewells-1)*farewellInterval+ms {
		t.Errorf("%d farewells in %v", len(out), r.now.Sub(begin))
	}
	for _, p := range out {
		if p.state != AdminDown || p.diagnostic != AdminDownDiag || p.yours != peerIs || p.poll {
			t.Errorf("sent %+v", p)
		}
	}
	r = newRig(t, nil)
	r.sent()
	r.shut(r.now)
	if !r.done() || len(r.sent()) != 0 {
		t.Error("there is nobody to tell")
	}
}

func TestEcho_6_4(t *testing.T) {
	r := newRig(t, func(s *Session) { s.Echo, s.EchoInterval = true, 20*ms })
	offers := from(Up)
	offers.echoRx = 40 * ms
	r.up()
	if r.packet().echoRx != 20*ms || r.echo.interval != 0 {
		t.Fatalf("%+v: the other end offers no echo", r.echo)
	}
	r.hear(offers)
	if r.echo.interval != 40*ms {
		t.Fatalf("every %v", r.echo.interval)
	}
	r.keepHearing(offers, time.Second)
	if r.local != Up || !r.sendEcho {
		t.Fatal("a session whose echo packets never came back is Up by control packets")
	}
	r.echoReturned(r.now)
	r.pass(119 * ms)
	if r.local != Up {
		t.Fatal("too early")
	}
	r.pass(1 * ms)
	if r.local != Down || r.diagnostic != EchoFailed {
		t.Errorf("%v, %v", r.local, r.diagnostic)
	}
	multihop := newRig(t, func(s *Session) { s.Echo, s.EchoInterval, s.Multihop = true, 20*ms, true })
	multihop.up()
	multihop.hear(offers)
	if multihop.packet().echoRx != 0 || multihop.echo.interval != 0 {
		t.Error("echo over several hops (RFC 5883 section 4)")
	}
}
