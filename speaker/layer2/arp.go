//go:build linux

package layer2

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

const (
	arpHardwareEthernet = 1  // RFC 826 ar$hrd
	arpLength           = 28 // RFC 826 packet for Ethernet and IPv4
)

// answerARP decides on one Ethernet frame that was received on the link with the address mac (RFC 826, "Packet
// Reception", and RFC 5227 for probes, whose sender address is 0.0.0.0).
func answerARP(frame []byte, mac macAddr, ours targets) decision {
	p, why := parseARP(frame, mac)
	if why != "" {
		return ignore(why)
	}
	d := decision{target: p.TargetIP, ignored: checkARPSender(p, mac)}
	if d.ignored != "" {
		return d
	}
	d.claim = claimARP(p, ours)
	_, found := ours[p.TargetIP]
	switch isRequest := p.Operation == arp.OperationRequest; {
	case d.claim.announces:
		d.ignored = reasonConflict
	case found && isRequest:
		d.reply = arpFrame(macAddr(p.SenderHardwareAddr), arp.Packet{
			Operation:          arp.OperationReply,
			SenderHardwareAddr: mac[:],
			SenderIP:           p.TargetIP,
			TargetHardwareAddr: p.SenderHardwareAddr,
			TargetIP:           p.SenderIP,
		})
	case d.claim != claim{}:
		d.ignored = reasonConflict
	case isRequest:
		d.ignored = reasonNotOurs
	default:
		d.ignored = reasonNoRequest
	}
	return d
}

// claimARP returns what a packet says of its sender's address, if that is ours. A request for another address carries
// it for information only (RFC 826); a reply, and a request for the address itself, tell it.
func claimARP(p arp.Packet, ours targets) claim {
	if _, found := ours[p.SenderIP]; !found {
		return claim{}
	}
	return claim{p.SenderIP, macAddr(p.SenderHardwareAddr), p.Operation == arp.OperationReply || p.SenderIP == p.TargetIP}
}

// parseARP reads an ARP request or reply for IPv4 on Ethernet. The lengths are checked before the library allocates by
// them.
func parseARP(frame []byte, mac macAddr) (p arp.Packet, why reason) {
	if len(frame) < ethernetHeader+arpLength {
		return p, reasonShort
	}
	b, dst := frame[ethernetHeader:], macAddr(frame[:6])
	switch {
	case binary.BigEndian.Uint16(frame[12:]) != uint16(ethernet.EtherTypeARP):
		return p, reasonNoRequest
	case dst != mac && dst != broadcastMAC():
		return p, reasonDestination
	case binary.BigEndian.Uint16(b) != arpHardwareEthernet:
		return p, reasonHardwareType
	case binary.BigEndian.Uint16(b[2:]) != uint16(ethernet.EtherTypeIPv4):
		return p, reasonMalformed
	case b[4] != 6 || b[5] != 4:
		return p, reasonLength
	case p.UnmarshalBinary(b) != nil:
		return p, reasonMalformed
	case p.Operation != arp.OperationRequest && p.Operation != arp.OperationReply:
		return p, reasonNoRequest
	}
	return p, ""
}

// checkARPSender says why the sender of a packet is neither answered nor believed, or nothing.
func checkARPSender(p arp.Packet, mac macAddr) reason {
	switch sender := macAddr(p.SenderHardwareAddr); {
	case sender == mac:
		return reasonOwn
	case !isHost(sender), p.SenderIP.IsMulticast(), p.SenderIP.IsLoopback(), isIPv4Broadcast(p.SenderIP):
		return reasonSender
	}
	return ""
}

func isIPv4Broadcast(a netip.Addr) bool { return a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) }

// gratuitousARP returns the frames that move the neighbor entries of the whole segment to mac: an announcement in
// request form (RFC 5227, 2.3) and one in reply form (RFC 5944, 4.6), since some hosts heed only one of them.
func gratuitousARP(address netip.Addr, mac macAddr) [][]byte {
	p := arp.Packet{SenderHardwareAddr: mac[:], SenderIP: address, TargetIP: address}
	request, reply := p, p
	request.Operation, request.TargetHardwareAddr = arp.OperationRequest, make([]byte, 6)
	reply.Operation, reply.TargetHardwareAddr = arp.OperationReply, mac[:]
	return [][]byte{arpFrame(broadcastMAC(), request), arpFrame(broadcastMAC(), reply)}
}

// probeARP returns the question who has address, from nobody (RFC 5227, 2.1.1), so that no neighbor entry changes.
func probeARP(address netip.Addr, mac macAddr) []byte {
	return arpFrame(broadcastMAC(), arp.Packet{
		Operation:          arp.OperationRequest,
		SenderHardwareAddr: mac[:], SenderIP: netip.IPv4Unspecified(),
		TargetHardwareAddr: make([]byte, 6), TargetIP: address,
	})
}

// arpFrame wraps p, whose constant fields it fills in, in an Ethernet frame of minimum length.
func arpFrame(dst macAddr, p arp.Packet) []byte {
	p.HardwareType, p.ProtocolType = arpHardwareEthernet, uint16(ethernet.EtherTypeIPv4)
	p.HardwareAddrLength, p.IPLength = 6, 4
	payload, _ := p.MarshalBinary() // never fails, as it documents
	return ethernetFrame(dst, macAddr(p.SenderHardwareAddr), ethernet.EtherTypeARP, payload)
}

// ethernetFrame returns an untagged Ethernet II frame, padded to the minimum length.
func ethernetFrame(dst, src macAddr, typ ethernet.EtherType, payload []byte) []byte {
	f := ethernet.Frame{Destination: dst[:], Source: src[:], EtherType: typ, Payload: payload}
	b, _ := f.MarshalBinary() // fails for VLAN tags only
	return b
}
