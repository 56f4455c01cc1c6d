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
	typeNA         = 136 // RFC 4861, 4.4
	neighborLength = 24  // of both without options
)

// neighborMessage is a neighbor solicitation or advertisement that passed the checks of RFC 4861, 7.1.1 or 7.1.2.
type neighborMessage struct {
	source, target netip.Addr
	sender         macAddr // its link-layer option, which says where an answer goes or who advertises; else the frame's source
	advertisement  bool
}

// answerNDP decides on one Ethernet frame that was received on the link with the address mac: solicitations for
// address resolution and for neighbor unreachability detection (RFC 4861, 7.2.3 and 7.3), probes of duplicate
// address detection, which come from the unspecified address (RFC 4862, 5.4.3), and advertisements, which nobody else
// may send for an address of ours.
func answerNDP(frame []byte, mac macAddr, ours targets) decision {
	m, why := parseNDP(frame, mac)
	d := decision{target: m.target, ignored: why}
	if why != "" {
		return d
	}
	_, found := ours[m.target]
	switch {
	case !found:
		d.ignored = reasonNotOurs
	case m.advertisement:
		d.ignored, d.claim = reasonConflict, claim{m.target, m.sender, true}
	case m.source.IsUnspecified():
		d.reply = naFrame(allNodesMAC(), netip.IPv6LinkLocalAllNodes(), mac, m.target, false)
	default:
		d.reply = naFrame(m.sender, m.source, mac, m.target, true)
	}
	return d
}

// gratuitousNDP returns the unsolicited advertisement that moves the neighbor entries of the whole segment to mac
// (RFC 4861, 7.2.6).
func gratuitousNDP(address netip.Addr, mac macAddr) [][]byte {
	return [][]byte{naFrame(allNodesMAC(), netip.IPv6LinkLocalAllNodes(), mac, address, false)}
}

// parseNDP reads a neighbor solicitation or advertisement. Packets with extension headers are ignored: no host sends
// them (RFC 6980 forbids fragments).
func parseNDP(frame []byte, mac macAddr) (m neighborMessage, why reason) {
	p, why := parseICMPv6(frame)
	if why != "" {
		return m, why
	}
	dst := macAddr(frame[:6])
	switch {
	case p.message[0] != typeNS && p.message[0] != typeNA:
		return m, reasonNoRequest
	case dst != mac && (dst[0] != 0x33 || dst[1] != 0x33):
		return m, reasonDestination
	case p.hopLimit != ndpHopLimit:
		return m, reasonHopLimit
	case checksum(p.source, p.destination, p.message) != 0:
		return m, reasonChecksum
	case len(p.message) < neighborLength:
		return m, reasonLength
	case p.message[1] != 0, p.source.IsMulticast():
		return m, reasonMalformed
	}
	m = neighborMessage{source: p.source, sender: macAddr(frame[6:12])}
	parsed, err := ndp.ParseMessage(p.message)
	if err != nil {
		return m, reasonMalformed
	}
	switch parsed := parsed.(type) {
	case *ndp.NeighborSolicitation:
		why = m.solicit(parsed, mac, p.destination)
	case *ndp.NeighborAdvertisement:
		why = m.advertise(parsed, mac, p.destination)
	default:
		why = reasonNoRequest
	}
	return m, why
}

// icmpPacket is an ICMPv6 message and what its IPv6 header says.
type icmpPacket struct {
	source, destination netip.Addr
	hopLimit            byte
	message             []byte // at least 4 bytes
}

// parseICMPv6 reads the headers of an Ethernet frame.
func parseICMPv6(frame []byte) (p icmpPacket, why reason) {
	if len(frame) < ethernetHeader+ipv6Header {
		return p, reasonShort
	}
	ip, payload := frame[ethernetHeader:], frame[ethernetHeader+ipv6Header:]
	length := int(binary.BigEndian.Uint16(ip[4:]))
	switch {
	case binary.BigEndian.Uint16(frame[12:]) != uint16(ethernet.EtherTypeIPv6), ip[6] != protocolICMPv6:
		return p, reasonNoRequest
	case ip[0]>>4 != 6:
		return p, reasonMalformed
	case length < 4, len(payload) < length:
		return p, reasonShort
	}
	return icmpPacket{
		source:      netip.AddrFrom16([16]byte(ip[8:24])),
		destination: netip.AddrFrom16([16]byte(ip[24:40])),
		hopLimit:    ip[7],
		message:     payload[:length],
	}, ""
}

