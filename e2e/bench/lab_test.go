//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

const (
	// namespace is where the benchmarks' Services live.
	namespace = "bench"
	// clients is how many requests the benchmarks have under way at the same time where they write many objects.
	clients = 8
	// otherClass is a load balancer class that Fairlead does not serve.
	otherClass = "example.com/other"
	port       = 8080
	// failback makes a speaker that is back take its addresses soon, so that a benchmark need not wait for it.
	failback = "--failback-after=2s"
	// labelServiceProxyName names the proxy that serves a Service instead of kube-proxy.
	labelServiceProxyName = "service.kubernetes.io/service-proxy-name"
)

// configuration is one pool: what is free of the segment, and for thousands of Services the addresses that RFC 2544
// sets aside for benchmarks.
const configuration = `
apiVersion: v1
kind: Namespace
metadata: {name: ` + namespace + `}
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: pool, namespace: metallb-system}
spec: {addresses: ["172.25.254.50-172.25.254.199", "198.18.0.0/18", "fd00:172:25:254::60-fd00:172:25:254::6f"]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: pool, namespace: metallb-system}
spec: {ipAddressPools: [pool]}
`

// installation is a cluster of three nodes with a controller, a speaker on every node, and a pod on every node.
type installation struct {
	*cluster.Cluster
	controller *cluster.Process
	speakers   []*cluster.Process // by node
	pods       []*cluster.Pod     // by node
	inUse      bool               // by a benchmark that has not come to its end
}

func install(ctx context.Context) (_ *installation, err error) {
	c, err := cluster.Start(ctx, cluster.Options{Log: os.Stderr})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	processes, err := c.StartFairlead(ctx, failback)
	if err != nil {
		return nil, err
	}
	l := &installation{Cluster: c, controller: processes[0], speakers: processes[1:]}
	if err := c.Apply(ctx, configuration); err != nil {
		return nil, err
	}
	for i := range c.Nodes() {
		pod, err := c.AddPod(ctx, cluster.PodOptions{Node: i, Namespace: namespace})
		if err != nil {
			return nil, err
		}
		l.pods = append(l.pods, pod)
	}
	return l, nil
}

// tail prints the end of what Fairlead's processes said.
func (l *installation) tail(w io.Writer) {
	for _, p := range append(slices.Clone(l.speakers), l.controller) {
		fmt.Fprintf(w, "--- the last of %s\n%s\n", p.Name, p.Tail(20))
	}
}

// service is a load balancer of the class; "" is Fairlead's. It selects nothing: its endpoints are written by
// endpoints, so that no figure contains the time in which Kubernetes finds them.
func service(name, class string) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.ServiceSpec{
			Type:  corev1.ServiceTypeLoadBalancer,
			Ports: []corev1.ServicePort{{Name: "http", Port: port, TargetPort: intstr.FromInt32(80)}},
		},
	}
	if class != "" {
		s.Spec.LoadBalancerClass = &class
	}
	return s
}

// light is one of thousands of Services: without node ports, of which a cluster has only 2,768, and one that kube-proxy
// leaves alone. Three kube-proxies that each program thousands of Services, all on this one machine, would be most of
// what is measured.
func light(name, class string) *corev1.Service {
	s, no := service(name, class), false
	s.Spec.AllocateLoadBalancerNodePorts = &no
	s.Labels = map[string]string{labelServiceProxyName: "bench"}
	return s
}

// lightEndpoints is the EndpointSlice of a light Service.
func (l *installation) lightEndpoints(service string) *discoveryv1.EndpointSlice {
	e := l.endpoints(service, 0, 1, 2)
	e.Labels[labelServiceProxyName] = "bench"
	return e
}

