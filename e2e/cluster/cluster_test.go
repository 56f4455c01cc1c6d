//go:build e2e

package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patience is ten times what anything here is expected to take.
const patience = 20 * time.Second

// start brings a cluster up and closes it with the test, whose log gets what the cluster tells.
func start(t *testing.T, options Options) *Cluster {
	t.Helper()
	options.Log = t.Output()
	begin := time.Now()
	c, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("cluster %s up after %.1f s", c.Name(), time.Since(begin).Seconds())
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// web adds one pod per given node and a dual-stack NodePort Service for them.
func web(t *testing.T, c *Cluster, name string, nodes ...int) (pods []*Pod, service *corev1.Service) {
	t.Helper()
	for _, node := range nodes {
		pod, err := c.AddPod(t.Context(), PodOptions{Node: node, Labels: map[string]string{"app": name}})
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, pod)
	}
	err := c.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: %[1]s}
  ports: [{port: 8080, targetPort: 80}]`, name))
	if err != nil {
		t.Fatal(err)
	}
	service = &corev1.Service{}
	if err := c.Client().Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, service); err != nil {
		t.Fatal(err)
	}
	return pods, service
}

// answered waits until the URL was answered by each of the pods, asked from the host.
func answered(t *testing.T, from *Host, url string, pods ...*Pod) {
	t.Helper()
	waiting := map[string]bool{}
	for _, p := range pods {
		waiting[p.Name] = true
	}
	err := Eventually(t.Context(), patience, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		body, err := from.HTTPGet(ctx, url)
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(body, " ")
		if delete(waiting, name); len(waiting) > 0 {
			return fmt.Errorf("no answer yet from %v", waiting)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s asks %s: %v", from.Name, url, err)
	}
}

func parse(t *testing.T, s string) netip.Addr {
	t.Helper()
	addr, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func TestServices(t *testing.T) {
	c := start(t, Options{})
	pods, service := web(t, c, "web", 0, 1)
	asking, err := c.AddPod(t.Context(), PodOptions{Node: 2, Name: "asking"})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range service.Spec.ClusterIPs {
		url := URL(parse(t, ip), 8080)
		answered(t, asking.Host, url, pods...) // from a pod of another node
		answered(t, pods[0].Host, url, pods...)
		answered(t, c.Node(2), url, pods...)
	}
	port := uint16(service.Spec.Ports[0].NodePort)
	for _, node := range c.Nodes() {
		answered(t, c.Outside(), URL(node.IPv4, port), pods...)
		answered(t, asking.Host, URL(node.IPv4, port), pods...)
	}

	t.Run("the client's address arrives in a pod that is asked directly", func(t *testing.T) {
		for _, url := range []string{URL(pods[0].IPv4, 80), URL(pods[0].IPv6, 80)} {
			body, err := asking.HTTPGet(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{pods[0].Name + " " + asking.IPv4.String() + "\n", pods[0].Name + " " + asking.IPv6.String() + "\n"}; !slices.Contains(want, body) {
				t.Errorf("%s answers %q", url, body)
			}
		}
	})
	t.Run("a removed or unready pod leaves the service", func(t *testing.T) {
		if err := c.RemovePod(t.Context(), pods[0]); err != nil {
			t.Fatal(err)
		}
		only(t, asking.Host, URL(parse(t, service.Spec.ClusterIPs[0]), 8080), pods[1].Name)
		third, err := c.AddPod(t.Context(), PodOptions{Node: 0, Labels: map[string]string{"app": "web"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetPodReady(t.Context(), pods[1], false); err != nil {
			t.Fatal(err)
		}
		only(t, asking.Host, URL(parse(t, service.Spec.ClusterIPs[1]), 8080), third.Name)
	})
	t.Run("kubectl, inside and through the loopback", func(t *testing.T) {
		out, err := c.Kubectl(t.Context(), "", "get", "nodes", "--no-headers")
		if err != nil || strings.Count(out, " Ready ") != 3 {
			t.Errorf("%v: %s", err, out)
		}
		local, err := c.LocalKubeconfig(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out, err = output(t.Context(), exec.CommandContext(t.Context(), c.KubectlPath(), "--kubeconfig", local, "get", "service", "web", "-o", "name"), "kubectl")
		if err != nil || out != "service/web\n" {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("node readiness", func(t *testing.T) {
		if err := c.SetNodeReady(t.Context(), 1, false); err != nil {
			t.Fatal(err)
		}
		out, err := c.Kubectl(t.Context(), "", "get", "node", "node-1", "--no-headers")
		if err != nil || !strings.Contains(out, " NotReady ") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// only waits until ten answers in a row come from that pod.
func only(t *testing.T, from *Host, url, pod string) {
	t.Helper()
	err := Eventually(t.Context(), patience, func() error {
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			body, err := from.HTTPGet(ctx, url)
			cancel()
			if err != nil {
				return err
			}
			if name, _, _ := strings.Cut(body, " "); name != pod {
				return fmt.Errorf("an answer from %s", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s asks %s: %v", from.Name, url, err)
	}
}

func TestProcesses(t *testing.T) {
	c := start(t, Options{Nodes: 1})
	p, err := c.StartProcess(t.Context(), c.Node(0), "polite", []string{"sh", "-c", "trap 'echo bye $WORD; exit 0' TERM; echo up; ip -br addr show eth0; while :; do sleep 0.05; done"}, "WORD=friend")
	if err != nil {
		t.Fatal(err)
	}
	if err := Eventually(t.Context(), patience, func() error {
		if out := p.Tail(10); !strings.Contains(out, "172.25.254.10/24") {
			return fmt.Errorf("it says %q", out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if u, err := p.Usage(); err != nil || u.Resident < 100<<10 {
		t.Errorf("usage %+v, %v", u, err)
	}
	took, err := p.Stop(t.Context())
	if err != nil || took > 2*time.Second || p.Running() || !strings.HasSuffix(p.Tail(1), "bye friend") {
		t.Errorf("stopped after %s: %v; said %q", took, err, p.Tail(1))
	}
	stubborn, err := c.StartProcess(t.Context(), c.Node(0), "stubborn", []string{"sh", "-c", "trap '' TERM; echo up; sleep 600 & wait; sleep 600"})
	if err != nil {
		t.Fatal(err)
	}
	if err := Eventually(t.Context(), patience, func() error {
		if stubborn.Tail(1) != "up" {
			return fmt.Errorf("it says %q", stubborn.Tail(1))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := stubborn.Stop(ctx); err == nil {
		t.Error("a process that had to be killed is told as stopped")
	}
	if stubborn.Running() {
		t.Error("it still runs")
	}
	if _, err := p.Stop(t.Context()); err != nil {
		t.Errorf("stopping what has ended: %v", err)
	}
}

func TestServiceAccountHasOnlyItsPermissions(t *testing.T) {
	c := start(t, Options{Nodes: 1})
	err := c.Apply(t.Context(), `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: metallb-system}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: metallb-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [services], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: metallb-system}]`)
	if err != nil {
		t.Fatal(err)
	}
	path, err := c.ServiceAccountKubeconfig(t.Context(), "metallb-system", "reader", "")
	if err != nil {
		t.Fatal(err)
	}
	kubectl := func(args ...string) (string, error) {
		return c.Node(0).Run(t.Context(), append([]string{c.KubectlPath(), "--kubeconfig", path}, args...)...)
	}
	if out, err := kubectl("get", "services", "-A", "-o", "name"); err != nil || out != "service/kubernetes\n" {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := kubectl("get", "pods"); err == nil || !strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestCloseLeavesNothing has a second cluster beside the one that is closed.
func TestCloseLeavesNothing(t *testing.T) {
	other := start(t, Options{Nodes: 1})
	c := start(t, Options{Nodes: 3})
	pods, service := web(t, c, "web", 0, 1, 2)
	otherPods, _ := web(t, other, "web", 0)
	answered(t, pods[0].Host, URL(parse(t, service.Spec.ClusterIP), 8080), pods...)
	if _, err := c.LocalKubeconfig(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Something that leaves its process group.
	if _, err := c.StartProcess(t.Context(), c.Node(1), "escape", []string{"setsid", "-f", "sleep", "600"}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("closed after %.1f s", time.Since(begin).Seconds())
	if err := c.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	nothingLeft(t, c.Name(), c.Dir())
	if _, err := c.StartProcess(t.Context(), c.Node(0), "late", []string{"true"}); err == nil {
		t.Error("a process started in a closed cluster")
	}
	body, err := other.Node(0).HTTPGet(t.Context(), URL(otherPods[0].IPv4, 80))
	if err != nil {
		t.Errorf("the other cluster suffered: %v %s", err, body)
	}
	if out, err := other.Kubectl(t.Context(), "", "get", "nodes", "--no-headers"); err != nil || strings.Count(out, " Ready ") != 1 {
		t.Errorf("the other cluster suffered: %v %s", err, out)
	}
}

// nothingLeft looks for namespaces, mounts, processes and files with the cluster's name.
func nothingLeft(t *testing.T, name, dir string) {
	t.Helper()
	if left := namespacesOf(name); len(left) > 0 {
		t.Errorf("namespaces %v", left)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), name+".") || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts: %v\n%s", err, mounts)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && (strings.Contains(string(line), dir) || strings.Contains(string(line), name+".")) {
			t.Errorf("process %s: %s", e.Name(), strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	for _, path := range []string{dir, claimDir + "/" + name} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
}
