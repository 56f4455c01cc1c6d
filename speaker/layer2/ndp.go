//go:build linux

package layer2

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

const (
	ipv6Header     = 40  // RFC 8200, 3
	protocolICMPv6 = 58  // next header
	ndpHopLimit    = 255 // RFC 4861: proves that no router forwarded the packet
	typeNS         = 135 // RFC 4861, 4.3
)

// solicitation is a neighbor solicitation that passed all checks of RFC 4861, 7.1.1.
type solicitation struct {
	source, target netip.Addr
	sender         macAddr // where the answer goes: the source link-layer option, else the frame's source
}

// answerNDP decides on one Ethernet frame that was received on the link with the address mac: solicitations for
// address resolution and for neighbor unreachability detection (RFC 4861, 7.2.3 and 7.3), and probes of duplicate
// address detection, which come from the unspecified address (RFC 4862, 5.4.3).
func answerNDP(frame []byte, mac macAddr, ours targets) decision {
	s, why := parseNS(frame, mac)
	if why != "" {
		return ignore(why)
	}
	if _, found := ours[s.target]; !found {
		return ignore(reasonNotOurs)
	}
	if s.source.IsUnspecified() {
		return decision{target: s.target, reply: naFrame(allNodesMAC(), netip.IPv6LinkLocalAllNodes(), mac, s.target, false)}
	}
	return decision{target: s.target, reply: naFrame(s.sender, s.source, mac, s.target, true)}
}

// gratuitousNDP returns the unsolicited advertisement that moves the neighbor entries of the whole segment to mac
// (RFC 4861, 7.2.6).
func gratuitousNDP(address netip.Addr, mac macAddr) [][]byte {
	return [][]byte{naFrame(allNodesMAC(), netip.IPv6LinkLocalAllNodes(), mac, address, false)}
}

// parseNS reads a neighbor solicitation. Packets with extension headers are ignored: no host sends them.
func parseNS(frame []byte, mac macAddr) (s solicitation, why reason) {
	if len(frame) < ethernetHeader+ipv6Header {
		return s, reasonShort
	}
	ip, payload := frame[ethernetHeader:], frame[ethernetHeader+ipv6Header:]
	if binary.BigEndian.Uint16(frame[12:]) != uint16(ethernet.EtherTypeIPv6) || ip[6] != protocolICMPv6 {
		return s, reasonNoRequest
	}
	length := int(binary.BigEndian.Uint16(ip[4:]))
	if length < 4 || len(payload) < length {
		return s, reasonShort
	}
	icmp := payload[:length]
	source, destination := netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	switch {
	case ip[0]>>4 != 6:
		return s, reasonMalformed
	case icmp[0] != typeNS:
		return s, reasonNoRequest
	case ip[7] != ndpHopLimit:
		return s, reasonHopLimit
	case checksum(source, destination, icmp) != 0:
		return s, reasonChecksum
	}
	return parseNSMessage(icmp, macAddr(frame[:6]), macAddr(frame[6:12]), mac, source, destination)
}

// parseNSMessage reads the ICMPv6 message of a packet whose headers are in order.
func parseNSMessage(icmp []byte, dstMAC, srcMAC, mac macAddr, source, destination netip.Addr) (solicitation, reason) {
	s := solicitation{source: source, sender: srcMAC}
	m, err := ndp.ParseMessage(icmp)
	ns, ok := m.(*ndp.NeighborSolicitation)
	if err != nil || !ok || icmp[1] != 0 || ns.TargetAddress.IsMulticast() {
		return s, reasonMalformed
	}
	s.target = ns.TargetAddress
	option, hasOption := sourceLinkLayer(ns.Options)
	if hasOption {
		s.sender = option
	}
	group := solicitedNode(s.target)
	switch {
	case dstMAC != mac && (dstMAC[0] != 0x33 || dstMAC[1] != 0x33), destination != s.target && destination != group:
		return s, reasonDestination
	case s.sender == mac:
		return s, reasonOwn
	case source.IsUnspecified() && (hasOption || destination != group):
		return s, reasonMalformed
	case source.IsMulticast(), source.IsLoopback(), source == s.target, source.Is4In6(), !isHost(s.sender):
		return s, reasonSender
	}
	return s, ""
}

// sourceLinkLayer returns the first source link-layer address option (RFC 4861, 4.6.1).
func sourceLinkLayer(options []ndp.Option) (macAddr, bool) {
	for _, o := range options {
		if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == ndp.Source && len(lla.Addr) == len(macAddr{}) {
			return macAddr(lla.Addr), true
		}
	}
	return macAddr{}, false
}

// naFrame returns a neighbor advertisement for target with Override set (RFC 4861, 4.4). Its source is the target
// itself, so that it does not depend on the link having an IPv6 address, and is routed by nothing: it goes to dst.
func naFrame(dst macAddr, destination netip.Addr, mac macAddr, target netip.Addr, solicited bool) []byte {
	icmp, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
		Solicited:     solicited,
		Override:      true,
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac[:]}},
	}, target, destination)
	if err != nil { // the target is no IPv6 address, which validation and parsing exclude
		return nil
	}
	ip := make([]byte, ipv6Header, ipv6Header+len(icmp))
	ip[0], ip[6], ip[7] = 6<<4, protocolICMPv6, ndpHopLimit
	binary.BigEndian.PutUint16(ip[4:], uint16(len(icmp)))
	copy(ip[8:24], target.AsSlice())
	copy(ip[24:40], destination.AsSlice())
	return ethernetFrame(dst, mac, ethernet.EtherTypeIPv6, append(ip, icmp...))
}

// checksum returns the Internet checksum of an ICMPv6 message with its pseudo-header (RFC 8200, 8.1). It is 0 over a
// message that carries the right one.
func checksum(source, destination netip.Addr, icmp []byte) uint16 {
	src, dst := source.As16(), destination.As16()
	sum := uint32(len(icmp)) + protocolICMPv6
	for _, b := range [][]byte{src[:], dst[:], icmp} {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// solicitedNode returns the solicited-node multicast group of an address (RFC 4291, 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// allNodesMAC is the Ethernet address of ff02::1 (RFC 2464, 7).
func allNodesMAC() macAddr { return macAddr{0x33, 0x33, 0, 0, 0, 1} }
