package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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

// pauseAfter is how long a speaker may not run before it asks the others whether it still has a say: they think that it is gone
// after 1.5 s at the earliest. Whatever is longer than three fifths of it may be noticed, and 800 ms are not to be.
const pauseAfter = 1400 * time.Millisecond

// lastWords is how long the speaker may take to end, beside the drain.
const lastWords = 3 * time.Second

// speakerFlags are the flags of the role speaker.
type speakerFlags struct {
	common
	node         string
	options      controllers.AnnouncingOptions
	exclude      []string
	refresh      time.Duration
	frameRate    int
	routerID     netip.Addr
	drain        time.Duration
	dropUnserved bool
	statusLimit  int
}

func speakerCommand() *cobra.Command {
	var f speakerFlags
	cmd := &cobra.Command{
		Use:   "speaker",
		Short: "Announce addresses from this node by ARP, neighbor discovery and BGP; runs as a DaemonSet",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.ErrOrStderr()) },
	}
	f.common.register(cmd.Flags())
	cmd.Flags().StringVar(&f.node, "node-name", "", "name of this node's Node object")
	cmd.Flags().Uint16Var(&f.options.MembersPort, "members-port", 7947, "UDP and TCP port on which the speakers watch each other")
	cmd.Flags().Uint16Var(&f.options.HeartbeatPort, "heartbeat-port", 7944, "UDP port of the heartbeats between the owner of an address and its next candidates; 0: none, a dead node is noticed later")
	cmd.Flags().TextVar(&f.options.MembersAddress, "members-address", netip.Addr{}, "this node's `address` on which the speakers watch each other; empty: its first InternalIP")
	cmd.Flags().DurationVar(&f.options.FailbackAfter, "failback-after", time.Minute, "how long after it came up, or came back to its network, a speaker takes no address that another node can serve")
	cmd.Flags().BoolVar(&f.options.IgnoreExcludeLabel, "ignore-exclude-lb", false, "announce from nodes labelled node.kubernetes.io/exclude-from-external-load-balancers, too")
	cmd.Flags().BoolVar(&f.options.DrainCordoned, "drain-cordoned", false, "a cordoned node hands its addresses over to others, where others can have them, and drains its BGP sessions")
	cmd.Flags().TextVar(&f.routerID, "router-id", netip.Addr{}, "router ID for BGPPeers that give none, an IPv4 `address`; empty: it is derived from the node's name")
	cmd.Flags().DurationVar(&f.drain, "drain-time", 5*time.Second, "how long BGP neighbors have to find other ways when a node that leaves is about to withdraw its routes")
	cmd.Flags().BoolVar(&f.dropUnserved, "drop-unserved", false, "drop packets for addresses announced by BGP on ports that no Service has, which else circle between router and node; takes the capability NET_ADMIN")
	cmd.Flags().IntVar(&f.statusLimit, "bgp-status-limit", 5000, "there are no ServiceBGPStatus objects where all nodes together would need more than this `number`")
	cmd.Flags().StringSliceVar(&f.exclude, "exclude-interfaces", link.DefaultExclude(), "regular expressions; an interface whose name matches one never announces; the ConfigMap metallb-excludel2 replaces them")
	cmd.Flags().DurationVar(&f.refresh, "gratuitous-refresh", time.Minute, "how often an address is announced without being asked, about, once the network knows it; 0: never")
	cmd.Flags().IntVar(&f.frameRate, "gratuitous-rate", 8000, "frames a second at most that announce addresses without being asked")
	return cmd
}

// check says what is wrong with the flags, or nil.
func (f *speakerFlags) check() error {
	switch {
	case f.node == "":
		return errors.New("--node-name (or FAIRLEAD_NODE_NAME) is needed: the name of this node's Node object")
	case f.routerID.IsValid() && (!f.routerID.Is4() || f.routerID.IsUnspecified()):
		return fmt.Errorf("--router-id %s: want an IPv4 address such as 192.0.2.1", f.routerID)
	case f.drain < 0:
		return fmt.Errorf("--drain-time %s: want 0 or more", f.drain)
	case f.refresh < 0:
		return fmt.Errorf("--gratuitous-refresh %s: want 0, for never, or more", f.refresh)
	case f.frameRate < 1:
		return fmt.Errorf("--gratuitous-rate %d: want 1 frame a second or more", f.frameRate)
	case f.options.FailbackAfter < 0:
		return fmt.Errorf("--failback-after %s: want 0 or more", f.options.FailbackAfter)
	}
	return nil
}