// endpoints is the EndpointSlice of a Service, with the pods of these nodes.
func (l *installation) endpoints(service string, nodes ...int) *discoveryv1.EndpointSlice {
	ready, name, number := true, "http", int32(80)
	e := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: service, Namespace: namespace, Labels: map[string]string{
			discoveryv1.LabelServiceName: service,
			discoveryv1.LabelManagedBy:   "bench.fairlead.io",
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &number}},
	}
	for _, i := range nodes {
		node := l.Node(i).Name
		e.Endpoints = append(e.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{l.pods[i].IPv4.String()}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return e
}

func number(i int) string { return fmt.Sprintf("svc-%05d", i) }

// each calls fn for 0 to n-1, some at a time.
func each(ctx context.Context, n int, fn func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(clients)
	for i := range n {
		g.Go(func() error { return fn(ctx, i) })
	}
	return g.Wait()
}

// create creates n objects.
func (l *installation) create(ctx context.Context, n int, object func(i int) client.Object) error {
	return each(ctx, n, func(ctx context.Context, i int) error { return l.Client().Create(ctx, object(i)) })
}

// clear deletes the Services and, if slices is set, the EndpointSlices of the namespace.
func (l *installation) clear(ctx context.Context, slices bool) error {
	var services corev1.ServiceList
	if err := l.Client().List(ctx, &services, client.InNamespace(namespace)); err != nil {
		return err
	}
	err := each(ctx, len(services.Items), func(ctx context.Context, i int) error {
		return client.IgnoreNotFound(l.Client().Delete(ctx, &services.Items[i]))
	})
	if slices {
		err = errors.Join(err, l.Client().DeleteAllOf(ctx, &discoveryv1.EndpointSlice{}, client.InNamespace(namespace)))
	}
	return err
}

// address is what a Service shows as its EXTERNAL-IP, the zero value if it is pending.
func address(s *corev1.Service) netip.Addr {
	if len(s.Status.LoadBalancer.Ingress) == 0 {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(s.Status.LoadBalancer.Ingress[0].IP)
	return a
}

// sighting is a Service as a watch showed it.
type sighting struct {
	at time.Time
	*corev1.Service
}

// follower watches the namespace's Services, as kubectl get --watch does.
type follower struct {
	sightings chan sighting
	cancel    context.CancelFunc
}

// follow starts a watch; it is established on return. Where the API server ends it, as it does with who reads more slowly
// than changes come, it goes on from there.
func (l *installation) follow(ctx context.Context) (*follower, error) {
	ctx, cancel := context.WithCancel(ctx)
	w, err := l.Client().Watch(ctx, &corev1.ServiceList{}, client.InNamespace(namespace))
	if err != nil {
		cancel()
		return nil, err
	}
	f := &follower{sightings: make(chan sighting, 100_000), cancel: cancel} // never full: who measures does not wait for who reads
	go func() {
		defer close(f.sightings)
		for version := ""; err == nil; {
			for event := range w.ResultChan() {
				if event.Type == watch.Error { // what came in between cannot be had any more
					return
				}
				s, ok := event.Object.(*corev1.Service)
				if ok && event.Type != watch.Deleted {
					f.sightings <- sighting{time.Now(), s}
				}
				if ok {
					version = s.ResourceVersion
				}
			}
			from := &client.ListOptions{Namespace: namespace, Raw: &metav1.ListOptions{ResourceVersion: version}}
			w, err = l.Client().Watch(ctx, &corev1.ServiceList{}, from)
		}
	}()
	return f, nil
}

func (f *follower) stop() { f.cancel() }

// await returns the next sighting that matches.
func (f *follower) await(ctx context.Context, match func(*corev1.Service) bool) (sighting, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		select {
		case s, ok := <-f.sightings:
			if !ok {
				return s, errors.New("the watch ended")
			}
			if match(s.Service) {
				return s, nil
			}
		case <-ctx.Done():
			return sighting{}, fmt.Errorf("waiting for a change of a Service: %w", ctx.Err())
		}
	}
}

// awaitAddress returns the sighting of a Service's address.
func (f *follower) awaitAddress(ctx context.Context, name string) (sighting, error) {
	s, err := f.await(ctx, func(s *corev1.Service) bool { return s.Name == name && address(s).IsValid() })
	if err != nil {
		return s, fmt.Errorf("the address of %s: %w", name, err)
	}
	return s, nil
}

// awaitAddresses returns the sightings of the first addresses of n Services, in their order; no two are the same.
func (f *follower) awaitAddresses(ctx context.Context, n int) ([]sighting, error) {
	var out []sighting
	named, given := map[string]bool{}, map[netip.Addr]string{}
	for len(out) < n {
		s, err := f.await(ctx, func(s *corev1.Service) bool { return address(s).IsValid() && !named[s.Name] })
		if err != nil {
			return out, fmt.Errorf("%d of %d Services have an address: %w", len(out), n, err)
		}
		if other, ok := given[address(s.Service)]; ok {
			return out, fmt.Errorf("%s and %s have the same address %s", other, s.Name, address(s.Service))
		}
		named[s.Name], given[address(s.Service)] = true, s.Name
		out = append(out, s)
	}
	return out, nil
}

// awaitAnnounced waits until the speakers announce n addresses together.
func (l *installation) awaitAnnounced(ctx context.Context, n int) error {
	return cluster.Eventually(ctx, time.Minute, func() error {
		announced := 0
		for _, p := range l.speakers {
			text, err := l.Metrics(ctx, p)
			if err != nil {
				return err
			}
			announced += len(parseCounts(text, "metallb_layer2_gratuitous_sent"))
		}
		if announced != n {
			return fmt.Errorf("%d of %d addresses are announced", announced, n)
		}
		return nil
	})
}

// settle waits until the cluster has nothing to do, but not for ever.
func (l *installation) settle(ctx context.Context) {
	for begin := time.Now(); time.Since(begin) < 20*time.Second && ctx.Err() == nil; {
		before := readBusy()
		time.Sleep(time.Second)
		if own := readBusy().own - before.own; own < 250*time.Millisecond {
			return
		}
	}
}

// startController starts the controller again and returns before it is ready.
func (l *installation) startController(ctx context.Context) (err error) {
	l.controller, err = l.StartController(ctx)
	return err
}
