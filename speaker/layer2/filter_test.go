//go:build linux

package layer2

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"
)

// passes runs a filter, without the part that only the kernel can run.
func passes(t testing.TB, program []bpf.Instruction, frame []byte) bool {
	t.Helper()
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatalf("%d instructions: %v", len(program), err)
	}
	n, err := vm.Run(frame)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// word returns the address that ends in w, in the family's test network.
func word(f family, w uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], w)
	if f == familyARP {
		return netip.AddrFrom4(b)
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 12: b[0], 13: b[1], 14: b[2], 15: b[3]})
}

// question is a valid request for an address.
func question(a netip.Addr) []byte {
	if a.Is4() {
		return arpRequest(host4, a)
	}
	return resolution(a)
}

func families() *rapid.Generator[family] { return rapid.SampledFrom([]family{familyARP, familyNDP}) }

// words draws last words of addresses, dense and far apart.
func words() *rapid.Generator[uint32] {
	return rapid.OneOf(rapid.Uint32Range(1000, 1100), rapid.Uint32(), rapid.SampledFrom([]uint32{0, 1, 1<<31 - 1, 1 << 31, ^uint32(0)}))
}

// The model: in a set of one network that fits the program, a frame passes exactly if its target is in the set.
func TestFilterPassesExactlyTheSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := families().Draw(t, "family")
		set := rapid.SliceOfN(words(), 0, 400).Draw(t, "set")
		program := f.filter(addressesOf(f, set), nil, maxProgram)
		if len(program) > maxProgram {
			t.Fatalf("%d instructions", len(program))
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		asked := rapid.SliceOfN(rapid.OneOf(words(), rapid.Custom(func(t *rapid.T) uint32 {
			return rapid.SampledFrom(append([]uint32{0}, set...)).Draw(t, "member") + rapid.Uint32Range(0, 2).Draw(t, "offset") - 1
		})), 1, 50).Draw(t, "asked")
		for _, w := range asked {
			n, err := vm.Run(question(word(f, w)))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := n > 0, slices.Contains(set, w); got != want {
				t.Fatalf("frame for %v passes: %v, want %v", word(f, w), got, want)
			}
		}
	})
}

// However large the set and however small the program, no frame that would be answered is dropped.
func TestFilterNeverDropsWhatIsAnswered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := families().Draw(t, "family")
		size := rapid.SampledFrom([]int{maxProgram, maxProgram / 4, maxProgram / 16}).Draw(t, "size")
		set := rapid.SliceOfN(words(), 1, 3000).Draw(t, "set")
		addresses := addressesOf(f, set)
		if f == familyNDP { // other networks as well
			for i := range addresses {
				b := addresses[i].As16()
				b[3], b[9] = byte(set[i]), byte(set[i]>>8)
				addresses[i] = netip.AddrFrom16(b)
			}
		}
		program := f.filter(addresses, nil, size)
		if len(program) > size {
			t.Fatalf("%d instructions, want at most %d", len(program), size)
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addresses[:min(100, len(addresses))] {
			if n, err := vm.Run(question(a)); err != nil || n == 0 {
				t.Fatalf("frame for %v does not pass (%v)", a, err)
			}
		}
	})
}

