//go:build linux && netns && race

package bgp

import "testing"

// TestNetnsIsNotForTheRaceDetector says openly that the tests against routers are left out of a build with the race
// detector: they hold many sessions in one process, and it reports what is described at type servers, in GoBGP. The
// tests without routers are made for it.
func TestNetnsIsNotForTheRaceDetector(t *testing.T) {
	t.Log("run `go test -tags netns ./speaker/bgp` without -race")
}
