//go:build e2e

// Package stories tests what users do with Fairlead, in a real cluster in network namespaces: real API server, real
// kube-proxy, real sockets. One cluster serves all stories; each removes what it made and leaves three speakers running.
package stories

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// patience is ten times what any single step is expected to take.
const patience = 20 * time.Second

// lab is the cluster that the stories share, with Fairlead running in it.
var lab *installation

// installation is a cluster with a controller and a speaker on every node.
type installation struct {
	*cluster.Cluster
	controller *cluster.Process
	speakers   []*cluster.Process // by node
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctrllog.SetLogger(logr.Discard()) // the client's errors come back to the stories
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{Log: os.Stderr, Audit: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bringing the cluster up:", err)
		return 1
	}
	defer func() {
		if err := c.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "taking the cluster down:", err)
		}
	}()
	processes, err := c.StartFairlead(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting Fairlead:", err)
		return 1
	}
	lab = &installation{Cluster: c, controller: processes[0], speakers: processes[1:]}
	code := m.Run()
	if err := audit(c, everyStory()); err != nil {
		fmt.Fprintln(os.Stderr, "the roles in config/rbac:", err)
		code = 1
	}
	if code != 0 {
		for _, p := range append(lab.speakers, lab.controller) {
			fmt.Fprintf(os.Stderr, "--- the last of %s\n%s\n", p.Name, p.Tail(40))
		}
	}
	return code
}
