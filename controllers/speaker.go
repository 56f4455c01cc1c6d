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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/members"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Announcing feeds the node's speaker from the API server. It runs on every node, without leader election.
type Announcing struct {
	Client      client.Client
	Uncached    client.Reader // for the few objects that are read once
	Events      events.EventRecorder
	Log         *slog.Logger
	Registry    prometheus.Registerer // for metrics; nil: none
	State       *ConfigurationState   // nil: none
	Namespace   string                // of the configuration objects
	Class       string                // of the Services served; "" for those without a class
	Node        string                // this node's name
	MembersPort uint16
	Links       speaker.Links
	Layer2      speaker.Layer2

	cache     cache.Cache
	dirty     chan struct{}
	metrics   *announcingMetrics
	ready     atomic.Bool // a plan was carried out in full
	policy    *policy.Policy
	config    configMetrics
	uids      map[allocator.Key]types.UID // of the Services gathered last, for Events
	announced map[told]struct{}           // what was told as announced from here
}

// told is one address of one Service. It is comparable.
type told struct {
	allocator.Key
	address netip.Addr
}

// SetUp registers the speaker with the manager.
func (a *Announcing) SetUp(m ctrl.Manager) error {
	a.dirty = make(chan struct{}, 1)
	a.metrics = newAnnouncingMetrics(a.Node)
	if a.Registry != nil {
		if err := a.Registry.Register(a.metrics); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	a.cache = m.GetCache()
	return m.Add(a)
}

// NeedLeaderElection says that every node speaks.
func (a *Announcing) NeedLeaderElection() bool { return false }

// Ready returns nil when this node has carried out a plan in full.
func (a *Announcing) Ready(*http.Request) error {
	if !a.ready.Load() {
		return errors.New("no plan has been carried out yet")
	}
	return nil
}

// mark notes that the plan is to be made anew.
func (a *Announcing) mark() {
	select {
	case a.dirty <- struct{}{}:
	default:
	}
}

// Start runs the speaker until the context ends.
func (a *Announcing) Start(ctx context.Context) error {
	err := watch(ctx, a.cache, []client.Object{
		&corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.Node{}, &v1beta1.IPAddressPool{}, &v1beta1.L2Advertisement{},
	}, a.mark)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	var address netip.Addr
	var key []byte
	err = a.await(ctx, "this node's address", func() (err error) { address, err = a.ownAddress(ctx); return err })
	if err == nil {
		err = a.await(ctx, "the speakers' common key", func() (err error) {
			key, err = readMembersKey(ctx, a.Uncached, a.Namespace)
			return err
		})
	}
	if err != nil {
		return nil // the context ended
	}
	s := &speaker.Speaker{
		Log:   a.Log,
		Links: a.Links,
		Members: members.New(members.Config{
			Log: a.Log, Node: a.Node, Address: address, Port: a.MembersPort, Key: key,
			Peers: func() map[string]netip.Addr { return a.peers(ctx) }, Changed: a.mark,
		}),
		Layer2: a.Layer2,
		Gather: a.gather,
		Report: a.report,
		Dirty:  a.dirty,
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

// peers returns the addresses of all nodes.
func (a *Announcing) peers(ctx context.Context) map[string]netip.Addr {
	var list corev1.NodeList
	if err := a.Client.List(ctx, &list); err != nil {
		return nil
	}
	out := map[string]netip.Addr{}
	for i := range list.Items {
		if address, ok := internalAddress(&list.Items[i]); ok {
			out[list.Items[i].Name] = address
		}
	}
	return out
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

// gather reads the cluster's part of the view.
func (a *Announcing) gather(ctx context.Context) (plan.View, error) {
	v := plan.View{Node: a.Node}
	// The controller logs problems of the configuration and records Events, once for the cluster.
	objects, err := announcementObjects(ctx, a.Client, a.Namespace)
	if err != nil {
		return v, err
	}
	compiled := compile(objects, a.policy)
	a.policy, v.Policy = compiled.policy, compiled.policy
	a.config = configMetricsOf(compiled.problems)
	a.State.tell(compiled.problems)
	var nodes corev1.NodeList
	if err := a.Client.List(ctx, &nodes); err != nil {
		return v, fmt.Errorf("listing Nodes: %w", err)
	}
	for i := range nodes.Items {
		v.Nodes = append(v.Nodes, nodeOf(&nodes.Items[i]))
	}
	v.Services, err = a.services(ctx)
	return v, err
}

// services returns the Services that are ours and rightfully have an address, with their endpoints.
func (a *Announcing) services(ctx context.Context) ([]plan.Service, error) {
	var list corev1.ServiceList
	if err := a.Client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing Services: %w", err)
	}
	var slices discoveryv1.EndpointSliceList
	if err := a.Client.List(ctx, &slices); err != nil {
		return nil, fmt.Errorf("listing EndpointSlices: %w", err)
	}
	var mine []*corev1.Service
	var holders []allocator.Service
	for i := range list.Items {
		if s := &list.Items[i]; ours(s, a.Class) && len(s.Status.LoadBalancer.Ingress) > 0 {
			mine = append(mine, s)
			holders = append(holders, allocator.ServiceOf(s, nil))
		}
	}
	var out []plan.Service
	at := map[allocator.Key]int{}
	a.uids = map[allocator.Key]types.UID{}
	for i, addresses := range allocator.Rightful(a.policy, holders) {
		if len(addresses) == 0 {
			continue
		}
		s := mine[i]
		key := allocator.Key{Namespace: s.Namespace, Name: s.Name}
		at[key], a.uids[key] = len(out), s.UID
		out = append(out, plan.Service{
			Namespace: s.Namespace,
			Name:      s.Name,
			Labels:    s.Labels,
			Addresses: addresses,
			Pool:      s.Annotations[allocator.AnnotationAllocatedFrom],
			Local:     s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		})
	}
	for i := range slices.Items {
		e := &slices.Items[i]
		if k, ok := at[allocator.Key{Namespace: e.Namespace, Name: e.Labels[discoveryv1.LabelServiceName]}]; ok {
			addEndpoints(&out[k], e)
		}
	}
	return out, nil
}

// addEndpoints notes the serving endpoints of a slice. An endpoint serves while it is ready or, as it terminates, still
// answers (Kubernetes: EndpointConditions; an absent value counts as true).
func addEndpoints(s *plan.Service, e *discoveryv1.EndpointSlice) {
	for _, x := range e.Endpoints {
		c := x.Conditions
		if !(c.Ready == nil || *c.Ready || c.Serving != nil && *c.Serving) {
			continue
		}
		s.Serving = true
		if x.NodeName != nil {
			s.ServingNodes = append(s.ServingNodes, *x.NodeName)
		}
	}
}

func nodeOf(n *corev1.Node) plan.Node {
	out := plan.Node{Name: n.Name, Labels: n.Labels}
	_, out.Excluded = n.Labels[corev1.LabelNodeExcludeBalancers]
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady:
			out.Ready = c.Status == corev1.ConditionTrue
		case corev1.NodeNetworkUnavailable:
			out.NetworkUnavailable = c.Status == corev1.ConditionTrue
		}
	}
	for _, t := range n.Spec.Taints {
		out.OutOfService = out.OutOfService || t.Key == corev1.TaintNodeOutOfService
	}
	return out
}

// report tells what is newly announced from this node, as an Event on the Service and in the log; what was planned but
// could not be done yet is not told.
func (a *Announcing) report(_ context.Context, p plan.Plan, failed error) {
	achieved := map[netip.Addr]struct{}{}
	for _, x := range a.Layer2.Announced() {
		achieved[x.Address] = struct{}{}
	}
	now := map[told]struct{}{}
	for _, v := range p.Verdicts {
		if _, ok := achieved[v.Address]; !ok || v.Reason != verdict.Announced {
			continue
		}
		x := told{allocator.Key{Namespace: v.Namespace, Name: v.Name}, v.Address}
		now[x] = struct{}{}
		if _, ok := a.announced[x]; ok {
			continue
		}
		a.Log.Info(v.Message, "service", x.Key.String(), "address", v.Address.String())
		record(a.Events, &corev1.ObjectReference{
			APIVersion: "v1", Kind: "Service", Namespace: v.Namespace, Name: v.Name, UID: a.uids[x.Key],
			// Tells the addresses of one Service apart: the recorder drops the message of what it takes for a repetition.
			FieldPath: fmt.Sprintf("status.loadBalancer.ingress{%s}", v.Address),
		}, corev1.EventTypeNormal, v.Reason, "Announce", v.Message)
	}
	for x := range a.announced {
		if _, ok := now[x]; !ok {
			a.Log.Info("no longer announced from this node", "service", x.Key.String(), "address", x.address.String())
		}
	}
	a.announced = now
	a.metrics.show(announces{a.config, now})
	if failed == nil {
		a.ready.Store(true)
	}
}
