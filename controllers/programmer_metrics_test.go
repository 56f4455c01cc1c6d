package controllers

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// TestProgrammingMetrics: what a report comes to in numbers, and what is counted beside it.
func TestProgrammingMetrics(t *testing.T) {
	p := &Programming{metrics: newProgrammingMetrics()}
	shows(t, p.metrics,
		"fairlead_ipvs_addresses 0", "fairlead_ipvs_missing_modules 0", `fairlead_ipvs_node_ports{state="refused"} 0`, `fairlead_ipvs_node_ports{state="served"} 0`,
		"fairlead_ipvs_ready 0", "fairlead_ipvs_real_servers 0", "fairlead_ipvs_repairs_total 0", "fairlead_ipvs_sync_duration_seconds_count 0",
		"fairlead_ipvs_sync_failures_total 0", "fairlead_ipvs_virtual_servers 0")

	held := plan.Held{Namespace: "a", Name: "b"}
	refused := held
	refused.Refused = true
	conflict := plan.Verdict{Namespace: "a", Name: "b", Verdict: verdict.Verdict{Reason: verdict.PortConflict}}
	p.metrics.show(&ipvs.Report{
		Ready: true, Servers: 3, Reals: 30, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Missing: []string{"ip_vs", "dummy"},
		NodePorts: []plan.Held{held, held, refused}, Verdicts: []plan.Verdict{conflict, conflict}, Problems: []verdict.Verdict{{Reason: verdict.ProgrammingFailed}},
	})
	p.metrics.synced(time.Millisecond, nil)
	p.metrics.synced(time.Millisecond, errors.New("no"))
	p.Repaired()
	shows(t, p.metrics,
		"fairlead_ipvs_addresses 1", "fairlead_ipvs_missing_modules 2", `fairlead_ipvs_node_ports{state="refused"} 1`, `fairlead_ipvs_node_ports{state="served"} 2`,
		`fairlead_ipvs_problems{reason="PortConflict"} 2`, `fairlead_ipvs_problems{reason="ProgrammingFailed"} 1`,
		"fairlead_ipvs_ready 1", "fairlead_ipvs_real_servers 30", "fairlead_ipvs_repairs_total 1", "fairlead_ipvs_sync_duration_seconds_count 2",
		"fairlead_ipvs_sync_failures_total 1", "fairlead_ipvs_virtual_servers 3")
}
