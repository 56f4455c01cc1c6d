//go:build linux

package layer2

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

// nsFrame is a neighbor solicitation as a host sends it; an option of nil is left out.
func nsFrame(dst macAddr, source, destination, target netip.Addr, option *macAddr) []byte {
	m := &ndp.NeighborSolicitation{TargetAddress: target}
	if option != nil {
		m.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: option[:]}}
	}
	icmp, err := ndp.MarshalMessageChecksum(m, source, destination)
	if err != nil {
		panic(err)
	}
	return icmpFrame(dst, hostMAC, source, destination, icmp)
}

// icmpFrame wraps an ICMPv6 message.
func icmpFrame(dst, src macAddr, source, destination netip.Addr, icmp []byte) []byte {
	ip := []byte{0x60, 0, 0, 0, byte(len(icmp) >> 8), byte(len(icmp)), protocolICMPv6, ndpHopLimit}
	ip = append(append(append(ip, source.AsSlice()...), destination.AsSlice()...), icmp...)
	return ethernetFrame(dst, src, ethernet.EtherTypeIPv6, ip)
}

// groupMAC is the Ethernet address of an IPv6 multicast group (RFC 2464, 7).
func groupMAC(group netip.Addr) macAddr {
	b := group.As16()
	return macAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// resolution is a multicast solicitation, probe is the one of duplicate address detection.
func resolution(target netip.Addr) []byte {
	g := solicitedNode(target)
	return nsFrame(groupMAC(g), host6, g, target, &hostMAC)
}

func probe(target netip.Addr) []byte {
	g := solicitedNode(target)
	return nsFrame(groupMAC(g), netip.IPv6Unspecified(), g, target, nil)
}

// resum makes the checksum right again after a patch.
func resum(frame []byte) []byte {
	icmp := frame[54:]
	copy(icmp[2:4], []byte{0, 0})
	source, _ := netip.AddrFromSlice(frame[22:38])
	destination, _ := netip.AddrFromSlice(frame[38:54])
	binary.BigEndian.PutUint16(icmp[2:], checksum(source, destination, icmp))
	return frame
}

func TestAnswerNDP(t *testing.T) {
	group := solicitedNode(vip6)
	request := resolution(vip6)
	unicast := nsFrame(ourMAC, host6, vip6, vip6, nil)
	zero := netip.IPv6Unspecified()
	multicast := netip.MustParseAddr("ff02::1:ff12:3456")
	tests := []struct {
		name    string
		frame   []byte
		ignored reason
	}{
		{"a multicast solicitation", request, ""},
		{"a unicast solicitation, as for unreachability detection", unicast, ""},
		{"a multicast solicitation that an access point made unicast", patch(request, 0, ourMAC[:]...), ""},
		{"a solicitation without a link-layer option", nsFrame(groupMAC(group), host6, group, vip6, nil), ""},
		{"a probe of duplicate address detection", probe(vip6), ""},
		{"bytes after the packet", append(patch(request, 0), 1, 2, 3), ""},

		{"an empty frame", nil, reasonShort},
		{"a frame cut short in the IPv6 header", request[:53], reasonShort},
		{"a frame cut short in the message", request[:80], reasonShort},
		{"no payload at all", patch(request, 18, 0, 0), reasonShort},
		{"an ARP frame", arpRequest(host4, vip4), reasonNoRequest},
		{"an EtherType of IPv4", patch(request, 12, 8, 0), reasonNoRequest},
		{"an extension header", patch(request, 20, 0), reasonNoRequest},
		{"an echo request", patch(request, 54, 128), reasonNoRequest},
		{"our own advertisement", gratuitousNDP(vip6, ourMAC)[0], reasonOwn},
		{"IP version 4", patch(request, 14, 0x45), reasonMalformed},
		{"hop limit 254", patch(request, 21, 254), reasonHopLimit},
		{"a wrong checksum", patch(request, 56, 1, 2), reasonChecksum},
		{"a changed target", patch(request, 62, 0xfc), reasonChecksum},
		{"code 1", resum(patch(request, 55, 1)), reasonMalformed},
		{"an option of length 0", resum(patch(request, 79, 0)), reasonMalformed},
		{"an option beyond the end", resum(patch(request, 79, 2)), reasonMalformed},
		{"a multicast target", nsFrame(groupMAC(group), host6, group, multicast, &hostMAC), reasonMalformed},
		{"a message of 20 bytes", icmpFrame(ourMAC, hostMAC, host6, vip6, sum(host6, vip6, typeNS, 20)), reasonLength},
		{"a probe with a link-layer option", nsFrame(groupMAC(group), zero, group, vip6, &hostMAC), reasonMalformed},
		{"a probe to the address itself", nsFrame(ourMAC, zero, vip6, vip6, nil), reasonMalformed},
		{"a frame to another host", patch(request, 0, hostMAC[:]...), reasonDestination},
		{"an Ethernet broadcast", patch(request, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), reasonDestination},
		{"a packet to another address", nsFrame(ourMAC, host6, vip6.Next(), vip6, &hostMAC), reasonDestination},
		{"a packet to all nodes", nsFrame(allNodesMAC(), host6, netip.IPv6LinkLocalAllNodes(), vip6, &hostMAC), reasonDestination},
		{"our own solicitation", nsFrame(groupMAC(group), host6, group, vip6, &ourMAC), reasonOwn},
		{"a sender with a group MAC", nsFrame(ourMAC, host6, vip6, vip6, &macAddr{0x33, 0x33, 0, 0, 0, 1}), reasonSender},
		{"a multicast source", nsFrame(ourMAC, multicast, vip6, vip6, &hostMAC), reasonMalformed},
		{"the target as source", nsFrame(ourMAC, vip6, vip6, vip6, &hostMAC), reasonSender},
		{"another host's advertisement", gratuitousNDP(vip6, hostMAC)[0], reasonConflict},
		{"an advertisement with hop limit 254", patch(gratuitousNDP(vip6, hostMAC)[0], 21, 254), reasonHopLimit},
		{"an advertisement with a wrong checksum", patch(gratuitousNDP(vip6, hostMAC)[0], 56, 1, 2), reasonChecksum},
		{"an advertisement of another address", gratuitousNDP(vip6.Next(), hostMAC)[0], reasonNotOurs},
		{"a solicitation for another address", resolution(vip6.Next()), reasonNotOurs},
		{"another address of the same group", resolution(netip.MustParseAddr("fd00:26::12:3456")), reasonNotOurs},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := answerNDP(test.frame, ourMAC, ours)
			if got.ignored != test.ignored || (got.reply == nil) != (test.ignored != "") {
				t.Fatalf("ignored %q with %d bytes of reply, want %q", got.ignored, len(got.reply), test.ignored)
			}
			if test.ignored == "" && got.target != vip6 {
				t.Errorf("target is %v, want %v", got.target, vip6)
			}
		})
	}
}

