package controllers

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs"
)

// programmingMetrics show what this node's kernel serves by IPVS.
type programmingMetrics struct {
	now      atomic.Pointer[ipvs.Report]
	gauges   []reportGauge
	ports    *prometheus.Desc
	problems *prometheus.Desc
	syncs    prometheus.Histogram
	failures prometheus.Counter
	repairs  prometheus.Counter
}

// reportGauge is one number of a report.
type reportGauge struct {
	*prometheus.Desc
	value func(*ipvs.Report) float64
}

func newProgrammingMetrics() *programmingMetrics {
	gauge := func(name, help string, value func(*ipvs.Report) float64) reportGauge {
		return reportGauge{prometheus.NewDesc("fairlead_ipvs_"+name, help, nil, nil), value}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_ipvs_" + name, Help: help})
	}
	m := &programmingMetrics{
		gauges: []reportGauge{
			gauge("ready", "1 if the kernel holds everything that is to be served on this node", func(r *ipvs.Report) float64 { return boolean(r.Ready) }),
			gauge("virtual_servers", "Virtual servers that the kernel holds, firewall-mark servers among them", func(r *ipvs.Report) float64 { return float64(r.Servers) }),
			gauge("real_servers", "Real servers of all virtual servers, without those that get no new connections", func(r *ipvs.Report) float64 { return float64(r.Reals) }),
			gauge("addresses", "Addresses that are served with all that is planned for them, the node's own ones among them", func(r *ipvs.Report) float64 { return float64(len(r.Addresses)) }),
			gauge("missing_modules", "Kernel modules that the node lacks, so that it serves nothing", func(r *ipvs.Report) float64 { return float64(len(r.Missing)) }),
		},
		ports:    prometheus.NewDesc("fairlead_ipvs_node_ports", "Ports of NodePortRanges on addresses of this node, by whether they are served or refused", []string{"state"}, nil),
		problems: prometheus.NewDesc("fairlead_ipvs_problems", "What keeps this node from serving something as it was asked for, by reason", []string{"reason"}, nil),
		syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fairlead_ipvs_sync_duration_seconds",
			Help:    "What it took to have the kernel hold a plan, each time that one changed or is tried again",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16), // to 33 s
		}),
		failures: counter("sync_failures_total", "How often the kernel did not take all of a plan"),
		repairs:  counter("repairs_total", "How often virtual servers, addresses or rules that somebody else changed were put right"),
	}
	m.show(&ipvs.Report{})
	return m
}

// show replaces what is shown.
func (m *programmingMetrics) show(r *ipvs.Report) { m.now.Store(r) }

// synced notes that the kernel was to take a plan.
func (m *programmingMetrics) synced(took time.Duration, err error) {
	m.syncs.Observe(took.Seconds())
	if err != nil {
		m.failures.Inc()
	}
}

// Describe implements prometheus.Collector.
func (m *programmingMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range m.gauges {
		ch <- g.Desc
	}
	ch <- m.ports
	ch <- m.problems
	m.syncs.Describe(ch)
	m.failures.Describe(ch)
	m.repairs.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *programmingMetrics) Collect(ch chan<- prometheus.Metric) {
	r := m.now.Load()
	for _, g := range m.gauges {
		ch <- prometheus.MustNewConstMetric(g.Desc, prometheus.GaugeValue, g.value(r))
	}
	refused := 0
	for _, h := range r.NodePorts {
		if h.Refused {
			refused++
		}
	}
	ch <- prometheus.MustNewConstMetric(m.ports, prometheus.GaugeValue, float64(len(r.NodePorts)-refused), "served")
	ch <- prometheus.MustNewConstMetric(m.ports, prometheus.GaugeValue, float64(refused), "refused")
	reasons := map[verdict.Reason]int{}
	for _, x := range r.Problems {
		reasons[x.Reason]++
	}
	for _, x := range r.Verdicts {
		reasons[x.Reason]++
	}
	for reason, n := range reasons {
		ch <- prometheus.MustNewConstMetric(m.problems, prometheus.GaugeValue, float64(n), string(reason))
	}
	m.syncs.Collect(ch)
	m.failures.Collect(ch)
	m.repairs.Collect(ch)
}
