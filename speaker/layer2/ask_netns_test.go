//go:build linux && netns

package layer2

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestAsk: a host that is there answers at once, whatever the asker's addresses are; one that is not there does not, and
// no neighbor entry comes of it.
func TestAsk(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	for _, c := range []struct {
		address string
		want    bool
	}{{"172.25.254.9", true}, {"fd00:25::9", true}, {"172.25.254.77", false}, {"fd00:25::77", false}} {
		var got bool
		var err error
		began := time.Now()
		s.ns.Do(func() { got, err = Ask(t.Context(), s.link, netip.MustParseAddr(c.address), 5, 30*time.Millisecond) })
		took := time.Since(began)
		if got != c.want || err != nil || !c.want && took < 140*time.Millisecond || took > time.Second {
			t.Errorf("%s is there: %t, %v, want %t, after %s", c.address, got, err, c.want, took)
		}
	}
	if out := w.client.Command(t, "ip", "neigh", "show", "dev", "lan", "nud", "all"); strings.Contains(out, s.link.HardwareAddr().String()) {
		t.Errorf("the asked host has an entry for the asker:\n%s", out)
	}
	gone := s.link
	gone.Index = 4711
	s.ns.Do(func() {
		if _, err := Ask(t.Context(), gone, netip.MustParseAddr("172.25.254.9"), 1, time.Millisecond); err == nil {
			t.Error("asking on a link that is not there succeeds")
		}
	})
}
