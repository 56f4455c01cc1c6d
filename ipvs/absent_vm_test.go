//go:build vm

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/kernel"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// TestAbsentModules: on a kernel that has no modules for IPVS, and loads none, the programmer says which it needs and serves
// nothing; when they are there, nothing is missing. Where only a part of nf_tables is, that is told, too. It is the first test here: later ones have the modules loaded.
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
	// One without which the tables cannot be made.
	found, err := filepath.Glob("/lib/modules/*/kernel/net/netfilter/nft_fib.ko")
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	ns.Do(func() {
		if l, err := node.Look(t.Context()); err != nil || len(l.Missing) > 0 {
			t.Errorf("still missing are %q (%v)", l.Missing, err)
		}
		if err := os.Rename(found[0], found[0]+"-away"); err != nil {
			t.Error(err)
		}
		v := plan.View{Node: "a", Services: []plan.Service{service("web", vip4, "10.244.0.5")}}
		if err := node.Apply(t.Context(), plan.Build(&v)); err == nil || !strings.Contains(err.Error(), "nft_fib_ipv4") {
			t.Errorf("without nft_fib: %v", err)
		}
		if failed := node.Failed(); !failed.Filter {
			t.Error("without nft_fib addresses count as served")
		}
		if err := os.Rename(found[0]+"-away", found[0]); err != nil {
			t.Error(err)
		}
		if err := node.Apply(t.Context(), plan.Build(&v)); err != nil {
			t.Errorf("with nft_fib: %v", err)
		}
		if err := errors.Join(node.Cleanup(t.Context()), node.Close()); err != nil {
			t.Error(err)
		}
	})
}
