//go:build linux

package layer2

import "net/netip"

// reason says why a received frame is not answered. It is a label value of fairlead_layer2_frames_ignored_total.
type reason string

const (
	reasonShort        reason = "short"         // ends before the lengths in it say
	reasonLength       reason = "length"        // a length in it is not the protocol's
	reasonHardwareType reason = "hardware_type" // ARP for something else than Ethernet
	reasonMalformed    reason = "malformed"     // a field has a value that its RFC does not allow here
	reasonHopLimit     reason = "hop_limit"     // was forwarded by a router (RFC 4861, 7.1.1)
	reasonChecksum     reason = "checksum"      // ICMPv6 checksum is wrong
	reasonVLAN         reason = "vlan_tag"      // has the tag of another segment (IEEE 802.1Q)
	reasonDestination  reason = "destination"   // sent to somebody else
	reasonNoRequest    reason = "no_request"    // another protocol, or not a question
	reasonSender       reason = "sender"        // its sender is no host that could be answered
	reasonOwn          reason = "own"           // our own frame, reflected by the network
	reasonConflict     reason = "conflict"      // another host uses an address of ours; see Conflict
	reasonNotOurs      reason = "not_ours"      // about an address that is not announced here
	reasonSilent       reason = "silent"        // the address is left to another speaker; see Conflict
	reasonPaused       reason = "paused"        // was received while the process did not run; see Paused
)

// reasons is all of them.
func reasons() []reason {
	return []reason{
		reasonShort, reasonLength, reasonHardwareType, reasonMalformed, reasonHopLimit, reasonChecksum, reasonVLAN,
		reasonDestination, reasonNoRequest, reasonSender, reasonOwn, reasonConflict, reasonNotOurs, reasonSilent, reasonPaused,
	}
}

// decision is what is made of one received frame: an answer for target, or the reason why there is none.
type decision struct {
	target  netip.Addr // the address that the frame asks for; the zero Addr if it does not get that far
	reply   []byte     // the whole Ethernet frame to send; nil if the frame is ignored
	ignored reason
	claim   claim // what else the frame says; the zero claim mostly
}

// claim is what a frame says of an address of ours: that another host has it.
type claim struct {
	address   netip.Addr
	mac       macAddr
	announces bool // the frame tells it the segment or an asker, as a speaker does; else it is only the sender's address
}

// ignore returns the decision not to answer.
func ignore(r reason) decision { return decision{ignored: r} }

// targets is the set of addresses that are answered for on one link, in one family. It is never modified once a
// responder uses it.
type targets map[netip.Addr]*entry

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
