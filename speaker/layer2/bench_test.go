//go:build linux

package layer2

import "testing"

func BenchmarkAnswer(b *testing.B) {
	for _, f := range []family{familyARP, familyNDP} {
		frame := arpRequest(host4, vip4)
		if f == familyNDP {
			frame = resolution(vip6)
		}
		b.Run(f.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.answer(frame, ourMAC, ours)
			}
		})
	}
}

func BenchmarkFilter(b *testing.B) {
	words := make([]uint32, 2000)
	for i := range words {
		words[i] = uint32(i) * 7919
	}
	for _, f := range []family{familyARP, familyNDP} {
		addresses := addressesOf(f, words)
		b.Run(f.String(), func(b *testing.B) {
			for b.Loop() {
				f.filter(addresses, nil, maxProgram)
			}
		})
	}
}