// run constructs the speaker and runs it until the context ends.
func (f *speakerFlags) run(ctx context.Context, stderr io.Writer) error {
	if err := f.check(); err != nil {
		return err
	}
	collectAt(25) // a speaker at rest makes little garbage, and there is one on every node
	log, err := f.logger(stderr)
	if err != nil {
		return err
	}
	excluded, err := link.ParseExclude(f.exclude)
	if err != nil {
		return err
	}
	links := link.New(link.Config{Log: log, Exclude: excluded})
	state := &controllers.ConfigurationState{Namespace: f.namespace, Node: f.node, PodName: f.podName, PodUID: f.podUID}
	exclusions := &controllers.ExcludedInterfaces{Log: log, Namespace: f.namespace, Default: excluded, Set: links.SetExclude}
	l2Statuses := &controllers.ServiceL2Statuses{Log: log, Namespace: f.namespace, Node: f.node}
	bgpStatuses := &controllers.BGPStatuses{
		Log: log, Namespace: f.namespace, Node: f.node, PodName: f.podName, PodUID: f.podUID, Limit: f.statusLimit,
	}
	m, err := f.manager(ctx, log, func(o *manager.Options) {
		for _, configure := range []func(*manager.Options){state.Configure, exclusions.Configure, l2Statuses.Configure, bgpStatuses.Configure} {
			configure(o)
		}
		controllers.WithPasswords(o, f.namespace)
		controllers.WithKept(o, f.class)
		grace := f.drain + lastWords
		o.GracefulShutdownTimeout = &grace
	})
	if err != nil {
		return err
	}
	events, err := controllers.NewEventWriter(m, log, "fairlead-speaker")
	if err != nil {
		return err
	}
	announcing := f.announcing(m, log)
	announcing.Events = events
	announcing.State, announcing.Statuses, announcing.BGPStatuses, announcing.Links = state, l2Statuses, bgpStatuses, links
	speakers := &controllers.SpeakerStates{Log: log, Namespace: f.namespace, Node: f.node, Version: version}
	announcing.Speakers = speakers
	if err := errors.Join(announcing.SetUp(m), state.SetUp(m), speakers.SetUp(m), exclusions.SetUp(m), l2Statuses.SetUp(m), bgpStatuses.SetUp(m),
		m.AddReadyzCheck("plan", announcing.Ready), m.Add(newShrinker(log, announcing.Ready))); err != nil {
		return err
	}
	log.Info("the speaker starts", "version", version, "node", f.node, "namespace", f.namespace)
	return m.Start(ctx)
}

// announcing constructs what feeds the speaker, with its edges but the links.
func (f *speakerFlags) announcing(m manager.Manager, log *slog.Logger) *controllers.Announcing {
	a := &controllers.Announcing{
		Client:        m.GetClient(),
		Uncached:      m.GetAPIReader(),
		Log:           log,
		Registry:      metrics.Registry,
		Namespace:     f.namespace,
		Node:          f.node,
		Options:       f.options,
		KernelAnswers: func(links []string) []string { return link.KernelAnswers(os.DirFS("/proc/sys"), links) },
		BGP: peering.New(peering.Config{
			Log: log, Registerer: metrics.Registry, Node: f.node, RouterID: f.routerID, DrainTime: f.drain, DropUnserved: f.dropUnserved,
		}),
	}
	a.Layer2 = layer2.New(layer2.Config{
		Log: log, Registerer: metrics.Registry, Node: f.node, Peer: a.PeerOf, Outranks: plan.Outranks, PauseAfter: pauseAfter,
		RefreshEvery: never(f.refresh), FrameRate: f.frameRate,
	})
	return a
}

// never makes of a flag's 0 what layer2.Config takes for never.
func never(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
