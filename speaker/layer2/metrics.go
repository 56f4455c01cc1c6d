//go:build linux

package layer2

import (
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics counts frames. The series of an address live as long as it is announced on some link. Its methods are called
// by the goroutine of Run; the counters that it hands out may be used by all.
type metrics struct {
	requests, responses, gratuitous *prometheus.CounterVec // by ip
	conflicts                       *prometheus.CounterVec // by ip and host
	ignored                         *prometheus.CounterVec // by family and reason
	byAddress                       map[netip.Addr]*counters
}

// counters are the metrics of one address, on all links.
type counters struct {
	requests, responses, gratuitous prometheus.Counter
	users                           int // how many target sets hold the address; owned by the goroutine of Run
}

// The values of the label host: whose frames with an address of ours were heard.
const (
	hostSpeaker = "speaker" // another speaker's
	hostForeign = "foreign"
)

// newMetrics registers the metrics, whose first three names are MetalLB's, unless r is nil.
func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(namespace, name, help string, labels ...string) *prometheus.CounterVec {
		return promauto.With(r).NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: "layer2", Name: name, Help: help,
		}, labels)
	}
	return &metrics{
		requests:   counter("metallb", "requests_received", "ARP and neighbor discovery requests received for an announced address", "ip"),
		responses:  counter("metallb", "responses_sent", "ARP and neighbor discovery answers sent for an announced address", "ip"),
		gratuitous: counter("metallb", "gratuitous_sent", "Gratuitous ARP and unsolicited neighbor advertisement frames sent for an announced address", "ip"),
		conflicts: counter("fairlead", "conflicts_total",
			"Frames by which another host said that it has an announced address, by whether it is another speaker or a foreign host", "ip", "host"),
		ignored: counter("fairlead", "frames_ignored_total",
			"ARP and neighbor discovery frames that passed the kernel filter and were not answered, by reason", "family", "reason"),
		byAddress: map[netip.Addr]*counters{},
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
		ip := a.String()
		c = &counters{
			requests:   m.requests.WithLabelValues(ip),
			responses:  m.responses.WithLabelValues(ip),
			gratuitous: m.gratuitous.WithLabelValues(ip),
		}
		m.byAddress[a] = c
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
	delete(m.byAddress, a)
	ip := a.String()
	m.requests.DeleteLabelValues(ip)
	m.responses.DeleteLabelValues(ip)
	m.gratuitous.DeleteLabelValues(ip)
	m.conflicts.DeleteLabelValues(ip, hostSpeaker)
	m.conflicts.DeleteLabelValues(ip, hostForeign)
}
