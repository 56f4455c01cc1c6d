package controllers

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
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

// TestNothingIsToldWhileManyStatusesAreWritten, but all of it after that.
func TestNothingIsToldWhileManyStatusesAreWritten(t *testing.T) {
	b := newBench(t, services(40)...)
	b.Writers = 2
	r := &b.events
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.telling.run(ctx) }()
	during := 0
	var mu sync.Mutex
	b.patch = func(client.Client, string) {
		mu.Lock()
		defer mu.Unlock()
		during += len(r.take())
	}
	if _, err := b.Reconcile(ctx, reconcile.Request{}); err != nil {
		t.Fatal(err)
	}
	if during > 0 {
		t.Errorf("%d Events were sent meanwhile", during)
	}
	for late := time.Now().Add(10 * time.Second); during < 40 && time.Now().Before(late); time.Sleep(time.Millisecond) {
		during += len(r.take())
	}
	if during != 40 {
		t.Errorf("%d Events were sent after that, want 40", during)
	}
	stop()
	<-done
}
