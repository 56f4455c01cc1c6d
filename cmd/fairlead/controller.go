package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/controllers"
)

// Leader election: a leader that was killed is replaced after leaseDuration at the latest; one that cannot renew for
// renewDeadline stops, which leaves the time between the two for what it has under way.
const (
	leaseDuration = 8 * time.Second
	renewDeadline = 5 * time.Second
	retryPeriod   = time.Second
)

func controllerCommand() *cobra.Command {
	var c common
	var elect bool
	var writers uint16
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
			m, err := c.manager(func(o *manager.Options) {
				o.LeaderElection = elect
				o.LeaderElectionID = "fairlead-controller"
				o.LeaderElectionNamespace = c.namespace
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
				Client:    m.GetClient(),
				Events:    m.GetEventRecorder("fairlead-controller"),
				Log:       log,
				Namespace: c.namespace,
				Class:     c.class,
				Writers:   int(writers),
				Now:       time.Now,
			}
			if err := allocation.SetUp(m); err != nil {
				return err
			}
			log.Info("the controller starts", "version", version, "namespace", c.namespace)
			return m.Start(ctx)
		},
	}
	c.register(cmd.Flags())
	cmd.Flags().BoolVar(&elect, "leader-elect", true, "let one replica at a time decide; the others wait")
	cmd.Flags().Uint16Var(&writers, "status-writers", 16, "how many Service statuses are written at the same time")
	return cmd
}
