//go:build e2e

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// gate is the controllers' only way to the API server. While it is shut, watches are open but bring nothing; all else
// passes. The API server sees the controller's ServiceAccount.
type gate struct {
	kubeconfig string
	server     *http.Server

	mu     sync.Mutex
	opened chan struct{} // closed while watches bring what they have
}

// newGate listens beside the API server.
func newGate(ctx context.Context, c *cluster.Cluster) (*gate, error) {
	path, err := c.ServiceAccountKubeconfig(ctx, cluster.FairleadNamespace, "fairlead-controller", "")
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, err
	}
	config.Dial = c.ControlPlane().Dial
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	to, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	l, err := c.ControlPlane().Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gate{opened: make(chan struct{}), kubeconfig: filepath.Join(c.Dir(), "kubeconfig-gate")}
	close(g.opened)
	g.server = &http.Server{Handler: &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.URL.Query().Get("watch") != "" {
				r.Body = &gated{r.Body, g}
			}
			return nil
		},
		ErrorLog:     log.New(io.Discard, "", 0), // that connections end is what the test does
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}, ReadHeaderTimeout: time.Minute}
	go func() {
		if err := g.server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			fmt.Fprintln(os.Stderr, "the gate:", err)
		}
	}()
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":"http://%s"}}],"contexts":[{"name":"c","context":{"cluster":"c"}}]}`, l.Addr())
	return g, os.WriteFile(g.kubeconfig, []byte(text), 0o600)
}

func (g *gate) close() {
	g.open()
	_ = g.server.Close()
}

// shut holds up what watches bring.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
}

// open lets it through, in its order.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
}

// gated is what a watch brings.
type gated struct {
	io.ReadCloser
	gate *gate
}

func (b *gated) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.gate.mu.Lock()
	opened := b.gate.opened
	b.gate.mu.Unlock()
	<-opened
	return n, err
}
