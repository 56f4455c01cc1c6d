//go:build install

package install

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/netpolicy"
)

// policiesHold sees that, with the policies in force in the packet filters of the nodes, everything that Fairlead needs works, and
// nothing else reaches or leaves its pods. The speakers are in the nodes' network, which no policy is about.
func (u *user) policiesHold() {
	stop := u.enforcePolicies()
	defer stop()

	var pods corev1.PodList
	u.must(lab.Client().List(u.ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/component": "controller"}))
	if len(pods.Items) != 2 {
		u.Fatalf("%d controllers", len(pods.Items))
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		ip := netip.MustParseAddr(pod.Status.PodIP)
		from := lab.Node(0)
		if from.Name == pod.Spec.NodeName {
			from = lab.Node(1) // a node reaches its own pods whatever the policies say
		}
		for _, port := range []uint16{7945, cluster.MetricsPort, 7949, 7952} { // webhooks, metrics, health, status page
			if err := connect(u.ctx, from, ip, port); err != nil {
				u.Errorf("port %d of %s: %v", port, pod.Name, err)
			}
		}
		if err := connect(u.ctx, from, ip, 8080); !errors.Is(err, context.DeadlineExceeded) {
			u.Errorf("port 8080 of %s is not kept from others: %v", pod.Name, err)
		}
		u.leavesOnlyForTheAPIServer(pod)
	}

	// The webhooks are asked, the lease is renewed, and helm's pods, which come and go, do what they are for.
	if said := u.refused(`{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: bad, namespace: metallb-system}, spec: {addresses: [172.25.254.300/24]}}`); !strings.Contains(said, "configuration.fairlead.io") {
		u.Errorf("refused with %s", said)
	}
	const renewed = "jsonpath={.spec.renewTime}"
	before := u.kubectl("get", "lease", "-n", namespace, "fairlead-controller", "-o", renewed)
	u.must(cluster.Eventually(u.ctx, patience, func() error {
		if u.kubectl("get", "lease", "-n", namespace, "fairlead-controller", "-o", renewed) == before {
			return errors.New("the lease is not renewed")
		}
		return nil
	}))
	u.helm("test", "fairlead", "--timeout", "1m")
	u.kubectl("rollout", "restart", "-n", namespace, "deploy/fairlead-controller")
	u.kubectl("rollout", "status", "-n", namespace, "deploy/fairlead-controller", "--timeout=90s")
	u.page("172.25.254.50")
}

// leavesOnlyForTheAPIServer asks from within a pod for what it may ask for, and for what it may not.
func (u *user) leavesOnlyForTheAPIServer(pod *corev1.Pod) {
	u.Helper()
	namespace := u.networkOf(pod)
	var web corev1.PodList
	u.must(lab.Client().List(u.ctx, &web, client.InNamespace("default"), client.MatchingLabels{"app": "web"}))
	ask := func(url string) string {
		cmd := lab.ControlPlane().Command(u.ctx, "nsenter", "--net="+namespace, "curl", "-skm", "2", "-o", "/dev/null", "-w", "%{http_code}", url)
		out, _ := cmd.CombinedOutput() // a code of 000 is an error, too
		return string(out)
	}
	for i := range web.Items {
		if web.Items[i].Spec.NodeName == pod.Spec.NodeName {
			continue
		}
		if got := ask("http://" + web.Items[i].Status.PodIP); got != "000" {
			u.Errorf("%s reaches %s: %s", pod.Name, web.Items[i].Name, got)
		}
	}
	if got := ask("https://10.96.0.1/readyz"); got != "200" && got != "401" {
		u.Errorf("%s does not reach the API server: %s", pod.Name, got)
	}
}

// networkOf is the path of a pod's network namespace.
func (u *user) networkOf(pod *corev1.Pod) string {
	u.Helper()
	for i, host := range lab.Nodes() {
		if host.Name != pod.Spec.NodeName {
			continue
		}
		tasks, err := lab.Ctr(u.ctx, i, "tasks", "ls")
		u.must(err)
		id := strings.TrimPrefix(pod.Status.ContainerStatuses[0].ContainerID, "containerd://")
		for line := range strings.Lines(tasks) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == id {
				return filepath.Join("/proc", fields[1], "ns/net")
			}
		}
	}
	u.Fatalf("%s runs on no node", pod.Name)
	return ""
}

func connect(ctx context.Context, from *cluster.Host, ip netip.Addr, port uint16) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", netip.AddrPortFrom(ip, port).String())
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return context.DeadlineExceeded
	}
	if err == nil {
		return conn.Close()
	}
	return err
}

// enforcePolicies has the nodes' packet filters do what the policies say, also for pods that come later, until it is stopped.
func (u *user) enforcePolicies() (stop func()) {
	u.Helper()
	ctx, cancel := context.WithCancel(u.ctx)
	last := ""
	load := func() error {
		var policies networkingv1.NetworkPolicyList
		var pods corev1.PodList
		if err := errors.Join(lab.Client().List(ctx, &policies), lab.Client().List(ctx, &pods)); err != nil {
			return err
		}
		rules, err := netpolicy.Rules(policies.Items, pods.Items)
		if err != nil || rules == last {
			return err
		}
		for _, host := range lab.Nodes() {
			cmd := host.Command(ctx, "nft", "-f", "-")
			cmd.Stdin = strings.NewReader(rules)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s\n%s", err, out, rules)
			}
		}
		last = rules
		return nil
	}
	u.must(load())
	if !strings.Contains(last, "jump in-") || !strings.Contains(last, "jump out-") {
		u.Fatalf("no policy is about any pod:\n%s", last)
	}
	ended := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			time.Sleep(50 * time.Millisecond)
			err = load()
		}
		if ctx.Err() != nil {
			err = nil
		}
		ended <- err
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			u.Errorf("enforcing the policies: %v", err)
		}
		for _, host := range lab.Nodes() {
			_, err := host.Run(context.WithoutCancel(u.ctx), "nft", "delete", "table", "inet", netpolicy.Table)
			u.must(err)
		}
	}
}
