//go:build linux

package bfd

import (
	"encoding/binary"
	"time"
)

// echo is the echo function of one session (RFC 5880 section 6.4, RFC 5881 section 4): packets that the other end's
// forwarding plane sends back.
type echo struct {
	remoteRx    time.Duration // Required Min Echo RX Interval of the other end; 0: it sends none back
	interval    time.Duration // between those that we send; 0: none are sent
	nextSend    time.Time
	expires     time.Time // the zero time until the first one came back
	everReturns bool      // one came back since the session is Up
}

// echoPacket is what is in our echo packets, as FRR writes them: RFC 5880 section 5 leaves that to the sender. A version,
// a length, and the discriminator of the session.
const echoLength = 24

func appendEcho(b []byte, discriminator uint32) []byte {
	b = append(b, 1, echoLength, 0, 0)
	b = binary.BigEndian.AppendUint32(b, discriminator)
	return append(b, make([]byte, echoLength-8)...)
}

// parseEcho returns the discriminator in an echo packet.
func parseEcho(b []byte) (discriminator uint32, ok bool) {
	if len(b) < echoLength || b[0] != 1 || b[1] != echoLength {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[4:]), true
}

// echoWanted says whether the session is one that may use the echo function (RFC 5883 section 4: a multihop one may not).
func (m *machine) echoWanted() bool { return m.params.Echo && !m.multihop }

// echoRx is the Required Min Echo RX Interval that our packets say.
func (m *machine) echoRx() time.Duration {
	if !m.echoWanted() {
		return 0
	}
	return m.params.EchoInterval
}

// updateEcho starts, changes or ends the sending of echo packets, which are sent while Up, as far as the other end takes
// them (RFC 5880 section 6.8.9).
func (m *machine) updateEcho(now time.Time) {
	e := &m.echo
	var interval time.Duration
	if m.echoWanted() && m.local == Up && e.remoteRx > 0 {
		interval = max(m.params.EchoInterval, e.remoteRx)
	}
	if interval == e.interval {
		return
	}
	m.news = true
	if interval == 0 {
		*e = echo{remoteRx: e.remoteRx}
		return
	}
	e.interval, e.nextSend = interval, now
	if e.everReturns {
		e.expires = now.Add(m.echoTime())
	}
}

// echoTime is how long no echo packet may come back.
func (m *machine) echoTime() time.Duration {
	return time.Duration(m.params.DetectMultiplier) * m.echo.interval
}

// echoReturned takes an echo packet of ours that came back. From the first one on, they have to: a peer that never
// returns any, since a router does not forward or a firewall is in the way, is watched by control packets alone.
func (m *machine) echoReturned(now time.Time) {
	if m.echo.interval == 0 {
		return
	}
	if !m.echo.everReturns {
		m.echo.everReturns, m.news = true, true
	}
	m.echo.expires = now.Add(m.echoTime())
}

// advanceEcho does what is due at now.
func (m *machine) advanceEcho(now time.Time) {
	if due(m.echo.expires, now) {
		m.become(Down, EchoFailed, now)
		m.transmit(now)
		return
	}
	if due(m.echo.nextSend, now) {
		m.sendEcho = true
		m.echo.nextSend = now.Add(m.jittered(m.echo.interval))
	}
}

// next is when there is something to do.
func (e *echo) next() time.Time { return earliest(e.nextSend, e.expires) }
