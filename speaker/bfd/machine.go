//go:build linux

package bfd

import (
	"time"
)

const (
	// slowInterval is the least interval between packets while a session is not Up (RFC 5880 section 6.8.3).
	slowInterval = time.Second
	// farewells is how often AdminDown is said before a session is forgotten, as packets get lost.
	farewells = 3
	// farewellInterval is the most that passes between two of them, so that a shutdown is not held up.
	farewellInterval = 100 * time.Millisecond
	// ticksPerInterval is how exact the time is at which advance is called: to this part of an interval.
	ticksPerInterval = 10
	// leastOfInterval is the part of an interval that is between two packets at least (RFC 5880 section 6.8.7).
	leastOfInterval = 0.75
)

// machine is one end of one session: RFC 5880 section 6.8 without clock and socket. Packets and the time come in; what
// has to be sent now is appended to out, and next says when advance has something to do. The names of the RFC's state
// variables (section 6.8.1) are given where ours differ.
type machine struct {
	params   Parameters
	multihop bool
	random   func() float64 // in [0,1), for jitter

	local, remote      Status // SessionState, RemoteSessionState
	since              time.Time
	diagnostic         Diagnostic // LocalDiag
	remoteDiagnostic   Diagnostic
	mine, yours        uint32        // LocalDiscr, RemoteDiscr
	desiredTx          time.Duration // DesiredMinTxInterval: what our packets say
	requiredRx         time.Duration // RequiredMinRxInterval: what our packets say
	sendEvery          time.Duration // what of desiredTx is in force: an increase is not before the other end knows it
	expectEvery        time.Duration // what of requiredRx is in force: a decrease is not before the other end knows it
	remoteDesiredTx    time.Duration // as received; 0 if nothing was
	remoteMinRx        time.Duration // RemoteMinRxInterval; 0: wants no packets
	remoteMultiplier   uint8
	remoteDemand       bool // RemoteDemandMode
	polling, repoll    bool // a Poll Sequence runs; another one has to follow
	remaining          int  // farewells that are left, once the session is shut
	farewellEvery      time.Duration
	lastSent, nextSend time.Time // periodic transmission; the zero time: none
	lastHeard, expires time.Time // detection; the zero time: nothing to detect
	ups, downs         uint64    // how often it came Up, and left Up though neither end was taken down on purpose
	echo               echo
	out                []packet
	sendEcho, news     bool          // an echo packet has to be sent now; something that State shows has changed
	chosen             time.Duration // the interval that nextSend was worked out with
}

// newMachine returns a machine in state Down that sends its first packet at once, unless it is passive.
func newMachine(s Session, discriminator uint32, random func() float64, now time.Time) *machine {
	m := &machine{
		params: s.Parameters, multihop: s.Multihop, random: random,
		local: Down, remote: Down, since: now, mine: discriminator,
		news: true,
	}
	m.forgetRemote()
	m.advertise()
	m.sendEvery, m.expectEvery = m.desiredTx, m.requiredRx
	m.reschedule(now)
	if m.mayTransmit() {
		m.nextSend = now
	}
	return m
}

// forgetRemote sets what is known of the other end to its initial value (RFC 5880 section 6.8.1).
func (m *machine) forgetRemote() {
	m.remote, m.yours = Down, 0
	m.remoteDesiredTx, m.remoteMinRx = 0, time.Microsecond
	m.remoteMultiplier, m.remoteDemand = 0, false
	m.echo.remoteRx = 0
	m.polling, m.repoll = false, false
	m.expires = time.Time{}
}

// configure gives the session new parameters. It stays in its state: sections 6.5 and 6.8.3.
func (m *machine) configure(p Parameters, now time.Time) {
	if m.params == p || m.local == AdminDown {
		return
	}
	m.params = p
	m.news = true
	m.negotiate(now)
	m.updateEcho(now)
	if m.mayTransmit() { // as the content has changed: section 6.8.7
		m.transmit(now)
	}
}

// receive takes a packet of this session: section 6.8.6, from where the session is known.
func (m *machine) receive(p packet, now time.Time) {
	if m.local == AdminDown {
		return
	}
	m.learn(p, now)
	if p.final && m.polling {
		m.finishPoll(now)
	}
	before := m.local
	m.follow(p.state, now)
	m.lastHeard = now
	m.detect()
	m.updateEcho(now)
	switch {
	case p.poll:
		m.answer(now, m.local != before)
	case m.local != before:
		m.transmit(now)
	}
}

