//go:build linux

package peering

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-lb/fairlead/speaker/bfd"
)

// collector shows the BFD sessions as metrics, with MetalLB's names and labels: the peer is the neighbor's address. A
// series lives as long as its session. Of two ways to one neighbor, as they are tried for one of the own AS, the first
// that is up is shown.
type collector struct{ *guards }

// sample is what is known of one session when metrics are read.
type sample struct {
	bfd.State
	bfd.Packets
}

// metric is one metric, and its value for a session.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(sample) uint64
}

func metrics() []metric {
	return []metric{
		{"session_up", "Whether the BFD session is up, 1, or not, 0", prometheus.GaugeValue, func(s sample) uint64 {
			if s.Local == bfd.Up {
				return 1
			}
			return 0
		}},
		{"control_packet_input", "Control packets received", prometheus.CounterValue, func(s sample) uint64 { return s.Received }},
		{"control_packet_output", "Control packets sent", prometheus.CounterValue, func(s sample) uint64 { return s.Sent }},
		{"echo_packet_input", "Echo packets that came back", prometheus.CounterValue, func(s sample) uint64 { return s.EchoReceived }},
		{"echo_packet_output", "Echo packets sent", prometheus.CounterValue, func(s sample) uint64 { return s.EchoSent }},
		{"session_up_events", "How often the session came up", prometheus.CounterValue, func(s sample) uint64 { return s.Ups }},
		{"session_down_events", "How often the session went down, but on purpose", prometheus.CounterValue, func(s sample) uint64 { return s.Downs }},
	}
}

func (m metric) desc() *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("metallb", "bfd", m.name), m.help, []string{"peer", "vrf"}, nil)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range metrics() {
		out <- m.desc()
	}
}

// patience is how long reading the metrics waits for the sessions' counters.
const patience = time.Second

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	packets := c.Packets(ctx)
	shown := map[[2]string]sample{}
	for path, s := range c.Monitor.States() {
		labels := [2]string{path.Peer.String(), path.VRF}
		if path.Interface != "" {
			labels[0] += "%" + path.Interface
		}
		if other, ok := shown[labels]; !ok || s.Local > other.Local || s.Local == other.Local && !path.Multihop {
			shown[labels] = sample{s, packets[path]}
		}
	}
	for labels, s := range shown {
		for _, m := range metrics() {
			out <- prometheus.MustNewConstMetric(m.desc(), m.kind, float64(m.value(s)), labels[:]...)
		}
	}
}
