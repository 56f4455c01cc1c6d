package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/packet"
)

// Claim is an ARP packet whose sender says that it has the address that was asked for.
type Claim struct {
	At       time.Time
	MAC      net.HardwareAddr // the sender's
	Unasked  bool             // it tells the whole segment, a gratuitous announcement, and answers nobody
	Question int              // how many questions had been asked when it came
}

// Interview asks the segment for an IPv4 address until ctx ends: the next question comes when the one before was answered, or
// was not for the time of patience, but not sooner than every. It returns all that was said, in the order in which it came, and
// how many questions nobody answered.
func (h *Host) Interview(ctx context.Context, addr netip.Addr, every, patience time.Duration) (said []Claim, unanswered int, err error) {
	conn, err := h.listenARP()
	if err != nil {
		return nil, 0, fmt.Errorf("%s asking for %s: %w", h.Name, addr, err)
	}
	defer conn.Close()
	for question := 1; ctx.Err() == nil; question++ {
		asked := time.Now()
		if err := h.askARP(conn, addr); err != nil {
			return said, unanswered, fmt.Errorf("%s asking for %s: %w", h.Name, addr, err)
		}
		claims, err := hear(conn, addr, asked.Add(every), asked.Add(patience))
		if err != nil {
			return said, unanswered, fmt.Errorf("%s listening for %s: %w", h.Name, addr, err)
		}
		for i := range claims {
			claims[i].Question = question
		}
		said = append(said, claims...)
		if !slices.ContainsFunc(claims, Claim.answers) {
			unanswered++
		}
	}
	return said, unanswered, nil
}

func (c Claim) answers() bool { return !c.Unasked }

// hear returns what is said of an address until a time, or where nobody answered by then, until somebody does or the second
// time.
func hear(conn *packet.Conn, addr netip.Addr, until, atLast time.Time) (claims []Claim, err error) {
	for buf := make([]byte, 128); ; {
		deadline := until
		if !slices.ContainsFunc(claims, Claim.answers) {
			deadline = atLast
		}
		if err := conn.SetReadDeadline(deadline); err != nil {
			return claims, err
		}
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return claims, nil
		}
		if err != nil {
			return claims, err
		}
		if c, ok := arpClaim(buf[:n], addr); ok {
			claims = append(claims, c)
		}
	}
}

// arpClaim reads a packet whose sender speaks for addr.
func arpClaim(p []byte, addr netip.Addr) (Claim, bool) {
	if len(p) < arpLength || netip.AddrFrom4([4]byte(p[14:18])) != addr {
		return Claim{}, false
	}
	unasked := netip.AddrFrom4([4]byte(p[24:28])) == addr
	if !unasked && binary.BigEndian.Uint16(p[6:]) != opReply {
		return Claim{}, false
	}
	return Claim{At: time.Now(), MAC: slices.Clone(net.HardwareAddr(p[8:14])), Unasked: unasked}, true
}
