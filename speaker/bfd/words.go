//go:build linux

package bfd

import "fmt"

// Status is the state of one end of a session (RFC 5880 section 4.1, Sta).
type Status uint8

// The states, with their numbers on the wire.
const (
	AdminDown Status = 0 // taken down on purpose: says nothing about the path
	Down      Status = 1 // the path is not known to work
	Init      Status = 2 // the other end is heard, but does not hear us yet
	Up        Status = 3 // both ends hear each other
)

// String returns the state's name in the RFC.
func (s Status) String() string {
	switch s {
	case AdminDown:
		return "AdminDown"
	case Down:
		return "Down"
	case Init:
		return "Init"
	case Up:
		return "Up"
	default:
		return fmt.Sprintf("state %d", uint8(s))
	}
}

// Diagnostic says why an end changed its state last (RFC 5880 section 4.1, Diag).
type Diagnostic uint8

// The diagnostics that this implementation sends; it names those that it receives, too.
const (
	NoDiagnostic     Diagnostic = 0
	DetectionExpired Diagnostic = 1 // no packet came for the detection time
	EchoFailed       Diagnostic = 2 // echo packets did not come back
	NeighborDown     Diagnostic = 3 // the other end said that it is Down
	AdminDownDiag    Diagnostic = 7 // the session was taken down on purpose
)

// String returns the diagnostic in words.
func (d Diagnostic) String() string {
	switch d {
	case NoDiagnostic:
		return "no diagnostic"
	case DetectionExpired:
		return "control detection time expired"
	case EchoFailed:
		return "echo function failed"
	case NeighborDown:
		return "neighbor signaled session down"
	case 4:
		return "forwarding plane reset"
	case 5:
		return "path down"
	case 6:
		return "concatenated path down"
	case AdminDownDiag:
		return "administratively down"
	case 8:
		return "reverse concatenated path down"
	default:
		return fmt.Sprintf("diagnostic %d", uint8(d))
	}
}

// Drop says why a received packet was dropped.
type Drop string

// The reasons for a drop.
const (
	DropShort          Drop = "short"           // shorter than a control packet
	DropVersion        Drop = "version"         // not version 1
	DropLength         Drop = "length"          // the length in the packet does not fit it
	DropMultiplier     Drop = "multiplier"      // detect multiplier 0
	DropMalformed      Drop = "malformed"       // the multipoint bit, or both of Poll and Final
	DropDiscriminator  Drop = "discriminator"   // my discriminator 0, or your discriminator 0 in a state that knows it
	DropAuthentication Drop = "authentication"  // authenticated, which no session here is
	DropUnknown        Drop = "unknown_session" // belongs to no session: none is ever made from a packet
	DropTTL            Drop = "ttl"             // came through a router (RFC 5881 section 5), or through too many (RFC 5883 section 4)
	DropEcho           Drop = "echo"            // an echo packet that is neither ours nor from a neighbor
)

// drops lists every reason.
func drops() []Drop {
	return []Drop{DropShort, DropVersion, DropLength, DropMultiplier, DropMalformed, DropDiscriminator, DropAuthentication, DropUnknown, DropTTL, DropEcho}
}
