//go:build bench

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// burstRatio is how much longer than bare patches of the statuses all of it may take, the controller's start included.
const burstRatio = 1.5

// burst creates Services while no controller runs, starts one, and waits for the last address. Before that it writes all
// those statuses itself, and takes them back: what the API server takes. The speakers are stopped, since they would take from the
// controller and the API server what is another machine's elsewhere.
func burst(m *measurement, services int, restartLimit time.Duration) {
	m.Cleanup(func() { m.must(lab.clear(context.Background(), true)) })
	model := assignedService(m)
	for _, p := range append([]*cluster.Process{lab.controller}, lab.speakers...) {
		_, err := p.Stop(m.ctx)
		m.must(err)
	}
	bare := bareBurst(m, model, services)
	lab.settle(m.ctx)
	watch, err := lab.follow(m.ctx)
	m.must(err)
	defer watch.stop()
	begin := time.Now()
	var shown []sighting
	m.during("the controller starts and assigns", func() (err error) {
		if err = lab.startController(m.ctx); err == nil {
			shown, err = watch.awaitAddresses(m.ctx, services)
		}
		return err
	})
	usage, err := lab.controller.Usage()
	m.must(err)
	first, last := shown[0].at.Sub(begin), shown[services-1].at.Sub(begin)
	lab.settle(m.ctx)
	peak, err := lab.controller.Memory("VmHWM")
	m.must(err)
	restart := restarted(m, watch)

	size := fmt.Sprintf("%d-", services)
	ratio := last.Seconds() / bare.Seconds()
	m.value(size+"bare", "s", fmt.Sprintf("%d bare status patches, %d at a time (c)", services, clients), bare.Seconds(), show(bare), "")
	m.value(size+"first", "s", "controller started -> first EXTERNAL-IP", first.Seconds(), show(first), "")
	m.value(size+"last", "s", fmt.Sprintf("controller started -> last EXTERNAL-IP of %d (d)", services), last.Seconds(), show(last), "")
	m.value(size+"ratio", "ratio", "d / c", ratio, fmt.Sprintf("%.2f", ratio), fmt.Sprintf("at most %.1f", burstRatio))
	m.value(size+"cpu", "s", "the controller's processor time until then", usage.CPU.Seconds(), show(usage.CPU), "")
	m.value(size+"peak", "MiB", "the controller's resident memory at its peak", float64(peak)/(1<<20), mib(peak), "150 MB")
	m.value(size+"restart", "s", fmt.Sprintf("controller started with %d assigned -> the next one's EXTERNAL-IP", services), restart.Seconds(), show(restart), fmt.Sprint("at most ", restartLimit))
	if ratio > burstRatio {
		m.Errorf("%d Services at once: %.2f times as long as bare patches, want at most %.1f", services, ratio, burstRatio)
	}
}

// assignedService is a Service as the controller leaves it.
func assignedService(m *measurement) *corev1.Service {
	watch, err := lab.follow(m.ctx)
	m.must(err)
	defer watch.stop()
	const name = "model"
	m.must(lab.Client().Create(m.ctx, light(name, "")))
	shown, err := watch.awaitAddress(m.ctx, name)
	m.must(err)
	m.must(lab.Client().Delete(m.ctx, shown.Service))
	return shown.Service
}

// bareBurst creates Services and gives them the status of the model, in the same way as the controller does. It returns how
// long that took, and leaves the Services without.
func bareBurst(m *measurement, model *corev1.Service, count int) time.Duration {
	services := make([]*corev1.Service, count)
	for i := range services {
		services[i] = light(number(i), "")
	}
	m.during(fmt.Sprintf("%d Services are created", count), func() error {
		return lab.create(m.ctx, count, func(i int) client.Object { return services[i] })
	})
	patches := make([]client.Patch, count)
	for i := range patches {
		var err error
		patches[i], err = barePatch(services[i], model, i)
		m.must(err)
	}
	lab.settle(m.ctx)
	begin := time.Now()
	m.during("their statuses are written", func() error {
		return each(m.ctx, count, func(ctx context.Context, i int) error {
			return lab.Client().Status().Patch(ctx, services[i], patches[i])
		})
	})
	took := time.Since(begin)
	nothing := map[string]any{}
	for name := range model.Annotations {
		nothing[name] = nil
	}
	undo, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": nothing}, "status": map[string]any{"conditions": nil, "loadBalancer": nil}})
	m.must(err)
	m.during("... and taken back", func() error {
		return each(m.ctx, count, func(ctx context.Context, i int) error {
			return lab.Client().Status().Patch(ctx, services[i], client.RawPatch(types.MergePatchType, undo))
		})
	})
	return took
}

// restarted stops the controller, creates one more Service, starts a controller and returns how long after that the
// Service has its address.
func restarted(m *measurement, watch *follower) time.Duration {
	_, err := lab.controller.Stop(m.ctx)
	m.must(err)
	const name = "next"
	m.must(lab.Client().Create(m.ctx, light(name, "")))
	begin := time.Now()
	m.must(lab.startController(m.ctx))
	shown, err := watch.awaitAddress(m.ctx, name)
	m.must(err)
	return shown.at.Sub(begin)
}
