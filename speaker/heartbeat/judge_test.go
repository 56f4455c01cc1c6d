//go:build linux

package heartbeat

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// TestJudge: when a node is lost. A step is "milliseconds: what = what is wanted and lost". What happens is one of: hears X,
// missed X, unheard X, reply X silent|alone|answered, word FROM X misses|hears, drop X, nothing. Wanted may be "ask X", "tell
// X of Y" and "lost X"; what was lost before stays lost and is shown as "(X)".
func TestJudge(t *testing.T) {
	const heard = "0: hears o = \n 0: hears m = \n"
	for name, c := range map[string]struct {
		mates string // of o, which is watched
		steps string
	}{
		"the owner dies": {"m", heard + `
			1000: missed o = ask o, tell m of o
			1050: nothing = tell m of o
			1100: reply o silent = tell m of o
			1110: word m o misses = 
			1199: nothing = tell m of o
			1200: nothing = lost o (o)
			9000: nothing = (o)`},
		"the other candidate says so later": {"m", heard + `
			1000: missed o = ask o, tell m of o
			1175: reply o silent = tell m of o
			1200: nothing = 
			1240: word m o misses = tell m of o, lost o (o)`},
		"the other candidate said so long ago": {"m", heard + `
			100: word m o misses = 
			5000: missed o = ask o, tell m of o
			5175: reply o silent = tell m of o
			5300: nothing = tell m of o`},
		"the other candidate hears it again": {"m", heard + `
			1000: missed o = ask o, tell m of o
			1010: word m o misses = 
			1020: word m o hears = 
			1175: reply o silent = tell m of o
			2000: nothing = `},
		"its kernel answers: only the speaker is dead": {"m", heard + `
			1000: missed o = ask o, tell m of o
			1010: word m o misses = 
			1020: reply o answered = 
			1500: nothing = tell m of o
			9000: nothing = `},
		"it is heard again in time": {"m", heard + `
			1000: missed o = ask o, tell m of o
			1010: word m o misses = 
			1175: reply o silent = tell m of o
			1190: hears o = tell m of o
			1300: nothing = `},
		"it says itself that it does not hear this node": {"m", heard + `
			1000: unheard o = 
			1500: nothing = `},
		"it is lost, and comes back": {"m", heard + `
			1000: missed o = ask o, tell m of o
			1010: word m o misses = 
			1200: reply o silent = tell m of o, lost o (o)
			9000: hears o = tell m of o, back`},
		"nobody is heard": {"m", heard + `
			1000: missed o = ask o, tell m of o
			1000: missed m = 
			1175: reply o alone = tell m of o
			1400: nothing = tell m of o`},
		"the other candidate dies with it: left to the membership": {"m", heard + `
			1000: missed o = ask o, tell m of o
			1000: missed m = 
			1175: reply o silent = tell m of o
			1400: nothing = tell m of o`},
		"there is no other candidate, but others are heard": {"", heard + `
			1000: missed o = ask o
			1175: reply o silent = 
			1200: nothing = lost o (o)`},
		"there is no other candidate, and nobody is heard": {"", heard + `
			1000: missed o = ask o
			1175: reply o alone = 
			1400: nothing = `},
		"the answer comes late": {"", heard + `
			1000: missed o = ask o
			1300: nothing = 
			1301: reply o silent = lost o (o)`},
		"it was never heard": {"m", `
			0: hears m = 
			1000: missed o = 
			1300: word m o misses = `},
		"a stranger's word is no word": {"m", heard + `
			1000: missed o = ask o, tell m of o
			1010: word x o misses = 
			1175: reply o silent = tell m of o
			1300: nothing = tell m of o`},
		"it is no companion any more": {"m", heard + `
			1000: missed o = ask o, tell m of o
			1010: drop o = 
			1200: reply o silent = `},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Unix(1000, 0)
			var mates []string
			if c.mates != "" {
				mates = []string{c.mates}
			}
			all := []plan.Companion{
				{Node: "m", Address: netip.MustParseAddr("192.0.2.2")},
				{Node: "o", Address: netip.MustParseAddr("192.0.2.3"), Watched: true, Mates: mates, Links: []plan.Link{{Index: 2}}},
			}
			j := &judge{}
			j.replace(all)
			for line := range strings.Lines(c.steps) {
				if line = strings.TrimSpace(line); line == "" {
					continue
				}
				text, want, _ := strings.Cut(line, "=")
				var ms int
				_, _ = fmt.Sscanf(text, "%d:", &ms)
				now := start.Add(time.Duration(ms) * time.Millisecond)
				j.replace(all) // the same set changes nothing
				got := happen(j, strings.Fields(text)[1:], now, &all)
				do, next := j.step(now)
				for _, x := range do.ask {
					got = append(got, "ask "+x.Node)
				}
				for _, w := range do.tell {
					got = append(got, "tell "+w.to+" of "+w.of)
				}
				lost := ""
				for _, x := range do.lost {
					got = append(got, "lost "+x)
				}
				nodes, _ := j.now()
				for x := range nodes {
					lost += " (" + x + ")"
				}
				if told := strings.TrimSpace(strings.Join(got, ", ") + lost); told != strings.TrimSpace(want) {
					t.Fatalf("after %q: %q", line, told)
				}
				if !next.IsZero() && !next.After(now) {
					t.Fatalf("after %q: again at once", line)
				}
			}
		})
	}
}

// happen does what a step says, and returns what comes of it at once.
func happen(j *judge, what []string, now time.Time, all *[]plan.Companion) (got []string) {
	signals := map[string]signal{"hears": hears, "missed": missed, "unheard": unheard}
	replies := map[string]reply{"silent": silent, "alone": alone, "answered": answered}
	switch what[0] {
	case "hears", "missed", "unheard":
		back, tell := j.hear(what[1], signals[what[0]], now)
		for _, w := range tell {
			got = append(got, "tell "+w.to+" of "+w.of)
		}
		if back {
			got = append(got, "back")
		}
	case "reply":
		j.asked(what[1], replies[what[2]])
	case "word":
		j.listen(what[1], what[2], what[3] == "misses", now)
	case "drop":
		*all = slices.DeleteFunc(*all, func(c plan.Companion) bool { return c.Node == what[1] })
		j.replace(*all)
	}
	return got
}

func TestMessages(t *testing.T) {
	for _, w := range []word{{"to", "node-1", true}, {"to", strings.Repeat("n", 253), false}} {
		from, of, misses, ok := decode(encode("sender", w))
		if from != "sender" || of != w.of || misses != w.misses || !ok {
			t.Errorf("%v became %q %q %t %t", w, from, of, misses, ok)
		}
	}
	for name, b := range map[string][]byte{
		"empty": nil, "short": {1, 1}, "another version": {2, 1, 1, 'a', 'b'}, "no sender": {1, 1, 0, 'a'}, "no node": {1, 1, 1, 'a'},
		"cut in the sender's name": {1, 1, 9, 'a', 'b'}, "a third meaning": {1, 2, 1, 'a', 'b'}, "too long": append([]byte{1, 1, 1}, make([]byte, 600)...),
	} {
		if from, of, _, ok := decode(b); ok {
			t.Errorf("%s: taken for %q of %q", name, from, of)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(encode("a", word{"b", "c", true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if from, of, misses, ok := decode(b); ok && string(encode(from, word{of: of, misses: misses})) != string(b) {
			t.Errorf("%q is read as %q %q %t", b, from, of, misses)
		}
	})
}
