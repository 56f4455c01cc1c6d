package speaker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// TestSettling: whether a speaker takes addresses from others. A step is "second: members / links / more", where members
// are letters with the time that they started at, and more may be "contested" or "paused"; it ends with what comes of it,
// when it came up if not when it started, the links that are unsettled, and "joining".
func TestSettling(t *testing.T) {
	for name, steps := range map[string]string{
		"after its start":                               "0: a1 / eth0 = no\n 59: a1 / eth0 = no\n 60: a1 / eth0 = yes",
		"others come and go":                            "0: a1 b1 c1 / eth0 = no\n 60: a1 b1 c1 / eth0 = yes\n 61: a1 b1 / eth0 = yes\n 62: a1 b1 c1 / eth0 = yes",
		"it did not run":                                "0: a1 b1 / eth0 = no\n 60: a1 b1 / eth0 = yes\n 70: a1 b1 / eth0 / paused = no since 70\n 129: a1 b1 / eth0 = no since 70\n 130: a1 b1 / eth0 = yes",
		"its only link comes back":                      "0: a1 b1 / eth0 = no\n 60: a1 b1 / eth0 = yes\n 70: a1 / - = yes\n 80: a1 / eth0 = no since 80 eth0, joining\n 82: a1 b1 / eth0 = no since 80 eth0\n 139: a1 b1 / eth0 = no since 80 eth0\n 140: a1 b1 / eth0 = yes",
		"its only link comes back twice":                "0: a1 / eth0 = no\n 60: a1 / eth0 = yes\n 70: a1 / - = yes\n 80: a1 / eth0 = no since 80 eth0\n 90: a1 / - = yes\n 100: a1 / eth0 = no since 100 eth0\n 159: a1 / eth0 = no since 100 eth0\n 160: a1 / eth0 = yes",
		"its only link comes back, the other is gone":   "0: a1 b1 / eth0 = no\n 60: a1 b1 / eth0 = yes\n 70: a1 / - = yes\n 80: a1 / eth0 = no since 80 eth0, joining\n 84: a1 / eth0 = no since 80 eth0, joining\n 85: a1 / eth0 = no since 80 eth0",
		"one of two comes back":                         "0: a1 b1 / eth0 eth1 = no\n 60: a1 b1 / eth0 eth1 = yes\n 70: a1 b1 / eth0 = yes\n 80: a1 b1 / eth0 eth1 = yes eth1\n 139: a1 b1 / eth0 eth1 = yes eth1\n 140: a1 b1 / eth0 eth1 = yes",
		"both of two come back":                         "0: a1 b1 / eth0 eth1 = no\n 60: a1 b1 / eth0 eth1 = yes\n 70: a1 b1 / - = yes\n 80: a1 b1 / eth1 = no since 80 eth1\n 90: a1 b1 / eth0 eth1 = no since 80 eth0 eth1\n 140: a1 b1 / eth0 eth1 = yes eth0\n 150: a1 b1 / eth0 eth1 = yes",
		"a link that was never there before":            "0: a1 b1 / eth0 = no\n 60: a1 b1 / eth0 = yes\n 70: a1 b1 / eth0 eth1 = yes",
		"it was cut off from most":                      "0: a1 b1 c1 d1 / eth0 = no\n 60: a1 b1 c1 d1 / eth0 = yes\n 70: a1 b1 / eth0 = yes\n 71: a1 / eth0 = yes\n 90: a1 b1 / eth0 = yes\n 91: a1 b1 c1 / eth0 = no since 91\n 151: a1 b1 c1 d1 / eth0 = yes",
		"the membership was cut, not the segment":       "0: a1 b1 c1 d1 / eth0 = no\n 60: a1 b1 c1 d1 / eth0 = yes\n 70: a1 b1 / eth0 = yes\n 71: a1 / eth0 / contested = yes\n 90: a1 b1 / eth0 = yes\n 91: a1 b1 c1 / eth0 = yes",
		"it heard the others announce when it was back": "0: a1 b1 c1 d1 / eth0 = no\n 60: a1 b1 c1 d1 / eth0 = yes\n 70: a1 / eth0 = yes\n 90: a1 / eth0 / contested = yes\n 91: a1 b1 c1 / eth0 = no since 91",
		"a conflict long before it was cut off":         "0: a1 b1 c1 d1 / eth0 = no\n 60: a1 b1 c1 d1 / eth0 / contested = yes\n 80: a1 / eth0 = yes\n 91: a1 b1 c1 / eth0 = no since 91",
		"most of the others started anew":               "0: a1 b1 c1 d1 / eth0 = no\n 60: a1 b1 c1 d1 / eth0 = yes\n 70: a1 / eth0 = yes\n 90: a1 b2 c2 d2 / eth0 = yes",
		"most went one by one and one came back":        "0: a1 b1 c1 d1 / eth0 = no\n 60: a1 b1 c1 d1 / eth0 = yes\n 70: a1 b1 c1 / eth0 = yes\n 90: a1 b1 / eth0 = yes\n 110: a1 / eth0 = yes\n 130: a1 b1 / eth0 = yes",
		"the only other one was away":                   "0: a1 b1 / eth0 = no\n 60: a1 b1 / eth0 = yes\n 70: a1 / eth0 = yes\n 80: a1 b1 / eth0 = yes",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Unix(1000, 0)
			s := newSettling(time.Minute, start)
			var contested time.Time
			for line := range strings.Lines(steps) {
				text, want, _ := strings.Cut(strings.TrimSpace(line), " = ")
				var second int
				_, _ = fmt.Sscanf(text, "%d:", &second)
				parts := strings.Split(text[strings.Index(text, ":")+1:], "/")
				var local Local
				for _, f := range strings.Fields(parts[0]) {
					local.Members = append(local.Members, plan.Member{Node: f[:1], Facts: plan.Facts{Started: time.Unix(int64(f[1]), 0)}})
				}
				for _, f := range strings.Fields(parts[1]) {
					if f != "-" {
						local.Links = append(local.Links, plan.LinkState{Link: plan.Link{Name: f}})
					}
				}
				now := start.Add(time.Duration(second) * time.Second)
				more := strings.Join(parts[2:], "")
				if strings.Contains(more, "contested") {
					contested = now
				}
				local.Contested = contested
				wait := s.step(&local, strings.Contains(more, "paused"), now)
				got := map[bool]string{true: "yes", false: "no"}[local.Facts.Settled]
				if up := local.Facts.CameUp.Sub(start); up > 0 && !local.Facts.Settled {
					got += fmt.Sprintf(" since %g", up.Seconds())
				}
				for _, l := range local.Links {
					if l.Unsettled {
						got += " " + l.Name
					}
				}
				if local.Joining {
					got += ", joining"
				}
				if got != want || wait <= 0 || wait > resync {
					t.Fatalf("after %q: settled %s, to be looked at again after %s", line, got, wait)
				}
			}
		})
	}
}
