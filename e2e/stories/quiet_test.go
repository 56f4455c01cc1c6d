//go:build e2e

package stories

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// TestNothingIsLoggedWhileNothingChanges: with Services that are announced, no process writes a line.
func TestNothingIsLoggedWhileNothingChanges(t *testing.T) {
	s := begin(t)
	s.pod(0, "huazi")
	s.pod(1, "huazi")
	s.sample("first-pool.yaml")
	s.sample("huazi.yaml")
	s.hasAddresses("huazi", "172.25.254.50")
	s.announcer("172.25.254.50")
	s.settle(3 * time.Second)
	processes := append([]*cluster.Process{lab.controller}, lab.speakers...)
	read := func(p *cluster.Process) string {
		text, err := os.ReadFile(p.Log)
		s.must(err)
		return string(text)
	}
	before := map[*cluster.Process]string{}
	since := time.Now()
	s.eventually("what has changed so far is logged", func() error {
		for _, p := range processes {
			if now := read(p); now != before[p] {
				before[p], since = now, time.Now()
			}
		}
		if calm := time.Since(since); calm < 3*time.Second {
			return fmt.Errorf("something was logged %s ago", calm)
		}
		return nil
	})
	time.Sleep(quiet)
	for _, p := range processes {
		if more := strings.TrimPrefix(read(p), before[p]); more != "" || before[p] == "" {
			t.Errorf("%s logged in %s without a change:\n%s", p.Name, quiet, more)
		}
	}
}
