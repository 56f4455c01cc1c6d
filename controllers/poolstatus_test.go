package controllers

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

// firstPool returns the bench's pool as the API server has it.
func (b *bench) firstPool() *v1beta1.IPAddressPool {
	b.t.Helper()
	var pool v1beta1.IPAddressPool
	if err := b.Client.Get(context.Background(), client.ObjectKey{Namespace: "metallb-system", Name: "first-pool"}, &pool); err != nil {
		b.t.Fatal(err)
	}
	return &pool
}

func TestPoolCounters(t *testing.T) {
	b := newBench(t, services(3)...)
	passes := func(want v1beta1.IPAddressPoolStatus) {
		t.Helper()
		if err := b.pass(); err != nil {
			t.Fatal(err)
		}
		if got := b.firstPool().Status; got != want {
			t.Errorf("the counters are %+v, want %+v", got, want)
		}
	}
	passes(v1beta1.IPAddressPoolStatus{AssignedIPv4: 3, AvailableIPv4: 47})

	// Nothing changed: nothing is written, even where the cache does not show the own write yet.
	version := b.firstPool().ResourceVersion
	passes(v1beta1.IPAddressPoolStatus{AssignedIPv4: 3, AvailableIPv4: 47})
	behind := b.firstPool()
	behind.Status, behind.ResourceVersion = v1beta1.IPAddressPoolStatus{}, "1"
	usage := []allocator.Usage{{Pool: "first-pool", IPv4: allocator.Count{Assigned: 3, Available: 47}}}
	b.counted = map[types.UID]*v1beta1.IPAddressPool{behind.UID: b.firstPool()}
	for range 2 {
		if err := b.writeCounters(context.Background(), []v1beta1.IPAddressPool{*behind}, usage); err != nil || b.firstPool().ResourceVersion != version {
			t.Errorf("an own write counts for nothing: written again, %v", err)
		}
	}
	// A pool that somebody changed meanwhile is left to the next pass.
	b.counted = nil
	usage[0].IPv4.Assigned = 9
	if err := b.writeCounters(context.Background(), []v1beta1.IPAddressPool{*behind}, usage); err != nil || b.firstPool().ResourceVersion != version {
		t.Errorf("a pool that changed meanwhile was written: %v", err)
	}

	// Deleting a Service frees its address; a larger pool has more.
	if err := b.Client.Delete(context.Background(), services(1)[0]); err != nil {
		t.Fatal(err)
	}
	passes(v1beta1.IPAddressPoolStatus{AssignedIPv4: 2, AvailableIPv4: 48})
	if err := b.Client.Patch(context.Background(), b.firstPool(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"addresses":["172.25.254.0/24","fd00::/120"],"avoidBuggyIPs":true}}`))); err != nil {
		t.Fatal(err)
	}
	passes(v1beta1.IPAddressPoolStatus{AssignedIPv4: 2, AvailableIPv4: 252, AvailableIPv6: 256})
}
