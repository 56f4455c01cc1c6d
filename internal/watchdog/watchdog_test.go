package watchdog

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestOnlyAStepWithoutEndIsStuck: neither rest nor many steps in a row are.
func TestOnlyAStepWithoutEndIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New("the loop", time.Minute)
		stuck := func(want bool, when string) {
			t.Helper()
			if err := w.Check(nil); (err != nil) != want {
				t.Errorf("%s: %v", when, err)
			}
		}
		time.Sleep(time.Hour)
		stuck(false, "before the first step")
		for range 5 {
			end := w.Step()
			time.Sleep(59 * time.Second)
			stuck(false, "in a step")
			end()
		}
		time.Sleep(time.Hour)
		stuck(false, "at rest")
		end := w.Step()
		time.Sleep(61 * time.Second)
		stuck(true, "in a step without end")
		end()
		stuck(false, "after it ended all the same")
	})
}

func TestNobodyFollowed(t *testing.T) {
	var w *Watchdog
	w.Step()()
}
