package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

// pauseImage holds a pod's namespaces.
const pauseImage = "localhost/pause:1"

// nodeTimeout bounds the start of containerd, kubelet and kube-proxy on a node, ten times what it takes on two cores.
const nodeTimeout = 2 * time.Minute

// startKubelets starts the scheduler, and containerd, a kubelet and kube-proxy on every node, and waits until all nodes
// are Ready.
func (c *Cluster) startKubelets(ctx context.Context) error {
	if _, err := c.start(ctx, rankKube, c.controlPlane, kubebin.Scheduler, []string{
		c.bin(kubebin.Scheduler),
		"--kubeconfig=" + c.Kubeconfig(), "--authentication-kubeconfig=" + c.Kubeconfig(), "--authorization-kubeconfig=" + c.Kubeconfig(),
		"--leader-elect=false", "--bind-address=127.0.0.1",
	}, nil); err != nil {
		return err
	}
	pause, err := Artifact("pause.tar")
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range c.nodes {
		group.Go(func() error {
			return c.log.step(fmt.Sprintf("%s with containerd and kubelet starts", nodeName(i)), func() error {
				if err := c.startContainerd(ctx, i, append([]string{pause}, c.options.Images...)); err != nil {
					return err
				}
				if err := c.startKubelet(ctx, i); err != nil {
					return err
				}
				p, err := c.startProxy(ctx, i)
				if err != nil {
					return err
				}
				return waitAlive(ctx, p, nodeTimeout, func(ctx context.Context) error { return c.nodeReady(ctx, i) })
			})
		})
	}
	return group.Wait()
}

// nodeDir is the folder of a node's containerd and kubelet.
func (c *Cluster) nodeDir(i int) string { return filepath.Join(c.dir, nodeName(i)) }

// containerdConfig is without what these tests' machines withhold: no out-of-memory scores, which need CAP_SYS_RESOURCE; and
// without NRI, whose socket has one place for the whole machine, so that of two that start together one would end.
const containerdConfig = `version = 3
root = "%[1]s/root"
state = "%[1]s/state"
[grpc]
address = "%[1]s/containerd.sock"
[ttrpc]
address = "%[1]s/containerd.sock.ttrpc"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "` + pauseImage + `"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "%[1]s/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.nri.v1.nri"]
disable = true
`

