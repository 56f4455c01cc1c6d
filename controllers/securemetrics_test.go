package controllers

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/tokens"
)

// TestSecuredMetricsAreForWhoMay: by the token that is sent.
func TestSecuredMetricsAreForWhoMay(t *testing.T) {
	log := &logBuffer{}
	guarded := forWhoMay(&tokens.Reviewer{Now: time.Now, Ask: func(_ context.Context, token string) (string, bool, error) {
		switch token {
		case "prometheus":
			return "prometheus", true, nil
		case "somebody":
			return "somebody", false, nil
		case "unlucky":
			return "", false, errors.New("no API server")
		}
		return "", false, nil
	}}, log.logger(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1")) }))
	for name, c := range map[string]struct {
		header string
		want   int
	}{
		"no token":       {"", 401},
		"an empty one":   {"Bearer ", 401},
		"another scheme": {"Basic cHJvbWV0aGV1cw==", 401},
		"one of nobody":  {"Bearer wrong", 401},
		"who may not":    {"Bearer somebody", 403},
		"who may":        {"Bearer prometheus", 200},
		"nobody to ask":  {"Bearer unlucky", 503},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, MetricsPath, nil)
		if c.header != "" {
			r.Header.Set("Authorization", c.header)
		}
		guarded.ServeHTTP(w, r)
		if w.Code != c.want || (w.Body.String() == "up 1") != (c.want == 200) {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, c.want)
		}
	}
}
