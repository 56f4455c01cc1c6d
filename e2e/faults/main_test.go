//go:build e2e

// Package faults tests that no address is given or announced twice, whatever happens to the controllers, their view of the
// cluster and the API server, while clients create, change and delete Services.
package faults

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// patience is how long anything may take to be right again after a fault: a lease runs out after 8 s.
const patience = 40 * time.Second

// installation is a cluster with two controllers, which reach the API server through a gate, and a speaker on each node.
type installation struct {
	*cluster.Cluster
	*testing.T
	ctx         context.Context
	gate        *gate
	controllers []*cluster.Process
	speakers    []*cluster.Process // by node
}

func (l *installation) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *installation) eventually(what string, fn func() error) {
	l.Helper()
	if err := cluster.Eventually(l.ctx, patience, fn); err != nil {
		l.Fatalf("%s: %v", what, err)
	}
}

// install brings the cluster up.
func install(t *testing.T, nodes int) *installation {
	ctrllog.SetLogger(logr.Discard()) // the client's errors come back to the test
	c, err := cluster.Start(t.Context(), cluster.Options{Log: os.Stderr, Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	l := &installation{Cluster: c, T: t, ctx: context.WithoutCancel(t.Context())}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range append(l.controllers, l.speakers...) {
				fmt.Fprintf(os.Stderr, "--- the last of %s\n%s\n", p.Name, p.Tail(30))
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	l.must(c.InstallFairlead(l.ctx))
	l.gate, err = newGate(l.ctx, c)
	l.must(err)
	t.Cleanup(l.gate.close)
	for range 2 {
		l.startController()
	}
	for i := range nodes {
		p, err := c.StartSpeaker(l.ctx, i)
		l.must(err)
		l.speakers = append(l.speakers, p)
	}
	return l
}

// startController starts one more controller behind the gate.
func (l *installation) startController() {
	l.Helper()
	p, err := l.StartController(l.ctx, "--kubeconfig", l.gate.kubeconfig)
	l.must(err)
	l.controllers = append(slices.DeleteFunc(l.controllers, func(p *cluster.Process) bool { return !p.Running() }), p)
}

// leader waits until a controller leads, and returns it.
func (l *installation) leader() *cluster.Process {
	l.Helper()
	var leader *cluster.Process
	l.eventually("a controller leads", func() error {
		for _, p := range l.controllers {
			text, err := l.metrics(p)
			if err != nil {
				continue // it ended, or begins
			}
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "leader_election_master_status{") && strings.HasSuffix(strings.TrimSpace(line), " 1") {
					leader = p
					return nil
				}
			}
		}
		return errors.New("none does")
	})
	return leader
}

// metrics reads what a controller or a speaker tells of itself.
func (l *installation) metrics(p *cluster.Process) (string, error) {
	port := cluster.MetricsPort
	if _, number, ok := strings.Cut(p.Name, "controller-"); ok {
		n, err := strconv.Atoi(number)
		if err != nil {
			return "", err
		}
		port += 2 * n
	}
	ctx, cancel := context.WithTimeout(l.ctx, 2*time.Second)
	defer cancel()
	return p.Host.HTTPGet(ctx, cluster.URL(p.Host.IPv4, uint16(port))+"metrics")
}

// address is number n of the pool.
func address(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}) }
