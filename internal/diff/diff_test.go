package diff

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSetsLeadFromObservedToWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOf(rapid.IntRange(0, 20))
		want, have := items.Draw(t, "want"), items.Draw(t, "have")
		add, remove := Sets(want, have)
		got := slices.DeleteFunc(slices.Concat(have, add), func(x int) bool { return slices.Contains(remove, x) })
		if !sameSet(got, want) {
			t.Fatalf("have %v + add %v - remove %v = %v, want the set of %v", have, add, remove, got, want)
		}
		for _, x := range add {
			if slices.Contains(have, x) {
				t.Fatalf("adds %d, which is there already", x)
			}
		}
		if unique(add) != len(add) || unique(remove) != len(remove) {
			t.Fatalf("an item stands twice in add %v or remove %v", add, remove)
		}
	})
}

func sameSet(a, b []int) bool {
	x, y := slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(x), slices.Compact(y))
}

func unique(a []int) int { return len(slices.Compact(slices.Sorted(slices.Values(a)))) }
