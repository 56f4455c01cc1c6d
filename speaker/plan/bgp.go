package plan

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/fairlead-lb/fairlead/policy"
)

// Session is one BGP session that this node is to hold (RFC 4271). It is comparable: two values that are not equal need
// an update or a reset of the session.
type Session struct {
	Peer      string     // name of the BGPPeer; the key: no two sessions of a plan have the same
	Address   netip.Addr // of the neighbor; the zero value: it is found on Interface
	Interface string     // the link on which an unnumbered neighbor is found by its link-local address, or ""
	VRF       string     // the VRF device to bind to, or ""
	Source    netip.Addr // the local address, or the zero value: the kernel chooses
	Port      uint16     // TCP port of the neighbor

	MyASN    uint32 // of this end
	LocalASN uint32 // shown to the neighbor in place of MyASN (RFC 7705), or 0
	PeerASN  uint32 // that the neighbor must show, or 0: ASN says which it may
	ASN      policy.ASNKind
	RouterID netip.Addr // an IPv4 address; the zero value: the edge chooses one that does not change while the node lives

	HoldTime      time.Duration // to propose; 0, or at least 3 s, in whole seconds
	KeepaliveTime time.Duration // whole seconds, at most HoldTime
	ConnectTime   time.Duration // between attempts to connect; whole seconds

	Password        Secret // of the TCP MD5 signature option (RFC 2385), or ""
	MultiHop        bool   // the neighbor, of another AS, may be more than one hop away
	GracefulRestart bool   // RFC 4724
	IPv4, IPv6      bool   // families whose routes the session carries
	BFD             BFD
}

// BFD is how a session is guarded by BFD (RFC 5880). The zero value means not at all.
type BFD struct {
	Enabled          bool
	TransmitInterval time.Duration // Desired Min TX Interval
	ReceiveInterval  time.Duration // Required Min RX Interval
	EchoInterval     time.Duration // of echo packets, sent and asked for, where Echo is set
	DetectMultiplier uint8
	Echo             bool
	Passive          bool  // wait for the neighbor's first packet (RFC 5880 section 6.1)
	MinimumTTL       uint8 // of packets from a multihop neighbor
}

// Route is one prefix that a session is to carry. It is comparable; a session and a prefix name it.
type Route struct {
	Peer        string // name of the session's BGPPeer
	Prefix      netip.Prefix
	LocalPref   uint32 // to a neighbor of the own AS only; 0: none
	Communities policy.Communities
	// Weight is the number of endpoints on this node, for the link-bandwidth extended community; 0: none is sent.
	Weight uint32
}

// Secret is a string that is never printed.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
