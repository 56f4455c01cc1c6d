//go:build linux

package layer2

import (
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
)

// reason says why a received frame is not answered. It is a label value of fairlead_layer2_frames_ignored_total.
type reason string

const (
	reasonShort        reason = "short"        // ends before the lengths in it say
	reasonMalformed    reason = "malformed"    // a field has a value that its RFC does not allow here
	reasonNoRequest    reason = "no_request"   // another protocol, or not a question
	reasonDestination  reason = "destination"  // sent to somebody else
	reasonSender       reason = "sender"       // its sender is no host that could be answered
	reasonOwn          reason = "own"          // our own frame, reflected by the network
	reasonAnnouncement reason = "announcement" // a gratuitous ARP request: it tells and does not ask (RFC 5227, 2.3)
	reasonNotOurs      reason = "not_ours"     // asks for an address that is not announced here
	reasonHopLimit     reason = "hop_limit"    // was forwarded by a router (RFC 4861, 7.1.1)
	reasonChecksum     reason = "checksum"     // ICMPv6 checksum is wrong
)

// decision is what is made of one received frame: an answer for target, or the reason why there is none.
type decision struct {
	target  netip.Addr // the address of ours that the frame asks for; the zero Addr if there is none
	reply   []byte     // the whole Ethernet frame to send; nil if the frame is ignored
	ignored reason
}

// ignore returns the decision not to answer.
func ignore(r reason) decision { return decision{ignored: r} }

// targets is the set of addresses that are answered for on one link, in one family. It is never modified once a
// responder uses it.
type targets map[netip.Addr]*counters

// counters are the metrics of one address, on all links.
type counters struct {
	requests, responses, gratuitous prometheus.Counter
	users                           int // how many target sets hold the address; owned by the goroutine of Run
}

// macAddr is an Ethernet hardware address as plan.Link carries it.
type macAddr = [6]byte

// broadcastMAC is the Ethernet broadcast address.
func broadcastMAC() macAddr { return macAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// isHost reports whether m can be the address of one interface: not a group address (IEEE 802, I/G bit), not zero.
func isHost(m macAddr) bool { return m[0]&1 == 0 && m != macAddr{} }

const (
	ethernetHeader = 14   // bytes before the payload of an untagged Ethernet II frame
	maxFrame       = 2048 // bytes of a frame that are read; a valid request is far shorter
)
