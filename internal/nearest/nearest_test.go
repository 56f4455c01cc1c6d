package nearest

import "testing"

func TestTo(t *testing.T) {
	names := []string{"first-pool", "second-pool", "addresses", "autoAssign", "a", "b"}
	for word, want := range map[string]string{
		"first-pol":   "first-pool",
		"fisrt-pool":  "first-pool",
		"adresses":    "addresses",
		"AUTOASSIGN":  "autoAssign",
		"autoassign":  "autoAssign",
		"second_pool": "second-pool",
		"c":           "a", // the first of equally near ones
		"":            "a",
		"something":   "",
		"third-pool":  "",
		"interfaces":  "",
	} {
		if got, ok := To(word, names); got != want || ok != (want != "") {
			t.Errorf("To(%q) = %q, %v, want %q", word, got, ok, want)
		}
	}
	if got := Ask("adresses", names); got != ` (did you mean "addresses"?)` {
		t.Error(got)
	}
	if got := Ask("x", nil); got != "" {
		t.Error(got)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "axc", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
