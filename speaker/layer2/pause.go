//go:build linux

package layer2

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrPaused is returned for what cannot be announced because the process did not run for too long: see Paused.
var ErrPaused = errors.New("this speaker did not run for a while, and is silent until it is told that it still has a say")

// pulse notices that the whole process did not run (SIGSTOP, a suspended machine, starvation). While it is paused
// nothing is sent: meanwhile others may have taken everything over, and what the sockets queued is old.
type pulse struct {
	limit   time.Duration        // 0: nothing is noticed
	now     func() time.Duration // a clock that also counts while the machine is suspended; never 0
	beat    atomic.Int64         // when the process was seen running last
	since   atomic.Int64         // when the pause was noticed; 0: there is none
	noticed chan struct{}        // holds a value when a pause was noticed
}

func newPulse(limit time.Duration, now func() time.Duration) *pulse {
	return &pulse{limit: limit, now: now, noticed: make(chan struct{}, 1)}
}

// bootTime is CLOCK_BOOTTIME (clock_gettime(2)), by a raw system call: see internal/rawudp.
func bootTime() time.Duration {
	var t unix.Timespec
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&t)), 0) // fails for unknown clocks only
	return time.Duration(t.Nano())
}

// run beats until ctx ends, five times in two limits: what is noticed is longer than three fifths of the limit for sure, and
// nothing that is longer than all of it is missed.
func (p *pulse) run(ctx context.Context) error {
	if p.limit <= 0 {
		return nil
	}
	p.beat.Store(int64(p.now()))
	t := time.NewTicker(p.limit * 2 / 5)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			p.check()
			p.beat.Store(int64(p.now()))
		}
	}
}

// paused reports whether nothing may be sent. It does not depend on whose goroutine runs first after a pause.
func (p *pulse) paused() bool {
	if p.limit <= 0 {
		return false
	}
	p.check()
	return p.since.Load() != 0
}

// check begins a pause if the last beat was too long ago, and one that is newer than the one that lasts.
func (p *pulse) check() {
	beat := p.beat.Load()
	now := int64(p.now())
	if beat == 0 || now-beat <= int64(p.limit) {
		return
	}
	if since := p.since.Load(); since > beat || !p.since.CompareAndSwap(since, now) {
		return // another goroutine was faster
	}
	select {
	case p.noticed <- struct{}{}:
	default:
	}
}

// resume ends the pause that was noticed at since, and reports whether it was the last one.
func (p *pulse) resume(since time.Duration) bool {
	return !p.paused() || since != 0 && p.since.CompareAndSwap(int64(since), 0)
}
