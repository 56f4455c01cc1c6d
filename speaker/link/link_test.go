//go:build linux

package link

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
)

// defaults returns the default exclusions, compiled.
func defaults(t testing.TB) []*regexp.Regexp {
	t.Helper()
	out, err := ParseExclude(DefaultExclude())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fakeKernel is a kernel that a test changes.
type fakeKernel struct {
	mu      sync.Mutex
	tables  tables
	opens   int
	reads   int
	openErr error
	events  chan error // what Wait returns next
	closed  chan struct{}
}

func (k *fakeKernel) open() (kernel, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.opens++
	k.closed = make(chan struct{})
	return k, k.openErr
}

func (k *fakeKernel) Wait() error {
	select {
	case err := <-k.events:
		return err
	case <-k.closed:
		return net.ErrClosed
	}
}

func (k *fakeKernel) Read() (tables, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	return k.tables, nil
}

func (k *fakeKernel) Close() error { close(k.closed); return nil }

// set makes links all there is; notify says so.
func (k *fakeKernel) set(links ...rtnetlink.LinkMessage) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tables.links = links
}

// counts returns how often the sockets were opened, and how often all was read.
func (k *fakeKernel) counts() (opens, reads int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.opens, k.reads
}

// fail makes opening the sockets fail, or not.
func (k *fakeKernel) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.openErr = err
}

func (k *fakeKernel) notify() { k.events <- nil }

// inBubble runs f with a running watcher of a fake kernel, in a bubble with its own time.
func inBubble(t *testing.T, f func(t *testing.T, k *fakeKernel, w *Watcher)) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{events: make(chan error)}
		w := New(Config{Log: slog.New(slog.DiscardHandler)})
		w.open = k.open
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		f(t, k, w)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// changed reports whether Changed has a value.
func changed(w *Watcher) bool {
	synctest.Wait()
	select {
	case <-w.Changed():
		return true
	default:
		return false
	}
}

func TestOnlyChangesAreTold(t *testing.T) {
	inBubble(t, func(t *testing.T, k *fakeKernel, w *Watcher) {
		if !changed(w) || w.Snapshot() == nil || len(w.Snapshot()) != 0 {
			t.Fatalf("the first read of an empty kernel is not told, or its snapshot is %v", w.Snapshot())
		}
		time.Sleep(settle)
		k.set(message(2, "eth0"))
		k.notify()
		if !changed(w) || len(w.Snapshot()) != 1 {
			t.Errorf("a new interface is not told at once; snapshot %v", w.Snapshot())
		}
		k.notify()
		time.Sleep(settle)
		if changed(w) {
			t.Error("a message without a change is told")
		}
	})
}

func TestABurstOfMessagesCostsFewReads(t *testing.T) {
	inBubble(t, func(t *testing.T, k *fakeKernel, w *Watcher) {
		for range 1000 {
			k.notify()
			time.Sleep(100 * time.Microsecond)
		}
		k.set(message(2, "eth0"))
		k.notify()
		time.Sleep(2 * settle)
		if _, reads := k.counts(); reads > 9 {
			t.Errorf("%d reads for 1000 messages in 100 ms", reads)
		}
		if len(w.Snapshot()) != 1 {
			t.Error("the last change is lost")
		}
	})
}

func TestALostMessageIsMadeGoodByTheResync(t *testing.T) {
	inBubble(t, func(t *testing.T, k *fakeKernel, w *Watcher) {
		synctest.Wait()
		k.set(message(2, "eth0"))
		time.Sleep(time.Minute + settle)
		if len(w.Snapshot()) != 1 {
			t.Error("the interface is not seen after a minute")
		}
	})
}

func TestASocketThatFailsIsOpenedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, k *fakeKernel, w *Watcher) {
		k.set(message(2, "eth0"))
		time.Sleep(time.Second)
		k.fail(errors.New("out of memory"))
		k.events <- errors.New("broken")
		time.Sleep(time.Minute)
		if opens, _ := k.counts(); opens < 10 || opens > 25 {
			t.Errorf("opened %d times in a minute", opens)
		}
		if len(w.Snapshot()) != 1 {
			t.Error("the last snapshot is lost")
		}
		k.fail(nil)
		k.set()
		time.Sleep(maxBackoff)
		if len(w.Snapshot()) != 0 {
			t.Error("the change that was missed meanwhile is not seen")
		}
	})
}

func TestTheExclusionsCanChangeAtRunTime(t *testing.T) {
	inBubble(t, func(t *testing.T, k *fakeKernel, w *Watcher) {
		k.set(message(2, "eth0"), message(3, "docker0"))
		time.Sleep(time.Second)
		k.notify()
		if !changed(w) || len(w.Snapshot()) != 2 {
			t.Fatalf("snapshot is %v", w.Snapshot())
		}
		time.Sleep(settle)
		w.SetExclude(defaults(t))
		if !changed(w) || len(w.Snapshot()) != 1 || w.Snapshot()[0].Name != "eth0" {
			t.Errorf("snapshot with exclusions is %v", w.Snapshot())
		}
		time.Sleep(settle)
		w.SetExclude(defaults(t))
		if changed(w) {
			t.Error("the same exclusions are told as a change")
		}
		time.Sleep(settle)
		w.SetExclude(nil)
		if !changed(w) || len(w.Snapshot()) != 2 {
			t.Errorf("snapshot without exclusions is %v", w.Snapshot())
		}
	})
}
