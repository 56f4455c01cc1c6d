//go:build linux

package bfd

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
)

// Path names a session: no two sessions of a set have the same one. It is comparable.
type Path struct {
	Peer      netip.Addr // of the other end, without a zone
	Local     netip.Addr // of this end, or the zero value: the kernel chooses, and packets to any address are taken
	Interface string     // single hop only: packets go out and come in here; needed where Peer is link-local, else "" for any
	VRF       string     // the VRF device to bind to, or ""
	Multihop  bool       // RFC 5883 in place of RFC 5881
	Port      uint16     // UDP port of both ends; 0 means 3784, or 4784 where Multihop is set
}

// String names the path for logs and errors.
func (p Path) String() string {
	var b strings.Builder
	b.WriteString(p.Peer.String())
	if p.Interface != "" {
		b.WriteString("%" + p.Interface)
	}
	if p.Local.IsValid() {
		b.WriteString(" from " + p.Local.String())
	}
	if p.VRF != "" {
		b.WriteString(" in VRF " + p.VRF)
	}
	if p.Multihop {
		b.WriteString(" (multihop)")
	}
	if p.Port != 0 {
		fmt.Fprintf(&b, " port %d", p.Port)
	}
	return b.String()
}

// port returns the UDP port that packets are sent and received on.
func (p Path) port() uint16 {
	switch {
	case p.Port != 0:
		return p.Port
	case p.Multihop:
		return portMultihop
	default:
		return portSingleHop
	}
}

// Parameters is what can change while a session runs: the new values are agreed on with the other end by a Poll
// Sequence (RFC 5880 section 6.5), and the session stays as it is. It is comparable.
type Parameters struct {
	DesiredMinTx     time.Duration // between packets that are sent while Up; whole microseconds, at least one
	RequiredMinRx    time.Duration // between packets that can be received; whole microseconds, at least one
	DetectMultiplier uint8         // so many packets in a row have to be lost until the other end says Down; at least 1

	// Echo asks for the echo function (RFC 5880 section 6.4) at EchoInterval, both sent and looped back. It works on a
	// single hop only and is ignored where Multihop is set. See the package's documentation for what it needs.
	Echo         bool
	EchoInterval time.Duration // whole microseconds; at least one where Echo is set

	Passive    bool  // send nothing until the other end was heard (RFC 5880 section 6.1)
	MinimumTTL uint8 // multihop only: packets that arrive with a lower TTL or hop limit are dropped (RFC 5883 section 4)
}

// Session is one wanted session. It is comparable.
type Session struct {
	Path
	Parameters
}

// maxInterval is what fits into a packet.
const maxInterval = math.MaxUint32 * time.Microsecond

// Validate says what is wrong with a session, or nil.
func (s Session) Validate() error {
	return errors.Join(s.Path.validate(), s.Parameters.validate())
}

func (p Path) validate() error {
	switch {
	case !p.Peer.IsValid() || p.Peer.IsUnspecified() || p.Peer.IsMulticast() || p.Peer.Zone() != "" || p.Peer.Is4In6():
		return fmt.Errorf("%s is no address of a peer", p.Peer)
	case p.Local.IsValid() && (p.Local.Is4() != p.Peer.Is4() || p.Local.IsUnspecified() || p.Local.IsMulticast() || p.Local.Zone() != "" || p.Local.Is4In6()):
		return fmt.Errorf("%s is no local address for the peer %s", p.Local, p.Peer)
	case p.Multihop && p.Interface != "":
		return errors.New("a multihop session is bound to no interface")
	case p.Peer.IsLinkLocalUnicast() && p.Peer.Is6() && p.Interface == "":
		return errors.New("a link-local peer needs an interface")
	default:
		return nil
	}
}

func (p Parameters) validate() error {
	for _, i := range []struct {
		name     string
		interval time.Duration
		wanted   bool
	}{{"desired minimum TX interval", p.DesiredMinTx, true}, {"required minimum RX interval", p.RequiredMinRx, true}, {"echo interval", p.EchoInterval, p.Echo}} {
		if i.wanted && (i.interval < time.Microsecond || i.interval > maxInterval) {
			return fmt.Errorf("the %s %v is not between 1µs and %v", i.name, i.interval, maxInterval)
		}
	}
	if p.DetectMultiplier == 0 {
		return errors.New("the detect multiplier is 0")
	}
	return nil
}

// Compare orders paths, by the peer's address first.
func (p Path) Compare(q Path) int {
	return cmp.Or(p.Peer.Compare(q.Peer), p.Local.Compare(q.Local), strings.Compare(p.Interface, q.Interface), strings.Compare(p.VRF, q.VRF),
		strings.Compare(p.String(), q.String()))
}
