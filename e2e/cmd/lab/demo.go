package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

const (
	// patience bounds each wait of the demo; all are expected to take a fraction of a second.
	patience = 30 * time.Second
	// askEvery and askTimeout are the client's that measures the gap.
	askEvery   = 20 * time.Millisecond
	askTimeout = 200 * time.Millisecond
	// steady is how many answers in a row the client gets before and after the node dies: about a second.
	steady = 50

	servicePort = 8080
)

// A demo is the story that make demo tells.
type demo struct {
	out  io.Writer
	keep bool

	c        *cluster.Cluster
	speakers []*cluster.Process
	pods     []*cluster.Pod
	vip      netip.Addr
}

const introduction = `Fairlead gives a Kubernetes cluster without a cloud what a cloud gives: Services of type LoadBalancer that work.

This demo starts a real Kubernetes %s (etcd, API server, controllers, kube-proxy) with three nodes, each of them a
network namespace on this machine, and Fairlead on it. It takes about half a minute, and 150 MB in %s while it runs.
Nothing outside these namespaces is touched and everything is removed at the end; Ctrl-C ends it at any time.
`

// run tells the story of make demo.
func (d *demo) run(ctx context.Context) error {
	return d.tell(ctx, cluster.Options{Log: d.out}, introduction, d.install, d.expose, d.announce, d.takeOver)
}

// tell brings a cluster up, tells the chapters on it, and takes it down.
func (d *demo) tell(ctx context.Context, options cluster.Options, introduction string, chapters ...func(context.Context) error) (err error) {
	if err := options.Check(); err != nil {
		return err
	}
	bins, err := kubebin.Find()
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, introduction, bins.Version, os.TempDir())
	begin := time.Now()
	d.title("A cluster")
	if d.c, err = cluster.Start(ctx, options); err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\n%s", err, d.lastWords())
		}
		d.title("Cleaning up")
		switch closing := d.c.Close(); {
		case closing != nil:
			err = fmt.Errorf("%w (before that: %v)", closing, err)
		case err == nil:
			d.say("Done after %.0f s; nothing is left.", time.Since(begin).Seconds())
		}
	}()
	d.say("Up after %.1f s.", time.Since(begin).Seconds())
	for _, chapter := range chapters {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	if d.keep {
		return d.wait(ctx)
	}
	return nil
}

// install starts Fairlead's processes.
func (d *demo) install(ctx context.Context) error {
	d.title("Fairlead: one controller, and a speaker on every node")
	start := time.Now()
	var processes []*cluster.Process
	err := cluster.Progress(d.out, "Fairlead starts", func() (err error) {
		processes, err = d.c.StartFairlead(ctx)
		return err
	})
	if err != nil {
		return err
	}
	d.speakers = processes[1:]
	d.say("Ready after %.1f s.", time.Since(start).Seconds())
	return nil
}

// expose creates the Service, before there is any address to give to it, and then the pool.
func (d *demo) expose(ctx context.Context) error {
	d.title("A Service of type LoadBalancer, and a pool of addresses")
	for node := range 2 {
		if err := d.addPod(ctx, node); err != nil {
			return err
		}
	}
	if err := d.kubectl(ctx, "apply", "-f", "config/samples/huazi.yaml"); err != nil {
		return err
	}
	if err := d.kubectl(ctx, "get", "svc", "huazi"); err != nil {
		return err
	}
	start := time.Now()
	if err := d.kubectl(ctx, "apply", "-f", "config/samples/first-pool.yaml"); err != nil {
		return err
	}
	if err := d.assigned(ctx); err != nil {
		return err
	}
	d.say("The address was there %.1f s after the pool was applied. And it says why:", time.Since(start).Seconds())
	return d.kubectl(ctx, "events", "--for", "service/huazi")
}

