package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseCommunity(t *testing.T) {
	for text, want := range map[string]string{
		"65000:100": "65000:100", "0:0": "0:0", "65535:65535": "65535:65535", "007:1": "7:1",
		"large:1:2:3": "large:1:2:3", "large:4294967295:0:4294967295": "large:4294967295:0:4294967295",
		"": "", "100": "", "65536:1": "", "1:2:3": "", "-1:2": "", "+1:2": "", " 1:2": "", "1:": "", "1:2:": "", "large:1:2": "", "large:1:2:4294967296": "",
		"Large:1:2:3": "", "0x1:2": "", "1_0:2": "",
	} {
		got, err := ParseCommunity(text)
		if got.String() != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
}

// drawCommunities draws a set from few communities, so that two sets often share some.
func drawCommunities(t *rapid.T) Communities {
	var all Communities
	for _, text := range rapid.SliceOfN(rapid.SampledFrom([]string{"1:1", "1:2", "256:1", "65535:0", "large:0:0:1", "large:1:0:0", "large:4294967295:2:3"}), 0, 5).Draw(t, "communities") {
		c, _ := ParseCommunity(text)
		all = all.Union(c)
	}
	return all
}

func TestUnionOfCommunities(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawCommunities(t), drawCommunities(t), drawCommunities(t)
		for law, ok := range map[string]bool{
			"commutes":         a.Union(b) == b.Union(a),
			"associates":       a.Union(b).Union(c) == a.Union(b.Union(c)),
			"is idempotent":    a.Union(a) == a,
			"absorbs":          a.Union(b).Union(a) == a.Union(b),
			"has a neutral":    a.Union(Communities{}) == a && (Communities{}).Union(a) == a,
			"is empty of none": a.Union(b).IsEmpty() == (a.IsEmpty() && b.IsEmpty()),
		} {
			if !ok {
				t.Fatalf("the union %s: not for %s, %s, %s", law, a, b, c)
			}
		}
		standard, large := a.Union(b).Standard(), a.Union(b).Large()
		for _, x := range append(a.Standard(), b.Standard()...) {
			if !slices.Contains(standard, x) {
				t.Fatalf("%d of %s and %s is not in %s", x, a, b, a.Union(b))
			}
		}
		for _, x := range append(a.Large(), b.Large()...) {
			if !slices.Contains(large, x) {
				t.Fatalf("%d of %s and %s is not in %s", x, a, b, a.Union(b))
			}
		}
		if !slices.IsSorted(standard) || !slices.IsSortedFunc(large, func(x, y [3]uint32) int { return slices.Compare(x[:], y[:]) }) {
			t.Fatalf("%s is not sorted", a.Union(b))
		}
		if n := len(slices.Compact(standard)) + len(slices.Compact(large)); n > 0 && n != strings.Count(a.Union(b).String(), ",")+1 {
			t.Fatalf("%s repeats", a.Union(b))
		}
	})
}

func TestCommunitiesAreWhatTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := rapid.Uint16().Draw(t, "x"), rapid.Uint16().Draw(t, "y")
		standard, err := ParseCommunity(fmt.Sprintf("%d:%d", x, y))
		if err != nil || !slices.Equal(standard.Standard(), []uint32{uint32(x)<<16 | uint32(y)}) || len(standard.Large()) > 0 {
			t.Fatalf("%d:%d is %s, %v", x, y, standard, err)
		}
		n := rapid.Uint32Range(0, math.MaxUint32)
		z := [3]uint32{n.Draw(t, "global"), n.Draw(t, "first"), n.Draw(t, "second")}
		large, err := ParseCommunity(fmt.Sprintf("large:%d:%d:%d", z[0], z[1], z[2]))
		if err != nil || !slices.Equal(large.Large(), [][3]uint32{z}) || len(large.Standard()) > 0 {
			t.Fatalf("%d is %s, %v", z, large, err)
		}
	})
}

func FuzzParseCommunity(f *testing.F) {
	for _, s := range []string{"65000:100", "large:1:2:3", "large:", ":", "no-export", "1:2:3", "65536:0", "\xff:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCommunity(s)
		if (err == nil) == c.IsEmpty() {
			t.Fatalf("%q is %q, %v", s, c, err)
		}
		if err != nil {
			return
		}
		if again, err := ParseCommunity(c.String()); err != nil || again != c {
			t.Fatalf("%q is %s, which is %s, %v", s, c, again, err)
		}
	})
}
