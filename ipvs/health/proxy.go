package health

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// ProxyAddress is where kube-proxy answers, on all addresses of the node.
	ProxyAddress = ":10256"
	// again is how often a port that somebody has is tried again.
	again = 5 * time.Second
)

// Proxy answers, instead of a kube-proxy, load balancers outside the cluster that ask whether a node serves Services: /healthz
// with 200 while it does and is to stay, else 503 (KEP-3836); /livez whether or not it is to stay.
type Proxy struct {
	Log *slog.Logger
	// State says whether the node serves Services, when that was seen last, and whether it is to stay. It is called at any time.
	State func() (serves bool, seen time.Time, stays bool)
	// Address to listen on, mostly ProxyAddress.
	Address string
}

// Run answers until the context ends. While somebody else has the port it is tried again.
func (p *Proxy) Run(ctx context.Context) error {
	told := false
	for ctx.Err() == nil {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.Address)
		if err == nil {
			return p.serve(ctx, l)
		}
		if !told {
			p.Log.Error("health checks of the node are not answered", "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
	return nil
}

func (p *Proxy) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: p.handler(), ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience, MaxHeaderBytes: 4096}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

func (p *Proxy) handler() http.Handler {
	mux := http.NewServeMux()
	answer := func(minds bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			serves, seen, stays := p.State()
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			if !serves || minds && !stays {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			_ = json.NewEncoder(w).Encode(struct {
				Seen  time.Time `json:"lastUpdated"`
				Now   time.Time `json:"currentTime"`
				Stays bool      `json:"nodeEligible"`
			}{seen.UTC(), time.Now().UTC(), stays})
		}
	}
	mux.Handle("/healthz", answer(true))
	mux.Handle("/livez", answer(false))
	return mux
}
