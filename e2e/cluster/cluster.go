package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A Cluster is a running cluster. Its methods may be called from several goroutines.
type Cluster struct {
	name    string
	dir     string
	options Options
	bin     func(name string) string
	log     *progress
	claim   *claim

	ca         []byte // PEM
	adminToken string
	client     client.WithWatch

	controlPlane *Host
	nodes        []*Host
	outside      *Host

	mu         sync.Mutex
	hosts      []*Host // on the segment
	pods       []*Pod
	podNumbers map[int]int // by node: the last one given out
	processes  []*Process
	local      *forwarder // to the API server from outside the namespaces
	remote     *forwarder // to one that runs elsewhere
	closed     bool

	closing  sync.Once
	closeErr error
}

// Start brings a cluster up: about ten seconds for three nodes on two cores. It returns when the API server is ready,
// every node is registered and its kube-proxy has programmed the kernel. On an error, and when ctx ends on the way,
// nothing is left; otherwise the caller closes the cluster. First of all it removes what clusters left whose process was
// killed. The cluster outlives ctx.
func Start(ctx context.Context, options Options) (_ *Cluster, err error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	options, bin, err := options.complete()
	if err != nil {
		return nil, fmt.Errorf("starting a cluster: %w", err)
	}
	c := &Cluster{
		name: options.Name, options: options, bin: bin,
		log:        &progress{w: options.Log},
		podNumbers: map[int]int{},
	}
	if err := sweep(c.log); err != nil {
		c.log.line("Some leftovers of earlier clusters stay: %v", err)
	}
	if c.dir, err = options.makeDir(); err != nil {
		return nil, fmt.Errorf("starting a cluster: %w", err)
	}
	started := false
	defer func() { // also after a panic
		if !started {
			err = errors.Join(err, c.Close())
		}
	}()
	kept := c.dir
	if options.KeepDir {
		kept = "" // not to be swept away
	}
	if c.claim, err = claimName(c.name, kept); err != nil {
		return nil, err
	}
	if err := c.bringUp(ctx); err != nil {
		return nil, fmt.Errorf("starting cluster %s: %w", c.name, err)
	}
	started = true
	return c, nil
}

// bringUp does as much at the same time as there is to do; kube-apiserver's start is what takes long.
func (c *Cluster) bringUp(ctx context.Context) error {
	for _, dir := range []string{"", "logs", "pki"} {
		path := filepath.Join(c.dir, dir)
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, 0o755)); err != nil { // logs are for everybody, keys are 0600
			return err
		}
	}
	if err := c.addSwitch(ctx); err != nil {
		return err
	}
	var err error
	if c.controlPlane, err = c.addHost(ctx, "cp", controlPlaneOctet, false); err != nil {
		return err
	}
	if c.options.Kubeconfig == "" {
		if err := c.startEtcd(ctx); err != nil {
			return err
		}
		if err := c.prepareControlPlane(); err != nil {
			return fmt.Errorf("preparing the control plane: %w", err)
		}
	}
	group, ctx2 := errgroup.WithContext(ctx)
	group.Go(func() error {
		if c.options.Kubeconfig != "" {
			return c.joinControlPlane(ctx2)
		}
		return c.log.step("kube-apiserver starts", func() error { return c.StartAPIServer(ctx2) })
	})
	group.Go(func() error { return c.addHosts(ctx2, c.options.Nodes) })
	if err := group.Wait(); err != nil {
		return err
	}
	scheme, err := NewScheme()
	if err != nil {
		return err
	}
	if c.client, err = client.NewWithWatch(c.RESTConfig(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	group, ctx2 = errgroup.WithContext(ctx)
	if c.options.Kubeconfig == "" {
		group.Go(func() error { return c.startControllerManager(ctx2) })
	}
	if c.options.Kubelets {
		group.Go(func() error { return c.startKubelets(ctx2) })
		return group.Wait()
	}
	for i := range c.nodes {
		group.Go(func() error {
			return c.log.step(fmt.Sprintf("%s with kube-proxy starts", nodeName(i)), func() error { return c.startNode(ctx2, i) })
		})
	}
	return group.Wait()
}

// Close stops every process, removes every namespace and the cluster's folder. It may be called again; it ignores no
// error but goes on past each.
func (c *Cluster) Close() error {
	c.closing.Do(func() { c.closeErr = c.close() })
	return c.closeErr
}

func (c *Cluster) close() error {
	c.mu.Lock()
	c.closed = true
	processes, pods, forwarders := slices.Clone(c.processes), slices.Clone(c.pods), []*forwarder{c.local, c.remote}
	c.mu.Unlock()

	var errs []error
	errs = append(errs, c.log.step("stopping the cluster's processes", func() error { return stopProcesses(processes) }))
	for _, f := range forwarders {
		if f != nil {
			errs = append(errs, f.close())
		}
	}
	for _, p := range pods {
		errs = append(errs, p.close())
	}
	if c.claim != nil { // else the name is another's
		for _, ns := range namespacesOf(c.name) {
			errs = append(errs, deleteNamespace(ns))
		}
	}
	if c.dir != "" {
		errs = append(errs, endContainers(c.dir))
	}
	if c.options.KeepDir {
		c.log.line("Logs are kept in %s.", c.dir)
	} else {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	if c.claim != nil {
		errs = append(errs, c.claim.release())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing cluster %s: %w", c.name, err)
	}
	return nil
}

// Name is the cluster's name; its namespaces are called NAME.host.
func (c *Cluster) Name() string { return c.name }

// Dir is the cluster's folder.
func (c *Cluster) Dir() string { return c.dir }

// ControlPlane is the host of the API server.
func (c *Cluster) ControlPlane() *Host { return c.controlPlane }

// Nodes are the nodes' hosts; node i is named node-i.
func (c *Cluster) Nodes() []*Host { return slices.Clone(c.nodes) }

// Node is the host of node i.
func (c *Cluster) Node(i int) *Host { return c.nodes[i] }

// Outside is the client outside the cluster, on the same segment.
func (c *Cluster) Outside() *Host { return c.outside }

// namespace is the network namespace of a host.
func (c *Cluster) namespace(host string) string { return c.name + "." + host }

// running says whether a process of that name runs.
func (c *Cluster) running(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.processes, func(p *Process) bool { return p.Name == name && p.Running() })
}
