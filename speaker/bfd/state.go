//go:build linux

package bfd

import "time"

// State is what is known of one session. It is a snapshot, and comparable.
type State struct {
	Local  Status    // of this end: what the session is to those who depend on it
	Remote Status    // as the other end said last; AdminDown there is no failure of the path (RFC 5882 section 3.2)
	Since  time.Time // when Local became what it is

	Diagnostic       Diagnostic // why Local is what it is
	RemoteDiagnostic Diagnostic // as the other end said last

	Discriminator       uint32 // of this end
	RemoteDiscriminator uint32 // of the other end; 0: it is not heard

	TransmitInterval time.Duration // agreed on between packets sent, before jitter; 0: none are sent periodically
	ReceiveInterval  time.Duration // agreed on between packets received; 0: the other end is not heard
	DetectionTime    time.Duration // the session goes Down after that long without a packet; 0: the other end is not heard
	EchoInterval     time.Duration // between echo packets sent; 0: none are sent
	EchoReturns      bool          // they come back, so the session goes Down if they do not any more

	Ups       uint64 // how often the session came Up
	Downs     uint64 // how often the session left Up, but for AdminDown of the other end
	EchoFault string // why the last echo packet could not be sent, or ""
	Fault     string // why the last packet could not be sent, or ""
}

// state is the snapshot of a session.
func (s *session) state() State {
	m := s.machine
	out := State{
		Local: m.local, Remote: m.remote, Since: m.since,
		Diagnostic: m.diagnostic, RemoteDiagnostic: m.remoteDiagnostic,
		Discriminator: m.mine, RemoteDiscriminator: m.yours,
		EchoInterval: m.echo.interval, EchoReturns: m.echo.everReturns,
		Ups: m.ups, Downs: m.downs, Fault: s.fault, EchoFault: s.echoFault,
	}
	if m.periodic() {
		out.TransmitInterval = m.interval()
	}
	if m.yours != 0 {
		out.ReceiveInterval = max(m.expectEvery, m.remoteDesiredTx)
		out.DetectionTime = m.detectionTime()
	}
	return out
}
