//go:build linux

package layer2

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
)

// FuzzARP hits exactly what a frame from the wire hits.
func FuzzARP(f *testing.F) {
	request := arpRequest(host4, vip4)
	f.Add(request)
	f.Add(request[:42])
	f.Add(arpRequest(netip.IPv4Unspecified(), vip4))
	f.Add(patch(request, 18, 255, 255))
	f.Add(gratuitousARP(vip4, hostMAC)[0])
	f.Add(gratuitousARP(vip4, hostMAC)[1])
	f.Add(gratuitousARP(vip4, ourMAC)[0])
	f.Add(arpRequest(vip4, host4))
	f.Add(patch(request, 14, 0, 6))
	filter := newFilterVM(f, familyARP, vip4)
	f.Fuzz(func(t *testing.T, frame []byte) {
		d := answerARP(frame, ourMAC, ours)
		checkFilter(t, filter, frame, d)
		if checkDecision(t, d, vip4) {
			checkARPReply(t, frame, d)
		}
	})
}

// FuzzNDP hits exactly what a frame from the wire hits, and once more with the checksum made right, which the fuzzer
// would hardly find.
func FuzzNDP(f *testing.F) {
	f.Add(resolution(vip6))
	f.Add(probe(vip6))
	f.Add(nsFrame(ourMAC, host6, vip6, vip6, nil))
	f.Add(gratuitousNDP(vip6, hostMAC)[0])
	f.Add(gratuitousNDP(vip6, ourMAC)[0])
	f.Add(answerNDP(resolution(vip6), hostMAC, ours).reply)
	f.Add(patch(resolution(vip6), 21, 64))
	filter := newFilterVM(f, familyNDP, vip6)
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, frame := range [][]byte{frame, resummed(frame)} {
			d := answerNDP(frame, ourMAC, ours)
			checkFilter(t, filter, frame, d)
			if checkDecision(t, d, vip6) {
				checkNDPReply(t, frame, d)
			}
		}
	})
}

// resummed returns a copy of frame with lengths and checksum that fit it, if it can have them.
func resummed(frame []byte) []byte {
	if len(frame) < 58 || len(frame) > maxFrame {
		return frame
	}
	return resum(patch(frame, 18, byte((len(frame)-54)>>8), byte(len(frame)-54)))
}

// newFilterVM returns the filter for one address.
func newFilterVM(f *testing.F, family family, a netip.Addr) *bpf.VM {
	vm, err := bpf.NewVM(family.filter([]netip.Addr{a}, nil, maxProgram))
	if err != nil {
		f.Fatal(err)
	}
	return vm
}

// checkFilter checks that the kernel lets a frame through that means something.
func checkFilter(t *testing.T, filter *bpf.VM, frame []byte, d decision) {
	t.Helper()
	if len(frame) < ethernetHeader || d.reply == nil && d.claim == (claim{}) {
		return
	}
	if n, err := filter.Run(frame); err != nil || n < len(frame) && len(frame) <= maxFrame {
		t.Fatalf("the filter drops a frame that is decided on as %+v (%v): %x", d, err, frame)
	}
}

// checkDecision checks that there is either an answer, for an address of ours, or a reason; it reports which.
func checkDecision(t *testing.T, d decision, vip netip.Addr) bool {
	t.Helper()
	if (d.reply == nil) == (d.ignored == "") {
		t.Fatalf("both or none of an answer and a reason: %+v", d)
	}
	if d.ignored != "" && !slices.Contains(reasons(), d.ignored) {
		t.Fatalf("ignored for a reason that is not counted: %q", d.ignored)
	}
	if c := d.claim; c != (claim{}) && (c.address != vip || c.mac == ourMAC || !isHost(c.mac) || d.reply == nil && d.ignored != reasonConflict) {
		t.Fatalf("wrong claim: %+v", d)
	}
	if d.reply != nil && d.target != vip {
		t.Fatalf("answered for %v, which is not announced", d.target)
	}
	return d.reply != nil
}

func checkARPReply(t *testing.T, frame []byte, d decision) {
	t.Helper()
	var request, reply arp.Packet
	if err := request.UnmarshalBinary(frame[14:]); err != nil || request.Operation != arp.OperationRequest || request.TargetIP != vip4 {
		t.Fatalf("answered, but this is no valid request for %v: %x", vip4, frame)
	}
	if err := reply.UnmarshalBinary(d.reply[14:]); err != nil {
		t.Fatalf("the answer does not parse: %v: %x", err, d.reply)
	}
	asker := macAddr(request.SenderHardwareAddr)
	if reply.Operation != arp.OperationReply || reply.SenderIP != vip4 || macAddr(reply.SenderHardwareAddr) != ourMAC ||
		reply.TargetIP != request.SenderIP || macAddr(reply.TargetHardwareAddr) != asker || macAddr(d.reply[:6]) != asker || !isHost(asker) {
		t.Fatalf("wrong answer %+v to %+v", reply, request)
	}
}

func checkNDPReply(t *testing.T, frame []byte, d decision) {
	t.Helper()
	m, err := ndp.ParseMessage(frame[54:])
	if request, ok := m.(*ndp.NeighborSolicitation); err == nil && (!ok || request.TargetAddress != vip6) || frame[21] != 255 {
		t.Fatalf("answered, but this is no valid solicitation for %v: %x", vip6, frame)
	}
	source, destination := netip.AddrFrom16([16]byte(frame[22:38])), netip.AddrFrom16([16]byte(d.reply[38:54]))
	m, err = ndp.ParseMessage(d.reply[54:])
	reply, ok := m.(*ndp.NeighborAdvertisement)
	if err != nil || !ok {
		t.Fatalf("the answer does not parse: %v: %x", err, d.reply)
	}
	if checksum(vip6, destination, d.reply[54:]) != 0 || d.reply[21] != 255 {
		t.Fatalf("the answer would not be accepted: %x", d.reply)
	}
	if reply.TargetAddress != vip6 || !reply.Override || reply.Router || len(reply.Options) != 1 || reply.Solicited == source.IsUnspecified() {
		t.Fatalf("wrong answer %+v", reply)
	}
	if reply.Solicited && destination != source || !reply.Solicited && destination != netip.IPv6LinkLocalAllNodes() {
		t.Fatalf("the answer to %v goes to %v", source, destination)
	}
}
