// Package diff compares a wanted set with an observed one. It is pure and shared by all edges.
package diff

import "slices"

// Sets returns what is wanted but not observed (add, in the order of want) and what is observed but not wanted
// (remove, in the order of have). Items are compared with ==; an item that stands more than once counts once.
func Sets[T comparable](want, have []T) (add, remove []T) {
	if slices.Equal(want, have) {
		return nil, nil
	}
	return missing(want, have), missing(have, want)
}

// Sorted returns the same as Sets of two lists that are sorted and have nothing twice, which takes no memory but for what
// differs.
func Sorted[T comparable](want, have []T, compare func(T, T) int) (add, remove []T) {
	for len(want) > 0 && len(have) > 0 {
		switch c := compare(want[0], have[0]); {
		case c < 0:
			add, want = append(add, want[0]), want[1:]
		case c > 0:
			remove, have = append(remove, have[0]), have[1:]
		default:
			want, have = want[1:], have[1:]
		}
	}
	return append(add, want...), append(remove, have...)
}

// missing returns the items of a that are not in b, each once.
func missing[T comparable](a, b []T) []T {
	seen := make(map[T]struct{}, len(b))
	for _, x := range b {
		seen[x] = struct{}{}
	}
	var out []T
	for _, x := range a {
		if _, ok := seen[x]; !ok {
			seen[x] = struct{}{}
			out = append(out, x)
		}
	}
	return out
}
