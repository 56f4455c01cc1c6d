package mode

import (
	"testing"
	"time"
)

// TestLeave: what serves an address goes on for a moment after kube-proxy has taken it up, and waits for that, but not forever;
// what began meanwhile has a moment to end.
func TestLeave(t *testing.T) {
	type look struct {
		at    time.Duration // since the Service asks no more
		taken bool
	}
	for name, c := range map[string]struct {
		looks  []look
		yields time.Duration
	}{
		"at once":                            {[]look{{0, true}}, Lingering},
		"it stays so":                        {[]look{{0, true}, {2 * time.Second, true}, {4 * time.Second, true}}, Lingering},
		"after a while":                      {[]look{{0, false}, {20 * time.Second, true}}, 20*time.Second + Lingering},
		"never":                              {[]look{{0, false}, {20 * time.Second, false}}, Patience},
		"in the last moment":                 {[]look{{0, false}, {Patience - 1, true}}, Patience - 1 + Lingering},
		"it lets go again":                   {[]look{{0, true}, {2 * time.Second, false}}, Patience},
		"it lets go, and takes it once more": {[]look{{0, true}, {2 * time.Second, false}, {9 * time.Second, true}}, 9*time.Second + Lingering},
	} {
		began := time.Unix(1000, 0)
		var l Leave
		for _, x := range c.looks {
			l = l.Next(began.Add(x.at), x.taken)
		}
		if got := l.Yields().Sub(began); got != c.yields {
			t.Errorf("%s: it yields after %s, want %s", name, got, c.yields)
		}
		if got := l.Ends().Sub(l.Yields()); got != Lingering {
			t.Errorf("%s: it ends %s after that, want %s", name, got, Lingering)
		}
	}
}
