//go:build vm

package ipvs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/kernel"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// TestAbsentModules: on a kernel that has no modules for IPVS, and loads none, the programmer says which it needs and serves
// nothing; when they are there, nothing is missing. It is the first test here: later ones have the modules loaded.
func TestAbsentModules(t *testing.T) {
	const path = "/proc/sys/kernel/modprobe"
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	loads := func(program string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(program), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	loads("/none")
	defer loads(string(before))
	ns := netnstest.New(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	node := &kernel.Node{Log: log, State: t.TempDir()}
	p := &Programmer{Log: log, Node: "a", Kernel: node, Dirty: make(chan struct{}), View: func(plan.Local) (plan.View, bool) { return plan.View{Node: "a"}, true }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go ns.Do(func() { done <- p.Run(ctx) })
	netnstest.Eventually(t, 10*time.Second, func() error {
		r := p.Report()
		for _, module := range []string{"ip_vs", "dummy", "nf_tables"} {
			if !slices.Contains(r.Missing, module) {
				return fmt.Errorf("missing are %q, want %s among them", r.Missing, module)
			}
		}
		if r.Ready || len(r.Problems) != 1 || r.Problems[0].Reason != verdict.ModulesMissing {
			return fmt.Errorf("ready %v, problems %v", r.Ready, r.Problems)
		}
		t.Log(r.Problems[0].Message)
		return nil
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}

	loads(string(before))
	ns.Do(func() {
		var l plan.Local
		if l, err = node.Look(t.Context()); err == nil && len(l.Missing) > 0 {
			err = fmt.Errorf("still missing are %q", l.Missing)
		}
		if err == nil {
			err = node.Cleanup(t.Context())
		}
	})
	if err != nil {
		t.Error(err)
	}
	if err := node.Close(); err != nil {
		t.Error(err)
	}
}
