package controllers

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// configMetrics tell whether the configuration is in force, under MetalLB's names. It is comparable.
type configMetrics struct {
	loaded bool // it was compiled at least once
	stale  bool // an object is bad, so that what it was before, or a part of it, is in force instead
}

// configMetricsOf judges by the problems. One that only warns makes nothing stale.
func configMetricsOf(problems []policy.Problem) configMetrics {
	out := configMetrics{loaded: true}
	for _, p := range problems {
		out.stale = out.stale || !p.Reason.Warns()
	}
	return out
}

// configDescs describe configMetrics.
type configDescs struct{ loaded, stale *prometheus.Desc }

func newConfigDescs() configDescs {
	return configDescs{
		loaded: prometheus.NewDesc("metallb_k8s_client_config_loaded_bool", "1 if the configuration was loaded at least once", nil, nil),
		stale:  prometheus.NewDesc("metallb_k8s_client_config_stale_bool", "1 if an object of the configuration is bad, so that it is not in force as it stands", nil, nil),
	}
}

func (d configDescs) describe(ch chan<- *prometheus.Desc) { ch <- d.loaded; ch <- d.stale }

func (d configDescs) collect(ch chan<- prometheus.Metric, m configMetrics) {
	ch <- prometheus.MustNewConstMetric(d.loaded, prometheus.GaugeValue, boolean(m.loaded))
	ch <- prometheus.MustNewConstMetric(d.stale, prometheus.GaugeValue, boolean(m.stale))
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// allocationMetrics show the last pass of the controller. One that does not lead shows nothing.
type allocationMetrics struct {
	now      atomic.Pointer[allocated]
	config   configDescs
	pools    []poolGauge
	pending  *prometheus.Desc
	duration prometheus.Histogram
	failures *prometheus.CounterVec
}

// allocated is what a pass came to. It is never changed.
type allocated struct {
	config  configMetrics
	usage   []allocator.Usage
	pending map[verdict.Reason]int
}

// poolGauge is one number of every pool.
type poolGauge struct {
	*prometheus.Desc
	value func(*allocator.Usage) float64
}

func newAllocationMetrics() *allocationMetrics {
	gauge := func(name, help string, value func(*allocator.Usage) float64) poolGauge {
		return poolGauge{prometheus.NewDesc("metallb_allocator_"+name, help, []string{"pool"}, nil), value}
	}
	total := func(c allocator.Count) float64 { return float64(c.Assigned) + float64(c.Available) }
	used := func(c allocator.Count) float64 { return float64(c.Assigned) }
	return &allocationMetrics{
		config: newConfigDescs(),
		pools: []poolGauge{
			gauge("addresses_total", "Addresses of the pool that can be given or are in use", func(u *allocator.Usage) float64 { return total(u.IPv4) + total(u.IPv6) }),
			gauge("addresses_in_use_total", "Addresses of the pool in use; a shared one counts once", func(u *allocator.Usage) float64 { return used(u.IPv4) + used(u.IPv6) }),
			gauge("ipv4_addresses_total", "IPv4 addresses of the pool that can be given or are in use", func(u *allocator.Usage) float64 { return total(u.IPv4) }),
			gauge("ipv4_addresses_in_use_total", "IPv4 addresses of the pool in use; a shared one counts once", func(u *allocator.Usage) float64 { return used(u.IPv4) }),
			gauge("ipv6_addresses_total", "IPv6 addresses of the pool that can be given or are in use", func(u *allocator.Usage) float64 { return total(u.IPv6) }),
			gauge("ipv6_addresses_in_use_total", "IPv6 addresses of the pool in use; a shared one counts once", func(u *allocator.Usage) float64 { return used(u.IPv6) }),
			gauge("services_allocated_total", "Services that have an address of the pool", func(u *allocator.Usage) float64 { return float64(u.Services) }),
		},
		pending: prometheus.NewDesc("fairlead_allocation_pending_services", "Services that have no address, by the reason for it", []string{"reason"}, nil),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fairlead_allocation_duration_seconds",
			Help:    "From when the controller first saw a Service without an address until it has written one",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 16), // to 164 s
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_allocation_failures_total",
			Help: "How often a Service came to lack what it asks for, or to lack it for another reason, by reason",
		}, []string{"reason"}),
	}
}

