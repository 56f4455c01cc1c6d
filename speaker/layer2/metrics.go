//go:build linux

package layer2

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics counts frames. The series of an address live as long as it is announced on some link. Its methods but Describe and
// Collect are called by the goroutine of Run; the counters that it hands out may be used by all.
type metrics struct {
	conflicts *prometheus.CounterVec // by ip and host
	ignored   *prometheus.CounterVec // by family and reason
	shown     []shown

	mu        sync.Mutex // for who writes, and for readers of other goroutines
	byAddress map[netip.Addr]*counters
}

// counters are the metrics of one address, on all links. There are thousands: a prometheus.Counter for each is ten times as
// large.
type counters struct {
	requests, responses, gratuitous atomic.Uint64
	users                           int // how many target sets hold the address; owned by the goroutine of Run
}

// shown is one metric of every address.
type shown struct {
	*prometheus.Desc
	value func(*counters) *atomic.Uint64
}

// The values of the label host: whose frames with an address of ours were heard.
const (
	hostSpeaker = "speaker" // another speaker's
	hostForeign = "foreign"
)

// newMetrics registers the metrics, unless r is nil. The names of those by address are MetalLB's.
func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return promauto.With(r).NewCounterVec(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "layer2", Name: name, Help: help}, labels)
	}
	byAddress := func(name, help string, value func(*counters) *atomic.Uint64) shown {
		return shown{prometheus.NewDesc(prometheus.BuildFQName("metallb", "layer2", name), help, []string{"ip"}, nil), value}
	}
	m := &metrics{
		conflicts: counter("conflicts_total",
			"Frames by which another host said that it has an announced address, by whether it is another speaker or a foreign host", "ip", "host"),
		ignored: counter("frames_ignored_total",
			"ARP and neighbor discovery frames that passed the kernel filter and were not answered, by reason", "family", "reason"),
		shown: []shown{
			byAddress("requests_received", "ARP and neighbor discovery requests received for an announced address", func(c *counters) *atomic.Uint64 { return &c.requests }),
			byAddress("responses_sent", "ARP and neighbor discovery answers sent for an announced address", func(c *counters) *atomic.Uint64 { return &c.responses }),
			byAddress("gratuitous_sent", "Gratuitous ARP and unsolicited neighbor advertisement frames sent for an announced address", func(c *counters) *atomic.Uint64 { return &c.gratuitous }),
		},
		byAddress: map[netip.Addr]*counters{},
	}
	if r != nil {
		r.MustRegister(m)
	}
	return m
}

// Describe implements prometheus.Collector, for the metrics by address.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, x := range m.shown {
		out <- x.Desc
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	now := maps.Clone(m.byAddress)
	m.mu.Unlock()
	for a, c := range now {
		ip := a.String()
		for _, x := range m.shown {
			out <- prometheus.MustNewConstMetric(x.Desc, prometheus.CounterValue, float64(x.value(c).Load()), ip)
		}
	}
}

// ignoredBy returns the counters of ignored frames of one family, all of them, so that counting costs little.
func (m *metrics) ignoredBy(f family) map[reason]prometheus.Counter {
	out := map[reason]prometheus.Counter{}
	for _, r := range reasons() {
		out[r] = m.ignored.WithLabelValues(f.String(), string(r))
	}
	return out
}

// acquire returns the counters of an address for one more user.
func (m *metrics) acquire(a netip.Addr) *counters {
	c, ok := m.byAddress[a]
	if !ok {
		c = &counters{}
		m.mu.Lock()
		m.byAddress[a] = c
		m.mu.Unlock()
	}
	c.users++
	return c
}

// release ends what acquire began; with the last user the series of the address go.
func (m *metrics) release(a netip.Addr) {
	c, ok := m.byAddress[a]
	if !ok {
		return
	}
	if c.users--; c.users > 0 {
		return
	}
	m.mu.Lock()
	delete(m.byAddress, a)
	m.mu.Unlock()
	ip := a.String()
	m.conflicts.DeleteLabelValues(ip, hostSpeaker)
	m.conflicts.DeleteLabelValues(ip, hostForeign)
}
