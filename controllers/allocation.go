// Package controllers connects the pure core to the Kubernetes API: it watches, gathers values, asks the core what is
// to be, and writes that. It holds all code that knows controller-runtime, and decides nothing itself.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/policy"
)

// Allocation gives every LoadBalancer Service its address. Whatever changes only means that everything is decided
// anew, for all Services at once; one worker does it, so that no two decisions overlap.
type Allocation struct {
	Client    client.Client
	Events    events.EventRecorder
	Log       *slog.Logger
	Namespace string // of the configuration objects
	Class     string // of the Services served; "" for those without a class
	Writers   int    // how many statuses are written at the same time, at least 1
	Now       func() time.Time

	policy   *policy.Policy                          // last compiled, so that bad objects keep their last good value
	problems problemLog                              // what was told
	written  map[types.NamespacedName]corev1.Service // own writes that the informer has not shown yet
}

// everything is the one thing that is ever queued.
var everything = []reconcile.Request{{}}

// enqueueEverything answers any watch event.
func enqueueEverything(context.Context, client.Object) []reconcile.Request { return everything }

// maxRetryDelay bounds how long a failed pass waits for the next try, where no change comes first.
const maxRetryDelay = 10 * time.Second

// SetUp registers the controller with the manager; it runs on the leader only.
func (a *Allocation) SetUp(m ctrl.Manager) error {
	a.written = map[types.NamespacedName]corev1.Service{}
	b := ctrl.NewControllerManagedBy(m).Named("allocation").WithOptions(controller.Options{
		MaxConcurrentReconciles: 1,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, maxRetryDelay),
	})
	for _, o := range []client.Object{&corev1.Service{}, &corev1.Namespace{}, &v1beta1.IPAddressPool{}, &v1beta1.L2Advertisement{}} {
		b = b.Watches(o, handler.EnqueueRequestsFromMapFunc(enqueueEverything))
	}
	return b.Complete(a)
}

// Reconcile decides for all Services and writes what is not so yet.
func (a *Allocation) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	compiled, err := compile(ctx, a.Client, a.Namespace, a.policy)
	if err != nil {
		return reconcile.Result{}, err
	}
	a.policy = compiled.policy
	a.problems.tell(compiled, a.Log, a.Events)

	services, err := a.observe(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	namespaces, err := namespaceLabels(ctx, a.Client)
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, a.write(ctx, a.changes(services, namespaces))
}

// changes decides for all Services and returns what is to be written.
func (a *Allocation) changes(services []*corev1.Service, namespaces map[string]map[string]string) []change {
	var mine []*corev1.Service
	var requests []allocator.Service
	var out []change
	for _, s := range services {
		switch {
		case ours(s, a.Class):
			mine = append(mine, s)
			requests = append(requests, allocator.ServiceOf(s, namespaces[s.Namespace]))
		case s.Spec.Type != corev1.ServiceTypeLoadBalancer:
			if c, ok := release(s); ok {
				out = append(out, c)
			}
		}
	}
	for i, d := range allocator.Decide(a.policy, requests) {
		if mine[i].DeletionTimestamp != nil {
			continue // it keeps what it has until it is gone
		}
		if c, ok := assign(mine[i], d, a.Now()); ok {
			out = append(out, c)
		}
	}
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
	pending := make(map[types.NamespacedName]corev1.Service, len(a.written))
	for i := range list.Items {
		s := &list.Items[i]
		key := client.ObjectKeyFromObject(s)
		if own, ok := a.written[key]; ok && own.UID == s.UID && older(s.ResourceVersion, own.ResourceVersion) {
			pending[key] = own
			s = &own
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
			a.written[client.ObjectKeyFromObject(s)] = *s
		}
	}
	return errors.Join(errs...)
}

// patch writes one change and tells it; it returns the Service as it is now, or nil where the change came too late.
func (a *Allocation) patch(ctx context.Context, c change) (*corev1.Service, error) {
	key := allocator.Key{Namespace: c.service.Namespace, Name: c.service.Name}
	s := &corev1.Service{}
	s.Namespace, s.Name = key.Namespace, key.Name
	err := a.Client.Status().Patch(ctx, s, client.RawPatch(types.MergePatchType, c.patch))
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		a.Log.Debug("the Service changed before its status was written", "service", key.String())
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("writing the status of Service %s: %w", key, err)
	}
	if _, err := stripService(s); err != nil {
		return nil, err
	}
	if c.event != nil {
		record(a.Events, s, c.event.kind, c.event.Reason, "Allocate", c.event.Message)
		a.Log.Info(c.event.Message, "service", key.String(), "reason", c.event.Reason)
	}
	return s, nil
}
