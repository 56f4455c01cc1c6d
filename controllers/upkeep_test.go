package controllers

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// However often it is marked while writing fails, it is tried once in a rest, and said once.
func TestUpkeepTriesAgainOnceInARest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var logged strings.Builder
	u, rest := newUpkeep(), 20*time.Millisecond
	var at []time.Time
	u.mark()
	err := u.run(ctx, slog.New(slog.NewTextHandler(&logged, nil)), "nothing is written", rest, func(context.Context) (bool, error) {
		at = append(at, time.Now())
		u.mark()
		if len(at) == 5 {
			cancel()
		}
		return false, errors.New("refused")
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(at); i++ {
		if gap := at[i].Sub(at[i-1]); gap < rest {
			t.Errorf("tried again after %s, want %s at least", gap, rest)
		}
	}
	if n := strings.Count(logged.String(), "nothing is written, trying again"); n != 1 {
		t.Errorf("said %d times, want once:\n%s", n, logged.String())
	}
}

// What was written without being tired goes on at the next mark.
func TestUpkeepDoesNotRestUnlessTired(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	u, n := newUpkeep(), 0
	u.mark()
	_ = u.run(ctx, slog.New(slog.DiscardHandler), "", time.Hour, func(context.Context) (bool, error) {
		if n++; n == 3 {
			cancel()
		}
		u.mark()
		return false, nil
	})
	if n != 3 {
		t.Errorf("wrote %d times, want 3", n)
	}
}
