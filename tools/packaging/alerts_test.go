package main

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"
)

// alerts are the rules that the chart installs, read by Prometheus itself.
func alerts(t *testing.T, values map[string]any) []rulefmt.Rule {
	t.Helper()
	o := render(t, values)["PrometheusRule metallb-system/fairlead"]
	if o == nil {
		t.Fatal("there is no PrometheusRule")
	}
	spec, _, _ := unstructured.NestedMap(o.Object, "spec")
	text, err := sigsyaml.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) != 0 || len(groups.Groups) != 1 {
		t.Fatalf("%v in\n%s", errs, text)
	}
	return groups.Groups[0].Rules
}

// with are the values that switch the alerts on, and more.
func with(t *testing.T, more string) map[string]any {
	return values(t, "prometheus: {prometheusRule: {enabled: true"+more+"}}")
}

// after is which alerts fire at a time, "name severity: summary", when the series have been as Prometheus loads them and
// the rules were evaluated every 30 seconds.
func after(t *testing.T, all []rulefmt.Rule, series string, at time.Duration) []string {
	t.Helper()
	store := promqltest.LoadedStorage(t, "load 30s\n"+series)
	query := rules.EngineQueryFunc(promqltest.NewTestEngine(t, false, 5*time.Minute, 100_000), store)
	var out []string
	for _, r := range all {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
		if err != nil {
			t.Fatal(err)
		}
		rule := rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), 0, labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
		for now := time.Duration(0); now <= at; now += 30 * time.Second {
			if _, err := rule.Eval(t.Context(), 0, time.Unix(0, 0).Add(now), query, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range rule.ActiveAlerts() {
			if a.State == rules.StateFiring {
				out = append(out, r.Alert+" "+a.Labels.Get("severity")+": "+a.Annotations.Get("summary"))
			}
		}
	}
	slices.Sort(out)
	return out
}

// healthy are the series of a cluster in which nothing is to be said: two pools, two addresses, two speakers.
const healthy = `
fairlead_allocation_duration_seconds_count{instance="c"} 2x60
metallb_k8s_client_config_stale_bool{instance="c"} 0x60
metallb_allocator_addresses_total{pool="a"} 10x60
metallb_allocator_addresses_in_use_total{pool="a"} 2x60
metallb_allocator_ipv4_addresses_total{pool="a"} 10x60
metallb_allocator_ipv4_addresses_in_use_total{pool="a"} 2x60
metallb_allocator_ipv6_addresses_total{pool="a"} 0x60
metallb_allocator_ipv6_addresses_in_use_total{pool="a"} 0x60
metallb_speaker_announced{instance="s1",ip="192.0.2.1",service="d/a",protocol="layer2"} 1x60
metallb_speaker_announced{instance="s1",ip="192.0.2.2",service="d/b",protocol="bgp"} 1x60
metallb_speaker_announced{instance="s2",ip="192.0.2.2",service="d/b",protocol="bgp"} 1x60
metallb_bgp_session_up{instance="s1",peer="192.0.2.9:179"} 1x60
metallb_bfd_session_up{instance="s1",peer="192.0.2.9"} 1x60
fairlead_layer2_conflicts_total{instance="s1",ip="192.0.2.1",host="speaker"} 0+1x60
fairlead_ipvs_ready{instance="p1"} 1x60
`

// TestAlerts: what each alert fires on, with Prometheus' own engine. "-" takes the healthy series of that beginning away.
func TestAlerts(t *testing.T) {
	all := alerts(t, with(t, ""))
	for name, c := range map[string]struct {
		series string
		at     time.Duration
		want   []string
	}{
		"nothing to say": {at: 20 * time.Minute},
		"80 % of the IPv4 addresses in use": {
			series: "-metallb_allocator_ipv4_addresses_in_use_total\n" + `metallb_allocator_ipv4_addresses_in_use_total{pool="a"} 8x60`, at: time.Minute,
			want: []string{"FairleadPoolFillingUp warning: Pool a has 80% of its addresses in use"},
		},
		"79 % in use": {
			series: "-metallb_allocator_ipv4_\n" + `metallb_allocator_ipv4_addresses_in_use_total{pool="a"} 79x60
metallb_allocator_ipv4_addresses_total{pool="a"} 100x60`, at: 20 * time.Minute,
		},
		"95 % of the IPv6 addresses in use": {
			series: "-metallb_allocator_ipv6_\n" + `metallb_allocator_ipv6_addresses_total{pool="a"} 100x60
metallb_allocator_ipv6_addresses_in_use_total{pool="a"} 95x60`, at: time.Minute,
			want: []string{"FairleadPoolFillingUp critical: Pool a has 95% of its addresses in use", "FairleadPoolFillingUp warning: Pool a has 95% of its addresses in use"},
		},
		"a Service found no address": {
			series: `fairlead_allocation_pending_services{reason="PoolExhausted"} 1x60
fairlead_allocation_pending_services{reason="PoolNotAllowed"} 1x60`, at: time.Minute,
			want: []string{"FairleadPoolExhausted critical: 1 Services have no address: no pool that they may use has one left"},
		},
		"an address that nobody announces, for a short time": {series: `-metallb_speaker_announced{instance="s1",ip="192.0.2.1"`, at: 4 * time.Minute},
		"an address that nobody announces": {
			series: `-metallb_speaker_announced{instance="s1",ip="192.0.2.1"`, at: 5 * time.Minute,
			want: []string{"FairleadAddressNotAnnounced critical: Services hold 2 addresses, and fewer are announced"},
		},
		"no speaker at all": {
			series: "-metallb_speaker_announced", at: 5 * time.Minute,
			want: []string{"FairleadAddressNotAnnounced critical: Services hold 2 addresses, and fewer are announced"},
		},
		"one of two announcers": {series: `-metallb_speaker_announced{instance="s2"`, at: 20 * time.Minute},
		"a first conflict, heard once": {
			series: `fairlead_layer2_conflicts_total{instance="s1",ip="192.0.2.1",host="foreign"} _x3 1x60`, at: 2 * time.Minute,
			want: []string{"FairleadAddressConflict critical: Another host says that it has 192.0.2.1"},
		},
		"conflicts that go on": {
			series: `fairlead_layer2_conflicts_total{instance="s1",ip="192.0.2.1",host="foreign"} 5+1x60`, at: 20 * time.Minute,
			want: []string{"FairleadAddressConflict critical: Another host says that it has 192.0.2.1"},
		},
		"a conflict long ago": {series: `fairlead_layer2_conflicts_total{instance="s1",ip="192.0.2.1",host="foreign"} 5x60`, at: 20 * time.Minute},
		"a BGP session that is down": {
			series: "-metallb_bgp_session_up\n" + `metallb_bgp_session_up{instance="s1",peer="192.0.2.9:179"} 1 0x60`, at: 3 * time.Minute,
			want: []string{"FairleadBGPSessionDown critical: The BGP session of s1 with 192.0.2.9:179 is down"},
		},
		"a BGP session that came back": {series: "-metallb_bgp_session_up\n" + `metallb_bgp_session_up{instance="s1",peer="192.0.2.9:179"} 0x2 1x60`, at: 3 * time.Minute},
		"a BFD session that is down": {
			series: "-metallb_bfd_session_up\n" + `metallb_bfd_session_up{instance="s1",peer="192.0.2.9"} 0x60`, at: 2 * time.Minute,
			want: []string{"FairleadBFDSessionDown warning: The BFD session of s1 with 192.0.2.9 is down"},
		},
		"a bad object": {
			series: "-metallb_k8s_client_config_stale_bool\n" + `metallb_k8s_client_config_stale_bool{instance="c"} 1x60`, at: time.Minute,
			want: []string{"FairleadConfigurationRefused warning: An object of the configuration is bad, and c goes by what it was before"},
		},
		"a kernel that does not hold all that it is to serve": {
			series: "-fairlead_ipvs_ready\n" + `fairlead_ipvs_ready{instance="p1"} 1 0x60`, at: 3 * time.Minute,
			want: []string{"FairleadProgrammerNotReady warning: The kernel at p1 does not hold all that IPVS is to serve there"},
		},
		"no IPVS programmer": {series: "-fairlead_ipvs_ready", at: 20 * time.Minute},
		"no controller leads": {
			series: "-fairlead_allocation_duration_seconds_count", at: 2 * time.Minute,
			want: []string{"FairleadNoLeader critical: No controller leads: Services get no addresses; those that have one keep it"},
		},
		"another controller leads": {
			series: "-fairlead_allocation_duration_seconds_count\n" + `fairlead_allocation_duration_seconds_count{instance="d"} 0x60`, at: 20 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, after(t, all, loaded(c.series), c.at)); d != "" {
				t.Error(d)
			}
		})
	}
}

