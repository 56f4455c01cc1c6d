// Package health answers load balancers outside the cluster that ask which nodes have endpoints of a Service with
// externalTrafficPolicy Local, on the Service's healthCheckNodePort, in kube-proxy's words.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead-lb/fairlead/internal/diff"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

const (
	// patience bounds reading a request and writing the answer.
	patience = 5 * time.Second
	// weightHeader tells a load balancer how many endpoints there are (KEP-3458).
	weightHeader = "X-Load-Balancing-Endpoint-Weight"
)

// Checks are the health checks that a node answers. The zero value is ready for use; it is not for concurrent use.
type Checks struct {
	// Listen opens a port on all addresses of the node; nil: net.Listen does.
	Listen func(address string) (net.Listener, error)

	open map[uint16]*port
}

// port is one that is listened on.
type port struct {
	server *http.Server
	mu     sync.Mutex
	check  plan.Check
}

// Apply answers these checks and no others. It goes on past a port that cannot be had, and may be called again with the same
// checks.
func (c *Checks) Apply(want []plan.Check) error {
	if c.open == nil {
		c.open = map[uint16]*port{}
	}
	ports := make([]uint16, len(want))
	for i, w := range want {
		ports[i] = w.Port
		if p := c.open[w.Port]; p != nil {
			p.mu.Lock()
			p.check = w
			p.mu.Unlock()
		}
	}
	var errs []error
	add, remove := diff.Sets(ports, slices.Sorted(maps.Keys(c.open)))
	for _, n := range add {
		if err := c.listen(want[slices.Index(ports, n)]); err != nil {
			errs = append(errs, err)
		}
	}
	for _, n := range remove {
		errs = append(errs, c.open[n].server.Close())
		delete(c.open, n)
	}
	return errors.Join(errs...)
}

func (c *Checks) listen(check plan.Check) error {
	open := c.Listen
	if open == nil {
		open = func(address string) (net.Listener, error) {
			return (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		}
	}
	l, err := open(net.JoinHostPort("", strconv.Itoa(int(check.Port))))
	if err != nil {
		return fmt.Errorf("answering health checks of Service %s/%s: %w", check.Namespace, check.Name, err)
	}
	p := &port{check: check}
	p.server = &http.Server{Handler: p, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience, MaxHeaderBytes: 4096}
	c.open[check.Port] = p
	go func() { _ = p.server.Serve(l) }() // until it is closed
	return nil
}

// ServeHTTP answers one check: 200 where the node has endpoints, else 503.
func (p *port) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	check := p.check
	p.mu.Unlock()
	type service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(weightHeader, strconv.Itoa(check.Local))
	if check.Local == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(struct {
		Service service `json:"service"`
		Local   int     `json:"localEndpoints"`
		Healthy bool    `json:"serviceProxyHealthy"`
	}{service{check.Namespace, check.Name}, check.Local, true})
}
