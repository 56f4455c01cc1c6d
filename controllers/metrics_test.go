package controllers

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// shows compares all that a collector shows, in Prometheus' text form without its comments and buckets.
func shows(t *testing.T, c prometheus.Collector, want ...string) {
	t.Helper()
	if problems, err := testutil.CollectAndLint(c); err != nil {
		t.Error(err)
	} else if i := slices.IndexFunc(problems, func(p promlint.Problem) bool { return strings.HasPrefix(p.Metric, "fairlead_") }); i >= 0 {
		t.Error(problems[i]) // MetalLB's names are what they are
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for line := range strings.Lines(text.String()) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket{") && !strings.Contains(line, "_sum ") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// poolShows are the metrics of one pool.
func poolShows(pool string, total4, used4, total6, used6, total, used, services string) []string {
	var out []string
	for name, value := range map[string]string{
		"addresses_total": total, "addresses_in_use_total": used,
		"ipv4_addresses_total": total4, "ipv4_addresses_in_use_total": used4,
		"ipv6_addresses_total": total6, "ipv6_addresses_in_use_total": used6,
		"services_allocated_total": services,
	} {
		out = append(out, "metallb_allocator_"+name+`{pool="`+pool+`"} `+value)
	}
	return out
}

func TestAllocationMetrics(t *testing.T) {
	objects := services(3)
	annotated(allocator.AnnotationPool, "nope")(objects[2].(*corev1.Service))
	b := newBench(t, objects...)
	clock := now
	b.Now = func() time.Time { return clock }
	shows(t, b.metrics) // as of one that does not lead

	b.patch = func(client.Client, string) { clock = clock.Add(2 * time.Second) } // what a write takes
	b.Writers = 1
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	b.patch = nil
	always := []string{"metallb_k8s_client_config_loaded_bool 1", "metallb_k8s_client_config_stale_bool 0"}
	shows(t, b.metrics, slices.Concat(always, poolShows("first-pool", "50", "2", "0", "0", "50", "2", "2"), []string{
		"fairlead_allocation_duration_seconds_count 2",
		`fairlead_allocation_failures_total{reason="UnknownPool"} 1`,
		`fairlead_allocation_pending_services{reason="UnknownPool"} 1`,
	})...)
	if got := sum(t, b.metrics.duration); got != 2+4 {
		t.Errorf("the Services waited %g s in all, want 2 s and 4 s", got)
	}

	// Nothing new: nothing is counted again. And the one that waits has waited from the first pass on.
	clock = clock.Add(time.Minute)
	since := b.waiting["u2"]
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(b.metrics.failures); n != 1 || !b.waiting["u2"].Equal(since) || len(b.waiting) != 1 {
		t.Errorf("%g failures, waiting %v", n, b.waiting)
	}
	edit(t, b.Client, "s2", `{"metadata":{"annotations":{"metallb.io/address-pool":"neither"}}}`) // the same reason, told anew
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	edit(t, b.Client, "s2", `{"metadata":{"annotations":null}}`)
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	shows(t, b.metrics, slices.Concat(always, poolShows("first-pool", "50", "3", "0", "0", "50", "3", "3"), []string{
		"fairlead_allocation_duration_seconds_count 3",
		`fairlead_allocation_failures_total{reason="UnknownPool"} 2`,
	})...)
	if got := sum(t, b.metrics.duration); got != 6+66 {
		t.Errorf("the Services waited %g s in all", got)
	}
}

// edit patches a Service as a user does.
func edit(t *testing.T, c client.Client, name, patch string) {
	t.Helper()
	s := huazi(func(s *corev1.Service) { s.Name = name })
	if err := c.Patch(context.Background(), s, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

func sum(t *testing.T, h prometheus.Histogram) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(h)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].Metric[0].GetHistogram().GetSampleSum()
}

func TestPoolMetrics(t *testing.T) {
	m := newAllocationMetrics()
	m.show(allocated{usage: []allocator.Usage{
		{Pool: "a", IPv4: allocator.Count{Assigned: 3, Available: 4}, IPv6: allocator.Count{Assigned: 1, Available: 1 << 40}, Services: 5},
		{Pool: "b"},
	}})
	shows(t, m, slices.Concat(
		[]string{"metallb_k8s_client_config_loaded_bool 0", "metallb_k8s_client_config_stale_bool 0", "fairlead_allocation_duration_seconds_count 0"},
		poolShows("a", "7", "3", "1.099511627777e+12", "1", "1.099511627784e+12", "4", "5"),
		poolShows("b", "0", "0", "0", "0", "0", "0", "0"),
	)...)
}

func TestConfigMetrics(t *testing.T) {
	for name, c := range map[string]struct {
		problems []policy.Problem
		want     configMetrics
	}{
		"sound":                     {nil, configMetrics{loaded: true}},
		"a bad pool":                {[]policy.Problem{problem("a", verdict.InvalidAddresses, "")}, configMetrics{true, true}},
		"an overlap":                {[]policy.Problem{problem("a", verdict.OverlappingAddresses, "")}, configMetrics{true, true}},
		"a name that nothing bears": {[]policy.Problem{problem("a", verdict.UnknownReference, "")}, configMetrics{loaded: true}},
		"both":                      {[]policy.Problem{problem("a", verdict.InvalidSelector, ""), problem("a", verdict.UnknownReference, "")}, configMetrics{true, true}},
	} {
		if got := configMetricsOf(c.problems); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestSpeakerMetrics(t *testing.T) {
	layer2 := &announced{}
	a := &Announcing{Node: "n1", Log: new(logBuffer).logger(), Events: new(recorder), Layer2: layer2, metrics: newAnnouncingMetrics("n1"), kept: keeps(t)}
	none := []string{"fairlead_layer2_takeover_duration_seconds_count 0", "fairlead_layer2_takeovers_total 0"}
	shows(t, a.metrics, append(none, "metallb_k8s_client_config_loaded_bool 0", "metallb_k8s_client_config_stale_bool 0")...)
	v4, v6 := parse([]string{"172.25.254.50"})[0], parse([]string{"fd00::50"})[0]
	var p plan.Plan
	for _, x := range []plan.Verdict{
		{Name: "huazi", Address: v4, Candidates: 1, Verdict: verdict.Verdict{Reason: verdict.Announced}},
		{Name: "huazi", Address: v6, Verdict: verdict.Verdict{Reason: verdict.Announced}},
		{Name: "shares", Address: v4, Candidates: 1, Verdict: verdict.Verdict{Reason: verdict.Announced}},
		{Name: "elsewhere", Address: v4, Verdict: verdict.Verdict{Reason: verdict.NotOwner}},
	} {
		x.Namespace = "default"
		p.Verdicts = append(p.Verdicts, x)
	}
	a.problems = []policy.Problem{problem("a", verdict.InvalidAddresses, "")}
	layer2.now = []plan.Announcement{{Address: v4}} // the other one could not be
	report := func(p plan.Plan) {
		a.report(context.Background(), speaker.Report{Plan: p, Began: time.Now(), Local: speaker.Local{Announced: layer2.now}})
	}
	report(p)
	shows(t, a.metrics, append(none, "metallb_k8s_client_config_loaded_bool 1", "metallb_k8s_client_config_stale_bool 1",
		`fairlead_layer2_candidates{ip="172.25.254.50"} 1`,
		`metallb_speaker_announced{ip="172.25.254.50",node="n1",protocol="layer2",service="default/huazi"} 1`,
		`metallb_speaker_announced{ip="172.25.254.50",node="n1",protocol="layer2",service="default/shares"} 1`)...)

	// It goes to another node, and is taken over from that.
	a.problems = nil
	layer2.now = nil
	report(plan.Plan{Verdicts: []plan.Verdict{{Namespace: "default", Name: "huazi", Address: v4, Owner: "n2", Verdict: verdict.Verdict{Reason: verdict.NotOwner}}}})
	layer2.now = []plan.Announcement{{Address: v4}}
	report(plan.Plan{Verdicts: []plan.Verdict{{Namespace: "default", Name: "huazi", Address: v4, Owner: "n1", Next: [2]string{"n2"}, Candidates: 7, Verdict: verdict.Verdict{Reason: verdict.Announced}}}})
	shows(t, a.metrics, "metallb_k8s_client_config_loaded_bool 1", "metallb_k8s_client_config_stale_bool 0",
		`fairlead_layer2_candidates{ip="172.25.254.50"} 7`, "fairlead_layer2_takeover_duration_seconds_count 1", "fairlead_layer2_takeovers_total 1",
		`metallb_speaker_announced{ip="172.25.254.50",node="n1",protocol="layer2",service="default/huazi"} 1`)
	report(plan.Plan{})
	shows(t, a.metrics, "metallb_k8s_client_config_loaded_bool 1", "metallb_k8s_client_config_stale_bool 0",
		"fairlead_layer2_takeover_duration_seconds_count 1", "fairlead_layer2_takeovers_total 1")
}
