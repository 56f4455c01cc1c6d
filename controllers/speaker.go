package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/watchdog"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/bfd"
	"github.com/fairlead-lb/fairlead/speaker/heartbeat"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
	"github.com/fairlead-lb/fairlead/speaker/link"
	"github.com/fairlead-lb/fairlead/speaker/members"
)

// Announcing feeds the node's speaker from the API server and tells what it does. It runs on every node, without leader
// election. Its manager is made WithKept.
type Announcing struct {
	Client    client.Client
	Uncached  client.Reader // for the few objects that are read once
	Events    events.EventRecorder
	Log       *slog.Logger
	Registry  prometheus.Registerer // for metrics; nil: none
	State     *ConfigurationState   // nil: none
	Speakers  *SpeakerStates        // nil: this speaker publishes nothing
	Statuses  *ServiceL2Statuses    // nil: none
	Namespace string                // of the configuration objects
	Node      string                // this node's name
	Options   AnnouncingOptions
	Links     speaker.Links
	Layer2    Layer2
	BGP       BGP // nil: none
	// KernelAnswers says where the kernel answers in the speaker's place, given the links' names; nil: nowhere.
	KernelAnswers func(links []string) []string
	// BGPStatuses keeps the ServiceBGPStatus objects; nil: there are none.
	BGPStatuses *BGPStatuses

	watchdog  *watchdog.Watchdog
	cache     cache.Cache
	upkeep    upkeep // it marks that the plan is to be made anew; the speaker has the loop
	metrics   *announcingMetrics
	ready     atomic.Bool // a plan was carried out in full
	policy    *policy.Policy
	problems  []policy.Problem          // of the configuration
	objects   map[string]runtime.Object // that were compiled, by UID
	onNodes   problemLog                // problems that show only on nodes
	kept      kept                      // Services and EndpointSlices
	announced map[told]struct{}         // what was told as announced from here
	elsewhere map[netip.Addr]struct{}   // what other nodes announce by the last plan
	complaint complaints                // what was told of what is wrong
	seeds     seeds
	sessions  sessionLog

	peersByMAC atomic.Pointer[map[[6]byte]string] // the nodes of hardware addresses, for PeerOf
}

// AnnouncingOptions are the choices of who runs the cluster.
type AnnouncingOptions struct {
	MembersAddress     netip.Addr    // on which the other speakers reach this one; the zero value: the Node's first InternalIP
	MembersPort        uint16        // UDP and TCP
	HeartbeatPort      uint16        // UDP; 0: there are no heartbeats
	FailbackAfter      time.Duration // see speaker.Speaker
	IgnoreExcludeLabel bool          // nodes labelled node.kubernetes.io/exclude-from-external-load-balancers announce, too
	DrainCordoned      bool          // a cordoned node hands its addresses over where others can have them, and drains its BGP sessions
}

// Layer2 is what announcing needs of speaker/layer2, beside what the speaker does.
type Layer2 interface {
	speaker.Layer2
	Conflicts() []layer2.Conflict
}

// told is one address of one Service, announced in one way. It is comparable.
type told struct {
	allocator.Key
	address netip.Addr
	protocol
}

