package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

// proxyTimeout bounds the start of kube-proxy, ten times what it takes in a virtual machine with emulated processors.
const proxyTimeout = 3 * time.Minute

// RegisterNode writes the Node object as a kubelet would.
func (c *Cluster) RegisterNode(ctx context.Context, i int) error {
	host := c.nodes[i]
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: host.Name, Labels: map[string]string{
			corev1.LabelHostname: host.Name, corev1.LabelOSStable: "linux",
		}},
		Spec: corev1.NodeSpec{
			PodCIDR:  podRangeV4(i).String(),
			PodCIDRs: []string{podRangeV4(i).String(), podRangeV6(i).String()},
		},
	}
	if err := c.client.Create(ctx, node); err != nil {
		return fmt.Errorf("registering %s: %w", host.Name, err)
	}
	node.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: host.IPv4.String()},
		{Type: corev1.NodeInternalIP, Address: host.IPv6.String()},
		{Type: corev1.NodeHostName, Address: host.Name},
	}
	node.Status.Conditions = []corev1.NodeCondition{
		nodeCondition(corev1.NodeReady, true, "KubeletReady"),
		nodeCondition(corev1.NodeNetworkUnavailable, false, "RouteCreated"),
	}
	if err := c.client.Status().Update(ctx, node); err != nil {
		return fmt.Errorf("registering %s: %w", host.Name, err)
	}
	return nil
}

func nodeCondition(kind corev1.NodeConditionType, is bool, reason string) corev1.NodeCondition {
	return corev1.NodeCondition{
		Type: kind, Status: conditionStatus(is), Reason: reason,
		LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
	}
}

func conditionStatus(is bool) corev1.ConditionStatus {
	if is {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

// SetNodeReady sets the Ready condition of a node, as its kubelet or, for a silent node, the node-lifecycle controller
// does. The node's pods stay as they are.
func (c *Cluster) SetNodeReady(ctx context.Context, node int, ready bool) error {
	object := &corev1.Node{}
	if err := c.client.Get(ctx, client.ObjectKey{Name: nodeName(node)}, object); err != nil {
		return err
	}
	reason := "KubeletNotReady"
	if ready {
		reason = "KubeletReady"
	}
	patch := client.StrategicMergeFrom(object.DeepCopy())
	for i, condition := range object.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			object.Status.Conditions[i] = nodeCondition(corev1.NodeReady, ready, reason)
		}
	}
	return c.client.Status().Patch(ctx, object, patch)
}

func proxyName(i int) string { return fmt.Sprintf("%s-%d", kubebin.Proxy, i) }

// startProxy starts kube-proxy on a node; of two arguments the later one wins.
func (c *Cluster) startProxy(ctx context.Context, i int, args ...string) (*Process, error) {
	return c.start(ctx, rankKube, c.nodes[i], proxyName(i), append([]string{
		c.bin(kubebin.Proxy),
		"--kubeconfig=" + filepath.Join(c.dir, "kubeconfig"),
		"--hostname-override=" + c.nodes[i].Name,
		"--proxy-mode=nftables",
		"--cluster-cidr=" + podRange,
		// The machine's limits are not a node's to change.
		"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
	}, args...), nil)
}

// RestartProxy kills kube-proxy on a node, if it runs, starts it with these arguments behind its own, and waits until it has
// programmed the kernel once, where it first removes what another mode of its own has left.
func (c *Cluster) RestartProxy(ctx context.Context, i int, args ...string) (*Process, error) {
	if err := c.killAll(proxyName(i)); err != nil {
		return nil, err
	}
	p, err := c.startProxy(ctx, i, args...)
	if err != nil {
		return nil, err
	}
	return p, waitAlive(ctx, p, proxyTimeout, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := c.nodes[i].HTTPGet(ctx, "http://127.0.0.1:10256/healthz")
		return err
	})
}

// startNode registers a node and waits until its kube-proxy has programmed the kernel once.
func (c *Cluster) startNode(ctx context.Context, i int) error {
	if err := c.RegisterNode(ctx, i); err != nil {
		return err
	}
	_, err := c.RestartProxy(ctx, i)
	return err
}
