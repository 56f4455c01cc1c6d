//go:build linux

package layer2

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/mdlayher/arp"
)

// The world of the tests: our link, a host on the segment, and what we announce.
var (
	ourMAC  = macAddr{0x02, 0, 0, 0, 0, 0x01}
	hostMAC = macAddr{0x02, 0, 0, 0, 0, 0x99}
	host4   = netip.MustParseAddr("172.25.254.9")
	vip4    = netip.MustParseAddr("172.25.254.50")
	host6   = netip.MustParseAddr("fe80::99")
	vip6    = netip.MustParseAddr("fd00:25::12:3456")
	ours    = targets{vip4: nil, vip6: nil}
)

// arpRequest is what a host asks for an address.
func arpRequest(senderIP, target netip.Addr) []byte {
	return arpFrame(broadcastMAC(), arp.Packet{
		Operation:          arp.OperationRequest,
		SenderHardwareAddr: hostMAC[:], SenderIP: senderIP,
		TargetHardwareAddr: make([]byte, 6), TargetIP: target,
	})
}

// patch returns a copy of frame with bytes replaced from an offset on.
func patch(frame []byte, offset int, b ...byte) []byte {
	frame = append([]byte(nil), frame...)
	copy(frame[offset:], b)
	return frame
}

func TestAnswerARP(t *testing.T) {
	request := arpRequest(host4, vip4)
	tests := []struct {
		name    string
		frame   []byte
		ignored reason
	}{
		{"a broadcast request", request, ""},
		{"a request without padding", request[:42], ""},
		{"a unicast request", patch(request, 0, ourMAC[:]...), ""},
		{"a probe from 0.0.0.0", arpRequest(netip.IPv4Unspecified(), vip4), ""},
		{"a request by a proxy, whose frame has another source", patch(request, 6, 2, 0, 0, 0, 0, 7), ""},

		{"an empty frame", nil, reasonShort},
		{"a frame cut short", request[:41], reasonShort},
		{"an IPv4 packet", patch(request, 12, 0x08, 0x00), reasonNoRequest},
		{"a frame with a VLAN tag", patch(request, 12, 0x81, 0x00), reasonNoRequest},
		{"a frame to another host", patch(request, 0, hostMAC[:]...), reasonDestination},
		{"a frame to a multicast group", patch(request, 0, 1, 0, 0x5e, 0, 0, 1), reasonDestination},
		{"hardware type IEEE 802", patch(request, 14, 0, 6), reasonHardwareType},
		{"protocol type IPv6", patch(request, 16, 0x86, 0xdd), reasonMalformed},
		{"hardware length 255", patch(request, 18, 255), reasonLength},
		{"hardware length 0", patch(request, 18, 0), reasonLength},
		{"protocol length 16", patch(request, 19, 16), reasonLength},
		{"a reply", patch(request, 21, 2), reasonNoRequest},
		{"a RARP request", patch(request, 21, 3), reasonNoRequest},
		{"a request for another address", arpRequest(host4, vip4.Next()), reasonNotOurs},
		{"our own request", patch(request, 22, ourMAC[:]...), reasonOwn},
		{"our own announcement", gratuitousARP(vip4, ourMAC)[0], reasonOwn},
		{"another speaker's announcement", gratuitousARP(vip4, hostMAC)[0], reasonConflict},
		{"another host's announcement in reply form", gratuitousARP(vip4, hostMAC)[1], reasonConflict},
		{"an answer by another host", patch(patch(arpRequest(vip4, host4), 21, 2), 0, ourMAC[:]...), reasonConflict},
		{"a request by a host that has our address", arpRequest(vip4, host4), reasonConflict},
		{"our own answer", patch(gratuitousARP(vip4, ourMAC)[1], 21, 2), reasonOwn},
		{"a reply of a group MAC", patch(gratuitousARP(vip4, hostMAC)[1], 22, 1), reasonSender},
		{"a sender with a group MAC", patch(request, 22, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), reasonSender},
		{"a sender without a MAC", patch(request, 22, 0, 0, 0, 0, 0, 0), reasonSender},
		{"a sender with a multicast address", arpRequest(netip.MustParseAddr("224.0.0.1"), vip4), reasonSender},
		{"a sender with the broadcast address", arpRequest(netip.MustParseAddr("255.255.255.255"), vip4), reasonSender},
		{"a sender with a loopback address", arpRequest(netip.MustParseAddr("127.0.0.1"), vip4), reasonSender},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := answerARP(test.frame, ourMAC, ours)
			if got.ignored != test.ignored || (got.reply == nil) != (test.ignored != "") {
				t.Fatalf("ignored %q with %d bytes of reply, want %q", got.ignored, len(got.reply), test.ignored)
			}
			if test.ignored == "" && got.target != vip4 {
				t.Errorf("target is %v, want %v", got.target, vip4)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	other6 := macAddr{2, 0, 0, 0, 0, 0x77}
	tests := []struct {
		name   string
		family family
		frame  []byte
		want   claim
	}{
		{"an announcement in request form", familyARP, gratuitousARP(vip4, hostMAC)[0], claim{vip4, hostMAC, true}},
		{"an announcement in reply form", familyARP, gratuitousARP(vip4, hostMAC)[1], claim{vip4, hostMAC, true}},
		{"a reply", familyARP, patch(arpRequest(vip4, host4), 21, 2), claim{vip4, hostMAC, true}},
		{"a request from our address", familyARP, arpRequest(vip4, host4), claim{vip4, hostMAC, false}},
		{"a probe", familyARP, arpRequest(netip.IPv4Unspecified(), vip4), claim{}},
		{"an honest request", familyARP, arpRequest(host4, vip4), claim{}},
		{"an unsolicited advertisement", familyNDP, gratuitousNDP(vip6, hostMAC)[0], claim{vip6, hostMAC, true}},
		{"an advertisement for another MAC than it comes from", familyNDP, patch(gratuitousNDP(vip6, other6)[0], 6, hostMAC[:]...), claim{vip6, other6, true}},
		{"a solicited advertisement to all", familyNDP, resum(patch(gratuitousNDP(vip6, hostMAC)[0], 58, 0x60)), claim{}},
		{"a solicitation", familyNDP, resolution(vip6), claim{}},
	}
	for _, test := range tests {
		if got := test.family.answer(test.frame, ourMAC, ours).claim; got != test.want {
			t.Errorf("%s: claim is %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestARPFramesOnTheWire(t *testing.T) {
	gratuitous := gratuitousARP(vip4, ourMAC)
	tests := []struct {
		name  string
		frame []byte
		want  string // without the padding to 60 bytes
	}{
		{"answer to a request", answerARP(arpRequest(host4, vip4), ourMAC, ours).reply,
			"020000000099 020000000001 0806  0001 0800 06 04 0002  020000000001 ac19fe32  020000000099 ac19fe09"},
		{"answer to a probe", answerARP(arpRequest(netip.IPv4Unspecified(), vip4), ourMAC, ours).reply,
			"020000000099 020000000001 0806  0001 0800 06 04 0002  020000000001 ac19fe32  020000000099 00000000"},
		{"gratuitous request", gratuitous[0],
			"ffffffffffff 020000000001 0806  0001 0800 06 04 0001  020000000001 ac19fe32  000000000000 ac19fe32"},
		{"gratuitous reply", gratuitous[1],
			"ffffffffffff 020000000001 0806  0001 0800 06 04 0002  020000000001 ac19fe32  020000000001 ac19fe32"},
	}
	for _, test := range tests {
		want := strings.ReplaceAll(test.want, " ", "") + strings.Repeat("00", 18)
		if got := hex.EncodeToString(test.frame); got != want {
			t.Errorf("%s is\n%s, want\n%s", test.name, got, want)
		}
	}
}
