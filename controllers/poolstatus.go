package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

// writeCounters patches the status of each IPAddressPool whose counters changed. A pool that changed meanwhile is left to
// the next pass, which its change brings.
func (a *Allocation) writeCounters(ctx context.Context, pools []v1beta1.IPAddressPool, usage []allocator.Usage) error {
	counters := make(map[string]v1beta1.IPAddressPoolStatus, len(usage))
	for i := range usage {
		counters[usage[i].Pool] = countersOf(&usage[i])
	}
	pending := map[types.UID]*v1beta1.IPAddressPool{}
	var errs []error
	for i := range pools {
		pool := &pools[i]
		if own, ok := a.counted[pool.UID]; ok && older(pool.ResourceVersion, own.ResourceVersion) {
			pool, pending[pool.UID] = own, own
		}
		want := counters[pool.Name]
		if pool.Status == want {
			continue
		}
		own, err := a.patchCounters(ctx, pool, want)
		switch {
		case apierrors.IsConflict(err), apierrors.IsNotFound(err):
			a.Log.Debug("the IPAddressPool changed before its status was written", "pool", pool.Name)
		case err != nil:
			errs = append(errs, fmt.Errorf("writing the status of IPAddressPool %q: %w", pool.Name, err))
		default:
			pending[pool.UID] = own
		}
	}
	a.counted = pending
	return errors.Join(errs...)
}

func countersOf(u *allocator.Usage) v1beta1.IPAddressPoolStatus {
	return v1beta1.IPAddressPoolStatus{
		AssignedIPv4: u.IPv4.Assigned, AvailableIPv4: u.IPv4.Available,
		AssignedIPv6: u.IPv6.Assigned, AvailableIPv6: u.IPv6.Available,
	}
}

// patchCounters writes the counters of one pool, provided that it is as it was read, and returns what it is then.
func (a *Allocation) patchCounters(ctx context.Context, pool *v1beta1.IPAddressPool, counters v1beta1.IPAddressPoolStatus) (*v1beta1.IPAddressPool, error) {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pool.UID, "resourceVersion": pool.ResourceVersion},
		"status":   counters,
	})
	if err != nil {
		return nil, err
	}
	out := &v1beta1.IPAddressPool{}
	out.Namespace, out.Name = pool.Namespace, pool.Name
	return out, a.underLease(ctx, func(ctx context.Context) error {
		return a.Client.Status().Patch(ctx, out, client.RawPatch(types.MergePatchType, patch))
	})
}
