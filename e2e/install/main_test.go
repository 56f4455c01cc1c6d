//go:build install

// Package install tests Fairlead as users install it: the chart and the image of a release, in a cluster with kubelets,
// with Kubernetes' own controllers, admission plug-ins and permissions. The tests run in their order: one cluster, one
// installation.
package install

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/documents"
)

// patience is ten times what any single step is expected to take.
const patience = 90 * time.Second

// lab is the cluster that the tests share.
var lab *cluster.Cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctrllog.SetLogger(logr.Discard()) // the client's errors come back to the tests
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	options := cluster.Options{Kubelets: true, Nodes: 2, Log: os.Stderr, Audit: true}
	for _, name := range []string{"page.tar", "fairlead-e2e.oci.tar"} {
		path, err := cluster.Artifact(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		options.Images = append(options.Images, path)
	}
	c, err := cluster.Start(ctx, options)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bringing the cluster up:", err)
		return 1
	}
	defer func() {
		if err := c.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "taking the cluster down:", err)
		}
	}()
	lab = c
	code := m.Run()
	if code != 0 {
		tell(ctx)
	} else if err := allTyped(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// allTyped sees that every command was run that the documents have for this cluster, where no test was left out by a flag.
func allTyped() error {
	if flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" {
		return nil
	}
	commands, _, err := documents.Read()
	for _, c := range commands {
		if c.Place() == documents.Installation && !typed[c.Text] {
			err = errors.Join(err, fmt.Errorf("%s: nobody has typed: %s", c.Document, c.Text))
		}
	}
	return err
}

// tell shows what helps to find out why a test failed.
func tell(ctx context.Context) {
	for _, args := range [][]string{
		{"get", "pods,svc,deploy,ds", "-A", "-o", "wide"},
		{"get", "events", "-n", cluster.FairleadNamespace, "--sort-by=.lastTimestamp"},
		{"logs", "-n", cluster.FairleadNamespace, "-l", "app.kubernetes.io/name=fairlead", "--tail=20", "--prefix"},
	} {
		out, err := lab.Kubectl(ctx, "", args...)
		fmt.Fprintln(os.Stderr, out, err)
	}
}
