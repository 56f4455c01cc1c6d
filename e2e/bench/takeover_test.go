//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

const (
	takeOvers = 20 // of each kind
	// atOnce is how many Services of many are created before the next ones.
	atOnce = 200
	// askEvery is how often the client asks; shorter gaps than this cannot be seen.
	askEvery = 20 * time.Millisecond
	// patience is how long it waits for an answer, less than a second, after which its kernel would try again.
	patience = 200 * time.Millisecond
	// steady is how many answers show that an address works; they take longer than patience.
	steady = 50
)

// takeOver lets the node die that announces an address, and then its speaker stop, some times each, while a client
// outside goes on asking through new connections. The Service's pods are on the other nodes.
func takeOver(m *measurement) {
	m.Cleanup(func() { m.must(lab.clear(context.Background(), true)) })
	at, node := lab.watchedService(m, "take-over", corev1.IPv4Protocol)
	m.durations("node-killed", "node killed: longest gap of a client that asks every 20 ms", lab.deaths(m, at, node, takeOvers, 0), 1, "median <= 0.7 s, worst <= 1.5 s")
	var stopped, stopping sample
	failed, asked := 0, 0
	for i := range takeOvers / 2 {
		m.during(fmt.Sprintf("the speaker stops, %d of %d", i+1, takeOvers/2), func() error {
			report, err := lab.interrupt(m.ctx, at, func() error {
				took, err := lab.speakers[node].Stop(m.ctx)
				stopping = append(stopping, took)
				return err
			})
			stopped = append(stopped, report.Gap)
			failed += report.Asked - report.Answered
			asked += report.Asked
			return errors.Join(err, lab.bringBack(m.ctx, at, node))
		})
	}
	m.durations("speaker-stopped", "speaker stopped: longest gap", stopped, 1, "")
	m.value("speaker-stopped", "failed-requests", fmt.Sprintf("speaker stopped: failed requests, of %d", asked), float64(failed), fmt.Sprint(failed), "0")
	m.durations("speaker-stop", "speaker stopped: SIGTERM -> end of the process", stopping, 1, "<= 2 s")
}

// takeOver6 lets the node die that announces an IPv6 address.
func takeOver6(m *measurement) {
	m.Cleanup(func() { m.must(lab.clear(context.Background(), true)) })
	at, node := lab.watchedService(m, "take-over-6", corev1.IPv6Protocol)
	m.durations("node-killed-6", "node killed: longest gap of a client over IPv6", lab.deaths(m, at, node, takeOvers, 0), 1, "median <= 0.7 s, worst <= 1.5 s")
}

// takeOverMany lets the node die that announces the address which a client asks at, and n more.
func takeOverMany(m *measurement, n int) {
	m.Cleanup(func() { m.must(lab.clear(context.Background(), true)) })
	at, node := lab.watchedService(m, "take-over", corev1.IPv4Protocol)
	m.Cleanup(func() { m.must(lab.Apply(context.Background(), configuration)) })
	m.during(fmt.Sprintf("%d addresses more come to the node", n), func() error { return lab.load(m.ctx, node, n) })
	gaps := lab.deaths(m, at, node, takeOvers, n+1)
	m.durations(fmt.Sprintf("node-killed-%d", n), fmt.Sprintf("node killed that announces %d addresses more: longest gap", n), gaps, 1, "median <= 0.7 s, worst <= 1.5 s")
}

