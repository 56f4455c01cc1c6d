package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-lb/fairlead/controllers"
)

// Leader election: a leader that was killed is replaced after leaseDuration at the latest; one that has not renewed its
// lease for renewDeadline writes no more, which leaves the time between the two for what it has under way.
const (
	leaseDuration = 8 * time.Second
	renewDeadline = 5 * time.Second
	retryPeriod   = time.Second
)

// controllerFlags are the flags of the role controller.
type controllerFlags struct {
	common
	webhookFlags
	elect       bool
	writers     uint16
	orphanGrace time.Duration
	nodePorts   serviceNodePorts
	status      struct{ address, certificate, key string }
}

func controllerCommand() *cobra.Command {
	var f controllerFlags
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Assign addresses from pools to Services; runs as a Deployment",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.ErrOrStderr()) },
	}
	f.common.register(cmd.Flags())
	f.webhookFlags.register(cmd.Flags())
	cmd.Flags().BoolVar(&f.elect, "leader-elect", true, "let one replica at a time decide; the others wait")
	cmd.Flags().DurationVar(&f.orphanGrace, "orphan-grace", 5*time.Minute, "how long a Service keeps an address that is in no pool any more, where no other can be had, and a node port that is in no NodePortRange any more; 0: not at all")
	f.nodePorts.register(cmd.Flags())
	cmd.Flags().StringVar(&f.status.address, "status-address", "", "`address` that serves the status page: on a loopback address by HTTP to all, on another one by HTTPS to those whom the API server knows and who may look; empty: none")
	cmd.Flags().StringVar(&f.status.certificate, "status-tls-cert", "", "`file` with the status page's certificate; empty: one that signs itself")
	cmd.Flags().StringVar(&f.status.key, "status-tls-key", "", "`file` with its key")
	cmd.Flags().Uint16Var(&f.writers, "status-writers", 16, "how many Service statuses are written at the same time")
	return cmd
}

// run constructs the controller and runs it until the context ends.
func (f *controllerFlags) run(ctx context.Context, stderr io.Writer) error {
	if f.writers == 0 {
		return errors.New("--status-writers is 0, but at least 1 is needed")
	}
	if (f.status.certificate == "") != (f.status.key == "") {
		return errors.New("--status-tls-cert and --status-tls-key go together: give both or neither")
	}
	nodePorts, err := f.nodePorts.read()
	if err != nil {
		return err
	}
	log, err := f.logger(stderr)
	if err != nil {
		return err
	}
	webhooks, err := f.webhooks(log, f.namespace, f.class, nodePorts)
	if err != nil {
		return err
	}
	collectAt(30) // after thousands of Services at once it would go on with twice the memory that it needs
	config, err := f.restConfig()
	if err != nil {
		return err
	}
	lease, err := controllers.NewLease(config, f.namespace, renewDeadline)
	if err != nil {
		return err
	}
	state := &controllers.ConfigurationState{Namespace: f.namespace, PodName: f.podName, PodUID: f.podUID}
	stale := &controllers.StaleStatuses{Log: log, Namespace: f.namespace}
	programmers := &controllers.Programmers{Log: log, Namespace: f.namespace}
	m, err := f.manager(ctx, log, func(o *manager.Options) {
		webhooks.Configure(o)
		programmers.Configure(o)
		state.Configure(o)
		stale.Configure(o)
		o.LeaderElection = f.elect
		o.LeaderElectionResourceLockInterface = lease
		o.LeaderElectionReleaseOnCancel = true // the process ends when the manager does
		o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = new(leaseDuration), new(renewDeadline), new(retryPeriod)
	})
	if err != nil {
		return err
	}
	if err := controllers.CreateMembersKey(ctx, m.GetClient(), f.namespace); err != nil {
		return err
	}
	if !f.elect {
		lease = nil // held for ever
	}
	recorder, err := lease.EventRecorder(ctx, m, "fairlead-controller")
	if err != nil {
		return err
	}
	allocation := f.allocation(m, recorder, log)
	allocation.State, allocation.Programmers, allocation.ServiceNodePorts = state, programmers, nodePorts
	allocation.Lease, state.Lease = lease, lease
	elsewhere := &controllers.Elsewhere{Uncached: m.GetAPIReader(), Events: recorder, Log: log, Namespace: f.namespace}
	if err := errors.Join(programmers.SetUp(m), allocation.SetUp(m), stale.SetUp(m), state.SetUp(m), elsewhere.SetUp(m), webhooks.SetUp(m), f.statusPage(log).SetUp(m), m.AddReadyzCheck("caches", allocation.Ready),
		m.Add(newShrinker(log, allocation.Ready))); err != nil {
		return err
	}
	log.Info("the controller starts", "version", version, "namespace", f.namespace)
	return m.Start(ctx)
}

func (f *controllerFlags) allocation(m manager.Manager, recorder events.EventRecorder, log *slog.Logger) *controllers.Allocation {
	return &controllers.Allocation{
		Client:      m.GetClient(),
		Uncached:    m.GetAPIReader(),
		Events:      recorder,
		Log:         log,
		Registry:    metrics.Registry,
		Namespace:   f.namespace,
		Class:       f.class,
		OrphanGrace: f.orphanGrace,
		Writers:     int(f.writers),
		Now:         time.Now,
	}
}

// statusPage returns nil where none is wanted.
func (f *controllerFlags) statusPage(log *slog.Logger) *controllers.StatusPage {
	if f.status.address == "" {
		return nil
	}
	return &controllers.StatusPage{
		Address: f.status.address, Certificate: f.status.certificate, Key: f.status.key,
		Namespace: f.namespace, Class: f.class, Version: version, Log: log,
	}
}
