package controllers

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
)

// recorder keeps Events.
type recorder struct {
	mu   sync.Mutex
	said []said
}

// said is one Event.
type said struct {
	object             runtime.Object
	kind, reason, note string
}

func (r *recorder) Eventf(object, _ runtime.Object, kind, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, said{object, kind, reason, fmt.Sprintf(note, args...)})
}

// take returns the Events since it was called last.
func (r *recorder) take() []said {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.said
	r.said = nil
	return out
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
