package main

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestDashboardAsksForMetricsThatThereAre: every query of every panel is PromQL, and of the metrics that the code has.
func TestDashboardAsksForMetricsThatThereAre(t *testing.T) {
	const key = "ConfigMap metallb-system/fairlead-dashboard"
	o := render(t, values(t, "prometheus: {grafanaDashboard: {enabled: true}}"))[key]
	if o == nil || o.GetLabels()["grafana_dashboard"] != "1" {
		t.Fatalf("Grafana's sidecar does not find %v", o)
	}
	data, _, _ := unstructured.NestedStringMap(o.Object, "data")
	var dashboard struct {
		Title  string
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(data["fairlead.json"]), &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || len(p.Targets) == 0 {
			t.Errorf("panel %d, %q: its number is used twice, or it shows nothing", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, q := range p.Targets {
			queries(t, p.Title, q.Expr)
		}
	}
	if dashboard.Title == "" || len(ids) == 0 {
		t.Error("an empty dashboard")
	}
	if o := render(t, nil)[key]; o != nil {
		t.Error("there is a dashboard that nobody asked for")
	}
}
