package controllers

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"

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
		own := &v1beta1.IPAddressPool{}
		if ok, err := a.patchStatus(ctx, pool, own, want); err != nil {
			errs = append(errs, err)
		} else if ok {
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