// loaded are the healthy series with those of a case in their place.
func loaded(series string) string {
	lines := strings.Split(strings.TrimSpace(healthy), "\n")
	for _, l := range strings.Split(series, "\n") {
		if gone, ok := strings.CutPrefix(l, "-"); ok {
			lines = slices.DeleteFunc(lines, func(have string) bool { return strings.HasPrefix(have, gone) })
		} else if l != "" {
			lines = append(lines, l)
		}
	}
	return "  " + strings.Join(lines, "\n  ") + "\n"
}

// TestAlertValues: each switch takes its alert away; labels, thresholds and own rules are as they are given.
func TestAlertValues(t *testing.T) {
	names := func(more string) map[string]bool {
		out := map[string]bool{}
		for _, r := range alerts(t, with(t, more)) {
			out[r.Alert] = true
		}
		return out
	}
	all := names("")
	for value, alert := range map[string]string{
		"staleConfig": "FairleadConfigurationRefused", "addressPoolExhausted": "FairleadPoolExhausted", "addressPoolUsage": "FairleadPoolFillingUp",
		"addressNotAnnounced": "FairleadAddressNotAnnounced", "addressConflict": "FairleadAddressConflict",
		"bgpSessionDown": "FairleadBGPSessionDown", "bfdSessionDown": "FairleadBFDSessionDown", "programmerNotReady": "FairleadProgrammerNotReady", "noLeader": "FairleadNoLeader",
	} {
		want := maps.Clone(all)
		delete(want, alert)
		if d := cmp.Diff(want, names(", "+value+": {enabled: false}")); d != "" || !all[alert] {
			t.Errorf("%s: {enabled: false}: %s", value, d)
		}
	}
	one := alerts(t, with(t, `, addressPoolUsage: {thresholds: [{percent: 50, labels: {severity: page}}]}, extraAlerts: [{alert: Mine, expr: up == 0}]`))
	if !strings.Contains(one[0].Expr, ">= 50 / 100") || one[0].Labels["severity"] != "page" || one[1].Alert == one[0].Alert {
		t.Errorf("the threshold became %+v", one[:2])
	}
	if last := one[len(one)-1]; last.Alert != "Mine" || last.Expr != "up == 0" {
		t.Errorf("the own rule became %+v", last)
	}
	if o := render(t, nil)["PrometheusRule metallb-system/fairlead"]; o != nil {
		t.Error("there are rules that nobody asked for")
	}
}

