package main

import (
	"errors"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-lb/fairlead/controllers"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
	"github.com/fairlead-lb/fairlead/speaker/link"
)

func speakerCommand() *cobra.Command {
	var c common
	var node string
	var port uint16
	var exclude []string
	cmd := &cobra.Command{
		Use:   "speaker",
		Short: "Announce addresses from this node by ARP and neighbor discovery; runs as a DaemonSet",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if node == "" {
				return errors.New("--node-name (or FAIRLEAD_NODE_NAME) is needed: the name of this node's Node object")
			}
			collectAt(25) // a speaker at rest makes little garbage, and there is one on every node
			ctx := cmd.Context()
			log, err := c.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			excluded, err := link.ParseExclude(exclude)
			if err != nil {
				return err
			}
			state := &controllers.ConfigurationState{Namespace: c.namespace, Node: node, PodName: c.podName, PodUID: c.podUID}
			m, err := c.manager(ctx, log, state.Configure)
			if err != nil {
				return err
			}
			announcing := &controllers.Announcing{
				Client:      m.GetClient(),
				Uncached:    m.GetAPIReader(),
				Events:      m.GetEventRecorder("fairlead-speaker"),
				Log:         log,
				Registry:    metrics.Registry,
				State:       state,
				Namespace:   c.namespace,
				Class:       c.class,
				Node:        node,
				MembersPort: port,
				Links:       link.New(link.Config{Log: log, Exclude: excluded}),
				Layer2:      layer2.New(layer2.Config{Log: log, Registerer: metrics.Registry}),
			}
			if err := errors.Join(announcing.SetUp(m), state.SetUp(m), m.AddReadyzCheck("plan", announcing.Ready)); err != nil {
				return err
			}
			log.Info("the speaker starts", "version", version, "node", node, "namespace", c.namespace)
			return m.Start(ctx)
		},
	}
	c.register(cmd.Flags())
	cmd.Flags().StringVar(&node, "node-name", "", "name of this node's Node object")
	cmd.Flags().Uint16Var(&port, "members-port", 7947, "UDP and TCP port on which the speakers watch each other")
	cmd.Flags().StringSliceVar(&exclude, "exclude-interfaces", link.DefaultExclude(), "regular expressions; an interface whose name matches one never announces")
	return cmd
}
