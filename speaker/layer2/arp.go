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
	if len(frame) < ethernetHeader+arpLength {
		return ignore(reasonShort)
	}
	if binary.BigEndian.Uint16(frame[12:]) != uint16(ethernet.EtherTypeARP) {
		return ignore(reasonNoRequest)
	}
	if dst := macAddr(frame[:6]); dst != mac && dst != broadcastMAC() {
		return ignore(reasonDestination)
	}
	p, ok := parseARP(frame[ethernetHeader:])
	if !ok {
		return ignore(reasonMalformed)
	}
	if p.Operation != arp.OperationRequest {
		return ignore(reasonNoRequest)
	}
	if _, found := ours[p.TargetIP]; !found {
		return ignore(reasonNotOurs)
	}
	sender := macAddr(p.SenderHardwareAddr)
	if why := checkARPSender(sender, p, mac); why != "" {
		return ignore(why)
	}
	return decision{target: p.TargetIP, reply: arpFrame(sender, arp.Packet{
		Operation:          arp.OperationReply,
		SenderHardwareAddr: mac[:],
		SenderIP:           p.TargetIP,
		TargetHardwareAddr: sender[:],
		TargetIP:           p.SenderIP,
	})}
}

// parseARP reads an ARP packet for IPv4 on Ethernet. The lengths are checked before the library allocates by them.
func parseARP(b []byte) (arp.Packet, bool) {
	var p arp.Packet
	if b[4] != 6 || b[5] != 4 || p.UnmarshalBinary(b) != nil {
		return p, false
	}
	return p, p.HardwareType == arpHardwareEthernet && p.ProtocolType == uint16(ethernet.EtherTypeIPv4)
}

// checkARPSender says why the sender of a request is not answered, or nothing.
func checkARPSender(sender macAddr, p arp.Packet, mac macAddr) reason {
	switch {
	case sender == mac:
		return reasonOwn
	case !isHost(sender), p.SenderIP.IsMulticast(), p.SenderIP.IsLoopback(), isIPv4Broadcast(p.SenderIP):
		return reasonSender
	case p.SenderIP == p.TargetIP:
		return reasonAnnouncement
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
