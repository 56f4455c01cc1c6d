package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
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

func controllerCommand() *cobra.Command {
	var c common
	var elect bool
	var writers uint16
	var orphanGrace time.Duration
	var hooks webhookFlags
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Assign addresses from pools to Services; runs as a Deployment",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if writers == 0 {
				return errors.New("--status-writers is 0, but at least 1 is needed")
			}
			ctx := cmd.Context()
			log, err := c.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			webhooks, err := hooks.webhooks(log, c.namespace, c.class)
			if err != nil {
				return err
			}
			config, err := c.restConfig()
			if err != nil {
				return err
			}
			lease, err := controllers.NewLease(config, c.namespace, renewDeadline)
			if err != nil {
				return err
			}
			state := &controllers.ConfigurationState{Namespace: c.namespace, PodName: c.podName, PodUID: c.podUID}
			m, err := c.manager(func(o *manager.Options) {
				webhooks.Configure(o)
				state.Configure(o)
				o.LeaderElection = elect
				o.LeaderElectionResourceLockInterface = lease
				o.LeaderElectionReleaseOnCancel = true // the process ends when the manager does
				o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = new(leaseDuration), new(renewDeadline), new(retryPeriod)
			})
			if err != nil {
				return err
			}
			if err := controllers.CreateMembersKey(ctx, m.GetClient(), c.namespace); err != nil {
				return err
			}
			allocation := &controllers.Allocation{
				Client:      m.GetClient(),
				Uncached:    m.GetAPIReader(),
				Events:      m.GetEventRecorder("fairlead-controller"),
				Log:         log,
				Registry:    metrics.Registry,
				State:       state,
				Namespace:   c.namespace,
				Class:       c.class,
				OrphanGrace: orphanGrace,
				Writers:     int(writers),
				Now:         time.Now,
			}
			if elect {
				allocation.Lease, state.Lease = lease, lease
			}
			if err := errors.Join(allocation.SetUp(m), state.SetUp(m), m.AddReadyzCheck("caches", allocation.Ready)); err != nil {
				return err
			}
			if err := webhooks.SetUp(m); err != nil {
				return err
			}
			log.Info("the controller starts", "version", version, "namespace", c.namespace)
			return m.Start(ctx)
		},
	}
	c.register(cmd.Flags())
	hooks.register(cmd.Flags())
	cmd.Flags().BoolVar(&elect, "leader-elect", true, "let one replica at a time decide; the others wait")
	cmd.Flags().DurationVar(&orphanGrace, "orphan-grace", 5*time.Minute, "how long a Service keeps an address that is in no pool any more, where no other can be had; 0: not at all")
	cmd.Flags().Uint16Var(&writers, "status-writers", 16, "how many Service statuses are written at the same time")
	return cmd
}
