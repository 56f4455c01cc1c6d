package allocator

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

// TestNodePortGrace: a port that no range gives its Service any more is kept for a time, and nobody else gets it; then it is
// lost, unless a range gives it again, or the Service has something else by then.
func TestNodePortGrace(t *testing.T) {
	start := time.Unix(1700000000, 0)
	const until = "2023-11-14T22:18:20Z" // five minutes later
	other := openPorts("r", "33334-33335")
	taken := portful("b", "asks=http=33333")
	for _, c := range []struct {
		name    string
		ranges  []v1alpha1.NodePortRange
		service *corev1.Service
		after   time.Duration // since it was first seen
		want    string        // what it has, the verdict
		recheck time.Duration // from then; 0: never
	}{
		{"at first", nil, portful("a", "asks=http=33333", "has=http=33333"), 0,
			"http=33333: keeps http=33333 until " + until + " although no NodePortRange gives the Service 33333/TCP any more (NodePortOrphaned)", 5 * time.Minute},
		{"a second before it is over", nil, portful("a", "asks=http=33333", "has=http=33333"), 299 * time.Second,
			"http=33333: keeps http=33333 until " + until + " although no NodePortRange gives the Service 33333/TCP any more (NodePortOrphaned)", time.Second},
		{"when it is over", nil, portful("a", "asks=http=33333", "has=http=33333"), 5 * time.Minute, ": 33333/TCP is in no NodePortRange (NodePortOutside)", 0},
		{"any other one does, when it is over", []v1alpha1.NodePortRange{other}, portful("a", "asks=http=auto", "has=http=33333"), 5 * time.Minute,
			`http=33334: assigned http=33334 from NodePortRange "r" (NodePortsAssigned)`, 0},
		{"a range that admits others only", []v1alpha1.NodePortRange{openPorts("r", "33333", "y")}, portful("a", "asks=http=33333", "has=http=33333"), time.Minute,
			"http=33333: keeps http=33333 until " + until + " although no NodePortRange gives the Service 33333/TCP any more (NodePortOrphaned)", 4 * time.Minute},
		{"a range has it again", []v1alpha1.NodePortRange{openPorts("r", "33333")}, portful("a", "asks=http=33333", "has=http=33333"), time.Minute,
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`, 0},
		{"another one is asked for and had", []v1alpha1.NodePortRange{other}, portful("a", "asks=http=33335", "has=http=33333"), time.Minute,
			`http=33335: assigned http=33335 from NodePortRange "r" (NodePortsAssigned)`, 0},
		{"another one is asked for in vain", nil, portful("a", "asks=http=33335", "has=http=33333"), time.Minute,
			"http=33333: keeps http=33333 until " + until + " although no NodePortRange gives the Service 33333/TCP any more: has http=33333 only: 33335/TCP is in no NodePortRange (NodePortOrphaned)", 4 * time.Minute},
		{"one of two", []v1alpha1.NodePortRange{other}, portful("a", "asks=http=33333,dns=33334", "has=http=33333,dns=33334"), time.Minute,
			"http=33333,dns=33334: keeps http=33333,dns=33334 until " + until + " although no NodePortRange gives the Service 33333/TCP any more (NodePortOrphaned)", 4 * time.Minute},
		{"a part of a range is gone", []v1alpha1.NodePortRange{openPorts("r", "33334-33339")}, portful("a", "asks=ranges", "ranges=33333-33339", "has=33333-33339/TCP"), time.Minute,
			"33333-33339/TCP: keeps 33333-33339/TCP until " + until + " although no NodePortRange gives the Service 33333-33339/TCP any more (NodePortOrphaned)", 4 * time.Minute},
		{"a part of a range is gone, when it is over", []v1alpha1.NodePortRange{openPorts("r", "33334-33339")}, portful("a", "asks=ranges", "ranges=33333-33339", "has=33333-33339/TCP"), 5 * time.Minute,
			": 33333-33339/TCP: 33333/TCP is in no NodePortRange (NodePortOutside)", 0},
		{"it asks no more", nil, portful("a", "has=http=33333"), time.Minute, ": ", 0},
		{"being deleted", nil, portful("a", "asks=http=33333", "has=http=33333", "deleting"), time.Hour,
			"http=33333: keeps http=33333 until " + until + " although no NodePortRange gives the Service 33333/TCP any more (NodePortOrphaned)", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			view := NodePortView{Policy: ranges(t, c.ranges...), Services: readPortful([]*corev1.Service{c.service, taken}), Now: start.Add(c.after), OrphanGrace: 5 * time.Minute}
			if c.after > 0 {
				view.Services[0].OrphanedSince = start
			}
			out := DecideNodePorts(view)
			d := out.Decisions[0]
			got := NodePortsText(d.Ports) + ": "
			if d.Reason != "" {
				got += d.Message + " (" + string(d.Reason) + ")"
			}
			if got != c.want {
				t.Errorf("it says\n%s\nwant\n%s", got, c.want)
			}
			var at time.Time
			if c.recheck > 0 {
				at = view.Now.Add(c.recheck)
			}
			if !out.RecheckAt.Equal(at) || d.OrphanedSince.Equal(start) != strings.HasSuffix(c.want, "(NodePortOrphaned)") {
				t.Errorf("it is to be decided anew at %s, want %s; orphaned since %s", out.RecheckAt, at, d.OrphanedSince)
			}
			if kept := len(d.Ports) > 0 && portOf(d.Ports, "http") == 33333; kept && len(out.Decisions[1].Ports) > 0 {
				t.Errorf("somebody else has %v, too", out.Decisions[1].Ports)
			}
			view.OrphanGrace = 0
			if d := DecideNodePorts(view).Decisions[0]; !d.OrphanedSince.IsZero() {
				t.Errorf("without a time of grace it says %s", d.Message)
			}
		})
	}
}

// TestGraceGivesWay: of two that show one port, the one that a range admits keeps it, though the other one is older.
func TestGraceGivesWay(t *testing.T) {
	services := readPortful([]*corev1.Service{
		portful("x/old", "asks=http=33333", "has=http=33333", "age=9"), portful("y/new", "asks=http=33333", "has=http=33333"),
		portful("x/older", "asks=ranges", "ranges=33330-33333/UDP", "has=33330-33333/UDP", "age=9"), portful("y/newer", "asks=dns=33330", "has=dns=33330"),
	})
	view := NodePortView{Policy: ranges(t, openPorts("r", "33330-33333", "y")), Services: services, Now: time.Unix(2000, 0), OrphanGrace: time.Minute}
	var got []string
	for _, d := range DecideNodePorts(view).Decisions {
		got = append(got, NodePortsText(d.Ports))
	}
	if text := strings.Join(got, " "); text != " http=33333  dns=33330" {
		t.Errorf("they have %q", text)
	}
}
