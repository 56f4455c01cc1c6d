package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

// StaleStatuses removes the ServiceL2Statuses of dead nodes, which cannot do so themselves. The leader runs it.
// Configure comes before the manager is made, SetUp after that.
type StaleStatuses struct {
	Log       *slog.Logger
	Namespace string

	client client.Client
	cache  cache.Cache
	upkeep upkeep
}

// staleEvery is how often stale objects are looked for at most.
const staleEvery = time.Second

// Configure adds to a manager's options what is watched: the objects of all nodes.
func (s *StaleStatuses) Configure(o *manager.Options) {
	o.Cache.ByObject[&v1beta1.ServiceL2Status{}] = cache.ByObject{Namespaces: map[string]cache.Config{s.Namespace: {}}}
}

// SetUp registers it with the manager.
func (s *StaleStatuses) SetUp(m ctrl.Manager) error {
	s.client, s.cache, s.upkeep = m.GetClient(), m.GetCache(), newUpkeep()
	return m.Add(s)
}

// Start removes what is stale until the context ends.
func (s *StaleStatuses) Start(ctx context.Context) error {
	if err := watch(ctx, s.cache, []client.Object{&v1beta1.ServiceL2Status{}, &corev1.Node{}}, s.upkeep.mark); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return s.upkeep.run(ctx, s.Log, "ServiceL2Statuses of dead nodes are not removed in full", staleEvery, s.remove)
}

// remove removes what is stale: of a node that is gone, and of one that is not Ready while a Ready one announces the same
// Service. A node that is not Ready but announces all the same writes its object again. It is to rest after each time: a node
// dies seldom, and statuses come by the thousand.
func (s *StaleStatuses) remove(ctx context.Context) (tired bool, err error) {
	var nodes corev1.NodeList
	var list v1beta1.ServiceL2StatusList
	if err := s.client.List(ctx, &nodes); err != nil {
		return true, fmt.Errorf("listing Nodes: %w", err)
	}
	if err := listAll(ctx, s.client, s.Namespace, &list); err != nil {
		return true, err
	}
	ready := map[string]bool{} // by name; absent: gone
	for i := range nodes.Items {
		ready[nodes.Items[i].Name] = nodeOf(&nodes.Items[i]).Ready
	}
	elsewhere := map[allocator.Key]bool{} // announced by a Ready node
	key := func(o *v1beta1.ServiceL2Status) allocator.Key {
		return allocator.Key{Namespace: o.Labels[v1beta1.LabelServiceNamespace], Name: o.Labels[v1beta1.LabelServiceName]}
	}
	for i := range list.Items {
		if o := &list.Items[i]; ready[o.Labels[v1beta1.LabelNode]] {
			elsewhere[key(o)] = true
		}
	}
	var errs []error
	for i := range list.Items {
		o := &list.Items[i]
		isReady, exists := ready[o.Labels[v1beta1.LabelNode]]
		if isReady || exists && !elsewhere[key(o)] {
			continue
		}
		errs = append(errs, client.IgnoreNotFound(s.client.Delete(ctx, o.DeepCopy(), client.Preconditions{UID: &o.UID})))
	}
	return true, errors.Join(errs...)
}
