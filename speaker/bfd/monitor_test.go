//go:build linux

package bfd

import (
	"context"
	"log/slog"
	"testing"
	"time"
)

// Run ends with its context, at once where nobody is to be told, and not before: not either if that never ends.
func TestRunEndsWithItsContext(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	defer cancel()
	endless, ending := New(Config{Log: slog.New(slog.DiscardHandler)}), New(Config{Log: slog.New(slog.DiscardHandler)})
	go func() { _ = endless.Run(context.Background()) }()
	go func() { _ = ending.Run(cancelled) }()
	for _, m := range []*Monitor{endless, ending} {
		if err := m.Apply(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	cancel()
	select {
	case <-ending.stopped:
	case <-time.After(10 * time.Second):
		t.Error("Run does not end")
	}
	if err := endless.Apply(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