// assigned waits for the Service's address and shows it.
func (d *demo) assigned(ctx context.Context) error {
	err := d.await(ctx, "huazi gets an address", func() (err error) {
		d.vip, err = d.externalIP(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return d.kubectl(ctx, "get", "svc", "huazi")
}

// announce shows who answers for the address, and that it serves.
func (d *demo) announce(ctx context.Context) error {
	d.title("A machine outside the cluster, on the same network segment")
	url := cluster.URL(d.vip, servicePort)
	err := d.await(ctx, "the address answers", func() error { return d.ask(ctx, url) })
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for asked := 0; asked < 4 || asked < 20 && len(seen) < len(d.pods); asked++ { // until both pods were heard
		page, err := d.outside(ctx, "curl", "-s", "--max-time", "2", netip.AddrPortFrom(d.vip, servicePort).String())
		if err != nil {
			return err
		}
		seen[page] = true
	}
	if _, err := d.outside(ctx, "ip", "neigh", "show", d.vip.String()); err != nil {
		return err
	}
	macs, err := d.c.Outside().WhoHas(ctx, d.vip, time.Second)
	if err != nil {
		return err
	}
	if len(macs) != 1 {
		return fmt.Errorf("%d hosts answer for %s: %v", len(macs), d.vip, macs)
	}
	node, err := d.nodeOf(macs[0])
	if err != nil {
		return err
	}
	d.say("%s is the MAC address of node-%d: that node announces the address, and no other does.", macs[0], node)
	return nil
}

// takeOver lets the announcing node die and measures what a client notices.
func (d *demo) takeOver(ctx context.Context) error {
	d.title("The announcing node dies")
	outside, url := d.c.Outside(), cluster.URL(d.vip, servicePort)
	before, err := outside.KnownNeighbor(ctx, d.vip)
	if err != nil {
		return err
	}
	victim, err := d.nodeOf(before)
	if err != nil {
		return err
	}
	if err := d.movePods(ctx, victim, url); err != nil {
		return err
	}
	d.say("A client asks every %d ms, each time on a new connection, and gives up on one after %d ms.", askEvery.Milliseconds(), askTimeout.Milliseconds())
	probe := outside.Probe(url, askEvery, askTimeout)
	defer probe.Stop()
	if err := d.answers(ctx, probe, steady); err != nil {
		return err
	}
	d.say("%s  the link of node-%d is cut and its speaker killed", clock(time.Now()), victim)
	if err := d.c.Cut(ctx, victim); err != nil {
		return err
	}
	if err := d.speakers[victim].Kill(); err != nil {
		return err
	}
	var after net.HardwareAddr
	err = d.await(ctx, "another node takes over", func() (err error) {
		after, err = outside.KnownNeighbor(ctx, d.vip)
		if err == nil && after.String() == before.String() {
			err = fmt.Errorf("%s is still node-%d's", d.vip, victim)
		}
		return err
	})
	if err != nil {
		return err
	}
	successor, err := d.nodeOf(after)
	if err != nil {
		return err
	}
	d.say("%s  node-%d has taken over", clock(time.Now()), successor)
	if err := d.answers(ctx, probe, steady); err != nil {
		return err
	}
	report := probe.Stop()
	if _, err := d.outside(ctx, "ip", "neigh", "show", d.vip.String()); err != nil {
		return err
	}
	d.report(report)
	return nil
}

// movePods takes the pods away from the node that is going to die, so that the gap is the address's and not that of
// Kubernetes, which no load balancer can shorten.
func (d *demo) movePods(ctx context.Context, victim int, url string) error {
	for i, pod := range d.pods {
		if pod.Node != victim {
			continue
		}
		d.say("node-%d announces the address and also runs %s. Kubernetes itself leaves a dead node's pods in a Service for\n"+
			"about a minute, whatever load balancer it has; so that only the address is measured, the pod moves away first.", victim, pod.Name)
		if err := d.addPod(ctx, d.spareNode(victim)); err != nil {
			return err
		}
		if err := d.c.RemovePod(ctx, pod); err != nil {
			return err
		}
		d.pods = append(d.pods[:i], d.pods[i+1:]...)
		return d.await(ctx, "the Service follows", func() error {
			for range steady { // at random over the pods: the old one would show, it answers no more
				if err := d.ask(ctx, url); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return nil
}

// spareNode is a node other than the victim that runs no pod.
func (d *demo) spareNode(victim int) int {
	busy := map[int]bool{victim: true}
	for _, pod := range d.pods {
		busy[pod.Node] = true
	}
	for i := range d.c.Nodes() {
		if !busy[i] {
			return i
		}
	}
	return (victim + 1) % len(d.c.Nodes())
}

// wait keeps the cluster until the context ends, whole again.
func (d *demo) wait(ctx context.Context) error {
	for i, speaker := range d.speakers {
		if speaker.Running() {
			continue
		}
		if err := d.c.Heal(ctx, i); err != nil {
			return err
		}
		if _, err := d.c.StartSpeaker(ctx, i); err != nil {
			return err
		}
	}
	kubeconfig, err := d.c.LocalKubeconfig(ctx)
	if err != nil {
		return err
	}
	d.title("The cluster stays until Ctrl-C, all three nodes up again")
	d.say("In another terminal:\n\n  export KUBECONFIG=%s\n  alias kubectl=%s\n  kubectl get svc,pods,nodes -o wide\n", kubeconfig, d.c.KubectlPath())
	d.say("From the machine outside:\n\n  sudo ip netns exec %s curl -s %s\n", d.c.Outside().Namespace, netip.AddrPortFrom(d.vip, servicePort))
	d.say("Fairlead's logs: %s", filepath.Join(d.c.Dir(), "logs"))
	<-ctx.Done()
	return nil
}