// sum returns an ICMPv6 message of zeros with a type and a right checksum.
func sum(source, destination netip.Addr, typ byte, size int) []byte {
	b := make([]byte, size)
	b[0] = typ
	binary.BigEndian.PutUint16(b[2:], checksum(source, destination, b))
	return b
}

func TestNDPFramesOnTheWire(t *testing.T) {
	const (
		header = "020000000001 86dd  60000000 0020 3a ff  fd0000250000000000000000 00123456 "
		option = " fd0000250000000000000000 00123456  02 01 020000000001"
		toAll  = "333300000001" + header + "ff020000000000000000000000000001  88 00 f182 20000000" + option
		toHost = "020000000099" + header + "fe800000000000000000000000000099  88 00 b16c 60000000" + option
	)
	other := macAddr{2, 0, 0, 0, 0, 0x77}
	tests := []struct {
		name  string
		frame []byte
		want  string
	}{
		{"answer to a multicast solicitation", answerNDP(resolution(vip6), ourMAC, ours).reply, toHost},
		{"answer to a unicast solicitation", answerNDP(nsFrame(ourMAC, host6, vip6, vip6, nil), ourMAC, ours).reply, toHost},
		{"answer to the link-layer option", answerNDP(nsFrame(ourMAC, host6, vip6, vip6, &other), ourMAC, ours).reply,
			strings.Replace(toHost, "020000000099", "020000000077", 1)},
		{"answer to a probe", answerNDP(probe(vip6), ourMAC, ours).reply, toAll},
		{"unsolicited", gratuitousNDP(vip6, ourMAC)[0], toAll},
	}
	for _, test := range tests {
		if got, want := hex.EncodeToString(test.frame), strings.ReplaceAll(test.want, " ", ""); got != want {
			t.Errorf("%s is\n%s, want\n%s", test.name, got, want)
		}
	}
}
