//go:build install

package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

const namespace = cluster.FairleadNamespace

// user is who installs and uses Fairlead.
type user struct {
	*testing.T
	ctx context.Context
}

func as(t *testing.T) *user {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	t.Cleanup(cancel)
	return &user{t, ctx}
}

func (u *user) must(err error) {
	u.Helper()
	if err != nil {
		u.Fatal(err)
	}
}

// kubectl returns what kubectl prints.
func (u *user) kubectl(args ...string) string {
	u.Helper()
	out, err := lab.Kubectl(u.ctx, "", args...)
	u.must(err)
	return strings.TrimSpace(out)
}

func (u *user) apply(manifest string) {
	u.Helper()
	_, err := lab.Kubectl(u.ctx, manifest, "apply", "-f", "-")
	u.must(err)
}

// refused applies what must be refused, and returns what is said.
func (u *user) refused(manifest string) string {
	u.Helper()
	out, err := lab.Kubectl(u.ctx, manifest, "apply", "-f", "-")
	if err == nil {
		u.Fatalf("stored:\n%s\n%s", manifest, out)
	}
	return err.Error()
}

// helm runs helm as the administrator.
func (u *user) helm(args ...string) string {
	u.Helper()
	bins, err := kubebin.Find()
	u.must(err)
	bins.Kubelets = true
	home := u.TempDir()
	argv := append([]string{"env", "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home,
		bins.Path(kubebin.Helm), "--kubeconfig", lab.Kubeconfig(), "--namespace", namespace}, args...)
	out, err := lab.ControlPlane().Run(u.ctx, argv...)
	u.must(err)
	return out
}

// chart is the path of the chart, as a release has it.
func (u *user) chart() string {
	u.Helper()
	path, err := cluster.Artifact("fairlead-0.0.0-ge2e.tgz")
	u.must(err)
	return path
}

// eventually waits until the command prints what is wanted.
func (u *user) eventually(want string, args ...string) {
	u.Helper()
	u.must(cluster.Eventually(u.ctx, patience, func() error {
		out, err := lab.Kubectl(u.ctx, "", args...)
		if err == nil && strings.TrimSpace(out) != want {
			err = fmt.Errorf("kubectl %s prints %q, want %q", strings.Join(args, " "), strings.TrimSpace(out), want)
		}
		return err
	}))
}

