//go:build vm

// Package ipvs tests the IPVS programmers in a cluster whose nodes have a kernel with IPVS. The nodes, kube-proxy, Fairlead
// and the tests are in a virtual machine, the control plane is outside of it: `lab machine --control-plane`.
package ipvs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// here is the folder of the program in the virtual machine, where lab puts the files.
const here = "/t"

// lab is the cluster that the stories share: two nodes with kube-proxy in nftables mode and a speaker, and a controller.
var lab *cluster.Cluster

// running are Fairlead's processes, whose last lines are shown when a story fails.
var running []*cluster.Process

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctrllog.SetLogger(logr.Discard()) // the client's errors come back to the stories
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	if out, err := exec.Command("modprobe", "ip_vs").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "modprobe ip_vs: %v\n%s", err, out)
		return 1
	}
	var err error
	lab, err = cluster.Start(ctx, cluster.Options{Nodes: 2, Kubeconfig: here + "/kubeconfig", BinDir: here, Fairlead: here + "/fairlead", Log: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bringing the cluster up:", err)
		return 1
	}
	defer func() {
		if err := lab.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "taking the cluster down:", err)
		}
	}()
	if err := startFairlead(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "starting Fairlead:", err)
		return 1
	}
	code := m.Run()
	if code != 0 {
		for _, p := range running {
			fmt.Fprintf(os.Stderr, "--- the last of %s\n%s\n", p.Name, p.Tail(30))
		}
		proxy := &cluster.Process{Name: "kube-proxy-0", Log: filepath.Join(lab.Dir(), "logs", "kube-proxy-0.log")}
		fmt.Fprintf(os.Stderr, "--- the last of %s\n%s\n", proxy.Name, proxy.Tail(30))
	}
	return code
}

// programmerReady returns nil when the kernel of a node holds all that its programmer plans.
func programmerReady(ctx context.Context, node int) error {
	n := lab.Node(node)
	_, err := n.HTTPGet(ctx, cluster.URL(n.IPv4, cluster.HealthPort+2)+"readyz") // a speaker has the other port
	return err
}

// startFairlead starts a controller and the speakers; what they need of the API server is installed from outside.
func startFairlead(ctx context.Context) error {
	controller, err := lab.StartController(ctx)
	if err != nil {
		return err
	}
	running = append(running, controller)
	for i := range lab.Nodes() {
		speaker, err := lab.StartSpeaker(ctx, i)
		if err != nil {
			return err
		}
		running = append(running, speaker)
	}
	for _, p := range running {
		if err := lab.WaitReady(ctx, p); err != nil {
			return err
		}
	}
	return nil
}
