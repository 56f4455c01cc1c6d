//go:build bench

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

const (
	assignments = 100
	// pause lets the cluster come to rest between two measurements.
	pause = 100 * time.Millisecond
	// firstAnswerEvery is of how many Services one is asked for its page, which takes kube-proxy a second.
	firstAnswerEvery = 10
)

// assignment creates Services one after the other and follows each until a client of the segment knows where to send to.
// After each it writes the status of another Service, which Fairlead does not serve, in the same way as the controller
// does: what the API server itself takes.
func assignment(m *measurement) {
	m.must(lab.create(m.ctx, assignments, func(i int) client.Object { return service("bare-"+number(i), otherClass) }))
	m.must(lab.create(m.ctx, assignments, func(i int) client.Object { return lab.endpoints(number(i), 0, 1, 2) }))
	m.Cleanup(func() { m.must(lab.clear(context.Background(), true)) })
	lab.settle(m.ctx)
	fmt.Fprintf(os.Stderr, "  %d Services are created one after the other, about 45 s\n", assignments)
	watch, err := lab.follow(m.ctx)
	m.must(err)
	defer watch.stop()
	segment, err := captureARP(lab.Outside())
	m.must(err)
	defer segment.stop()

	var called, created, written, seen, decided, gratuitous, answered, whole, page sample
	for i := range assignments {
		begin := time.Now()
		m.must(lab.Client().Create(m.ctx, service(number(i), "")))
		end := time.Now()
		shown, err := watch.awaitAddress(m.ctx, number(i))
		m.must(err)
		at := address(shown.Service)
		arp, err := askUntilAnswered(m.ctx, segment, at)
		m.must(err)
		called = append(called, shown.at.Sub(begin))
		created = append(created, shown.at.Sub(end))
		gratuitous = append(gratuitous, arp.gratuitous.Sub(shown.at))
		answered = append(answered, arp.answer.Sub(shown.at))
		whole = append(whole, arp.gratuitous.Sub(begin))
		assignedAt, err := time.Parse(time.RFC3339Nano, shown.Annotations["fairlead.io/assigned-at"])
		m.must(err)
		decided = append(decided, assignedAt.Sub(begin))
		if i%firstAnswerEvery == 0 {
			first, err := firstAnswer(m.ctx, at)
			m.must(err)
			page = append(page, first.Sub(begin))
		}
		time.Sleep(pause)

		began, returned, shownBare, err := bareWrite(m.ctx, watch, "bare-"+number(i), shown.Service, i)
		m.must(err)
		written = append(written, returned.Sub(began))
		seen = append(seen, shownBare.Sub(began))
		time.Sleep(pause)
	}

	ratio := float64(created.median()) / float64(seen.median())
	m.durations("assignment", "create call returned -> watch shows EXTERNAL-IP (a)", created, 0.99, "")
	m.durations("assignment-from-call", "create call begun -> watch shows EXTERNAL-IP", called, 0.99, "")
	m.durations("decision", "create call begun -> controller decided (assigned-at)", decided, 0.99, "")
	m.durations("bare-patch-seen", "bare status patch begun -> watch shows it (b)", seen, 0.99, "")
	m.durations("bare-patch", "bare status patch, the call alone", written, 0.99, "")
	m.value("assignment", "bare-patches", "medians a / b", ratio, fmt.Sprintf("%.2f", ratio), "<= 3, or fails")
	m.durations("gratuitous-arp", "watch shows EXTERNAL-IP -> first gratuitous ARP", gratuitous, 0.99, "<= 50 ms, fails over 500 ms")
	m.durations("arp-answer", "watch shows EXTERNAL-IP -> first ARP answer", answered, 0.99, "")
	m.durations("created-to-arp", "create call begun -> first gratuitous ARP", whole, 0.99, "")
	m.durations("created-to-page", "create call begun -> first page through it", page, 0.99, "")
	if ratio > 3 {
		m.Errorf("a Service has its address %s after it was created, %.1f times what a bare status patch takes (%s); at most 3 times is allowed", show(created.median()), ratio, show(seen.median()))
	}
	if limit := 500 * time.Millisecond; gratuitous.median() > limit {
		m.Errorf("the first gratuitous ARP comes %s after the address was written, more than %s", show(gratuitous.median()), show(limit))
	}
}

// askUntilAnswered asks the segment for an address once a millisecond until somebody answers, and waits for a gratuitous
// packet too.
func askUntilAnswered(ctx context.Context, segment *capture, address netip.Addr) (arrivals, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(10 * time.Second); ; {
		a, err := segment.arrivals(address)
		if err != nil {
			return a, err
		}
		if !a.answer.IsZero() && !a.gratuitous.IsZero() {
			return a, nil
		}
		if time.Now().After(limit) {
			return a, fmt.Errorf("%s: answered at %v, gratuitous ARP at %v", address, a.answer, a.gratuitous)
		}
		if a.answer.IsZero() {
			if err := segment.ask(address); err != nil {
				return a, err
			}
		}
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-tick.C:
		}
	}
}

// firstAnswer returns when a client outside gets a page from the address for the first time.
func firstAnswer(ctx context.Context, address netip.Addr) (time.Time, error) {
	probe := lab.Outside().Probe(cluster.URL(address, port), 20*time.Millisecond, 200*time.Millisecond)
	defer probe.Stop()
	for limit := time.Now().Add(20 * time.Second); probe.Answered() == 0; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil || time.Now().After(limit) {
			return time.Time{}, fmt.Errorf("no page from %s: %w", address, probe.Report().LastError)
		}
	}
	return time.Now(), nil
}

// bareWrite writes to a Service what the controller wrote to another one: annotations, condition and address in one
// patch under the same preconditions. It returns when the call began and ended, and when the watch showed the address.
func bareWrite(ctx context.Context, watch *follower, name string, model *corev1.Service, i int) (began, returned, shown time.Time, err error) {
	s := &corev1.Service{}
	if err = lab.Client().Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
		return
	}
	patch, err := barePatch(s, model, i)
	if err != nil {
		return
	}
	began = time.Now()
	if err = lab.Client().Status().Patch(ctx, s, patch); err != nil {
		return
	}
	returned = time.Now()
	seen, err := watch.awaitAddress(ctx, name)
	return began, returned, seen.at, err
}

// barePatch is the patch that gives a Service the status of the model, but an address of its own outside every pool.
func barePatch(s, model *corev1.Service, i int) (client.Patch, error) {
	ingress := model.Status.LoadBalancer.Ingress[0]
	ingress.IP = netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)}).String()
	b, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": s.UID, "resourceVersion": s.ResourceVersion, "annotations": model.Annotations},
		"status": map[string]any{
			"conditions":   model.Status.Conditions,
			"loadBalancer": map[string]any{"ingress": []corev1.LoadBalancerIngress{ingress}},
		},
	})
	return client.RawPatch(types.MergePatchType, b), err
}
