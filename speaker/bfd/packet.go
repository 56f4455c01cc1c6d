//go:build linux

package bfd

import (
	"encoding/binary"
	"time"
)

// UDP ports of the protocol.
const (
	portSingleHop = 3784 // RFC 5881 section 4
	portEcho      = 3785 // RFC 5881 section 4
	portMultihop  = 4784 // RFC 5883 section 5
)

const (
	version      = 1  // RFC 5880 section 4.1
	packetLength = 24 // bytes of a control packet without authentication
)

// Flags in the second byte of a control packet (RFC 5880 section 4.1).
const (
	flagPoll           = 1 << 5
	flagFinal          = 1 << 4
	flagAuthentication = 1 << 2
	flagDemand         = 1 << 1
	flagMultipoint     = 1 << 0
)

// packet is a control packet (RFC 5880 section 4.1) that passed the checks of section 6.8.6 which need no session.
type packet struct {
	diagnostic  Diagnostic
	state       Status
	poll, final bool
	demand      bool
	multiplier  uint8
	mine, yours uint32 // discriminators, as the sender sees them
	desiredTx   time.Duration
	requiredRx  time.Duration
	echoRx      time.Duration // 0: the sender does not loop back echo packets
}

// parse reads a control packet. It returns a reason if the packet is to be dropped: RFC 5880 section 6.8.6, in its order.
func parse(b []byte) (packet, Drop) {
	switch {
	case len(b) < packetLength:
		return packet{}, DropShort
	case b[0]>>5 != version:
		return packet{}, DropVersion
	case b[3] < packetLength || int(b[3]) > len(b):
		return packet{}, DropLength
	case b[2] == 0:
		return packet{}, DropMultiplier
	case b[1]&flagMultipoint != 0:
		return packet{}, DropMalformed
	}
	p := packet{
		diagnostic: Diagnostic(b[0] & 0x1f),
		state:      Status(b[1] >> 6),
		poll:       b[1]&flagPoll != 0,
		final:      b[1]&flagFinal != 0,
		demand:     b[1]&flagDemand != 0,
		multiplier: b[2],
		mine:       binary.BigEndian.Uint32(b[4:]),
		yours:      binary.BigEndian.Uint32(b[8:]),
		desiredTx:  microseconds(b[12:]),
		requiredRx: microseconds(b[16:]),
		echoRx:     microseconds(b[20:]),
	}
	switch {
	case p.mine == 0, p.yours == 0 && p.state != Down && p.state != AdminDown:
		return packet{}, DropDiscriminator
	case b[1]&flagAuthentication != 0:
		return packet{}, DropAuthentication
	case p.poll && p.final: // never sent together: section 4.1
		return packet{}, DropMalformed
	}
	return p, ""
}

// append appends the packet as it goes on the wire.
func (p packet) append(b []byte) []byte {
	var flags byte
	if p.poll {
		flags |= flagPoll
	}
	if p.final {
		flags |= flagFinal
	}
	if p.demand {
		flags |= flagDemand
	}
	b = append(b, version<<5|byte(p.diagnostic), byte(p.state)<<6|flags, p.multiplier, packetLength)
	b = binary.BigEndian.AppendUint32(b, p.mine)
	b = binary.BigEndian.AppendUint32(b, p.yours)
	b = binary.BigEndian.AppendUint32(b, uint32(p.desiredTx.Microseconds()))
	b = binary.BigEndian.AppendUint32(b, uint32(p.requiredRx.Microseconds()))
	return binary.BigEndian.AppendUint32(b, uint32(p.echoRx.Microseconds()))
}

func microseconds(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}
