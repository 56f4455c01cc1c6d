package main

import (
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-lb/fairlead/controllers"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
	"github.com/fairlead-lb/fairlead/speaker/peering"
)

const metricsPage = "../../docs/metrics.md"

var updateMetrics = flag.Bool("update", false, "write docs/metrics.md anew")

// described notes what is registered, as rows of a table by name.
type described map[string]string

// shown is how a description prints itself, which is the only way it tells its parts.
var shown = regexp.MustCompile(`^Desc\{fqName: "(.*)", help: "(.*?)"(?:, unit: ".*")?, constLabels: \{\}, variableLabels: \{(.*?)\}`)

func (d described) Register(c prometheus.Collector) error {
	out := make(chan *prometheus.Desc)
	go func() { c.Describe(out); close(out) }()
	for desc := range out {
		m := shown.FindStringSubmatch(desc.String())
		if m == nil {
			return fmt.Errorf("%v is not understood", desc)
		}
		d[m[1]] = fmt.Sprintf("| `%s` | %s | %s |\n", m[1], strings.ReplaceAll(m[3], ",", ", "), m[2])
	}
	return nil
}

func (d described) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := d.Register(c); err != nil {
			panic(err)
		}
	}
}

func (described) Unregister(prometheus.Collector) bool { return false }

// TestMetricsPageIsFresh: docs/metrics.md lists the metrics that the code registers.
func TestMetricsPageIsFresh(t *testing.T) {
	controller, speaker, programmer := described{}, described{}, described{}
	c, s, p := controllers.Collectors()
	controller.MustRegister(c)
	speaker.MustRegister(s)
	programmer.MustRegister(p)
	log := slog.New(slog.DiscardHandler)
	layer2.New(layer2.Config{Log: log, Registerer: speaker})
	peering.New(peering.Config{Log: log, Registerer: speaker})

	var out strings.Builder
	out.WriteString(`# Metrics

Controllers and speakers serve Prometheus metrics on port 7948 at /metrics, IPVS programmers on port 7950. Names that begin with metallb are those of
MetalLB and mean the same. What Go, controller-runtime and client-go tell of every program is there too and is not listed.
A histogram's series end in _bucket, _sum and _count. With --secure-metrics they are served by HTTPS, to those alone who have the
ClusterRole fairlead-metrics-reader. This page is made from the code
(go test ./cmd/fairlead -run Metrics -update).
`)
	for _, role := range []struct {
		title, note string
		described
	}{
		{"Controller", "Only the controller that leads shows these.", controller},
		{"Speaker", "A speaker shows what its own node does.", speaker},
		{"IPVS programmer", "A programmer shows what its own node's kernel serves. Packets and connections of each virtual server are the kernel's to count: `ipvsadm -Ln --stats`, or the collector ipvs of Prometheus' node exporter.", programmer},
	} {
		fmt.Fprintf(&out, "\n## %s\n\n%s\n\n| name | labels | |\n|---|---|---|\n", role.title, role.note)
		for _, name := range slices.Sorted(maps.Keys(role.described)) {
			out.WriteString(role.described[name])
		}
	}
	if *updateMetrics {
		if err := os.WriteFile(metricsPage, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(out.String(), string(got)); d != "" {
		t.Errorf("stale, write it anew with: go test ./cmd/fairlead -run Metrics -update\n%s", d)
	}
}