// cniConfig gives each pod a link to its node and addresses of the node's ranges.
const cniConfig = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {
  "type": "host-local", "dataDir": %q,
  "ranges": [[{"subnet": %q}], [{"subnet": %q}]],
  "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}]}
`

// startContainerd starts a node's containerd and imports the images.
func (c *Cluster) startContainerd(ctx context.Context, i int, images []string) error {
	dir := c.nodeDir(i)
	if err := os.MkdirAll(filepath.Join(dir, "cni"), 0o755); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"containerd.toml":   fmt.Sprintf(containerdConfig, dir),
		"cni/pods.conflist": fmt.Sprintf(cniConfig, filepath.Join(dir, "ipam"), podRangeV4(i), podRangeV6(i)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	path := "PATH=" + filepath.Dir(c.bin(kubebin.ContainerdShim)) + ":" + os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin"
	p, err := c.start(ctx, rankRuntime, c.nodes[i], fmt.Sprintf("containerd-%d", i), []string{c.bin(kubebin.Containerd), "-c", filepath.Join(dir, "containerd.toml")}, []string{path})
	if err != nil {
		return err
	}
	err = waitAlive(ctx, p, nodeTimeout, func(ctx context.Context) error { _, err := c.Ctr(ctx, i, "version"); return err })
	for _, image := range images {
		if err == nil {
			_, err = c.Ctr(ctx, i, "images", "import", image)
		}
	}
	return err
}

// Ctr runs containerd's client on a node, in the containers of its kubelet.
func (c *Cluster) Ctr(ctx context.Context, node int, args ...string) (string, error) {
	socket := filepath.Join(c.nodeDir(node), "containerd.sock")
	return c.nodes[node].Run(ctx, append([]string{c.bin(kubebin.Ctr), "-a", socket, "-n", "k8s.io"}, args...)...)
}

// kubeletConfig leaves the machine's cgroups, limits and name servers as they are.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
failSwapOn: false
resolvConf: ""
clusterDNS: [10.96.0.10]
containerRuntimeEndpoint: unix://%[1]s/containerd.sock
podLogsDir: %[1]s/podlogs
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
evictionHard: {memory.available: 50Mi, nodefs.available: 1%%, imagefs.available: 1%%}
nodeStatusUpdateFrequency: 5s
`

func (c *Cluster) startKubelet(ctx context.Context, i int) error {
	dir, host := c.nodeDir(i), c.nodes[i]
	if err := os.WriteFile(filepath.Join(dir, "kubelet.yaml"), fmt.Appendf(nil, kubeletConfig, dir), 0o644); err != nil {
		return err
	}
	_, err := c.start(ctx, rankKube, host, kubeletName(i), []string{
		c.bin(kubebin.Kubelet),
		"--kubeconfig=" + c.Kubeconfig(), "--config=" + filepath.Join(dir, "kubelet.yaml"),
		"--hostname-override=" + host.Name, "--node-ip=" + host.IPv4.String() + "," + host.IPv6.String(),
		"--root-dir=" + filepath.Join(dir, "kubelet"), "--cert-dir=" + filepath.Join(dir, "pki"),
	}, nil)
	return err
}

// KillNode cuts a node with a kubelet off and kills the kubelet, as when its power fails, but for what its containers do
// meanwhile, which nobody sees.
func (c *Cluster) KillNode(ctx context.Context, i int) error {
	err := c.Cut(ctx, i)
	c.mu.Lock()
	processes := slices.Clone(c.processes)
	c.mu.Unlock()
	for _, p := range processes {
		if p.Name == kubeletName(i) {
			err = errors.Join(err, p.Kill())
		}
	}
	return err
}

// ReviveNode makes good what KillNode did, and waits until the node is Ready.
func (c *Cluster) ReviveNode(ctx context.Context, i int) error {
	if err := errors.Join(c.Heal(ctx, i), c.startKubelet(ctx, i)); err != nil {
		return err
	}
	return Eventually(ctx, nodeTimeout, func() error { return c.nodeReady(ctx, i) })
}

func kubeletName(i int) string { return fmt.Sprintf("kubelet-%d", i) }

// nodeReady is nil when the node's kubelet says that it is, and nothing keeps pods away.
func (c *Cluster) nodeReady(ctx context.Context, i int) error {
	node := &corev1.Node{}
	if err := c.client.Get(ctx, client.ObjectKey{Name: nodeName(i)}, node); err != nil {
		return err
	}
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("%s has the taints %v", node.Name, node.Spec.Taints)
	}
	for _, x := range node.Status.Conditions {
		if x.Type == corev1.NodeReady && x.Status != corev1.ConditionTrue {
			return fmt.Errorf("%s is not ready: %s", node.Name, x.Message)
		}
	}
	return nil
}

// endContainers kills the containers that run from images below the folder, whose shims are gone, and unmounts what is
// mounted there.
func endContainers(dir string) error {
	dir = strings.TrimSuffix(dir, "/") + "/"
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := containersOf(dir, own)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("containers %v do not end", left)
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	lines := strings.Split(string(mounts), "\n")
	for i := range lines { // the last mounted first
		if fields := strings.Fields(lines[len(lines)-1-i]); len(fields) > 4 && strings.HasPrefix(fields[4], dir) {
			if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil {
				errs = append(errs, fmt.Errorf("unmounting %s: %w", fields[4], err))
			}
		}
	}
	return errors.Join(errs...)
}

// containersOf lists the processes in other mount namespaces than this one whose root is made of files below the folder.
func containersOf(dir, own string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ns, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/mnt")); err != nil || ns == own {
			continue
		}
		if mounts, err := os.ReadFile(filepath.Join("/proc", e.Name(), "mountinfo")); err == nil && bytes.Contains(mounts, []byte("upperdir="+dir)) {
			pids = append(pids, pid)
		}
	}
	return pids
}
