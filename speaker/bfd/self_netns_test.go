//go:build linux && netns

package bfd

import (
	"testing"
)

func TestTwoOfUs(t *testing.T) {
	t.Parallel()
	nsA, nsB := pair(t)
	a, b := newNode(t, nsA), newNode(t, nsB)
	for _, addresses := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"fd00::1", "fd00::2"}} {
		there, back := to(addresses[1]), to(addresses[0])
		a.apply(there)
		b.apply(back)
		t.Logf("%+v", a.awaitUp(there.Path))
		t.Logf("%+v", b.awaitUp(back.Path))
		t.Logf("%+v %+v", a.Counters(), b.Counters())
	}
}
