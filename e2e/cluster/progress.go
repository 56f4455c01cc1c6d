package cluster

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// A progress writes lines for people: nothing for what is quick, a sign of life for what takes over a second.
type progress struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// Step runs fn. When that takes over a second it says so, again every five seconds, and at the end how long it took.
func (p *progress) step(what string, fn func() error) error {
	start, done, told := time.Now(), make(chan struct{}), make(chan bool)
	go func() {
		wait, slow := time.Second, false
		for {
			select {
			case <-done:
				told <- slow
				return
			case <-time.After(wait):
				p.line("  %s ... %s", what, time.Since(start).Round(time.Second))
				wait, slow = 5*time.Second, true
			}
		}
	}()
	err := fn()
	close(done)
	if slow := <-told; slow && err == nil {
		p.line("  %s: done after %.1f s", what, time.Since(start).Seconds())
	}
	return err
}

// Progress runs fn, which what names, and tells log about it when it takes over a second: a sign of life, again every
// five seconds, and the time it took at the end.
func Progress(log io.Writer, what string, fn func() error) error {
	return (&progress{w: log}).step(what, fn)
}