func TestFilterDropsOtherFrames(t *testing.T) {
	arp, ns := arpRequest(host4, vip4), resolution(vip6)
	tests := []struct {
		name   string
		family family
		frame  []byte
		want   bool
	}{
		{"ARP request", familyARP, arp, true},
		{"ARP probe", familyARP, arpRequest(netip.IPv4Unspecified(), vip4), true},
		{"ARP reply to somebody", familyARP, patch(arp, 21, 2), false},
		{"ARP reply from our address", familyARP, patch(arpRequest(vip4, host4), 21, 2), true},
		{"ARP request from our address", familyARP, arpRequest(vip4, host4), true},
		{"gratuitous ARP", familyARP, gratuitousARP(vip4, hostMAC)[0], true},
		{"gratuitous ARP of another address", familyARP, gratuitousARP(host4, hostMAC)[0], false},
		{"ARP with another hardware type", familyARP, patch(arp, 14, 0, 6), true},
		{"ARP with another length", familyARP, patch(arp, 18, 8), true},
		{"not ARP", familyARP, patch(arp, 12, 8, 0), false},
		{"short ARP", familyARP, arp[:41], true},
		{"solicitation", familyNDP, ns, true},
		{"probe", familyNDP, probe(vip6), true},
		{"advertisement", familyNDP, gratuitousNDP(vip6, ourMAC)[0], true},
		{"forwarded solicitation", familyNDP, patch(ns, 21, 254), true},
		{"other code", familyNDP, patch(ns, 55, 1), true},
		{"advertisement of another address", familyNDP, gratuitousNDP(vip6.Next(), hostMAC)[0], false},
		{"router advertisement", familyNDP, patch(ns, 54, 134), false},
		{"short router advertisement", familyNDP, patch(ns, 54, 134)[:70], false},
		{"echo request", familyNDP, patch(ns, 54, 128)[:62], false},
		{"IPv6 header cut short", familyNDP, ns[:53], true},
		{"UDP", familyNDP, patch(ns, 20, 17), false},
		{"not IPv6", familyNDP, patch(ns, 12, 8, 0), false},
		{"short solicitation", familyNDP, ns[:77], true},
		{"another network", familyNDP, resolution(netip.MustParseAddr("fd00:26::12:3456")), false},
	}
	for _, test := range tests {
		addresses := []netip.Addr{vip4}
		if test.family == familyNDP {
			addresses = []netip.Addr{vip6}
		}
		if got := passes(t, test.family.filter(addresses, nil, maxProgram), test.frame); got != test.want {
			t.Errorf("%s passes: %v, want %v", test.name, got, test.want)
		}
	}
}

// Of a watched address only the questions are of interest: the announcements of its owner wake nobody else.
func TestFilterPassesOnlyQuestionsForWatchedAddresses(t *testing.T) {
	arp, other4, other6 := arpRequest(host4, vip4), vip4.Next(), vip6.Next()
	tests := []struct {
		name   string
		family family
		frame  []byte
		want   bool
	}{
		{"ARP request", familyARP, arp, true},
		{"ARP probe", familyARP, arpRequest(netip.IPv4Unspecified(), vip4), true},
		{"ARP request from it", familyARP, arpRequest(vip4, host4), false},
		{"ARP request from it for one of ours", familyARP, arpRequest(vip4, other4), true},
		{"gratuitous ARP, as a request", familyARP, gratuitousARP(vip4, hostMAC)[0], false},
		{"gratuitous ARP, as a reply", familyARP, gratuitousARP(vip4, hostMAC)[1], false},
		{"gratuitous ARP of ours", familyARP, gratuitousARP(other4, hostMAC)[0], true},
		{"solicitation", familyNDP, resolution(vip6), true},
		{"solicitation for one of ours", familyNDP, resolution(other6), true},
		{"advertisement", familyNDP, gratuitousNDP(vip6, hostMAC)[0], false},
		{"advertisement of ours", familyNDP, gratuitousNDP(other6, hostMAC)[0], true},
	}
	for _, test := range tests {
		ours, watched := []netip.Addr{other4}, []netip.Addr{vip4}
		if test.family == familyNDP {
			ours, watched = []netip.Addr{other6}, []netip.Addr{vip6}
		}
		if got := passes(t, test.family.filter(ours, watched, maxProgram), test.frame); got != test.want {
			t.Errorf("%s passes: %v, want %v", test.name, got, test.want)
		}
	}
}

// The coarser program of a set that is too scattered passes what lies in the narrowest gaps, and nothing else.
func TestFilterClosesTheNarrowestGaps(t *testing.T) {
	got := limitRanges(wordRanges([]uint32{1, 2, 3, 10, 12, 20, 100, 101, 200}), 3)
	want := []wordRange{{1, 20}, {100, 101}, {200, 200}}
	if !slices.Equal(got, want) {
		t.Errorf("ranges are %v, want %v", got, want)
	}
}

func addressesOf(f family, words []uint32) []netip.Addr {
	out := make([]netip.Addr, 0, len(words))
	for _, w := range words {
		out = append(out, word(f, w))
	}
	return out
}
