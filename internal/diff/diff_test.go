package diff

import (
	"cmp"
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

// TestSortedIsSets: of sorted lists both say the same.
func TestSortedIsSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) []int {
			list := rapid.SliceOfDistinct(rapid.IntRange(0, 20), rapid.ID[int]).Draw(t, name)
			slices.Sort(list)
			return list
		}
		want, have := draw("want"), draw("have")
		add, remove := Sorted(want, have, cmp.Compare[int])
		if a, r := Sets(want, have); !slices.Equal(add, a) || !slices.Equal(remove, r) {
			t.Fatalf("want %v, have %v: add %v and remove %v, not %v and %v", want, have, a, r, add, remove)
		}
	})
}

func sameSet(a, b []int) bool {
	x, y := slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(x), slices.Compact(y))
}

func unique(a []int) int { return len(slices.Compact(slices.Sorted(slices.Values(a)))) }
