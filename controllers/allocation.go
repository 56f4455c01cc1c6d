// Package controllers connects the pure core to the Kubernetes API: it watches, gathers values, asks the core what is
// to be, and writes that. It holds all code that knows controller-runtime, and decides nothing itself.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/internal/watchdog"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/policy"
)

// Allocation gives every LoadBalancer Service its address. Whatever changes only means that everything is decided
// anew, for all Services at once; one worker does it, so that no two decisions overlap.
type Allocation struct {
	Client      client.Client
	Uncached    client.Reader // asks the API server itself
	Lease       *Lease        // nil where there is no election
	Events      events.EventRecorder
	Log         *slog.Logger
	Registry    prometheus.Registerer // for metrics; nil: none
	State       *ConfigurationState   // nil: none
	Programmers *Programmers          // nil: there are none, and kube-proxy serves all Services
	Namespace   string                // of the configuration objects
	Class       string                // of the Services served; "" for those without a class
	OrphanGrace time.Duration         // how long a Service keeps an address that is in no pool any more and cannot be replaced
	Writers     int                   // how many statuses are written at the same time, at least 1
	Now         func() time.Time
	// ServiceNodePorts is the API server's own range of node ports.
	ServiceNodePorts portrange.Range

	watchdog     *watchdog.Watchdog
	metrics      *allocationMetrics
	telling      *telling
	serviceCIDRs bool                                     // the API server has objects of this kind
	synced       atomic.Bool                              // the informers have shown everything once
	leads        bool                                     // in this term the cache was caught up
	term         int                                      // of the lease
	policy       *policy.Policy                           // last compiled, so that bad objects keep their last good value
	problems     problemLog                               // what was told
	waiting      map[types.UID]time.Time                  // since when Services have been seen without an address
	written      map[types.NamespacedName]*corev1.Service // own writes that the informer has not shown yet
	counted      map[types.UID]*v1beta1.IPAddressPool     // the same
}

// everything is the one thing that is ever queued.
var everything = []reconcile.Request{{}}

// enqueueEverything answers any watch event.
func enqueueEverything(context.Context, client.Object) []reconcile.Request { return everything }

// passLimit is longer than any pass takes: one for 10,000 Services takes under 30 s, and each write ends by itself.
const passLimit = 3 * time.Minute

// maxRetryDelay bounds how long a failed pass waits for the next try, where no change comes first.
const maxRetryDelay = 10 * time.Second

// SetUp registers the controller with the manager; it decides on the leader only, but all replicas watch, so that the next
// leader can begin at once.
func (a *Allocation) SetUp(m ctrl.Manager) error {
	a.start()
	if a.Registry != nil {
		if err := a.Registry.Register(a.metrics); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	b := ctrl.NewControllerManagedBy(m).Named("allocation").WithOptions(controller.Options{
		MaxConcurrentReconciles: 1,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, maxRetryDelay),
	})
	kinds := []client.Object{
		&corev1.Service{}, &corev1.Namespace{}, &v1beta1.IPAddressPool{}, &v1beta1.L2Advertisement{},
		&v1beta2.BGPPeer{}, &v1beta1.BGPAdvertisement{}, &v1beta1.BFDProfile{}, &v1beta1.Community{},
		&v1alpha1.AddressPolicy{}, &v1alpha1.AddressReservation{}, &v1alpha1.AddressClaim{}, &v1alpha1.NodePortRange{},
	}
	for _, o := range kinds {
		b = b.Watches(o, handler.EnqueueRequestsFromMapFunc(enqueueEverything))
	}
	kinds = append(kinds, &corev1.Node{})
	b = b.Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(enqueueEverything), builder.WithPredicates(nodesChange()))
	kinds = append(kinds, a.Programmers.watches(b)...)
	var err error
	if a.serviceCIDRs, err = servesServiceCIDRs(m.GetRESTMapper()); err != nil {
		return err
	}
	if a.serviceCIDRs {
		kinds = append(kinds, &networkingv1.ServiceCIDR{})
		b = b.Watches(&networkingv1.ServiceCIDR{}, handler.EnqueueRequestsFromMapFunc(enqueueEverything))
	}
	return errors.Join(b.Complete(a), m.AddHealthzCheck("allocation", a.watchdog.Check), m.Add(everywhere(a.telling.run)), m.Add(everywhere(func(ctx context.Context) error {
		if err := watch(ctx, m.GetCache(), kinds, nil); err != nil {
			return err
		}
		a.synced.Store(true)
		return nil
	})))
}

// start makes what the passes keep between them.
func (a *Allocation) start() {
	a.metrics, a.telling = newAllocationMetrics(), newTelling()
	a.watchdog = watchdog.New("the allocation", passLimit)
	a.written = map[types.NamespacedName]*corev1.Service{}
}

