package allocator

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/policy"
)

// spaceOf is the space of a pool with these ranges.
func spaceOf(ranges string) *policy.Space {
	p := compile(pool("a", ranges))
	return p.Pools[0].Space(policy.IPv4)
}

// TestSearchFindsWhatIsFree compares the searches with a walk through all addresses, while they are taken one by one.
func TestSearchFindsWhatIsFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := spaceOf(rapid.SampledFrom([]string{"10.0.0.0/24", "10.0.0.9-10.0.0.80,10.0.0.0-10.0.0.3", "255.255.255.128/25,0.0.0.0/28", "10.0.0.1/32"}).Draw(t, "ranges"))
		var all []netip.Addr
		for n := range space.Size() {
			_, a := space.At(n)
			all = append(all, a)
		}
		taken := map[netip.Addr]bool{}
		take := func(from, n int) {
			for _, a := range all[from:min(from+n, len(all))] {
				taken[a] = true
			}
		}
		for range rapid.IntRange(0, 4).Draw(t, "runs") {
			take(rapid.IntRange(0, len(all)-1).Draw(t, "from"), rapid.IntRange(1, 60).Draw(t, "length"))
		}
		s := newSearch(space, func(a netip.Addr) bool { return taken[a] })
		free := func(from int) (netip.Addr, bool) {
			rotated := append(slices.Clone(all[from:]), all[:from]...)
			i := slices.IndexFunc(rotated, func(a netip.Addr) bool { return !taken[a] })
			if i < 0 {
				return netip.Addr{}, false
			}
			return rotated[i], true
		}
		for range rapid.IntRange(1, 80).Draw(t, "searches") {
			name := rapid.StringN(1, 3, 3).Draw(t, "name")
			index := slices.Index(all, s.pointedAt(name).at)
			if got, ok := s.hashed(name); true {
				if want, there := free(index); got != want || ok != there {
					t.Fatalf("above %s it finds %s, want %s", all[index], got, want)
				}
				if ok && rapid.Bool().Draw(t, "take") {
					taken[got] = true
				}
			}
			if got, ok := s.first(); true {
				if want, there := free(0); got != want || ok != there {
					t.Fatalf("the first one is %s, want %s", got, want)
				}
			}
		}
	})
}