// learn takes over what a packet says about the other end.
func (m *machine) learn(p packet, now time.Time) {
	old := *m
	m.yours, m.remote, m.remoteDiagnostic, m.remoteDemand = p.mine, p.state, p.diagnostic, p.demand
	m.remoteMinRx, m.remoteDesiredTx, m.remoteMultiplier, m.echo.remoteRx = p.requiredRx, p.desiredTx, p.multiplier, p.echoRx
	if m.remoteMinRx != old.remoteMinRx || m.remoteDemand != old.remoteDemand || (m.yours == 0) != (old.yours == 0) {
		m.reschedule(now)
	}
	if m.yours != old.yours || m.remote != old.remote || m.remoteDiagnostic != old.remoteDiagnostic ||
		m.remoteMinRx != old.remoteMinRx || m.remoteDesiredTx != old.remoteDesiredTx ||
		m.remoteMultiplier != old.remoteMultiplier || m.echo.remoteRx != old.echo.remoteRx {
		m.news = true
	}
}

// follow is the state machine of sections 6.2 and 6.8.6.
func (m *machine) follow(remote Status, now time.Time) {
	switch {
	case remote == AdminDown:
		if m.local != Down {
			m.become(Down, NeighborDown, now)
		}
	case m.local == Down && remote == Down:
		m.become(Init, NoDiagnostic, now)
	case m.local == Down && remote == Init, m.local == Init && (remote == Init || remote == Up):
		m.become(Up, NoDiagnostic, now)
	case m.local == Up && remote == Down:
		m.become(Down, NeighborDown, now)
	}
}

// become changes the state. A packet that says so is left to the caller.
func (m *machine) become(s Status, d Diagnostic, now time.Time) {
	switch {
	case s == Up:
		m.ups++
	case m.local == Up && m.remote != AdminDown: // which says nothing of the path (RFC 5882 section 3.2)
		m.downs++
	}
	m.local, m.since, m.news = s, now, true
	if s != Init { // keeps why it was Down until it is Up
		m.diagnostic = d
	}
	m.negotiate(now)
	m.updateEcho(now)
}

// advertise works out what our packets say about the timers.
func (m *machine) advertise() {
	m.desiredTx, m.requiredRx = m.params.DesiredMinTx, m.params.RequiredMinRx
	if m.local != Up {
		m.desiredTx = max(m.desiredTx, slowInterval)
	}
}

// negotiate tells the other end about timers that have changed. While Up, an interval that the other end counts on stays
// in force until it has confirmed the new one: section 6.8.3.
func (m *machine) negotiate(now time.Time) {
	desired, required := m.desiredTx, m.requiredRx
	m.advertise()
	if m.local != Up {
		m.sendEvery, m.expectEvery = m.desiredTx, m.requiredRx
		m.polling, m.repoll = false, false
	} else {
		m.sendEvery, m.expectEvery = min(m.sendEvery, m.desiredTx), max(m.expectEvery, m.requiredRx)
		if m.desiredTx != desired || m.requiredRx != required {
			m.polling, m.repoll = true, m.polling
		}
	}
	m.reschedule(now)
	m.detect()
}

// finishPoll ends a Poll Sequence (section 6.5). If something changed meanwhile, the answer may be to the old values.
func (m *machine) finishPoll(now time.Time) {
	if m.repoll {
		m.repoll = false
		return
	}
	m.polling = false
	m.sendEvery, m.expectEvery = m.desiredTx, m.requiredRx
	m.news = true
	m.reschedule(now)
	m.detect()
}

// interval is what the two ends agreed on between packets that we send (section 6.8.2).
func (m *machine) interval() time.Duration { return max(m.sendEvery, m.remoteMinRx) }

// detectionTime is how long nothing may be heard (section 6.8.4).
func (m *machine) detectionTime() time.Duration {
	return time.Duration(m.remoteMultiplier) * max(m.expectEvery, m.remoteDesiredTx)
}

// mayTransmit says whether packets may be sent at all: sections 6.1 (passive role) and 6.8.7.
func (m *machine) mayTransmit() bool { return m.yours != 0 || !m.params.Passive }

// periodic says whether packets are to be sent at an interval: section 6.8.7. Demand mode is the other end's choice; it
// is never ours.
func (m *machine) periodic() bool {
	quiet := m.remoteDemand && m.local == Up && m.remote == Up && !m.polling
	return m.mayTransmit() && m.remoteMinRx > 0 && !quiet
}

// reschedule sets the time of the next packet after the interval may have changed. What is late is due at once.
func (m *machine) reschedule(now time.Time) {
	if !m.periodic() {
		m.nextSend, m.chosen = time.Time{}, 0
		return
	}
	if i := m.interval(); i != m.chosen || m.nextSend.IsZero() {
		from := m.lastSent
		if from.IsZero() {
			from = now
		}
		m.chosen, m.nextSend = i, from.Add(m.jittered(i))
	}
}

