//go:build linux

package layer2

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// The kernel filter lets only frames through that ask for an address of ours or say that another host has it, and those
// that ask for a watched one, so that a busy segment costs nothing. Broken frames about our addresses pass too, so that they are counted. It may let a few
// others through (see limitRanges); the exact decision is answerARP's and answerNDP's.

const (
	maxProgram   = 4096    // instructions in a filter, BPF_MAXINSNS
	fixedProgram = 64      // instructions beside the search, generously
	perRange     = 5       // instructions a range costs in the search, rounded up
	acceptBytes  = 1 << 16 // what a filter returns to pass a whole frame
)

// filterARP passes ARP packets that come from one of ours or ask for one of ours or of watched, all IPv4, in at most size
// instructions. That another host announces a watched address concerns nobody here.
func filterARP(ours, watched []netip.Addr, size int) []bpf.Instruction {
	half := (size - fixedProgram) / 2
	return slices.Concat(
		load(12, 2), require(0x0806), // EtherType
		acceptShorter(ethernetHeader+arpLength),
		load(28, 4), goOnInsteadOfDrop(searchWords(wordsOf(ours, 0), half)), // sender address
		load(20, 2), require(1), // operation: request
		load(28, 4), []bpf.Instruction{bpf.TAX{}},
		load(38, 4), requireNotX(), // target address; the sender's own: an announcement
		searchWords(slices.Concat(wordsOf(ours, 0), wordsOf(watched, 0)), half),
	)
}

// filterNDP passes neighbor solicitations for ours or watched and advertisements of ours, all IPv6, in at most size
// instructions.
func filterNDP(ours, watched []netip.Addr, size int) []bpf.Instruction {
	half := (size - fixedProgram) / 2
	solicitation := slices.Concat(require(typeNS), acceptShorter(targetNDP+16), searchNDP(slices.Concat(ours, watched), half))
	advertisement := slices.Concat(acceptShorter(targetNDP+16), searchNDP(ours, half))
	return slices.Concat(
		load(12, 2), require(0x86dd), // EtherType
		acceptShorter(ethernetHeader+ipv6Header),
		load(20, 1), require(protocolICMPv6), // next header
		load(54, 1), // type
		[]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeNA, SkipFalse: 1}, bpf.Jump{Skip: uint32(len(solicitation))}},
		solicitation, advertisement,
	)
}

// targetNDP is where the target of a solicitation or an advertisement is.
const targetNDP = ethernetHeader + ipv6Header + 8

// searchNDP passes the frame if its target is one of addresses, else drops it. The first three words are only held
// against the span of the set, which is exact where all addresses share a /96.
func searchNDP(addresses []netip.Addr, size int) []bpf.Instruction {
	var program []bpf.Instruction
	for i := range 4 {
		words := wordsOf(addresses, i)
		program = append(program, load(uint32(targetNDP+4*i), 4)...)
		if i == 3 || len(words) == 0 {
			return append(program, searchWords(words, size)...)
		}
		program = append(program, requireSpan(slices.Min(words), slices.Max(words))...)
	}
	return program
}

// wordsOf returns the i-th word of each address.
func wordsOf(addresses []netip.Addr, i int) []uint32 {
	words := make([]uint32, 0, len(addresses))
	for _, a := range addresses {
		words = append(words, binary.BigEndian.Uint32(a.AsSlice()[4*i:]))
	}
	return words
}

// acceptShorter passes the frame if it has fewer than size bytes.
func acceptShorter(size uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: size, SkipTrue: 1},
		bpf.RetConstant{Val: acceptBytes},
	}
}

// load puts size bytes at offset of the frame into the accumulator. A frame that is shorter is dropped by the kernel.
func load(offset uint32, size int) []bpf.Instruction {
	return []bpf.Instruction{bpf.LoadAbsolute{Off: offset, Size: size}}
}

// require drops the frame unless the accumulator is v.
func require(v uint32) []bpf.Instruction {
	return []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: 1}, bpf.RetConstant{Val: 0}}
}

// requireNotX drops the frame if the accumulator is what is in X.
func requireNotX() []bpf.Instruction {
	return []bpf.Instruction{bpf.JumpIfX{Cond: bpf.JumpEqual, SkipFalse: 1}, bpf.RetConstant{Val: 0}}
}

// requireSpan drops the frame unless the accumulator is between low and high, both included.
func requireSpan(low, high uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: low, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: high, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
	}
}

// searchWords passes the frame if the accumulator is one of words, else drops it; in at most size instructions.
func searchWords(words []uint32, size int) []bpf.Instruction {
	var bounds []uint32
	for _, r := range limitRanges(wordRanges(words), max(1, size/perRange)) {
		bounds = append(bounds, r.low)
		if r.high != ^uint32(0) {
			bounds = append(bounds, r.high+1)
		}
	}
	return search(bounds, false)
}

// goOnInsteadOfDrop returns program with what follows it in the place of every drop.
func goOnInsteadOfDrop(program []bpf.Instruction) []bpf.Instruction {
	out := slices.Clone(program)
	for i, instruction := range out {
		if instruction == (bpf.RetConstant{Val: 0}) {
			out[i] = bpf.Jump{Skip: uint32(len(out) - i - 1)}
		}
	}
	return out
}

// search is a binary search over bounds, the sorted values at which being in the set changes; pass says what holds
// below the first. A conditional jump reaches 255 instructions, so a longer way goes by an unconditional one.
func search(bounds []uint32, pass bool) []bpf.Instruction {
	if len(bounds) == 0 {
		if pass {
			return []bpf.Instruction{bpf.RetConstant{Val: acceptBytes}}
		}
		return []bpf.Instruction{bpf.RetConstant{Val: 0}}
	}
	mid := len(bounds) / 2
	below := search(bounds[:mid], pass)
	above := search(bounds[mid+1:], pass != (mid%2 == 0))
	branch := bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: bounds[mid]}
	if len(below) <= 255 {
		branch.SkipTrue = uint8(len(below))
		return slices.Concat([]bpf.Instruction{branch}, below, above)
	}
	branch.SkipFalse = 1
	return slices.Concat([]bpf.Instruction{branch, bpf.Jump{Skip: uint32(len(below))}}, below, above)
}

// wordRange is all values from low to high, both included.
type wordRange struct{ low, high uint32 }

// wordRanges returns words as the fewest sorted ranges.
func wordRanges(words []uint32) []wordRange {
	var out []wordRange
	for _, w := range slices.Compact(slices.Sorted(slices.Values(words))) {
		if n := len(out); n > 0 && out[n-1].high+1 == w {
			out[n-1].high = w
			continue
		}
		out = append(out, wordRange{w, w})
	}
	return out
}

// limitRanges closes the narrowest gaps between sorted ranges until at most limit are left.
func limitRanges(ranges []wordRange, limit int) []wordRange {
	if len(ranges) <= limit {
		return ranges
	}
	gaps := make([]int, 0, len(ranges)-1) // by the index of the range after the gap
	for i := range ranges[1:] {
		gaps = append(gaps, i+1)
	}
	slices.SortFunc(gaps, func(i, j int) int {
		return cmp.Or(cmp.Compare(ranges[i].low-ranges[i-1].high, ranges[j].low-ranges[j-1].high), cmp.Compare(i, j))
	})
	closed := make([]bool, len(ranges))
	for _, i := range gaps[:len(ranges)-limit] {
		closed[i] = true
	}
	out := []wordRange{ranges[0]}
	for i, r := range ranges[1:] {
		if closed[i+1] {
			out[len(out)-1].high = r.high
			continue
		}
		out = append(out, r)
	}
	return out
}