// SetUp registers the speaker with the manager.
func (a *Announcing) SetUp(m ctrl.Manager) error {
	a.upkeep = newUpkeep()
	a.metrics = newAnnouncingMetrics(a.Node)
	if a.Registry != nil {
		if err := a.Registry.Register(a.metrics); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	a.cache = m.GetCache()
	a.watchdog = watchdog.New("the speaker", roundLimit)
	return errors.Join(m.AddHealthzCheck("plan", a.watchdog.Check), m.Add(a))
}

// roundLimit is longer than a speaker needs to make and carry out any plan.
const roundLimit = time.Minute

// NeedLeaderElection says that every node speaks.
func (a *Announcing) NeedLeaderElection() bool { return false }

// Ready returns nil when this node has carried out a plan in full.
func (a *Announcing) Ready(*http.Request) error {
	if !a.ready.Load() {
		return errors.New("no plan has been carried out yet")
	}
	return nil
}

// PeerOf returns the node of ours that has a link with a hardware address; it is for layer2.Config.
func (a *Announcing) PeerOf(mac [6]byte) (node string, ok bool) {
	if peers := a.peersByMAC.Load(); peers != nil {
		node, ok = (*peers)[mac]
	}
	return node, ok
}

// Start runs the speaker until the context ends.
func (a *Announcing) Start(ctx context.Context) error {
	err := watch(ctx, a.cache, []client.Object{
		&corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.Node{}, &v1beta1.IPAddressPool{}, &v1beta1.L2Advertisement{}, &v1alpha1.SpeakerState{}, &v1alpha1.ProgrammerState{},
		&v1beta2.BGPPeer{}, &v1beta1.BGPAdvertisement{}, &v1beta1.BFDProfile{}, &v1beta1.Community{}, &corev1.Secret{},
	}, a.upkeep.mark)
	if err == nil {
		a.kept, err = keptBy(ctx, a.cache)
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	address := a.Options.MembersAddress
	var key []byte
	if !address.IsValid() {
		err = a.await(ctx, "this node's address", func() (err error) { address, err = a.ownAddress(ctx); return err })
	}
	if err == nil {
		err = a.await(ctx, "the speakers' common key", func() (err error) {
			key, err = readMembersKey(ctx, a.Uncached, a.Namespace)
			return err
		})
	}
	if err != nil {
		return nil // the context ended
	}
	a.Speakers.reachedAt(address)
	// The heartbeats tell by the members, who hear for them.
	var heartbeats *heartbeat.Guard
	alive := members.New(members.Config{
		Log: a.Log, Node: a.Node, Address: address, Port: a.Options.MembersPort, Key: key,
		Peers:   func() map[string]netip.Addr { return a.peers(ctx) },
		Heard:   func(message []byte) { heartbeats.Heard(message) },
		Changed: a.upkeep.mark,
	})
	heartbeats = heartbeat.New(heartbeat.Config{
		Log: a.Log, Node: a.Node, Address: address, Port: a.Options.HeartbeatPort, Monitor: bfd.New(bfd.Config{Log: quiet(a.Log)}),
		Ask: layer2.Ask, Frames: link.Frames, Tell: alive.Tell,
	})
	s := &speaker.Speaker{
		Log:           a.Log,
		Links:         a.Links,
		Members:       alive,
		Layer2:        a.Layer2,
		BGP:           a.BGP, // a nil one stays nil
		FailbackAfter: a.Options.FailbackAfter,
		Gather:        a.gather,
		Report:        a.report,
		Dirty:         a.upkeep.dirty,
		Watchdog:      a.watchdog,
	}
	if a.Options.HeartbeatPort != 0 {
		s.Heartbeats = heartbeats
	}
	return s.Run(ctx)
}

// await tries until it succeeds or the context ends; it says once what it waits for.
func (a *Announcing) await(ctx context.Context, what string, try func() error) error {
	for said := false; ; said = true {
		err := try()
		if err == nil {
			return nil
		}
		if !said {
			a.Log.Info("waiting for "+what, "because", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (a *Announcing) ownAddress(ctx context.Context) (netip.Addr, error) {
	var n corev1.Node
	if err := a.Client.Get(ctx, client.ObjectKey{Name: a.Node}, &n); err != nil {
		return netip.Addr{}, fmt.Errorf("reading Node %q: %w", a.Node, err)
	}
	address, ok := internalAddress(&n)
	if !ok {
		return netip.Addr{}, fmt.Errorf("the Node %q has no InternalIP", a.Node)
	}
	return address, nil
}

// internalAddress returns the first InternalIP of the Node.
func internalAddress(n *corev1.Node) (netip.Addr, bool) {
	for _, x := range n.Status.Addresses {
		if address, err := netip.ParseAddr(x.Address); err == nil && x.Type == corev1.NodeInternalIP {
			return address.Unmap(), true
		}
	}
	return netip.Addr{}, false
}

// quiet returns a logger for what is told in other words elsewhere: nothing below a warning is said.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(warningsOnly{log.Handler()}) }

// warningsOnly is a handler of warnings and worse.
type warningsOnly struct{ slog.Handler }

// Enabled implements slog.Handler.
func (w warningsOnly) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}
