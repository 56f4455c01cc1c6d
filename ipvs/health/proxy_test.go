package health

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestProxy: a node is said to serve while it does; /healthz says no where it is to go, too.
func TestProxy(t *testing.T) {
	for name, c := range map[string]struct {
		serves, stays  bool
		healthz, livez int
	}{
		"it serves":                 {true, true, http.StatusOK, http.StatusOK},
		"it serves, and is to go":   {true, false, http.StatusServiceUnavailable, http.StatusOK},
		"it does not serve":         {false, true, http.StatusServiceUnavailable, http.StatusServiceUnavailable},
		"it does not, and is to go": {false, false, http.StatusServiceUnavailable, http.StatusServiceUnavailable},
	} {
		seen := time.Now().Add(-time.Second).UTC()
		p := Proxy{State: func() (bool, time.Time, bool) { return c.serves, seen, c.stays }}
		for path, want := range map[string]int{"/healthz": c.healthz, "/livez": c.livez, "/": http.StatusNotFound} {
			w := httptest.NewRecorder()
			p.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != want {
				t.Errorf("%s: %s answers %d, want %d", name, path, w.Code, want)
			}
			if path == "/" {
				continue
			}
			var got struct {
				LastUpdated, CurrentTime time.Time
				NodeEligible             bool
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || !got.LastUpdated.Equal(seen) || got.CurrentTime.Before(seen) || got.NodeEligible != c.stays {
				t.Errorf("%s: %s says %s (%v)", name, path, w.Body, err)
			}
		}
	}
}

// TestProxyWaitsForItsPort: where somebody has the port, it is answered when he is gone; and by nobody after the end.
func TestProxyWaitsForItsPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := Proxy{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Address: l.Addr().String(), State: func() (bool, time.Time, bool) { return true, time.Now(), true }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	time.Sleep(50 * time.Millisecond) // it has tried
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		r, err := http.Get("http://" + p.Address + "/healthz")
		if err == nil {
			err = r.Body.Close()
		}
		return err
	}
	for began := time.Now(); ask() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 2*again {
			t.Fatal("nobody answers")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if ask() == nil {
		t.Error("after the end the port is still answered")
	}
}