// watchedService makes a Service whose pods are not on the node that announces it, and returns its address and that node.
func (l *installation) watchedService(m *measurement, name string, family corev1.IPFamily) (netip.Addr, int) {
	watch, err := l.follow(m.ctx)
	m.must(err)
	defer watch.stop()
	slice := l.endpoints(name, 0, 1, 2)
	l.familyOf(slice, family, 0, 1, 2)
	m.must(l.Client().Create(m.ctx, slice))
	s := service(name, "")
	s.Spec.IPFamilies = []corev1.IPFamily{family}
	m.must(l.Client().Create(m.ctx, s))
	shown, err := watch.awaitAddress(m.ctx, name)
	m.must(err)
	at := address(shown.Service)
	time.Sleep(repeats) // speakers that just started settle first
	node, err := l.announcer(m.ctx, at)
	m.must(err)
	others := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == node })
	with := l.endpoints(name, others...)
	l.familyOf(with, family, others...)
	patch := client.MergeFrom(slice.DeepCopy())
	slice.Endpoints = with.Endpoints
	m.must(l.Client().Patch(m.ctx, slice, patch))
	m.must(awaitPods(m.ctx, at, others))
	return at, node
}

// familyOf makes an EndpointSlice one of the family.
func (l *installation) familyOf(e *discoveryv1.EndpointSlice, family corev1.IPFamily, nodes ...int) {
	if family == corev1.IPv6Protocol {
		e.AddressType = discoveryv1.AddressTypeIPv6
		for i, node := range nodes {
			e.Endpoints[i].Addresses = []string{l.pods[node].IPv6.String()}
		}
	}
}

// deaths lets a node die some times, when it announces at least that many addresses, and returns for how long the client had
// no answer.
func (l *installation) deaths(m *measurement, at netip.Addr, node, times, addresses int) (gaps sample) {
	for i := range times {
		m.must(l.holds(m.ctx, node, addresses))
		time.Sleep(repeats) // the node is no newcomer any more: its heartbeats are heard, its first announcements are over
		m.must(l.awaitAt(m.ctx, at, node))
		m.during(fmt.Sprintf("the node dies, %d of %d", i+1, times), func() error {
			report, err := l.interrupt(m.ctx, at, func() error {
				return errors.Join(l.Cut(m.ctx, node), l.speakers[node].Kill())
			})
			gaps = append(gaps, report.Gap)
			fmt.Fprintf(os.Stderr, "  no answer for %s\n", show(report.Gap))
			return errors.Join(err, l.heal(m.ctx, node), l.bringBack(m.ctx, at, node))
		})
	}
	return gaps
}

// load makes a node announce n addresses more, and waits until it does.
func (l *installation) load(ctx context.Context, node, n int) error {
	err := l.Apply(ctx, fmt.Sprintf(`
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: pool, namespace: metallb-system}
spec:
  ipAddressPools: [pool]
  preferredNodeSelectors: [{weight: 100, preference: {matchLabels: {kubernetes.io/hostname: %s}}}]
`, l.Node(node).Name))
	if err != nil {
		return err
	}
	for from := 0; from < n; from += atOnce { // not all at once: three nodes and a control plane share one machine
		more := min(atOnce, n-from)
		err := errors.Join(
			l.create(ctx, more, func(i int) client.Object { return l.lightEndpoints(number(from + i)) }),
			l.create(ctx, more, func(i int) client.Object { return light(number(from+i), "") }),
			l.holds(ctx, node, from+more))
		if err != nil {
			return err
		}
	}
	return nil
}

// holds waits until a node announces at least n addresses. A controller that lost its lease, as on a machine that is too
// busy, ends; it is started again, as a kubelet would.
func (l *installation) holds(ctx context.Context, node, n int) error {
	return cluster.Eventually(ctx, 2*time.Minute, func() error {
		if !l.controller.Running() {
			fmt.Fprintf(os.Stderr, "  the controller ended, and is started again: %s\n", l.controller.Tail(1))
			if err := l.startController(ctx); err != nil {
				return err
			}
		}
		text, err := l.Metrics(ctx, l.speakers[node])
		if err != nil {
			return err
		}
		if has := len(parseCounts(text, "metallb_layer2_gratuitous_sent")); has < n {
			return fmt.Errorf("it announces %d of %d", has, n)
		}
		return nil
	})
}

