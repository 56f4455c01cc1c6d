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
	ignored                         *prometheus.CounterVec // by family and reason
	byAddress                       map[netip.Addr]*counters
}

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
		ignored: counter("fairlead", "frames_ignored_total",
			"ARP and neighbor discovery frames that passed the kernel filter and were not answered, by reason", "family", "reason"),
		byAddress: map[netip.Addr]*counters{},
	}
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
}
