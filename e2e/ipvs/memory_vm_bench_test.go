//go:build vm && bench

package ipvs

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
)

const (
	services  = 5000
	endpoints = 10 // of each
	// memoryLimit is what of the programmer may ever be resident, in bytes.
	memoryLimit = 200_000_000
	// programming is ten times what it takes until all of that is in the kernel.
	programming = 15 * time.Minute
	atRest      = time.Minute
	// changing is longer than a change takes.
	changing = 10 * time.Second
)

// BenchmarkProgrammer tells what a whole programmer takes that serves 5,000 load balancers with 10 endpoints each: memory, with
// what it keeps of the API server's objects; and the processor, which is emulated, at rest and for an endpoint that goes.
func BenchmarkProgrammer(b *testing.B) {
	ctx := b.Context()
	for _, p := range running { // they would decide about the Services
		must(b, p.Kill())
	}
	began := time.Now()
	must(b, createMany(ctx))
	b.Logf("%d Services and EndpointSlices are created in %s", services, time.Since(began))
	began = time.Now()
	p, err := lab.StartProgrammer(ctx, 0)
	must(b, err)
	running = append(running, p)
	must(b, cluster.Eventually(ctx, programming, func() error { return programmerReady(ctx, 0) }))
	b.ReportMetric(time.Since(began).Seconds(), "first-s")
	used := func(took time.Duration) time.Duration {
		before, err := p.Usage()
		must(b, err)
		time.Sleep(took)
		after, err := p.Usage()
		must(b, err)
		return after.CPU - before.CPU
	}
	used(atRest) // the first minute has work of the start
	idle := used(atRest)
	b.ReportMetric(100*idle.Seconds()/atRest.Seconds(), "%core-idle")
	slice := endpointsOf(services / 2)
	slice.Endpoints = slice.Endpoints[1:]
	must(b, lab.Client().Update(ctx, slice))
	change := used(changing) - idle*changing/atRest
	b.ReportMetric(float64(change.Milliseconds()), "change-ms")
	for metric, name := range map[string]string{"peak-MB": "VmHWM", "now-MB": "VmRSS", "own-MB": "RssAnon"} {
		bytes, err := p.Memory(name)
		must(b, err)
		b.ReportMetric(float64(bytes)/1e6, metric)
		if bytes > memoryLimit {
			b.Errorf("%s is %d bytes, want at most %d", name, bytes, memoryLimit)
		}
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// createMany creates the Services, as they are when IPVS serves them. kube-proxy, which is not what is measured, leaves alone
// what names another proxy.
func createMany(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	c := lab.Client()
	for i := range services {
		group.Go(func() error {
			if err := c.Create(ctx, endpointsOf(i)); err != nil {
				return err
			}
			no, is := false, corev1.LoadBalancerIPModeProxy
			s := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: name(i), Namespace: "default", Labels: map[string]string{proxyName: "bench"}, Annotations: map[string]string{mode.Annotation: mode.IPVS}},
				Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: &no, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
			}
			if err := c.Create(ctx, s); err != nil {
				return err
			}
			address := netip.AddrFrom4([4]byte{10, 64, byte(i >> 8), byte(i)})
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address.String(), IPMode: &is}}
			return c.Status().Update(ctx, s)
		})
	}
	return group.Wait()
}

// proxyName is the label that says which proxy serves a Service.
const proxyName = "service.kubernetes.io/service-proxy-name"

func name(i int) string { return fmt.Sprintf("many-%04d", i) }

// endpointsOf is the EndpointSlice of one of the Services, with pods of another node, that are not there.
func endpointsOf(i int) *discoveryv1.EndpointSlice {
	yes, no, port, number, protocol, node := true, false, "http", int32(8080), corev1.ProtocolTCP, lab.Node(1).Name
	e := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name(i), Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: name(i), proxyName: "bench"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &port, Port: &number, Protocol: &protocol}},
	}
	for k := range endpoints {
		n := i*endpoints + k
		e.Endpoints = append(e.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{netip.AddrFrom4([4]byte{10, 128 + byte(n>>16), byte(n >> 8), byte(n)}).String()}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: fmt.Sprintf("pod-%d", n), UID: "0b3c9f1e-7a52-4c53-9d3e-6f5f6f4c1d2a"},
		})
	}
	return e
}
