package controllers

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-lb/fairlead/internal/tokens"
)

// MetricsPath is what Prometheus needs to be allowed to get, as a nonResourceURL in a ClusterRole, where metrics are secured.
const MetricsPath = "/metrics"

// SecureMetrics has metrics served by HTTPS, with a certificate that signs itself, to those alone whose token the API server
// knows and who may get MetricsPath. config/rbac/metrics.yaml holds the rights that this needs.
func SecureMetrics(o *metricsserver.Options, log *slog.Logger) {
	o.SecureServing = true
	o.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.MinVersion, c.NextProtos = tls.VersionTLS12, []string{"http/1.1"} }}
	o.FilterProvider = func(config *rest.Config, _ *http.Client) (metricsserver.Filter, error) {
		ask, err := asksFor(config, MetricsPath)
		if err != nil {
			return nil, err
		}
		reviewer := &tokens.Reviewer{Ask: ask, Now: time.Now}
		return func(_ logr.Logger, next http.Handler) (http.Handler, error) {
			return forWhoMay(reviewer, log, next), nil
		}, nil
	}
}

// forWhoMay lets those in whose token may.
func forWhoMay(reviewer *tokens.Reviewer, log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || token == "" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "a bearer token is needed", http.StatusUnauthorized)
			return
		}
		a, err := reviewer.Review(r.Context(), token)
		switch {
		case err != nil:
			log.Warn("asking the API server who reads the metrics", "error", err)
			http.Error(w, "the API server could not be asked whose token that is", http.StatusServiceUnavailable)
		case a.User == "":
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the API server does not know that token", http.StatusUnauthorized)
		case !a.May:
			http.Error(w, a.User+" may not get "+MetricsPath+": ask for the ClusterRole fairlead-metrics-reader", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
