package controllers

import (
	"context"
	"sync"

	"golang.org/x/time/rate"
)

const (
	// eventsAtOnce is how many Events go out without waiting.
	eventsAtOnce = 100
	// eventsPerSecond is how many follow. An Event costs the API server as much as an address does, and of those a
	// thousand may be waiting.
	eventsPerSecond = 200
)

// telling sends Events in the order in which they come, paced, and none while many statuses are written, so that telling of
// addresses does not delay giving them.
type telling struct {
	quiet sync.Mutex // held by whoever sends, or wants none to be sent
	mu    sync.Mutex
	queue []func()
	most  int           // how many may wait; 0: any number
	wake  chan struct{} // of one
}

func newTelling() *telling { return &telling{wake: make(chan struct{}, 1)} }

// tell takes what sends one Event, and does not wait. It drops what comes while too many wait.
func (t *telling) tell(send func()) {
	t.mu.Lock()
	if t.most == 0 || len(t.queue) < t.most {
		t.queue = append(t.queue, send)
	}
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// run sends until the context ends; what is not sent by then stands in the conditions.
func (t *telling) run(ctx context.Context) error {
	pace := rate.NewLimiter(eventsPerSecond, eventsAtOnce)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		}
		for _, send := range t.take() {
			if err := pace.Wait(ctx); err != nil {
				return nil
			}
			t.quiet.Lock()
			send()
			t.quiet.Unlock()
		}
	}
}

func (t *telling) take() []func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.queue
	t.queue = nil
	return out
}
