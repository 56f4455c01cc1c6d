//go:build e2e

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const namespace = "default"

func serviceName(i int) string { return fmt.Sprintf("s%03d", i) }

// fresh is a load balancer that kube-proxy leaves alone, so that it is not most of what runs.
func fresh(i int) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: serviceName(i), Labels: map[string]string{"service.kubernetes.io/service-proxy-name": "none"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}, AllocateLoadBalancerNodePorts: new(bool),
		},
	}
}

// endpoints make a Service of that name worth announcing, from every node.
func (l *installation) endpoints(i int) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: serviceName(i), Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(i)}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for n, node := range l.Nodes() {
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.%d.99", n)}, NodeName: &node.Name})
	}
	return out
}

// clients create, change and delete Services until they are stopped. What fails, they leave: the API server may be away.
type clients struct {
	running sync.WaitGroup
	cancel  context.CancelFunc
	done    [4]atomic.Int64 // creations, changes, deletions, failures
}

func (l *installation) startClients(number, services, addresses int) *clients {
	ctx, cancel := context.WithCancel(l.ctx)
	c := &clients{cancel: cancel}
	for n := range number {
		r := rand.New(rand.NewPCG(uint64(n), 7))
		c.running.Go(func() {
			for ctx.Err() == nil {
				i := n + number*r.IntN(services/number) // its own ones
				kind, err := l.act(ctx, r, i, addresses)
				if err != nil {
					kind = 3
				}
				c.done[kind].Add(1)
				time.Sleep(time.Duration(5+r.IntN(20)) * time.Millisecond)
			}
		})
	}
	return c
}

// act creates a Service or does something to it, and returns what.
func (l *installation) act(ctx context.Context, r *rand.Rand, i, addresses int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	s := fresh(i)
	patch := func(text string) error {
		return l.Client().Patch(ctx, s, client.RawPatch(types.MergePatchType, []byte(text)))
	}
	switch r.IntN(10) {
	case 0, 1, 2, 3:
		if r.IntN(3) == 0 {
			s.Annotations = map[string]string{"metallb.io/loadBalancerIPs": address(r.IntN(addresses)).String()}
		}
		return 0, client.IgnoreAlreadyExists(l.Client().Create(ctx, s))
	case 4, 5:
		return 2, client.IgnoreNotFound(l.Client().Delete(ctx, s))
	case 6:
		return 1, client.IgnoreNotFound(patch(fmt.Sprintf(`{"metadata":{"annotations":{"metallb.io/loadBalancerIPs":%q}}}`, address(r.IntN(addresses)))))
	case 7:
		return 1, client.IgnoreNotFound(patch(`{"metadata":{"annotations":{"metallb.io/loadBalancerIPs":null}}}`))
	case 8:
		if r.IntN(2) == 0 {
			return 1, client.IgnoreNotFound(patch(`{"spec":{"type":"ClusterIP","allocateLoadBalancerNodePorts":null}}`))
		}
	}
	return 1, client.IgnoreNotFound(patch(`{"spec":{"type":"LoadBalancer","allocateLoadBalancerNodePorts":false}}`))
}

func (c *clients) stop() string {
	c.cancel()
	c.running.Wait()
	return fmt.Sprintf("%d creations, %d changes, %d deletions, %d failures", c.done[0].Load(), c.done[1].Load(), c.done[2].Load(), c.done[3].Load())
}