// page waits until the address shows the page of a pod.
func (u *user) page(address string) {
	u.Helper()
	u.must(cluster.Eventually(u.ctx, patience, func() error {
		ctx, cancel := context.WithTimeout(u.ctx, 2*time.Second)
		defer cancel()
		body, err := lab.Outside().HTTPGet(ctx, "http://"+address+"/")
		if err == nil && !strings.HasPrefix(body, "web-") {
			err = errors.New("the page is " + body)
		}
		return err
	}))
}

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
        - {name: page, image: localhost/page:1, imagePullPolicy: Never, ports: [{containerPort: 80}], readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
`

// TestInstall is the page of the installation guide: helm install, every pod Ready, a pool, an address that answers.
func TestInstall(t *testing.T) {
	u := as(t)
	u.kubectl("create", "namespace", namespace)
	u.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=privileged")
	began := time.Now()
	u.helm("install", "fairlead", u.chart(), "--wait", "--timeout", "2m")
	t.Logf("installed, every pod Ready, %s after helm install", time.Since(began).Round(100*time.Millisecond))
	u.eventually("2", "get", "deploy", "-n", namespace, "fairlead-controller", "-o", "jsonpath={.status.readyReplicas}")
	u.eventually("2", "get", "ds", "-n", namespace, "fairlead-speaker", "-o", "jsonpath={.status.numberReady}")

	root, err := kubebin.ModuleRoot()
	u.must(err)
	sample, err := os.ReadFile(filepath.Join(root, "config", "samples", "first-pool.yaml"))
	u.must(err)
	u.apply(string(sample))
	u.apply(web)
	u.eventually("172.25.254.50", "get", "svc", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	u.page("172.25.254.50")
	t.Logf("an address answers %s after helm install", time.Since(began).Round(100*time.Millisecond))
}

// TestTheWebhooksAnswer by their Service, with their certificate: both replicas, since the API server takes any.
func TestTheWebhooksAnswer(t *testing.T) {
	u := as(t)
	said := u.refused(`{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: bad, namespace: metallb-system}, spec: {addresses: [172.25.254.300/24]}}`)
	if !strings.Contains(said, "configuration.fairlead.io") || !strings.Contains(said, "172.25.254.300") {
		t.Errorf("refused with %s", said)
	}
	if out, err := lab.Kubectl(u.ctx, "", "delete", "ipaddresspool", "-n", namespace, "first-pool"); err == nil {
		t.Errorf("a pool in use is gone: %s", out)
	}
	// A version that only the webhook can convert.
	u.apply(`{apiVersion: metallb.io/v1beta1, kind: BGPPeer, metadata: {name: old, namespace: metallb-system}, spec: {myASN: 64500, peerASN: 64501, peerAddress: 192.0.2.1}}`)
	if got := u.kubectl("get", "bgppeers.v1beta2.metallb.io", "-n", namespace, "old", "-o", "jsonpath={.spec.peerASN}"); got != "64501" {
		t.Errorf("as v1beta2, peerASN is %q", got)
	}
	u.kubectl("delete", "bgppeers.v1beta2.metallb.io", "-n", namespace, "old")
}

// TestNoMoreRightsThanNeeded: what the design's table says, in the containers that run.
func TestNoMoreRightsThanNeeded(t *testing.T) {
	u := as(t)
	const (
		netRaw = "0000000000002000"
		none   = "0000000000000000"
	)
	for i := range lab.Nodes() {
		tasks, err := lab.Ctr(u.ctx, i, "tasks", "ls")
		u.must(err)
		seen := 0
		for line := range strings.Lines(tasks) {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				continue
			}
			cmdline, err := os.ReadFile(filepath.Join("/proc", fields[1], "cmdline"))
			if err != nil || !strings.HasPrefix(string(cmdline), "/fairlead\x00") {
				continue
			}
			seen++
			status, err := os.ReadFile(filepath.Join("/proc", fields[1], "status"))
			u.must(err)
			uid, capabilities := "0", netRaw
			if strings.Contains(string(cmdline), "controller") {
				uid, capabilities = "65534", none
			}
			for _, want := range []string{"Uid:\t" + uid + "\t", "CapEff:\t" + capabilities, "CapPrm:\t" + capabilities, "CapBnd:\t" + capabilities, "NoNewPrivs:\t1", "Seccomp:\t2"} {
				if !strings.Contains(string(status), want) {
					t.Errorf("%q has not %q:\n%s", cmdline, want, status)
				}
			}
		}
		if seen < 2 {
			t.Errorf("%s runs %d containers of Fairlead, want a speaker and a controller", lab.Node(i).Name, seen)
		}
	}
}

// TestRollingUpdateUnderTraffic: a client that asks every 20 ms is always answered while all of Fairlead is replaced.
func TestRollingUpdateUnderTraffic(t *testing.T) {
	u := as(t)
	probe := lab.Outside().Probe("http://172.25.254.50/", 20*time.Millisecond, 2*time.Second)
	u.kubectl("rollout", "restart", "-n", namespace, "ds/fairlead-speaker", "deploy/fairlead-controller")
	u.kubectl("rollout", "status", "-n", namespace, "ds/fairlead-speaker", "--timeout=90s")
	u.kubectl("rollout", "status", "-n", namespace, "deploy/fairlead-controller", "--timeout=90s")
	u.unbroken(probe.Stop(), 2) // two nodes
}

// unbroken sees that every request was answered, but for connections that were open while the address moved: at most one
// for each move.
func (u *user) unbroken(r cluster.ProbeReport, moves int) {
	u.Helper()
	u.Logf("asked %d times, answered %d times, %d connections reset, longest gap %s", r.Asked, r.Answered, r.Reset, r.Gap)
	if r.Asked-r.Answered > r.Reset || r.Reset > moves {
		u.Errorf("%d requests failed, %d of them were reset, the last one with %v", r.Asked-r.Answered, r.Reset, r.LastError)
	}
}

// TestAControllerThatDiesIsReplaced: the other replica takes over the lease and gives the next address.
func TestAControllerThatDiesIsReplaced(t *testing.T) {
	u := as(t)
	const holder = "jsonpath={.spec.holderIdentity}"
	var before string
	u.must(cluster.Eventually(u.ctx, patience, func() error { // a leader that was just replaced has given the lease back
		if before = u.kubectl("get", "lease", "-n", namespace, "fairlead-controller", "-o", holder); before == "" {
			return errors.New("nobody leads")
		}
		return nil
	}))
	pod, _, _ := strings.Cut(before, "_")
	u.kubectl("delete", "pod", "-n", namespace, pod, "--force", "--grace-period=0")
	began := time.Now()
	u.kubectl("create", "service", "loadbalancer", "second", "--tcp=80")
	u.eventually("172.25.254.51", "get", "svc", "second", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	t.Logf("the next Service had its address %s after the leader was killed", time.Since(began).Round(100*time.Millisecond))
	if after := u.kubectl("get", "lease", "-n", namespace, "fairlead-controller", "-o", holder); after == before {
		t.Errorf("%s is still the leader", after)
	}
	u.kubectl("delete", "service", "second")
}

// TestUpgradeAndRollbackKeepEveryAddress, and traffic goes on.
func TestUpgradeAndRollbackKeepEveryAddress(t *testing.T) {
	u := as(t)
	probe := lab.Outside().Probe("http://172.25.254.50/", 20*time.Millisecond, 2*time.Second)
	u.helm("upgrade", "fairlead", u.chart(), "--wait", "--timeout", "2m", "--set", "speaker.logLevel=debug,controller.logFormat=json,networkpolicies.enabled=true")
	u.helm("rollback", "fairlead", "1", "--wait", "--timeout", "2m")
	u.unbroken(probe.Stop(), 4) // two nodes, twice
	u.eventually("172.25.254.50", "get", "svc", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
}

// TestUninstallKeepsTheConfiguration, and what was installed by helm may be installed by kubectl afterwards.
func TestUninstallKeepsTheConfiguration(t *testing.T) {
	u := as(t)
	u.helm("uninstall", "fairlead", "--wait")
	if got := u.kubectl("get", "ipaddresspools", "-n", namespace, "-o", "name"); got != "ipaddresspool.metallb.io/first-pool" {
		t.Errorf("of the pools is left %q", got)
	}
	u.eventually("172.25.254.50", "get", "svc", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")

	manifests, err := cluster.Artifact("fairlead.yaml")
	u.must(err)
	u.kubectl("apply", "--server-side", "--force-conflicts", "-f", manifests)
	u.kubectl("rollout", "status", "-n", namespace, "deploy/fairlead-controller", "--timeout=90s")
	u.kubectl("rollout", "status", "-n", namespace, "ds/fairlead-speaker", "--timeout=90s")
	u.page("172.25.254.50")
}
