package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// podPort is where a pod serves its page.
const podPort = 80

// PodOptions say which pod AddPod makes.
type PodOptions struct {
	Node      int    // index of its node
	Name      string // default: pod-NODE-NUMBER
	Namespace string // default: default
	Labels    map[string]string
}

// A Pod is a network namespace behind a node with an HTTP server on port 80 of all its addresses, which answers every
// request with one line: the pod's name and the client's address. The server lives in this process.
type Pod struct {
	*Host
	Namespace string // the Kubernetes namespace; the network namespace is Host.Namespace
	Node      int
	server    *http.Server
	served    chan struct{} // closed when the server has ended
	link      string        // its node's side
}

// AddPod creates a pod and its Kubernetes object with the status of a pod that runs and is ready.
func (c *Cluster) AddPod(ctx context.Context, options PodOptions) (*Pod, error) {
	if options.Node < 0 || options.Node >= len(c.nodes) {
		return nil, fmt.Errorf("adding a pod: no node %d", options.Node)
	}
	number, err := c.nextPod(options.Node)
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("pod-%d-%d", options.Node, number)
	if options.Name == "" {
		options.Name = id
	}
	if options.Namespace == "" {
		options.Namespace = "default"
	}
	p := &Pod{
		Host: &Host{
			Name: options.Name, Namespace: c.namespace(id),
			IPv4: podV4(options.Node, number), IPv6: podV6(options.Node, number),
		},
		Namespace: options.Namespace,
		Node:      options.Node,
		link:      fmt.Sprintf("veth%d", number),
	}
	if err := c.plugPod(ctx, p); err != nil {
		return nil, errors.Join(fmt.Errorf("adding pod %s: %w", p.Name, err), deleteNamespace(p.Host.Namespace))
	}
	c.mu.Lock()
	c.pods = append(c.pods, p)
	c.mu.Unlock()
	if err := c.registerPod(ctx, p, options.Labels); err != nil {
		return nil, errors.Join(fmt.Errorf("adding pod %s: %w", p.Name, err), c.unplugPod(p))
	}
	return p, nil
}

// nextPod gives out a pod number of a node; numbers are not used again, so that no peer remembers a dead pod's address.
func (c *Cluster) nextPod(node int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.podNumbers[node] == maxPodsPerNode {
		return 0, fmt.Errorf("adding a pod: %s has had %d, its whole range", nodeName(node), maxPodsPerNode)
	}
	c.podNumbers[node]++
	return c.podNumbers[node], nil
}

// plugPod creates the pod's namespace, its link to the node, the routes of both and the server.
func (c *Cluster) plugPod(ctx context.Context, p *Pod) error {
	pod, node := p.Host.Namespace, c.nodes[p.Node].Namespace
	if err := addNamespace(ctx, pod, hostSettings(false)...); err != nil {
		return err
	}
	err := ip(ctx, node,
		fmt.Sprintf("link add %s type veth peer name eth0 netns %s", p.link, pod),
		fmt.Sprintf("addr add %s/32 dev %s scope link", podGatewayV4, p.link), // never a source: masquerade takes eth0's
		fmt.Sprintf("addr add %s/64 dev %s nodad", podGatewayV6, p.link),
		fmt.Sprintf("link set %s up", p.link),
		fmt.Sprintf("route add %s/32 dev %s", p.IPv4, p.link),
		fmt.Sprintf("route add %s/128 dev %s", p.IPv6, p.link))
	if err != nil {
		return err
	}
	err = ip(ctx, pod,
		"link set eth0 up",
		fmt.Sprintf("addr add %s/32 dev eth0", p.IPv4),
		fmt.Sprintf("addr add %s/128 dev eth0 nodad", p.IPv6),
		fmt.Sprintf("route add %s dev eth0", podGatewayV4),
		fmt.Sprintf("route add default via %s dev eth0", podGatewayV4),
		fmt.Sprintf("route add default via %s dev eth0", podGatewayV6))
	if err != nil {
		return err
	}
	err = p.Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err == nil {
			p.MAC = eth0.HardwareAddr
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.serve(ctx)
}

// serve starts the pod's page.
func (p *Pod) serve(ctx context.Context) error {
	listener, err := p.Listen(ctx, "tcp", fmt.Sprintf(":%d", podPort))
	if err != nil {
		return err
	}
	p.served = make(chan struct{})
	p.server = &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			client, _, _ := net.SplitHostPort(r.RemoteAddr) // the server itself wrote it
			fmt.Fprintf(w, "%s %s\n", p.Name, client)
		}),
	}
	go func() {
		defer close(p.served)
		p.server.Serve(listener) // ends with Close
	}()
	return nil
}

// registerPod writes the Pod object as scheduler and kubelet would.
func (c *Cluster) registerPod(ctx context.Context, p *Pod, labels map[string]string) error {
	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName: nodeName(p.Node),
			Containers: []corev1.Container{{
				Name: "page", Image: "none",
				Ports: []corev1.ContainerPort{{ContainerPort: podPort}},
			}},
		},
	}
	if err := c.client.Create(ctx, object); err != nil {
		return err
	}
	now := metav1.Now()
	object.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, StartTime: &now,
		HostIP: c.nodes[p.Node].IPv4.String(),
		PodIP:  p.IPv4.String(), PodIPs: []corev1.PodIP{{IP: p.IPv4.String()}, {IP: p.IPv6.String()}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
		},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "page", Image: "none", Ready: true,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		}},
	}
	return c.client.Status().Update(ctx, object)
}

// SetPodReady sets the Ready condition of a pod, as a kubelet does after a probe and the node-lifecycle controller for
// the pods of a dead node. Its server answers all the same.
func (c *Cluster) SetPodReady(ctx context.Context, p *Pod, ready bool) error {
	object := &corev1.Pod{}
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: p.Name}, object); err != nil {
		return err
	}
	patch := client.StrategicMergeFrom(object.DeepCopy())
	for i, condition := range object.Status.Conditions {
		if condition.Type == corev1.PodReady {
			object.Status.Conditions[i].Status = conditionStatus(ready)
			object.Status.Conditions[i].LastTransitionTime = metav1.Now()
		}
	}
	for i := range object.Status.ContainerStatuses {
		object.Status.ContainerStatuses[i].Ready = ready
	}
	return c.client.Status().Patch(ctx, object, patch)
}

// RemovePod deletes the pod's object at once, without a grace period, and then its namespace.
func (c *Cluster) RemovePod(ctx context.Context, p *Pod) error {
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}}
	err := c.client.Delete(ctx, object, client.GracePeriodSeconds(0))
	if err := errors.Join(client.IgnoreNotFound(err), c.unplugPod(p)); err != nil {
		return fmt.Errorf("removing pod %s: %w", p.Name, err)
	}
	return nil
}

// unplugPod ends the pod's server and removes its namespace; the link goes with it.
func (c *Cluster) unplugPod(p *Pod) error {
	c.mu.Lock()
	for i, other := range c.pods {
		if other == p {
			c.pods = append(c.pods[:i:i], c.pods[i+1:]...)
			break
		}
	}
	c.mu.Unlock()
	return errors.Join(p.close(), deleteNamespace(p.Host.Namespace))
}

// close ends the server.
func (p *Pod) close() error {
	err := p.server.Close()
	<-p.served
	return err
}
