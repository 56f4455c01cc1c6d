//go:build e2e

package stories

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/rights"
)

// TestNothingIsDoneWhileNothingChanges: with Services that are announced, no process logs a line, and nothing is written into the API
// but the lease.
func TestNothingIsDoneWhileNothingChanges(t *testing.T) {
	s := begin(t)
	s.pod(0, "huazi")
	s.pod(1, "huazi")
	s.sample("first-pool.yaml")
	s.sample("huazi.yaml")
	s.hasAddresses("huazi", "172.25.254.50")
	s.announcer("172.25.254.50")
	s.settle(3 * time.Second)
	audit, err := os.Open(lab.AuditLog())
	s.must(err)
	defer func() { _ = audit.Close() }()
	_, err = audit.Seek(0, io.SeekEnd)
	s.must(err)
	since, last := time.Now(), map[*cluster.Process]int64{}
	s.eventually("what has changed so far is logged and written", func() error {
		for _, p := range append([]*cluster.Process{lab.controller}, lab.speakers...) {
			log, err := os.Stat(p.Log)
			s.must(err)
			if log.Size() != last[p] {
				last[p], since = log.Size(), time.Now()
			}
		}
		if len(s.writes(audit)) > 0 {
			since = time.Now()
		}
		if calm := time.Since(since); calm < 6*time.Second { // a speaker writes what it says of itself once in 5 s
			return fmt.Errorf("something was done %s ago", calm)
		}
		return nil
	})
	time.Sleep(quiet)
	for p, size := range last {
		text, err := os.ReadFile(p.Log)
		s.must(err)
		if more := string(text[size:]); more != "" || size == 0 {
			t.Errorf("%s logged in %s without a change:\n%s", p.Name, quiet, more)
		}
	}
	for _, r := range s.writes(audit) {
		t.Errorf("in %s without a change, %s", quiet, r)
	}
}

// writes are what Fairlead has asked the API server to write, but for leases, since the audit log was read last.
func (s *story) writes(audit io.Reader) (out []rights.Request) {
	s.Helper()
	requests, err := rights.Asked(audit)
	s.must(err)
	for r := range requests {
		if strings.HasPrefix(r.User, "system:serviceaccount:"+cluster.FairleadNamespace) && !strings.HasPrefix(r.Resource, "leases.") &&
			!slices.Contains([]string{"get", "list", "watch"}, r.Verb) {
			out = append(out, r)
		}
	}
	return out
}
