package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestLongestGap(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms ...int) []time.Time {
		var times []time.Time
		for _, m := range ms {
			times = append(times, start.Add(time.Duration(m)*time.Millisecond))
		}
		return times
	}
	for _, c := range []struct {
		name      string
		answers   []time.Time
		from, gap int
	}{
		{"no answer at all", nil, 0, 1000},
		{"the time before the first answer does not count", at(400, 500, 990), 500, 490},
		{"the time after the last one does", at(100, 200, 300), 300, 700},
		{"in the middle", at(0, 20, 40, 640, 660, 900), 40, 600},
	} {
		from, gap := longestGap(start, at(1000)[0], c.answers)
		if gap != time.Duration(c.gap)*time.Millisecond || !from.Equal(at(c.from)[0]) {
			t.Errorf("%s: gap %s from %s, want %d ms from %d ms", c.name, gap, from.Sub(start), c.gap, c.from)
		}
	}
}

func TestEventuallyTellsTheLastError(t *testing.T) {
	calls := 0
	err := Eventually(context.Background(), time.Minute, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
	last := errors.New("no address")
	if err := Eventually(context.Background(), time.Millisecond, func() error { return last }); !errors.Is(err, last) {
		t.Errorf("after the timeout: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Eventually(ctx, time.Minute, func() error { return last }); !errors.Is(err, last) || !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
}

func TestARPRequestAndReply(t *testing.T) {
	asker, target := netip.MustParseAddr("172.25.254.250"), netip.MustParseAddr("172.25.254.50")
	request := arpRequest(segmentMAC(asker), asker, target)
	const want = "0001080006040001" + "0200ac19fefa" + "ac19fefa" + "000000000000" + "ac19fe32"
	if got := hex.EncodeToString(request); got != want {
		t.Errorf("request %s, want %s", got, want)
	}
	reply, _ := hex.DecodeString("0001080006040002" + "0200ac19fe0a" + "ac19fe32" + "0200ac19fefa" + "ac19fefa" + "0000")
	gratuitous, _ := hex.DecodeString("0001080006040001" + "0200ac19fe0a" + "ac19fe32" + "000000000000" + "ac19fe32")
	for name, c := range map[string]struct {
		packet  []byte
		unasked bool
	}{"a reply": {reply, false}, "an announcement": {gratuitous, true}} {
		if got, ok := arpClaim(c.packet, target); !ok || got.MAC.String() != "02:00:ac:19:fe:0a" || got.Unasked != c.unasked {
			t.Errorf("%s is read as %+v, %v", name, got, ok)
		}
		if _, ok := arpClaim(c.packet, asker); ok {
			t.Errorf("%s is taken for one of another address", name)
		}
	}
	for name, p := range map[string][]byte{"a request": request, "short": reply[:27]} {
		for _, address := range []netip.Addr{target, asker} {
			if got, ok := arpClaim(p, address); ok {
				t.Errorf("%s is read as %+v", name, got)
			}
		}
	}
}

func TestDecodeManifests(t *testing.T) {
	objects, err := decode("---\n# nothing\n---\nkind: Service\napiVersion: v1\nmetadata: {name: a}\n---\n" +
		"kind: List\napiVersion: v1\nitems: [{kind: ConfigMap, apiVersion: v1, metadata: {name: b}}]\n")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.GetKind()+" "+o.GetName())
	}
	if got := strings.Join(names, ", "); got != "Service a, ConfigMap b" {
		t.Error(got)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Name: "a.b"}, {Name: "A"}, {Name: "-a"}, {Nodes: -1}, {Nodes: MaxNodes + 1}, {Nodes: 1, ControlPlane: true}} {
		o.BinDir = t.TempDir()
		if _, _, err := o.complete(); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	full := t.TempDir()
	if _, err := (Options{Name: "x", Dir: full + "/new"}).makeDir(); err != nil {
		t.Error(err)
	}
	if _, err := (Options{Name: "x", Dir: full}).makeDir(); err == nil {
		t.Error("a folder with something in it was taken; Close would remove it")
	}
}
