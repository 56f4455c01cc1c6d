package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-lb/fairlead/controllers"
	"github.com/fairlead-lb/fairlead/ipvs/kernel"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// releaseLimit bounds --release, which an uninstall waits for.
const releaseLimit = 2 * time.Minute

// ipvsFlags are the flags of the role ipvs.
type ipvsFlags struct {
	common
	node             string
	cidrs            []string
	scheduler        string
	state, procSys   string
	options          controllers.ProgrammingOptions
	cleanup, release bool
}

func ipvsCommand() *cobra.Command {
	var f ipvsFlags
	cmd := &cobra.Command{
		Use:   "ipvs",
		Short: "Serve load-balanced addresses and node ports by the kernel's IPVS; runs as a DaemonSet where it is wanted",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.ErrOrStderr()) },
	}
	f.common.register(cmd.Flags())
	for name, address := range map[string]string{"metrics-bind-address": ":7950", "health-probe-bind-address": ":7951"} { // a speaker has the others
		flag := cmd.Flags().Lookup(name)
		flag.DefValue = address
		_ = flag.Value.Set(address)
	}
	cmd.Flags().StringVar(&f.node, "node-name", "", "name of this node's Node object")
	cmd.Flags().StringSliceVar(&f.cidrs, "cluster-cidr", nil, "CIDRs of the pods, whose packets externalTrafficPolicy Local does not bind; unset: the Nodes' podCIDRs")
	cmd.Flags().BoolVar(&f.options.AllServices, "all-services", false, "stand in for kube-proxy: serve ClusterIPs, nodePorts and externalIPs of all Services, too; refused where a kube-proxy runs")
	cmd.Flags().StringVar(&f.apiServer, "api-server", "", "`URL` of the API server; with --all-services the address of its Service is served only when this has read what to serve")
	cmd.Flags().StringVar(&f.scheduler, "scheduler", plan.DefaultScheduler().Name, "scheduler of Services that name none by the annotation "+plan.AnnotationScheduler)
	cmd.Flags().DurationVar(&f.options.Drain, "drain-time", 30*time.Second, "how long an endpoint that is removed keeps its connections at most")
	cmd.Flags().BoolVar(&f.options.Ping, "answer-ping", true, "addresses answer pings")
	cmd.Flags().StringVar(&f.state, "state-dir", "/run/fairlead", "`folder` of the host, in which it stands how the node was found")
	cmd.Flags().StringVar(&f.procSys, "proc-sys", "/proc/sys", "`folder` of the kernel's settings; a container's own one cannot be written")
	cmd.Flags().BoolVar(&f.cleanup, "cleanup", false, "leave the node as it was found, and end")
	cmd.Flags().BoolVar(&f.release, "release", false, "have kube-proxy serve everything again, in the whole cluster, and end when it does; what serves it may go then")
	return cmd
}

// read reads the flags that are texts, or says what is wrong with them.
func (f *ipvsFlags) read() error {
	if f.node == "" && !f.cleanup && !f.release {
		return errors.New("--node-name (or FAIRLEAD_NODE_NAME) is needed: the name of this node's Node object")
	}
	if f.cleanup && f.release {
		return errors.New("--cleanup is for a node and --release for the cluster: give one of them")
	}
	if f.options.AllServices && f.apiServer == "" && f.kubeconfig == "" && !f.cleanup && !f.release {
		return errors.New("--all-services needs --api-server, such as https://192.0.2.10:6443: without a kube-proxy the address of the API server's Service is not served before this has read what to serve")
	}
	if u, err := url.Parse(f.apiServer); f.apiServer != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return fmt.Errorf("--api-server %q: want a URL such as https://192.0.2.10:6443", f.apiServer)
	}
	for _, text := range f.cidrs {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("--cluster-cidr %q: want a CIDR such as 10.244.0.0/16", text)
		}
		f.options.ClusterCIDRs = append(f.options.ClusterCIDRs, p.Masked())
	}
	if f.options.Drain < 0 {
		return fmt.Errorf("--drain-time %s: want 0 or more", f.options.Drain)
	}
	var err error
	if f.options.Scheduler, err = plan.ParseScheduler(f.scheduler); err != nil {
		return fmt.Errorf("--scheduler: %w", err)
	}
	return nil
}

// bootID is that of the running kernel, which containers share; "" where it is not told (random(4)).
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// run constructs the programmer and runs it until the context ends.
func (f *ipvsFlags) run(ctx context.Context, stderr io.Writer) error {
	if err := f.read(); err != nil {
		return err
	}
	log, err := f.logger(stderr)
	if err != nil {
		return err
	}
	node := &kernel.Node{Log: log, State: f.state, ProcSys: f.procSys}
	if f.cleanup {
		return errors.Join(node.Cleanup(ctx), node.Close())
	}
	if f.release {
		ctx, cancel := context.WithTimeout(ctx, releaseLimit)
		defer cancel()
		c, err := f.client()
		if err != nil {
			return err
		}
		return controllers.Release(ctx, c, log, f.namespace)
	}
	defer func() { _ = node.Close() }()
	collectAt(30)
	programming := &controllers.Programming{
		Log: log, Registry: metrics.Registry, Namespace: f.namespace, Class: f.class, Node: f.node, Kernel: node, Options: f.options,
		States: &controllers.ProgrammerStates{Log: log, Namespace: f.namespace, Node: f.node, Version: version, BootID: bootID()},
	}
	node.Repaired = programming.Repaired
	m, err := f.manager(ctx, log, func(o *manager.Options) { programming.Configure(o) })
	if err != nil {
		return err
	}
	programming.Client = m.GetClient()
	if err := errors.Join(programming.States.SetUp(m), programming.SetUp(m), m.AddReadyzCheck("kernel", programming.Ready), m.Add(newShrinker(log, programming.Ready))); err != nil {
		return err
	}
	log.Info("the IPVS programmer starts", "version", version, "node", f.node, "namespace", f.namespace)
	return m.Start(ctx)
}