// announcer waits until one node alone answers for an address, and returns it.
func (l *installation) announcer(ctx context.Context, address netip.Addr) (node int, err error) {
	err = cluster.Eventually(ctx, 30*time.Second, func() error {
		who, err := l.Outside().WhoHas(ctx, address, 200*time.Millisecond)
		if err != nil {
			return err
		}
		if len(who) != 1 {
			return fmt.Errorf("%d hosts answer for %s: %v", len(who), address, who)
		}
		node = slices.Index(l.Nodes(), l.HostOf(who[0]))
		if node < 0 {
			return fmt.Errorf("%s answers for %s, which is no node", who[0], address)
		}
		return nil
	})
	return node, err
}

// awaitPods waits until only the pods of these nodes answer at an address.
func awaitPods(ctx context.Context, address netip.Addr, nodes []int) error {
	return cluster.Eventually(ctx, 30*time.Second, func() error {
		probe := lab.Outside().Probe(cluster.URL(address, port), askEvery, patience)
		time.Sleep(steady * askEvery)
		report := probe.Stop()
		if report.Answered < steady/2 || report.Answered < report.Asked || len(report.By) != len(nodes) {
			return fmt.Errorf("%d of %d answered, by %v: %w", report.Answered, report.Asked, report.By, report.LastError)
		}
		for _, i := range nodes {
			if report.By[lab.pods[i].Name] == 0 {
				return fmt.Errorf("answered by %v, not by %s", report.By, lab.pods[i].Name)
			}
		}
		return nil
	})
}

// interrupt does what takes an announcer away while a client asks at an address, and reports what the client saw from
// half a second before until it was answered steadily again.
func (l *installation) interrupt(ctx context.Context, address netip.Addr, fn func() error) (cluster.ProbeReport, error) {
	probe := l.Outside().Probe(cluster.URL(address, port), askEvery, patience)
	defer probe.Stop()
	more := func(n int) error {
		n += probe.Answered()
		return cluster.Eventually(ctx, 30*time.Second, func() error {
			if probe.Answered() < n {
				return fmt.Errorf("%d answers, want %d: %w", probe.Answered(), n, probe.Report().LastError)
			}
			return nil
		})
	}
	if err := more(steady / 2); err != nil {
		return cluster.ProbeReport{}, err
	}
	if err := fn(); err != nil {
		return cluster.ProbeReport{}, err
	}
	if err := more(steady); err != nil {
		return cluster.ProbeReport{}, err
	}
	return probe.Stop(), nil
}

// heal gives a node its link back. The kernel may refuse for a moment, as long as it has not noticed that the link is up.
func (l *installation) heal(ctx context.Context, node int) error {
	return cluster.Eventually(ctx, 10*time.Second, func() error { return l.Heal(ctx, node) })
}

// bringBack starts a node's speaker again and waits until the address is back there and works.
func (l *installation) bringBack(ctx context.Context, address netip.Addr, node int) (err error) {
	// A speaker ends at once when there is no way to the API server yet; a kubelet would start it again, but later.
	if err := l.awaitAPI(ctx, node); err != nil {
		return err
	}
	if l.speakers[node], err = l.StartSpeaker(ctx, node, failback); err != nil {
		return err
	}
	if err := l.WaitReady(ctx, l.speakers[node]); err != nil {
		return err
	}
	return l.awaitAt(ctx, address, node)
}

// awaitAt waits until a node alone announces an address.
func (l *installation) awaitAt(ctx context.Context, address netip.Addr, node int) error {
	return cluster.Eventually(ctx, 30*time.Second, func() error {
		at, err := l.announcer(ctx, address)
		if err != nil {
			return err
		}
		if at != node {
			return fmt.Errorf("node %d announces %s, not node %d yet", at, address, node)
		}
		return nil
	})
}

// awaitAPI waits until a node reaches the API server, which its kernel gives up for a moment when its link was cut.
func (l *installation) awaitAPI(ctx context.Context, node int) error {
	api := strings.TrimPrefix(l.RESTConfig().Host, "https://")
	return cluster.Eventually(ctx, 30*time.Second, func() error {
		conn, err := l.Node(node).Dial(ctx, "tcp", api)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
