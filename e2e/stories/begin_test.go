//go:build e2e

package stories

import (
	"errors"
	"testing"
)

// TestAStoryThatLosesProcessesHarmsNoOther: the next one begins with a controller and speakers that run.
func TestAStoryThatLosesProcessesHarmsNoOther(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		s := begin(t)
		s.must(errors.Join(lab.controller.Kill(), lab.speakers[0].Kill()))
	})
	t.Run("the next", func(t *testing.T) {
		s := begin(t)
		s.sample("first-pool.yaml")
		s.sample("huazi.yaml")
		s.hasAddresses("huazi", "172.25.254.50")
		for _, p := range lab.speakers {
			s.must(lab.WaitReady(s.ctx, p))
		}
	})
}
