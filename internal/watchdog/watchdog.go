// Package watchdog tells a loop that is stuck from one that works or rests. That is what a liveness probe is to fail on:
// a restart mends it, and nothing but a restart does.
package watchdog

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// Watchdog follows one loop, whose steps come one after the other. A loop between two steps rests, for as long as it likes.
// A nil Watchdog follows nothing.
type Watchdog struct {
	limit time.Duration
	loop  string
	begun atomic.Pointer[time.Time] // of the step that is under way; nil between steps
}

// New returns a watchdog for the loop of that name, a step of which never takes as long as the limit.
func New(loop string, limit time.Duration) *Watchdog { return &Watchdog{limit: limit, loop: loop} }

// Step notes that a step begins. The result, called once, notes its end.
func (w *Watchdog) Step() (end func()) {
	if w == nil {
		return func() {}
	}
	w.begun.Store(new(time.Now()))
	return func() { w.begun.Store(nil) }
}

// Check is a health check (controller-runtime's healthz.Checker). It fails while a step takes longer than the limit.
func (w *Watchdog) Check(*http.Request) error {
	begun := w.begun.Load()
	if begun == nil {
		return nil
	}
	if took := time.Since(*begun); took > w.limit {
		return fmt.Errorf("%s has been in one step for %s, which never takes %s: it is stuck", w.loop, took.Round(time.Second), w.limit)
	}
	return nil
}