// TestEveryAlertHasARunbook, and every runbook an alert. Each begins with the alert's name.
func TestEveryAlertHasARunbook(t *testing.T) {
	want := map[string]bool{}
	for _, r := range alerts(t, with(t, "")) {
		want[r.Alert] = true
		if url := r.Annotations["runbook_url"]; !strings.HasSuffix(url, "/docs/runbooks/"+r.Alert+".md") {
			t.Errorf("%s points to %q", r.Alert, url)
		}
	}
	got := map[string]bool{}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "runbooks", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		name := strings.TrimSuffix(filepath.Base(p), ".md")
		got[name] = true
		if text, err := os.ReadFile(p); err != nil || !strings.HasPrefix(string(text), "# "+name+"\n") {
			t.Errorf("%s: %v, or another title", p, err)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("alerts -, runbooks +:\n%s", d)
	}
}

// listed are the metrics of docs/metrics.md, which is made from the code.
func listed(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)`").FindAllStringSubmatch(string(page), -1) {
		out[m[1]] = true
		if strings.HasSuffix(m[1], "_seconds") {
			out[m[1]+"_bucket"], out[m[1]+"_count"], out[m[1]+"_sum"] = true, true, true
		}
	}
	return out
}

// queries fails for what is no PromQL, or asks for a metric that is not there.
func queries(t *testing.T, where, query string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	there := listed(t)
	found := 0
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			if found++; !there[v.Name] {
				t.Errorf("%s asks for %s, which docs/metrics.md does not have", where, v.Name)
			}
		}
		return nil
	})
	if found == 0 {
		t.Errorf("%s asks for no metric", where)
	}
}

func TestAlertsAskForMetricsThatThereAre(t *testing.T) {
	for _, r := range alerts(t, with(t, "")) {
		queries(t, r.Alert, r.Expr)
	}
}
