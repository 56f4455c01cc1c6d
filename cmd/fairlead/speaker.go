package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-lb/fairlead/controllers"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
	"github.com/fairlead-lb/fairlead/speaker/link"
	"github.com/fairlead-lb/fairlead/speaker/peering"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// pauseAfter is how long a speaker may not run before it asks the others whether it still has a say: about the time in
// which they notice that one is gone.
const pauseAfter = time.Second

// lastWords is how long the speaker may take to end, beside the drain.
const lastWords = 3 * time.Second

func speakerCommand() *cobra.Command {
	var c common
	var node string
	var options controllers.AnnouncingOptions
	var address, router string
	var refresh time.Duration
	var frameRate int
	var routerID netip.Addr
	var drain time.Duration
	var statusLimit int
	var dropUnserved bool
	var exclude []string
	cmd := &cobra.Command{
		Use:   "speaker",
		Short: "Announce addresses from this node by ARP, neighbor discovery and BGP; runs as a DaemonSet",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if node == "" {
				return errors.New("--node-name (or FAIRLEAD_NODE_NAME) is needed: the name of this node's Node object")
			}
			if address != "" {
				var err error
				if options.MembersAddress, err = netip.ParseAddr(address); err != nil {
					return fmt.Errorf("--members-address: %w", err)
				}
			}
			if router != "" {
				var err error
				if routerID, err = netip.ParseAddr(router); err != nil || !routerID.Is4() || routerID.IsUnspecified() {
					return fmt.Errorf("--router-id %q: want an IPv4 address such as 192.0.2.1", router)
				}
			}
			if drain < 0 {
				return fmt.Errorf("--drain-time %s: want 0 or more", drain)
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
			links := link.New(link.Config{Log: log, Exclude: excluded})
			exclusions := &controllers.ExcludedInterfaces{Log: log, Namespace: c.namespace, Default: excluded, Set: links.SetExclude}
			l2Statuses := &controllers.ServiceL2Statuses{Log: log, Namespace: c.namespace, Node: node}
			bgpStatuses := &controllers.BGPStatuses{
				Log: log, Namespace: c.namespace, Node: node, PodName: c.podName, PodUID: c.podUID, Limit: statusLimit,
			}
			m, err := c.manager(ctx, log, func(o *manager.Options) {
				for _, configure := range []func(*manager.Options){state.Configure, exclusions.Configure, l2Statuses.Configure, bgpStatuses.Configure} {
					configure(o)
				}
				controllers.WithPasswords(o, c.namespace)
				grace := drain + lastWords
				o.GracefulShutdownTimeout = &grace
			})
			if err != nil {
				return err
			}
			speakers := &controllers.SpeakerStates{Log: log, Namespace: c.namespace, Node: node, Version: version}
			announcing := &controllers.Announcing{
				Client:        m.GetClient(),
				Uncached:      m.GetAPIReader(),
				Events:        m.GetEventRecorder("fairlead-speaker"),
				Log:           log,
				Registry:      metrics.Registry,
				State:         state,
				Statuses:      l2Statuses,
				Speakers:      speakers,
				Namespace:     c.namespace,
				Class:         c.class,
				Node:          node,
				Options:       options,
				Links:         links,
				KernelAnswers: func(links []string) []string { return link.KernelAnswers(os.DirFS("/proc/sys"), links) },
				BGP: peering.New(peering.Config{
					Log: log, Registerer: metrics.Registry, Node: node, RouterID: routerID, DrainTime: drain, DropUnserved: dropUnserved,
				}),
				BGPStatuses: bgpStatuses,
			}
			announcing.Layer2 = layer2.New(layer2.Config{
				Log: log, Registerer: metrics.Registry, Node: node, Peer: announcing.PeerOf, Outranks: plan.Outranks, PauseAfter: pauseAfter,
				RefreshEvery: never(refresh), FrameRate: frameRate,
			})
			if err := errors.Join(announcing.SetUp(m), state.SetUp(m), speakers.SetUp(m), exclusions.SetUp(m), l2Statuses.SetUp(m), bgpStatuses.SetUp(m),
				m.AddReadyzCheck("plan", announcing.Ready), m.Add(shrink(log, announcing.Ready))); err != nil {
				return err
			}
			log.Info("the speaker starts", "version", version, "node", node, "namespace", c.namespace)
			return m.Start(ctx)
		},
	}
	c.register(cmd.Flags())
	cmd.Flags().StringVar(&node, "node-name", "", "name of this node's Node object")
	cmd.Flags().Uint16Var(&options.MembersPort, "members-port", 7947, "UDP and TCP port on which the speakers watch each other")
	cmd.Flags().Uint16Var(&options.HeartbeatPort, "heartbeat-port", 7944, "UDP port of the heartbeats between the owner of an address and its next candidates; 0: none, a dead node is noticed later")
	cmd.Flags().StringVar(&address, "members-address", "", "this node's `address` on which the speakers watch each other; empty: its first InternalIP")
	cmd.Flags().DurationVar(&options.FailbackAfter, "failback-after", time.Minute, "how long after it came up, or came back to its network, a speaker takes no address that another node can serve")
	cmd.Flags().BoolVar(&options.IgnoreExcludeLabel, "ignore-exclude-lb", false, "announce from nodes labelled node.kubernetes.io/exclude-from-external-load-balancers, too")
	cmd.Flags().BoolVar(&options.DrainCordoned, "drain-cordoned", false, "a cordoned node hands its addresses over to others, where others can have them, and drains its BGP sessions")
	cmd.Flags().StringVar(&router, "router-id", "", "router ID for BGPPeers that give none, an IPv4 `address`; empty: it is derived from the node's name")
	cmd.Flags().DurationVar(&drain, "drain-time", 5*time.Second, "how long BGP neighbors have to find other ways when a node that leaves is about to withdraw its routes")
	cmd.Flags().BoolVar(&dropUnserved, "drop-unserved", false, "drop packets for addresses announced by BGP on ports that no Service has, which else circle between router and node; takes the capability NET_ADMIN")
	cmd.Flags().IntVar(&statusLimit, "bgp-status-limit", 5000, "there are no ServiceBGPStatus objects where all nodes together would need more than this `number`")
	cmd.Flags().StringSliceVar(&exclude, "exclude-interfaces", link.DefaultExclude(), "regular expressions; an interface whose name matches one never announces; the ConfigMap metallb-excludel2 replaces them")
	cmd.Flags().DurationVar(&refresh, "gratuitous-refresh", time.Minute, "how often an address is announced without being asked, about, once the network knows it; 0: never")
	cmd.Flags().IntVar(&frameRate, "gratuitous-rate", 8000, "frames a second at most that announce addresses without being asked")
	return cmd
}

// never makes of a flag's 0 what layer2.Config takes for never.
func never(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
