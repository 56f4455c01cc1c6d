//go:build e2e && soak

package stories

import (
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// long says that the long forms of the stories are told, too.
const long = true

// settled is after what time speakers are that lost the others for a while.
const settled = 6 * time.Second

// quiet is how long nobody may log anything.
const quiet = 2 * time.Minute

// All cores are busy with something else, and nothing moves.
func TestBusyCoresMoveNothing(t *testing.T) {
	s := begin(t)
	w := s.watch("busy")
	for range runtime.NumCPU() {
		busy := exec.Command("sh", "-c", "while :; do :; done")
		s.must(busy.Start())
		t.Cleanup(func() {
			_ = busy.Process.Kill()
			_ = busy.Wait()
		})
	}
	w.calm(w.look(15*time.Second), 0, time.Second)
}