// show replaces what is shown of the last pass.
func (m *allocationMetrics) show(now allocated) { m.now.Store(&now) }

// assigned notes how long a Service waited for an address.
func (m *allocationMetrics) assigned(after time.Duration) { m.duration.Observe(after.Seconds()) }

// failed notes that a Service was told why it does not have what it asks for.
func (m *allocationMetrics) failed(r verdict.Reason) { m.failures.WithLabelValues(string(r)).Inc() }

// Describe implements prometheus.Collector.
func (m *allocationMetrics) Describe(ch chan<- *prometheus.Desc) {
	m.config.describe(ch)
	for _, g := range m.pools {
		ch <- g.Desc
	}
	ch <- m.pending
	m.duration.Describe(ch)
	m.failures.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *allocationMetrics) Collect(ch chan<- prometheus.Metric) {
	now := m.now.Load()
	if now == nil {
		return
	}
	m.config.collect(ch, now.config)
	for i := range now.usage {
		for _, g := range m.pools {
			ch <- prometheus.MustNewConstMetric(g.Desc, prometheus.GaugeValue, g.value(&now.usage[i]), now.usage[i].Pool)
		}
	}
	for reason, n := range now.pending {
		ch <- prometheus.MustNewConstMetric(m.pending, prometheus.GaugeValue, float64(n), string(reason))
	}
	m.duration.Collect(ch)
	m.failures.Collect(ch)
}

// announcingMetrics show what this node announces.
type announcingMetrics struct {
	now        atomic.Pointer[announces]
	node       string
	config     configDescs
	announced  *prometheus.Desc
	candidates *prometheus.Desc
	takeOvers  prometheus.Counter
	duration   prometheus.Histogram
}

// announces is what a node announces. It is never changed.
type announces struct {
	config     configMetrics
	told       map[told]struct{}
	candidates map[netip.Addr]int
}

func newAnnouncingMetrics(node string) *announcingMetrics {
	m := &announcingMetrics{
		node:   node,
		config: newConfigDescs(),
		announced: prometheus.NewDesc("metallb_speaker_announced", "Addresses of Services that this node announces",
			[]string{"service", "protocol", "node", "ip"}, nil),
		candidates: prometheus.NewDesc("fairlead_layer2_candidates",
			"Nodes that may announce an address which this node announces, itself included; 0: it goes on although none may", []string{"ip"}, nil),
		takeOvers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_layer2_takeovers_total", Help: "Addresses of Services that this node has taken over from another one",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fairlead_layer2_takeover_duration_seconds",
			Help:    "From when this node noticed that it has to take addresses over until it has announced all of them",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14), // to 8 s
		}),
	}
	m.show(announces{})
	return m
}

// show replaces what is shown.
func (m *announcingMetrics) show(now announces) { m.now.Store(&now) }

// took notes that addresses were taken over, if any, in some time.
func (m *announcingMetrics) took(addresses int, in time.Duration) {
	if addresses > 0 {
		m.takeOvers.Add(float64(addresses))
		m.duration.Observe(in.Seconds())
	}
}

// Describe implements prometheus.Collector.
func (m *announcingMetrics) Describe(ch chan<- *prometheus.Desc) {
	m.config.describe(ch)
	ch <- m.announced
	ch <- m.candidates
	m.takeOvers.Describe(ch)
	m.duration.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *announcingMetrics) Collect(ch chan<- prometheus.Metric) {
	now := m.now.Load()
	m.config.collect(ch, now.config)
	for x := range now.told {
		ch <- prometheus.MustNewConstMetric(m.announced, prometheus.GaugeValue, 1, x.Key.String(), string(x.protocol), m.node, x.address.String())
	}
	for x, n := range now.candidates {
		ch <- prometheus.MustNewConstMetric(m.candidates, prometheus.GaugeValue, float64(n), x.String())
	}
	m.takeOvers.Collect(ch)
	m.duration.Collect(ch)
}

// Collectors are the metrics of a controller, a speaker and a programmer, all without values: what the reference page is
// made of.
func Collectors() (controller, speaker, programmer prometheus.Collector) {
	return newAllocationMetrics(), newAnnouncingMetrics(""), newProgrammingMetrics()
}
