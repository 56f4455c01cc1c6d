package allocator

import (
	"hash/fnv"
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
		space := spaceOf(rapid.SampledFrom([]string{"10.0.0.0/24", "10.0.0.3-10.0.2.2", "10.0.0.9-10.0.0.80,10.0.0.0-10.0.0.3", "255.255.255.128/25,0.0.0.0/28", "10.0.0.1/32"}).Draw(t, "ranges"))
		var all []netip.Addr
		for n := range space.Size() {
			all = append(all, space.At(n))
		}
		taken := map[netip.Addr]bool{}
		take := func(from, n int) {
			for _, a := range all[from:min(from+n, len(all))] {
				taken[a] = true
			}
		}
		for range rapid.IntRange(0, 4).Draw(t, "runs") {
			take(rapid.IntRange(0, len(all)-1).Draw(t, "from"), rapid.SampledFrom([]int{1, 9, 60, 300, 600}).Draw(t, "length"))
		}
		s := &search{space: space, taken: func(a netip.Addr) bool { return taken[a] }}
		s.full = func(block netip.Addr) bool {
			for a := block; ; a = a.Next() {
				if !taken[a] {
					return false
				}
				if a.As4()[3] == 255 {
					return true
				}
			}
		}
		lowest := func() (netip.Addr, bool) {
			i := slices.IndexFunc(all, func(a netip.Addr) bool { return !taken[a] })
			if i < 0 {
				return netip.Addr{}, false
			}
			return all[i], true
		}
		for range rapid.IntRange(1, 80).Draw(t, "searches") {
			name := rapid.StringN(1, 3, 3).Draw(t, "name")
			got, ok := s.hashed(name)
			if want, there := hashedIn(all, taken, name, lowest); got != want || ok != there {
				t.Fatalf("%q gets %s, want %s", name, got, want)
			}
			if ok && rapid.Bool().Draw(t, "take") {
				taken[got] = true
			}
			got, ok = s.first()
			if want, there := lowest(); got != want || ok != there {
				t.Fatalf("the first one is %s, want %s", got, want)
			}
		}
	})
}

// hashedIn is what the name is to get.
func hashedIn(all []netip.Addr, taken map[netip.Addr]bool, name string, otherwise func() (netip.Addr, bool)) (netip.Addr, bool) {
	h := fnv.New64a()
	h.Write([]byte(name))
	for i := range uint64(hashes) {
		if a := all[mix(h.Sum64(), i)%uint64(len(all))]; !taken[a] {
			return a, true
		}
	}
	return otherwise()
}
