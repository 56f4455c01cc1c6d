package plan

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestUnsettled: members are letters with the second at which they came up, and + if they are settled; all of them settle for
// a minute.
func TestUnsettled(t *testing.T) {
	for members, want := range map[string]string{
		"":                     "",
		"a0 b0 c0":             "a b c",
		"a0+ b0+ c0+":          "",
		"a0+ b60 c0+":          "b",
		"a0+ b15 c16":          "c",   // b came up together with a, c too late
		"a15+ b0 c30":          "",    // the first need not be the first that is settled
		"a0+ b15 c30":          "c",   // b is not settled by itself
		"a0+ b3 c3600+ d3605":  "",    // where clocks differ
		"a3600+ b0 c100":       "b c", // the same
		"a?+ b0":               "b",   // one of another version
		"a0+ b?":               "b",
		"nothing said":         "",
		"a0+ b15 nothing said": "",
	} {
		start := time.Unix(1_700_000_000, 0)
		var in []Member
		for _, f := range strings.Fields(members) {
			m := Member{Node: f[:1]}
			if up, settled := strings.CutSuffix(f[1:], "+"); strings.ContainsAny(up, "0123456789?") {
				m.Facts = Facts{Started: start, Settled: settled}
				if after, err := time.ParseDuration(up + "s"); err == nil {
					m.CameUp, m.Settling = start.Add(after), time.Minute
				}
			}
			in = append(in, m)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(Unsettled(in))), " "); got != want {
			t.Errorf("of %q are unsettled: %q, want %q", members, got, want)
		}
	}
}