// Ready returns nil when the informers have shown everything once, whether this replica leads or not.
func (a *Allocation) Ready(*http.Request) error {
	if !a.synced.Load() {
		return errors.New("not everything has been listed yet")
	}
	return nil
}

// everywhere is what the manager runs on every replica.
type everywhere func(context.Context) error

// Start calls the function; that it was interrupted is no error.
func (f everywhere) Start(ctx context.Context) error {
	if err := f(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

// NeedLeaderElection says that no leader is needed.
func (everywhere) NeedLeaderElection() bool { return false }

// Reconcile decides for all Services and writes what is not so yet.
func (a *Allocation) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if err := a.lead(ctx); err != nil {
		return reconcile.Result{}, err
	}
	defer a.watchdog.Step()()
	objects, err := configurationObjects(ctx, a.Client, a.Namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	objects.ServiceNodePorts = a.ServiceNodePorts
	compiled := compile(objects, a.policy)
	claims, claimed, strange, err := addressClaims(ctx, a.Client, a.Namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	compiled.add(strange)
	a.policy = compiled.policy
	a.State.tell(compiled.problems)
	networks, err := clusterNetworks(ctx, a.Client, a.serviceCIDRs)
	if err != nil {
		return reconcile.Result{}, err
	}
	compiled.problems = append(compiled.problems, a.policy.Overlaps(networks)...)
	a.problems.tell(compiled, a.Log, a.Events)

	services, err := a.observe(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	namespaces, err := namespaceLabels(ctx, a.Client)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := a.Now()
	programmed, err := a.Programmers.view(ctx, a.policy, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	p := a.pass(services, claims, namespaces, programmed, now)
	if err := a.nodePorts(ctx, services, namespaces, &p, now); err != nil {
		return reconcile.Result{}, err
	}
	usage := allocator.UsageOf(a.policy, p.outcome.Decisions)
	a.metrics.show(allocated{configMetricsOf(compiled.problems), usage, p.pending})
	err = errors.Join(a.carryOut(ctx, p, objects, claimed, usage), a.Programmers.complaints(ctx, services, a.record))
	var again time.Duration
	if at := sooner(p.outcome.RecheckAt, p.settles); !at.IsZero() {
		again = max(at.Sub(a.Now()), time.Millisecond)
	}
	return reconcile.Result{RequeueAfter: again}, err
}

// carryOut writes what a pass decided: the claims first, since a status may show an address only after the claim that it
// needs was written. It goes on past a failing write, unless this replica may not write any more.
func (a *Allocation) carryOut(ctx context.Context, p pass, objects policy.Objects, claimed map[netip.Addr]*v1alpha1.AddressClaim, usage []allocator.Usage) error {
	changes := p.changes
	var errs []error
	for _, write := range []func() error{
		func() error {
			unclaimed, err := a.writeClaims(ctx, p.outcome.Claims, claimed)
			changes = withoutThoseOf(changes, unclaimed)
			return err
		},
		func() error { return a.write(ctx, changes) },
		func() error { return a.writeCounters(ctx, objects.Pools, usage) },
		func() error { return a.writePolicies(ctx, objects.AddressPolicies) },
		func() error { return a.writeReservations(ctx, objects.AddressReservations, p.outcome.Bindings) },
		func() error { return a.writeNodePortRanges(ctx, objects.NodePortRanges, p.ports) },
	} {
		err := write()
		if errors.Is(err, errLease) {
			return errLease // said once, whatever else failed
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// pass is what one pass decided.
type pass struct {
	outcome allocator.Outcome
	changes []change
	ports   []allocator.NodePortUsage // of the policy's NodePortRanges; none where nobody asks
	pending map[verdict.Reason]int    // how many Services have no address
	settles time.Time                 // when the first address is there long enough to be served by IPVS, or time alone changes node ports; zero: never
}

// sooner returns the earlier one of two times; a zero one does not count.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// pass decides for all Services.
func (a *Allocation) pass(services []*corev1.Service, claims []allocator.Claim, namespaces map[string]map[string]string, programmed *mode.View, now time.Time) pass {
	var mine []*corev1.Service
	var requests []allocator.Service
	out := pass{pending: map[verdict.Reason]int{}}
	for _, s := range services {
		switch {
		case ours(s, a.Class):
			mine = append(mine, s)
			requests = append(requests, allocator.ServiceOf(s, namespaces[s.Namespace]))
		case s.Spec.Type != corev1.ServiceTypeLoadBalancer:
			if c, ok := release(s); ok {
				out.changes = append(out.changes, c)
			}
		}
	}
	out.outcome = allocator.Decide(allocator.View{Policy: a.policy, Services: requests, Claims: claims, Now: now, OrphanGrace: a.OrphanGrace})
	waiting := map[types.UID]time.Time{}
	modes := mode.NewDecider(programmed)
	for i, d := range out.outcome.Decisions {
		s := mine[i]
		if s.DeletionTimestamp != nil {
			continue // it keeps what it has until it is gone
		}
		if len(requests[i].Held) == 0 {
			waiting[s.UID] = now
			if since, ok := a.waiting[s.UID]; ok {
				waiting[s.UID] = since
			}
		}
		if len(d.Addresses) == 0 {
			out.pending[d.Reason]++
		}
		served := modeOf(s, &requests[i], &d)
		dataplane := modes.Decide(&served)
		out.settles = sooner(out.settles, dataplane.Settles)
		if c, ok := assign(s, d, dataplane, now); ok {
			if len(d.Addresses) > 0 {
				c.since = waiting[s.UID]
			}
			for k := range d.Lost {
				to := slices.IndexFunc(requests, func(r allocator.Service) bool { return r.Key == d.Lost[k].To })
				c.more = append(c.more, about{mine[to], tellHolder(s, d.Lost[k])})
			}
			out.changes = append(out.changes, c)
		}
	}
	a.waiting = waiting
	return out
}

// observe lists the Services as they are now: as the informer shows them, or as an own write left them where the
// informer is behind. Without that, an address just written could be given a second time.
func (a *Allocation) observe(ctx context.Context) ([]*corev1.Service, error) {
	var list corev1.ServiceList
	if err := a.Client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing Services: %w", err)
	}
	out := make([]*corev1.Service, len(list.Items))
	pending := make(map[types.NamespacedName]*corev1.Service, len(a.written))
	for i := range list.Items {
		s := &list.Items[i]
		key := client.ObjectKeyFromObject(s)
		if own, ok := a.written[key]; ok && own.UID == s.UID && older(s.ResourceVersion, own.ResourceVersion) {
			pending[key] = own
			s = own
		}
		out[i] = s
	}
	a.written = pending
	return out, nil
}

// older says whether the first resource version comes before the second.
func older(a, b string) bool {
	c, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && c < 0
}

// write patches the statuses, some at a time. A Service that changed meanwhile is left to the next pass, which its
// change brings; a deleted one needs nothing.
func (a *Allocation) write(ctx context.Context, changes []change) error {
	if len(changes) > a.Writers {
		a.telling.quiet.Lock()
		defer a.telling.quiet.Unlock()
	}
	var g errgroup.Group
	g.SetLimit(a.Writers)
	results := make([]*corev1.Service, len(changes))
	errs := make([]error, len(changes))
	for i, c := range changes {
		g.Go(func() error {
			results[i], errs[i] = a.patch(ctx, c)
			return nil
		})
	}
	_ = g.Wait()
	for _, s := range results {
		if s != nil {
			a.written[client.ObjectKeyFromObject(s)] = s
		}
	}
	if slices.Contains(errs, errLease) {
		return errLease // said once, whatever else failed
	}
	return errors.Join(errs...)
}

// patch writes one change and tells it; it returns the Service as it is now, or nil where the change came too late.
func (a *Allocation) patch(ctx context.Context, c change) (*corev1.Service, error) {
	key := allocator.Key{Namespace: c.service.Namespace, Name: c.service.Name}
	// The answer is asked for without spec and status: those are known.
	answer := &metav1.PartialObjectMetadata{}
	answer.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Service"))
	answer.Namespace, answer.Name = key.Namespace, key.Name
	err := a.underLease(ctx, func(ctx context.Context) error {
		return a.Client.Status().Patch(ctx, answer, client.RawPatch(types.MergePatchType, c.patch()))
	})
	switch {
	case errors.Is(err, errLease):
		return nil, errLease
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		a.Log.Debug("the Service changed before its status was written", "service", key.String())
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("writing the status of Service %s: %w", key, err)
	}
	s := &corev1.Service{ObjectMeta: answer.ObjectMeta, Spec: c.service.Spec, Status: c.after}
	if _, err := stripService(s); err != nil {
		return nil, err
	}
	if !c.since.IsZero() {
		a.metrics.assigned(a.Now().Sub(c.since))
	}
	if c.event != nil {
		if c.event.kind == corev1.EventTypeWarning {
			a.metrics.failed(c.event.Reason)
		}
		a.record(s, *c.event)
	}
	for _, x := range c.more {
		a.record(x.service, x.event)
	}
	return s, nil
}

// record logs an Event on a Service and sends it in its turn.
func (a *Allocation) record(s *corev1.Service, e event) {
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion}
	a.telling.tell(func() { record(a.Events, about, e.kind, e.Reason, "Allocate", e.Message) })
	a.Log.Info(e.Message, "service", s.Namespace+"/"+s.Name, "reason", e.Reason)
}