// mayJoin says whether the next periodic packet may be sent now, though it is not due: no interval gets shorter by more
// than the jitter that section 6.8.7 allows.
func (m *machine) mayJoin(now time.Time) bool {
	least := time.Duration(float64(m.chosen) * leastOfInterval)
	return m.chosen > 0 && !m.nextSend.IsZero() && !m.lastSent.IsZero() && m.lastSent.Add(least).Before(now) && m.nextSend.After(now)
}

// jittered takes a random part off an interval: section 6.8.7 wants 75 to 100 % of it between two packets, and at most
// 90 % where a single lost packet counts. One ticksPerInterval-th is left to whoever calls advance late.
func (m *machine) jittered(interval time.Duration) time.Duration {
	low, high := leastOfInterval, 1.0
	if m.params.DetectMultiplier == 1 {
		high = 0.9
	}
	high -= 1.0 / ticksPerInterval
	return time.Duration(float64(interval) * (low + (high-low)*m.random()))
}

// detect sets the end of the detection time.
func (m *machine) detect() {
	if m.yours != 0 && m.remoteMultiplier != 0 {
		m.expires = m.lastHeard.Add(m.detectionTime())
	}
}

// transmit sends a packet now, and the next periodic one an interval later.
func (m *machine) transmit(now time.Time) {
	m.emit(m.packet())
	m.lastSent = now
	if m.periodic() {
		m.chosen = m.interval()
		m.nextSend = now.Add(m.jittered(m.chosen))
	}
}

// answer replies to a packet with the Poll bit at once, whatever the timers say (section 6.8.7).
func (m *machine) answer(now time.Time, tells bool) {
	p := m.packet()
	p.poll, p.final = false, true
	m.emit(p)
	if tells { // it is also the packet that tells of a change
		m.lastSent = now
		m.chosen = 0
		m.reschedule(now)
	}
}

func (m *machine) emit(p packet) { m.out = append(m.out, p) }

// packet is a periodic packet as it would be now (section 6.8.7).
func (m *machine) packet() packet {
	return packet{
		diagnostic: m.diagnostic, state: m.local, poll: m.polling,
		multiplier: m.params.DetectMultiplier, mine: m.mine, yours: m.yours,
		desiredTx: m.desiredTx, requiredRx: m.requiredRx, echoRx: m.echoRx(),
	}
}

// advance does what is due at now.
func (m *machine) advance(now time.Time) {
	if m.local == AdminDown {
		m.sayFarewell(now)
		return
	}
	if due(m.expires, now) {
		m.expire(now)
	}
	if due(m.nextSend, now) {
		m.transmit(now)
	}
	m.advanceEcho(now)
}

// expire acts on a detection time that has passed (sections 6.8.1, RemoteDiscr, and 6.8.4).
func (m *machine) expire(now time.Time) {
	m.forgetRemote()
	m.news = true
	if m.local != Down {
		m.become(Down, DetectionExpired, now)
		m.transmitIfActive(now)
	}
	m.reschedule(now)
}

func (m *machine) transmitIfActive(now time.Time) {
	if m.mayTransmit() {
		m.transmit(now)
	}
}

// shut takes the session down on purpose (section 6.8.16). The machine goes on until done.
func (m *machine) shut(now time.Time) {
	m.farewellEvery = min(m.interval(), farewellInterval)
	if m.yours != 0 {
		m.remaining = farewells
	}
	m.local, m.diagnostic, m.since = AdminDown, AdminDownDiag, now
	m.desiredTx = max(m.params.DesiredMinTx, slowInterval)
	m.polling, m.expires, m.echo = false, time.Time{}, echo{}
	m.nextSend = now
	m.sayFarewell(now)
}

func (m *machine) sayFarewell(now time.Time) {
	if !due(m.nextSend, now) {
		return
	}
	m.nextSend = time.Time{}
	if m.remaining == 0 {
		return
	}
	m.emit(m.packet())
	if m.remaining--; m.remaining > 0 {
		m.nextSend = now.Add(m.farewellEvery)
	}
}

// done says that the machine was shut and has nothing more to say.
func (m *machine) done() bool { return m.local == AdminDown && m.remaining == 0 }

// next is when advance has something to do; the zero time: not before the next packet comes.
func (m *machine) next() time.Time {
	return earliest(m.nextSend, earliest(m.expires, m.echo.next()))
}

// due says whether a time has come; the zero time never comes.
func due(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// earliest returns the earlier of two times, where the zero time never comes.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
