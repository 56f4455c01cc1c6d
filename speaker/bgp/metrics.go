//go:build linux

package bgp

import (
	"net"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters counts the messages of a session, by type.
type counters struct {
	out, in [typeRefresh + 1]atomic.Uint64
}

func (c *counters) sent(m message)     { c.out[m.kind()].Add(1) }
func (c *counters) received(m message) { c.in[m.kind()].Add(1) }

// total returns the sum over all types.
func total(by *[typeRefresh + 1]atomic.Uint64) (n uint64) {
	for i := range by {
		n += by[i].Load()
	}
	return n
}

// collector shows the sessions as metrics, with MetalLB's names and labels. A series lives as long as its session.
type collector struct{ *Speaker }

// metric is one metric, and its value for a session.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*session, SessionState) float64
}

func metrics() []metric {
	gauge := func(name, help string, f func(SessionState) int) metric {
		return metric{name, help, prometheus.GaugeValue, func(_ *session, s SessionState) float64 { return float64(f(s)) }}
	}
	counter := func(name, help string, f func(*counters) uint64) metric {
		return metric{name, help, prometheus.CounterValue, func(x *session, _ SessionState) float64 { return float64(f(&x.counters)) }}
	}
	return []metric{
		gauge("session_up", "Whether the BGP session is established, 1, or not, 0", func(s SessionState) int {
			if s.State == Established {
				return 1
			}
			return 0
		}),
		gauge("announced_prefixes_total", "Prefixes that the neighbor was sent", func(s SessionState) int { return s.Prefixes4 + s.Prefixes6 }),
		gauge("pending_prefixes_total", "Prefixes that the neighbor is to have", func(s SessionState) int { return s.Prefixes4 + s.Prefixes6 + s.Pending }),
		counter("updates_total", "UPDATE messages sent", func(c *counters) uint64 { return c.out[typeUpdate].Load() }),
		counter("updates_total_received", "UPDATE messages received", func(c *counters) uint64 { return c.in[typeUpdate].Load() }),
		counter("opens_sent", "OPEN messages sent", func(c *counters) uint64 { return c.out[typeOpen].Load() }),
		counter("opens_received", "OPEN messages received", func(c *counters) uint64 { return c.in[typeOpen].Load() }),
		counter("notifications_sent", "NOTIFICATION messages sent", func(c *counters) uint64 { return c.out[typeNotification].Load() }),
		counter("keepalives_sent", "KEEPALIVE messages sent", func(c *counters) uint64 { return c.out[typeKeepalive].Load() }),
		counter("keepalives_received", "KEEPALIVE messages received", func(c *counters) uint64 { return c.in[typeKeepalive].Load() }),
		counter("route_refresh_sent", "ROUTE-REFRESH messages sent", func(c *counters) uint64 { return c.out[typeRefresh].Load() }),
		counter("total_sent", "Messages sent, of all types", func(c *counters) uint64 { return total(&c.out) }),
		counter("total_received", "Messages received, of all types", func(c *counters) uint64 { return total(&c.in) }),
	}
}

func (m metric) desc() *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("metallb", "bgp", m.name), m.help, []string{"peer", "vrf"}, nil)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range metrics() {
		out <- m.desc()
	}
}

// Collect implements prometheus.Collector. Two peers with one address and VRF would be one series: only the first is shown.
func (c collector) Collect(out chan<- prometheus.Metric) {
	seen := map[[2]string]bool{}
	for _, x := range c.all() {
		labels := x.labels()
		if seen[labels] {
			continue
		}
		seen[labels] = true
		state := x.current()
		for _, m := range metrics() {
			out <- prometheus.MustNewConstMetric(m.desc(), m.kind, m.value(x, state), labels[:]...)
		}
	}
}

// labels are the neighbor's address and port, or its interface, and the VRF.
func (x *session) labels() [2]string {
	want := x.wanted()
	if !want.Address.IsValid() {
		return [2]string{want.Interface, want.VRF}
	}
	port := want.Port
	if port == 0 {
		port = defaultPort
	}
	return [2]string{net.JoinHostPort(want.Address.String(), strconv.Itoa(int(port))), want.VRF}
}
