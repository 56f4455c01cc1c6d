//go:build linux && bench

package layer2

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	floodRate = 50_000 // frames a second
	floodFor  = 5 * time.Second
)

// BenchmarkFlood asks 50,000 times a second: for addresses that are not ours, for watched ones, and for ours.
func BenchmarkFlood(b *testing.B) {
	first := netip.MustParseAddr("10.1.0.1")
	var many []netip.Addr
	for a, i := first, 0; i < 1000; a, i = a.Next(), i+1 {
		many = append(many, a)
	}
	for _, test := range []struct {
		name           string
		announce, seen []netip.Addr
		mostCPU        float64 // share of a core
		answered       float64
	}{
		{"nobody's", []netip.Addr{vip4}, nil, 0.05, 0},
		{"watched", []netip.Addr{vip4}, many, 0.05, 0},
		{"ours", many, nil, 0.5, 1},
	} {
		b.Run(test.name, func(b *testing.B) {
			w := newWorldOf(b)
			w.config.RefreshEvery, w.config.RepeatFor = -1, 1
			s := w.newSpeaker("")
			s.apply(test.announce...)
			if err := s.Watch(b.Context(), test.seen); err != nil {
				b.Fatal(err)
			}
			before, lost := cpuSeconds(), softnetDrops(b)
			f := flood{Device: "lan", First: first, Addresses: len(many), Rate: floodRate, For: floodFor}.start(w)
			cpu := (cpuSeconds() - before) / floodFor.Seconds()
			lost = softnetDrops(b) - lost // between the namespaces: they never reached us, or the flooding process
			sent := 0.0
			for _, a := range test.announce {
				sent += s.metric("metallb_layer2_responses_sent", a.String())
			}
			dropped := s.drops(b)
			answered := sent / float64(f.Sent)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(100*cpu, "%core")
			b.ReportMetric(cpu*1e6*floodFor.Seconds()/float64(f.Sent), "µs/frame")
			b.ReportMetric(float64(f.Sent)/floodFor.Seconds(), "frames/s")
			b.ReportMetric(100*answered, "%answered")
			b.ReportMetric(float64(lost), "lost-on-the-way")
			b.ReportMetric(float64(dropped), "dropped-by-the-socket")
			b.ReportMetric(f.CPUSeconds*1e6/float64(f.Sent), "µs/frame-of-the-flood")
			if cpu > test.mostCPU {
				b.Errorf("took %.1f %% of a core, want at most %.1f %%", 100*cpu, 100*test.mostCPU)
			}
			if sent+float64(lost) < test.answered*float64(f.Sent) || dropped > 0 {
				b.Errorf("%v of %d requests were answered, %d got lost on the way, the socket dropped %d; %d answers came back",
					sent, f.Sent, lost, dropped, f.Answered)
			}
		})
	}
}

// softnetDrops returns how many frames the kernel dropped because the queue of a processor was full
// (/proc/net/softnet_stat, second column).
func softnetDrops(t testing.TB) (sum int64) {
	text, err := os.ReadFile("/proc/net/softnet_stat")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		n, err := strconv.ParseInt(strings.Fields(line)[1], 16, 64)
		must(t, err)
		sum += n
	}
	return sum
}

// drops returns how many frames the speaker's ARP socket dropped since its buffer was full.
func (s *speaker) drops(t testing.TB) uint32 {
	var out uint32
	must(t, s.ask(t.Context(), func(st *state) error {
		stats, err := st.responders[segment{s.link, familyARP}].conn.(*packetConn).Stats()
		if err == nil {
			out = stats.Drops
		}
		return err
	}))
	return out
}
