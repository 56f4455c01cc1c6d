//go:build linux

// Package link follows the node's network interfaces over rtnetlink and yields snapshots of those that can carry
// layer-2 announcements. It only observes: nothing in the kernel is changed.
package link

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	settle     = 20 * time.Millisecond  // between two reads of the kernel, so that a burst of messages costs few
	minBackoff = 100 * time.Millisecond // before the sockets are opened again after a failure; doubled each time
	maxBackoff = 5 * time.Second
)

// Config says which interfaces a Watcher shows, and how it works. Only Log is required.
type Config struct {
	Log     *slog.Logger
	Exclude []*regexp.Regexp // interfaces whose name matches one of these are not shown; see ParseExclude and SetExclude
	Resync  time.Duration    // everything is read anew this often, in case a message was lost; 0 means 60 s
}

// Watcher follows the interfaces of one network namespace.
type Watcher struct {
	cfg     Config
	changed chan struct{}
	again   chan struct{} // holds a value when everything is to be read anew
	exclude atomic.Pointer[[]*regexp.Regexp]
	current atomic.Pointer[[]plan.LinkState]
	open    func() (kernel, error)
}

// kernel is what a Watcher needs of rtnetlink.
type kernel interface {
	// Wait blocks until something may have changed, or fails if the sockets are of no use any more.
	Wait() error
	// Read reads all interfaces and addresses.
	Read() (tables, error)
	Close() error
}

// New returns a Watcher. Nothing is opened before Run.
func New(cfg Config) *Watcher {
	cfg.Resync = cmp.Or(cfg.Resync, time.Minute)
	w := &Watcher{cfg: cfg, changed: make(chan struct{}, 1), again: make(chan struct{}, 1), open: openKernel}
	w.exclude.Store(&cfg.Exclude)
	return w
}

// SetExclude replaces Config.Exclude, at any time. The snapshot follows at once, as after a change of an interface.
func (w *Watcher) SetExclude(exclude []*regexp.Regexp) {
	exclude = slices.Clone(exclude)
	w.exclude.Store(&exclude)
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// Run follows the kernel until ctx ends, then closes its sockets and returns nil. They are opened in the network
// namespace of the calling thread. A socket that fails is opened again; meanwhile Snapshot keeps its last value.
func (w *Watcher) Run(ctx context.Context) error {
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		read, err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if read {
			backoff = minBackoff
		}
		w.cfg.Log.Warn("interfaces are not followed, trying again", "in", backoff, "error", err)
		pause(ctx, backoff)
	}
}

// Changed yields a value after Snapshot has become another one: one for any number of changes since the last receive.
// The first comes when the kernel was read first, even if there is no usable interface.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Snapshot returns the usable interfaces with their usable addresses as last read, sorted by index; nil if nothing was
// read yet. It is shared: the caller does not modify it.
func (w *Watcher) Snapshot() []plan.LinkState {
	if s := w.current.Load(); s != nil {
		return *s
	}
	return nil
}

// follow opens the sockets and publishes a snapshot after every change, until ctx ends or a socket fails. It reports
// whether it read anything.
func (w *Watcher) follow(ctx context.Context) (read bool, err error) {
	k, err := w.open() // subscribes, so nothing is lost between the first read and the first message
	if err != nil {
		return false, err
	}
	dirty, failed := make(chan struct{}, 1), make(chan error, 1)
	go func() { failed <- wait(k, dirty) }()
	ended := false
	defer func() {
		_ = k.Close()
		if !ended {
			<-failed
		}
	}()
	resync := time.NewTicker(w.cfg.Resync)
	defer resync.Stop()
	for {
		t, err := k.Read()
		if err != nil {
			return read, fmt.Errorf("reading interfaces: %w", err)
		}
		read = true
		w.publish(snapshot(t, *w.exclude.Load()))
		pause(ctx, settle)
		select {
		case <-ctx.Done():
			return read, nil
		case err := <-failed:
			ended = true
			return read, fmt.Errorf("waiting for changes of interfaces: %w", err)
		case <-dirty:
		case <-w.again:
		case <-resync.C:
		}
	}
}

// wait marks dirty whenever something may have changed, until the socket fails or is closed.
func wait(k kernel, dirty chan<- struct{}) error {
	for {
		if err := k.Wait(); err != nil {
			return err
		}
		select {
		case dirty <- struct{}{}:
		default:
		}
	}
}

// publish makes now the snapshot, and tells if it is another one than before.
func (w *Watcher) publish(now []plan.LinkState) {
	last := w.current.Swap(&now)
	if last != nil && slices.EqualFunc(*last, now, equal) {
		return
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func equal(a, b plan.LinkState) bool { return a.Link == b.Link && slices.Equal(a.Prefixes, b.Prefixes) }

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
