package controllers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestTellingIsPaced: a few Events go out at once and in order, of many the rest follows at the pace that is documented.
func TestTellingIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tell := newTelling()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = tell.run(ctx) }()
		const all = eventsAtOnce + eventsPerSecond
		sent := make(chan int, all)
		for i := range all {
			tell.tell(func() { sent <- i })
		}
		synctest.Wait()
		if len(sent) != eventsAtOnce {
			t.Errorf("%d Events went out at once, want %d", len(sent), eventsAtOnce)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(sent) != all {
			t.Fatalf("%d Events went out within a second, want %d", len(sent), all)
		}
		for i := range all {
			if x := <-sent; i != x {
				t.Fatalf("Event %d went out as number %d", x, i)
			}
		}
		stop()
		<-done
	})
}
