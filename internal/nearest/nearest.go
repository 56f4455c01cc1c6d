// Package nearest finds the name that somebody may have meant. It is pure.
package nearest

import (
	"slices"
	"strings"
)

// To returns the one of the names that differs least from a word, if one is so near that it may have been meant: at most
// a third of its letters, and at least one, are wrong, missing or too many, or two neighbors are swapped. Capitals do not
// count. Of equally near names it is the first in alphabetical order.
func To(word string, names []string) (string, bool) {
	best, least := "", 0
	for _, name := range slices.Sorted(slices.Values(names)) {
		d := distance(strings.ToLower(word), strings.ToLower(name))
		if d <= max(1, len(name)/3) && (best == "" || d < least) {
			best, least = name, d
		}
	}
	return best, best != ""
}

// Ask returns a question to be put behind the telling of an unknown word, with the space before it, or "".
func Ask(word string, names []string) string {
	if name, ok := To(word, names); ok {
		return ` (did you mean "` + name + `"?)`
	}
	return ""
}

// distance is the number of insertions, deletions, changes and swaps of neighbors that make one word of the other (the
// optimal string alignment distance), by bytes.
func distance(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
