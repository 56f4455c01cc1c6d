package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

const introductionKubelets = `Fairlead gives a Kubernetes cluster without a cloud what a cloud gives: Services of type LoadBalancer that work.

This demo starts a real Kubernetes %s (etcd, API server, controllers, scheduler) with two real nodes, each with a kubelet,
containerd and kube-proxy in a network namespace on this machine, and installs Fairlead's chart there as a user does. It
takes about two minutes, and 1 GB in %s while it runs. Nothing outside these namespaces is touched and everything is removed
at the end; Ctrl-C ends it at any time.
`

// runKubelets tells the story of make demo-cluster.
func (d *demo) runKubelets(ctx context.Context) error {
	options := cluster.Options{Log: d.out, Nodes: 2, Kubelets: true}
	for _, name := range []string{"page.tar", "fairlead-e2e.oci.tar"} {
		path, err := cluster.Artifact(name)
		if err != nil {
			return err
		}
		options.Images = append(options.Images, path)
	}
	return d.tell(ctx, options, introductionKubelets, d.helmInstall, d.deploy, d.announce, d.rollOut, d.nodeDies)
}

// helmInstall installs the chart, with a pool in its values.
func (d *demo) helmInstall(ctx context.Context) error {
	d.title("helm install")
	chart, err := cluster.Artifact("fairlead-0.0.0-ge2e.tgz")
	if err != nil {
		return err
	}
	start := time.Now()
	err = d.helm(ctx, "install", "fairlead", chart, "--create-namespace", "--wait", "--timeout=2m",
		"--set", "pools.first.addresses={172.25.254.50-172.25.254.99},l2Advertisements.all.ipAddressPools={first}")
	if err != nil {
		return err
	}
	d.say("Every pod was Ready and the pool was there after %.1f s.", time.Since(start).Seconds())
	return d.kubectl(ctx, "get", "pods,ipaddresspools", "--namespace="+cluster.FairleadNamespace, "-o", "wide")
}

// deploy makes pods and their Service.
func (d *demo) deploy(ctx context.Context) error {
	d.title("A Service of type LoadBalancer")
	if err := d.kubectl(ctx, "create", "deployment", "huazi", "--image="+cluster.PageImage, "--replicas=2"); err != nil {
		return err
	}
	// Only nodes that run a pod announce, so that a dead node's pod, which Kubernetes keeps for most of a minute, is not asked.
	if err := d.kubectl(ctx, "expose", "deployment", "huazi", "--port=8080", "--target-port=80", "--type=LoadBalancer",
		`--overrides={"spec":{"externalTrafficPolicy":"Local"}}`); err != nil {
		return err
	}
	if err := d.assigned(ctx); err != nil {
		return err
	}
	if err := d.kubectl(ctx, "rollout", "status", "deployment/huazi", "--timeout=60s"); err != nil {
		return err
	}
	return d.helm(ctx, "test", "fairlead", "--timeout=1m")
}

// rollOut replaces all of Fairlead while a client asks.
func (d *demo) rollOut(ctx context.Context) error {
	d.title("All of Fairlead is replaced while a client asks every 20 ms")
	probe := d.c.Outside().Probe(cluster.URL(d.vip, servicePort), askEvery, 2*time.Second)
	defer probe.Stop()
	for _, args := range [][]string{
		{"rollout", "restart", "daemonset/fairlead-speaker", "deployment/fairlead-controller"},
		{"rollout", "status", "daemonset/fairlead-speaker", "--timeout=90s"}, {"rollout", "status", "deployment/fairlead-controller", "--timeout=90s"},
	} {
		if err := d.kubectl(ctx, append(args, "--namespace="+cluster.FairleadNamespace)...); err != nil {
			return err
		}
	}
	d.report(probe.Stop())
	return nil
}

// nodeDies kills the announcing node's kubelet and network.
func (d *demo) nodeDies(ctx context.Context) error {
	d.title("The announcing node dies")
	outside := d.c.Outside()
	before, err := outside.KnownNeighbor(ctx, d.vip)
	if err != nil {
		return err
	}
	victim, err := d.nodeOf(before)
	if err != nil {
		return err
	}
	probe := outside.Probe(cluster.URL(d.vip, servicePort), askEvery, askTimeout)
	defer probe.Stop()
	if err := d.answers(ctx, probe, steady); err != nil {
		return err
	}
	d.say("%s  the link of node-%d is cut and its kubelet killed", clock(time.Now()), victim)
	if err := d.c.KillNode(ctx, victim); err != nil {
		return err
	}
	var after net.HardwareAddr
	if err := d.await(ctx, "the other node takes over", func() (err error) {
		after, err = outside.KnownNeighbor(ctx, d.vip)
		if err == nil && after.String() == before.String() {
			err = fmt.Errorf("%s is still node-%d's", d.vip, victim)
		}
		return err
	}); err != nil {
		return err
	}
	if err := d.answers(ctx, probe, steady); err != nil {
		return err
	}
	d.report(probe.Stop())
	return nil
}

func (d *demo) report(r cluster.ProbeReport) {
	d.say("%d of %d requests were answered; the longest time without an answer was %.2f s.", r.Answered, r.Asked, r.Gap.Seconds())
}

// helm shows a command as a user types it in the repository, and what it prints.
func (d *demo) helm(ctx context.Context, args ...string) error {
	root, err := kubebin.ModuleRoot()
	if err != nil {
		return err
	}
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = strings.TrimPrefix(arg, root+string(filepath.Separator))
	}
	d.say("$ helm --namespace %s %s", cluster.FairleadNamespace, strings.Join(shown, " "))
	out, err := d.c.Helm(ctx, args...)
	d.say("%s", strings.TrimSpace(out))
	return err
}