// solicit takes over what is in a solicitation to destination (RFC 4861, 7.1.1).
func (m *neighborMessage) solicit(ns *ndp.NeighborSolicitation, mac macAddr, destination netip.Addr) reason {
	m.target = ns.TargetAddress
	option, hasOption := linkLayer(ns.Options, ndp.Source)
	if hasOption {
		m.sender = option
	}
	group := solicitedNode(m.target)
	switch {
	case m.target.IsMulticast():
		return reasonMalformed
	case destination != m.target && destination != group:
		return reasonDestination
	case m.sender == mac:
		return reasonOwn
	case m.source.IsUnspecified() && (hasOption || destination != group):
		return reasonMalformed
	case m.source.IsLoopback(), m.source == m.target, m.source.Is4In6(), !isHost(m.sender):
		return reasonSender
	}
	return ""
}

// advertise takes over what is in an advertisement to destination (RFC 4861, 7.1.2).
func (m *neighborMessage) advertise(na *ndp.NeighborAdvertisement, mac macAddr, destination netip.Addr) reason {
	m.target, m.advertisement = na.TargetAddress, true
	if option, ok := linkLayer(na.Options, ndp.Target); ok {
		m.sender = option
	}
	switch {
	case m.target.IsMulticast(), destination.IsMulticast() && na.Solicited:
		return reasonMalformed
	case m.sender == mac:
		return reasonOwn
	case !isHost(m.sender):
		return reasonSender
	}
	return ""
}

// linkLayer returns the first link-layer address option of one direction (RFC 4861, 4.6.1).
func linkLayer(options []ndp.Option, direction ndp.Direction) (macAddr, bool) {
	for _, o := range options {
		if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == direction && len(lla.Addr) == len(macAddr{}) {
			return macAddr(lla.Addr), true
		}
	}
	return macAddr{}, false
}

// probeNDP returns the solicitation of duplicate address detection (RFC 4862, 5.4.2): it comes from nobody, so that no
// neighbor entry changes, and its answer goes to all nodes.
func probeNDP(address netip.Addr, mac macAddr) []byte {
	group := solicitedNode(address)
	g := group.As16()
	dst := macAddr{0x33, 0x33, g[12], g[13], g[14], g[15]} // RFC 2464, 7
	return ndpFrame(dst, mac, netip.IPv6Unspecified(), group, &ndp.NeighborSolicitation{TargetAddress: address})
}

// naFrame returns a neighbor advertisement for target with Override set (RFC 4861, 4.4). Its source is the target
// itself, so that it does not depend on the link having an IPv6 address, and is routed by nothing: it goes to dst.
func naFrame(dst macAddr, destination netip.Addr, mac macAddr, target netip.Addr, solicited bool) []byte {
	return ndpFrame(dst, mac, target, destination, &ndp.NeighborAdvertisement{
		Solicited:     solicited,
		Override:      true,
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac[:]}},
	})
}

// ndpFrame wraps a message in IPv6 and Ethernet headers.
func ndpFrame(dst, src macAddr, source, destination netip.Addr, m ndp.Message) []byte {
	icmp, err := ndp.MarshalMessageChecksum(m, source, destination)
	if err != nil { // the target is no IPv6 address, which validation and parsing exclude
		return nil
	}
	ip := make([]byte, ipv6Header, ipv6Header+len(icmp))
	ip[0], ip[6], ip[7] = 6<<4, protocolICMPv6, ndpHopLimit
	binary.BigEndian.PutUint16(ip[4:], uint16(len(icmp)))
	copy(ip[8:24], source.AsSlice())
	copy(ip[24:40], destination.AsSlice())
	return ethernetFrame(dst, src, ethernet.EtherTypeIPv6, append(ip, icmp...))
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
