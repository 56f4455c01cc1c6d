package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

// A process that used more than the busyShare-th part of a core in a window is busy.
const (
	window    = 20 * time.Second
	busyShare = 20
	// readyPoll is how often it is asked whether the start is over.
	readyPoll = time.Second
)

// shrinker gives back what only work that is over needed, such as the start or thousands of Services that came: what the
// heap holds no more, and the pages of the program. Of the latter those in use are mapped again, from the page cache; what
// runs seldom leaves many behind, since each fault maps 64 KiB, so that they are given back at rest, too.
type shrinker struct {
	ready   func(*http.Request) error
	used    func() time.Duration // processor time of this process, ever
	release func()
	unmap   func() // gives back the pages of the program alone
}

func newShrinker(log *slog.Logger, ready func(*http.Request) error) *shrinker {
	unmap := func() {
		if err := releaseProgram(); err != nil {
			log.Debug("the program's pages stay in memory", "error", err)
		}
	}
	return &shrinker{ready: ready, used: processorTime, unmap: unmap, release: func() {
		runtime.GC() // what pools held before is given up by a second collection only (sync.Pool)
		debug.FreeOSMemory()
		unmap()
	}}
}

// NeedLeaderElection says that replicas which do not lead give back too.
func (*shrinker) NeedLeaderElection() bool { return false }

// Start gives back when the start is over, since what follows may be work for as long as thousands of Services wait, and then
// after each busy time and never in one, until the context ends. The program's pages go after each window at rest.
func (s *shrinker) Start(ctx context.Context) error {
	ready := func(context.Context) (bool, error) { return s.ready(nil) == nil, nil }
	if wait.PollUntilContextCancel(ctx, readyPoll, true, ready) != nil {
		return nil // it ended before
	}
	s.release()
	tick := time.NewTicker(window)
	defer tick.Stop()
	for before, was := s.used(), true; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := s.used()
		busy := now-before > window/busyShare
		switch {
		case busy:
		case was:
			s.release()
			now, was = s.used(), false
		default:
			s.unmap()
		}
		before, was = now, was || busy
	}
}

func processorTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// releaseProgram unmaps the pages of this program's file that nothing has written to (madvise(2), MADV_DONTNEED on a
// private mapping of a file: the next access finds the file's content again).
func releaseProgram() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range readOnly(string(maps), filepath.Clean(program)) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("releasing %x-%x: %w", m.from, m.to, errno))
		}
	}
	return errors.Join(errs...)
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// readOnly returns the private mappings of a file that cannot be written to, of a list in the form of proc_pid_maps(5).
func readOnly(maps, file string) (out []mapping) {
	for line := range strings.Lines(maps) {
		fields := strings.Fields(line)
		if len(fields) != 6 || fields[5] != file || strings.Contains(fields[1], "w") || !strings.HasSuffix(fields[1], "p") {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		a, err1 := strconv.ParseUint(from, 16, 64)
		b, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil && a < b {
			out = append(out, mapping{uintptr(a), uintptr(b)})
		}
	}
	return out
}
