//go:build install

package install

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/documents"
	"github.com/fairlead-lb/fairlead/e2e/kubebin"
	"github.com/fairlead-lb/fairlead/e2e/rights"
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
	out, err := lab.Helm(u.ctx, args...)
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

// typed are the commands of the documents that were run.
var typed = map[string]bool{}

// types runs a command that a document tells to type, with what a reader puts in the place of words in capitals.
func (u *user) types(text string) string {
	u.Helper()
	out, err := u.tries(text)
	u.must(err)
	return out
}

func (u *user) tries(text string) (string, error) {
	u.Helper()
	commands, _, err := documents.Read()
	u.must(err)
	if !slices.ContainsFunc(commands, func(c documents.Command) bool { return c.Text == text }) {
		u.Fatalf("no document tells to type %s", text)
	}
	manifests, err := cluster.Artifact("fairlead.yaml")
	u.must(err)
	typed[text] = true
	line := strings.NewReplacer("REGISTRY/fairlead", "ghcr.io/fairlead-lb/fairlead", "TAG", "e2e", "dist/fairlead.yaml", manifests).Replace(text)
	return lab.Shell(u.ctx, lab.ControlPlane(), line)
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
	u.types("kubectl create namespace metallb-system")
	u.types("kubectl label namespace metallb-system pod-security.kubernetes.io/enforce=privileged")
	began := time.Now()
	u.types("helm install fairlead charts/fairlead --namespace metallb-system --create-namespace --set image.repository=REGISTRY/fairlead,image.tag=TAG")
	u.types("kubectl -n metallb-system rollout status deployment/fairlead-controller daemonset/fairlead-speaker")
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
	u.must(cluster.Eventually(u.ctx, patience, func() error { // what speakers say of themselves comes some seconds later
		_, err := u.tries("helm test fairlead --namespace metallb-system")
		return err
	}))
	if log := u.types("kubectl -n metallb-system logs deployment/fairlead-controller"); !strings.Contains(log, "the controller starts") {
		t.Errorf("the controller's log is\n%s", log)
	}
}

// TestProgrammersComeAndGo: the value that the documents name brings the DaemonSet of IPVS programmers, and takes it away again.
// The nodes' kernel may have no IPVS, which the programmers then say.
func TestProgrammersComeAndGo(t *testing.T) {
	u := as(t)
	const on = "helm upgrade fairlead charts/fairlead --namespace metallb-system --reuse-values --set ipvs.enabled=true"
	u.types(on)
	u.eventually("2", "get", "ds", "-n", namespace, "fairlead-ipvs", "-o", "jsonpath={.status.currentNumberScheduled}")
	_, err := lab.Shell(u.ctx, lab.ControlPlane(), strings.Replace(on, "true", "false", 1))
	u.must(err)
	u.eventually("", "get", "ds", "-n", namespace, "-l", "app.kubernetes.io/component=ipvs", "-o", "name")
	u.page("172.25.254.50")
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

// TestOnlyConfigurationWaitsForTheController: while there is none, Services and Nodes are changed and traffic goes on; of the
// configuration nothing is stored that nobody has checked, but for deletions.
func TestOnlyConfigurationWaitsForTheController(t *testing.T) {
	u := as(t)
	u.apply(`{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: spare, namespace: metallb-system}, spec: {addresses: [192.0.2.0/28]}}`)
	u.kubectl("scale", "-n", namespace, "deploy/fairlead-controller", "--replicas=0")
	u.eventually("", "get", "pods", "-n", namespace, "-l", "app.kubernetes.io/component=controller", "-o", "name")

	u.kubectl("create", "service", "loadbalancer", "later", "--tcp=80")
	u.kubectl("annotate", "service", "web", "example.com/seen=yes")
	u.kubectl("label", "node", lab.Node(0).Name, "example.com/seen=yes")
	u.kubectl("create", "namespace", "later")
	u.kubectl("delete", "namespace", "later")
	u.page("172.25.254.50")
	if said := u.refused(`{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: more, namespace: metallb-system}, spec: {addresses: [192.0.2.16/28]}}`); !strings.Contains(said, "configuration.fairlead.io") {
		t.Errorf("refused with %s", said)
	}
	u.kubectl("delete", "ipaddresspool", "-n", namespace, "spare")

	u.kubectl("scale", "-n", namespace, "deploy/fairlead-controller", "--replicas=2")
	u.kubectl("rollout", "status", "-n", namespace, "deploy/fairlead-controller", "--timeout=90s")
	u.eventually("172.25.254.51", "get", "svc", "later", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	u.kubectl("delete", "service", "later")
}

// TestWhatHangsIsStartedAnew: a speaker and a controller that do nothing any more fail their liveness probes, the kubelet starts
// them again, and the address is answered for all the same.
func TestWhatHangsIsStartedAnew(t *testing.T) {
	u := as(t)
	const restarts = "jsonpath={.items[*].status.containerStatuses[0].restartCount}"
	seen := map[string]bool{}
	for _, p := range u.processes(0) {
		role := strings.Split(p.cmdline, "\x00")[1]
		u.must(unix.Kill(p.pid, unix.SIGSTOP))
		seen[role] = true
	}
	if !seen["controller"] || !seen["speaker"] {
		t.Fatalf("on %s there are only %v", lab.Node(0).Name, seen)
	}
	began := time.Now()
	for role := range seen {
		u.must(cluster.Eventually(u.ctx, patience, func() error {
			if got := u.kubectl("get", "pods", "-n", namespace, "-l", "app.kubernetes.io/component="+role, "--field-selector", "spec.nodeName="+lab.Node(0).Name, "-o", restarts); got != "1" {
				return fmt.Errorf("the %s was restarted %s times", role, got)
			}
			return nil
		}))
	}
	t.Logf("started anew after %s", time.Since(began).Round(time.Second))
	u.kubectl("rollout", "status", "-n", namespace, "deploy/fairlead-controller", "--timeout=90s")
	u.kubectl("rollout", "status", "-n", namespace, "ds/fairlead-speaker", "--timeout=90s")
	u.page("172.25.254.50")
}

// process is a container's of Fairlead on a node.
type process struct {
	pid     int
	cmdline string // the words, each with a zero byte behind it
}

// processes are those of Fairlead's containers on a node.
func (u *user) processes(node int) (out []process) {
	u.Helper()
	tasks, err := lab.Ctr(u.ctx, node, "tasks", "ls")
	u.must(err)
	for line := range strings.Lines(tasks) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		pid, err := strconv.Atoi(fields[1])
		if err != nil {
			continue // the heading
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", fields[1], "cmdline"))
		if err == nil && strings.HasPrefix(string(cmdline), "/fairlead\x00") {
			out = append(out, process{pid, string(cmdline)})
		}
	}
	return out
}

// TestNoMoreRightsThanNeeded: what the design's table says, in the containers that run.
func TestNoMoreRightsThanNeeded(t *testing.T) {
	u := as(t)
	const (
		netRaw = "0000000000002000"
		none   = "0000000000000000"
	)
	for i := range lab.Nodes() {
		all := u.processes(i)
		for _, p := range all {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
			u.must(err)
			uid, capabilities := "0", netRaw
			if strings.Contains(p.cmdline, "controller") {
				uid, capabilities = "65534", none
			}
			for _, want := range []string{"Uid:\t" + uid + "\t", "CapEff:\t" + capabilities, "CapPrm:\t" + capabilities, "CapBnd:\t" + capabilities, "NoNewPrivs:\t1", "Seccomp:\t2"} {
				if !strings.Contains(string(status), want) {
					t.Errorf("%q has not %q:\n%s", p.cmdline, want, status)
				}
			}
			mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", p.pid))
			u.must(err)
			if !regexp.MustCompile(`(?m)^\d+ \d+ \S+ / / ro[, ]`).Match(mounts) {
				t.Errorf("%q may write to its root:\n%s", p.cmdline, mounts)
			}
		}
		if len(all) < 2 {
			t.Errorf("%s runs %d containers of Fairlead, want a speaker and a controller", lab.Node(i).Name, len(all))
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
	u.must(cluster.Eventually(u.ctx, patience, func() error { // its pod is gone for the API server before its process is
		if after := u.kubectl("get", "lease", "-n", namespace, "fairlead-controller", "-o", holder); after == before || after == "" {
			return fmt.Errorf("%q leads", after)
		}
		return nil
	}))
	u.kubectl("create", "service", "loadbalancer", "second", "--tcp=80")
	u.eventually("172.25.254.51", "get", "svc", "second", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	t.Logf("the next Service had its address %s after the leader was killed", time.Since(began).Round(100*time.Millisecond))
	u.kubectl("delete", "service", "second")
}

// TestUpgradeAndRollbackKeepEveryAddress, and traffic goes on: from an earlier version of the chart and of the image to this one,
// with other values, and back. The definitions follow the version.
func TestUpgradeAndRollbackKeepEveryAddress(t *testing.T) {
	u := as(t)
	const (
		columns = "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}"
		earlier = "Auto Assign Addresses"
		now     = "Auto Assign Avoid Buggy IPs Addresses"
	)
	u.helm("upgrade", "fairlead", u.earlierChart(), "--wait", "--timeout", "2m", "--set", "image.tag=earlier")
	u.eventually(earlier, "get", "crd", "ipaddresspools.metallb.io", "-o", columns)
	u.page("172.25.254.50")

	probe := lab.Outside().Probe("http://172.25.254.50/", 20*time.Millisecond, 2*time.Second)
	u.helm("upgrade", "fairlead", u.chart(), "--wait", "--timeout", "2m", "--set", "speaker.logLevel=debug,controller.logFormat=json,networkpolicies.enabled=true")
	u.eventually(now, "get", "crd", "ipaddresspools.metallb.io", "-o", columns)
	u.eventually("ghcr.io/fairlead-lb/fairlead:e2e", "get", "ds", "-n", namespace, "fairlead-speaker", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	u.helm("rollback", "fairlead", "--wait", "--timeout", "2m")
	u.unbroken(probe.Stop(), 4) // two nodes, twice
	u.eventually(earlier, "get", "crd", "ipaddresspools.metallb.io", "-o", columns)
	u.eventually("172.25.254.50", "get", "svc", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
}

// earlierChart is the chart as an earlier version may have had it, with fewer columns of pools; its image is on the nodes.
func (u *user) earlierChart() string {
	u.Helper()
	root, err := kubebin.ModuleRoot()
	u.must(err)
	dir := filepath.Join(u.TempDir(), "fairlead")
	u.must(os.CopyFS(dir, os.DirFS(filepath.Join(root, "charts", "fairlead"))))
	for name, edit := range map[string][2]string{
		"Chart.yaml": {"version: 0.0.0\n", "version: 0.0.0-earlier\n"},
		"files/crd/metallb.io_ipaddresspools.yaml": {"    - jsonPath: .spec.avoidBuggyIPs\n      name: Avoid Buggy IPs\n      type: boolean\n", ""},
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		u.must(err)
		edited := strings.Replace(string(text), edit[0], edit[1], 1)
		if edited == string(text) {
			u.Fatalf("%s has no %q", name, edit[0])
		}
		u.must(os.WriteFile(filepath.Join(dir, name), []byte(edited), 0o600))
	}
	for i := range lab.Nodes() {
		_, err := lab.Ctr(u.ctx, i, "images", "tag", "ghcr.io/fairlead-lb/fairlead:e2e", "ghcr.io/fairlead-lb/fairlead:earlier")
		u.must(err)
	}
	return dir
}

// TestEveryValue: an upgrade with nearly everything that the chart can do. The configuration of the values is there when it is
// done, and helm test says that all is well; what is refused is told by helm itself.
func TestEveryValue(t *testing.T) {
	u := as(t)
	for _, kind := range []string{"PodMonitor", "ServiceMonitor", "PrometheusRule"} { // of the Prometheus operator
		u.apply(fmt.Sprintf(operatorKind, strings.ToLower(kind), kind))
	}
	u.kubectl("wait", "--for=condition=Established", "crd", "servicemonitors.monitoring.coreos.com", "podmonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com")
	u.kubectl("create", "namespace", "monitoring")
	u.kubectl("create", "serviceaccount", "-n", "monitoring", "prometheus")
	u.helm("upgrade", "fairlead", u.chart(), "--wait", "--timeout", "3m", "-f", "testdata/every.yaml")
	if got := u.kubectl("get", "ipaddresspools,l2advertisements,bgppeers,communities", "-n", namespace, "-l", "app.kubernetes.io/managed-by=fairlead-configure", "-o", "name"); got !=
		"ipaddresspool.metallb.io/second\nl2advertisement.metallb.io/all\ncommunity.metallb.io/shared" {
		t.Errorf("of the values there is\n%s", got)
	}
	u.apply(`{apiVersion: v1, kind: Service, metadata: {name: of-values, namespace: default, annotations: {metallb.io/address-pool: second}},
		spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}}`)
	u.eventually("172.25.254.100", "get", "svc", "of-values", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	u.page("172.25.254.100")
	u.must(cluster.Eventually(u.ctx, patience, func() error { // what speakers say of themselves comes some seconds later
		_, err := lab.Helm(u.ctx, "test", "fairlead", "--timeout", "1m")
		return err
	}))
	if said, err := lab.Helm(u.ctx, "upgrade", "fairlead", u.chart(), "--wait", "--timeout", "2m", "-f", "testdata/every.yaml", "--set", "pools.third.addresses={172.25.254.55-172.25.254.56}"); err == nil ||
		!strings.Contains(said+err.Error(), `overlaps the older pool`) {
		t.Errorf("a pool that overlaps another: %v\n%s", err, said)
	}
	u.helm("upgrade", "fairlead", u.chart(), "--wait", "--timeout", "2m", "-f", "testdata/every.yaml")
	u.portForward()
}

// portForward looks at the status page as the documents say.
func (u *user) portForward() {
	u.Helper()
	ctx, cancel := context.WithCancel(u.ctx)
	ended := make(chan struct{})
	forwarding := &user{u.T, ctx}
	go func() {
		defer close(ended)
		_, _ = forwarding.tries("kubectl -n metallb-system port-forward deploy/fairlead-controller 7952")
	}()
	u.must(cluster.Eventually(u.ctx, patience, func() error {
		code, err := lab.Shell(u.ctx, lab.ControlPlane(), "curl -sk -o /dev/null -w '%{http_code}' https://localhost:7952")
		if err == nil && code != "401" { // it asks who it is
			err = errors.New("the status page answers with " + code)
		}
		return err
	}))
	cancel()
	<-ended
}

// TestPoolsOfTheDocuments: the values that the installation guide shows.
func TestPoolsOfTheDocuments(t *testing.T) {
	u := as(t)
	_, blocks, err := documents.Read()
	u.must(err)
	seen := 0
	for _, b := range blocks {
		if b.Manifests() {
			continue
		}
		seen++
		path := filepath.Join(t.TempDir(), "values.yaml")
		u.must(os.WriteFile(path, []byte(b.Text), 0o600))
		u.helm("upgrade", "fairlead", u.chart(), "--dry-run=server", "-f", "testdata/every.yaml", "-f", path)
	}
	if seen == 0 {
		t.Error("no document shows values")
	}
}

// TestNetworkPolicies of the chart, with a default deny, which are switched on now.
func TestNetworkPolicies(t *testing.T) { as(t).policiesHold() }

// operatorKind is a kind of the Prometheus operator, as far as the API server needs it to store objects.
const operatorKind = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]ss.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {plural: %[1]ss, singular: %[1]s, kind: %[2]s}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

// TestSecuredMetrics are read by Prometheus' ServiceAccount, and by nobody else.
func TestSecuredMetrics(t *testing.T) {
	u := as(t)
	for account, want := range map[string]string{"prometheus": "200", "default": "403"} {
		token := u.kubectl("create", "token", "-n", "monitoring", account)
		for _, host := range lab.Nodes() {
			u.must(cluster.Eventually(u.ctx, patience, func() error {
				code, body, err := get(u.ctx, fmt.Sprintf("https://%s:%d/metrics", host.IPv4, cluster.MetricsPort), token)
				if err == nil && (code != want || strings.Contains(body, "metallb_") != (want == "200")) {
					err = fmt.Errorf("%s is answered with %s: %.200s", account, code, body)
				}
				return err
			}))
		}
	}
	if code, _, err := get(u.ctx, fmt.Sprintf("https://%s:%d/metrics", lab.Node(0).IPv4, cluster.MetricsPort), ""); err != nil || code != "401" {
		t.Errorf("without a token: %s, %v", code, err)
	}
}

// get asks by HTTPS from outside the cluster, with a token.
func get(ctx context.Context, url, token string) (code, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := (&http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: lab.Outside().Dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // it signs itself
	}}).Do(r)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return strconv.Itoa(answer.StatusCode), string(text), err
}

// announcer is the node that announces a Service by layer 2.
func (u *user) announcer(service string) (name string, node int) {
	u.Helper()
	u.must(cluster.Eventually(u.ctx, patience, func() error {
		name = u.kubectl("get", "servicel2statuses", "-n", namespace, "-o", "jsonpath={.items[?(@.status.serviceName=='"+service+"')].status.node}")
		node = slices.IndexFunc(lab.Nodes(), func(h *cluster.Host) bool { return h.Name == name })
		if node < 0 {
			return fmt.Errorf("%s is announced by %q", service, name)
		}
		return nil
	}))
	return name, node
}

// TestDrainedNode: kubectl drain takes the pods away, and with speaker.drainCordoned the address too; no request fails.
func TestDrainedNode(t *testing.T) {
	u := as(t)
	name, _ := u.announcer("web")
	probe := lab.Outside().Probe("http://172.25.254.50/", 20*time.Millisecond, 2*time.Second)
	u.kubectl("drain", name, "--ignore-daemonsets", "--timeout=90s")
	u.must(cluster.Eventually(u.ctx, patience, func() error {
		if now, _ := u.announcer("web"); now == name {
			return fmt.Errorf("%s still announces it", now)
		}
		return nil
	}))
	u.kubectl("uncordon", name)
	u.kubectl("rollout", "status", "deploy/web", "--timeout=90s")
	u.kubectl("rollout", "status", "-n", namespace, "deploy/fairlead-controller", "--timeout=90s")
	u.unbroken(probe.Stop(), 2) // there, and perhaps back
}

// TestNodeThatDies: its kubelet and its network are killed. The other node, which has a pod too, answers soon; when the dead one
// is back, there is one announcer again, and the controllers are all there.
func TestNodeThatDies(t *testing.T) {
	u := as(t)
	name, node := u.announcer("of-values")
	probe := lab.Outside().Probe("http://172.25.254.100/", 20*time.Millisecond, 200*time.Millisecond)
	time.Sleep(time.Second)
	u.must(lab.KillNode(u.ctx, node))
	u.page("172.25.254.100")
	time.Sleep(time.Second)
	report := probe.Stop()
	t.Logf("%s died: longest gap %s", name, report.Gap)
	if report.Gap > 5*time.Second {
		t.Errorf("a client was without an answer for %s", report.Gap)
	}
	u.must(lab.ReviveNode(u.ctx, node))
	u.kubectl("rollout", "status", "-n", namespace, "deploy/fairlead-controller", "--timeout=120s")
	u.kubectl("rollout", "status", "-n", namespace, "ds/fairlead-speaker", "--timeout=120s")
	u.page("172.25.254.100")
	u.announcer("of-values") // one
}

// TestTheChartGivesEveryRightThatIsNeeded: of all that Fairlead's ServiceAccounts have asked for so far nothing was refused: the
// roles, the Job that applies the values, helm test.
func TestTheChartGivesEveryRightThatIsNeeded(t *testing.T) {
	log, err := os.Open(lab.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	requests, err := rights.Asked(log)
	if err != nil {
		t.Fatal(err)
	}
	who := map[string]bool{}
	for r := range requests {
		account, ours := strings.CutPrefix(r.User, "system:serviceaccount:"+namespace+":fairlead-")
		who[account] = true
		if ours && r.Refused {
			t.Error(r)
		}
	}
	for _, account := range []string{"controller", "speaker", "configure", "test"} {
		if !who[account] {
			t.Errorf("fairlead-%s has asked for nothing", account)
		}
	}
}

// TestUninstallKeepsTheConfiguration, and what was installed by helm may be installed by kubectl afterwards.
func TestUninstallKeepsTheConfiguration(t *testing.T) {
	u := as(t)
	u.types("helm uninstall fairlead --namespace metallb-system")
	u.eventually("", "get", "pods", "-n", namespace, "-o", "name")
	if got := u.kubectl("get", "ipaddresspools", "-n", namespace, "-o", "name"); got != "ipaddresspool.metallb.io/first-pool\nipaddresspool.metallb.io/second" {
		t.Errorf("of the pools is left %q", got)
	}
	u.eventually("172.25.254.50", "get", "svc", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")

	u.types("kubectl apply --server-side -f dist/fairlead.yaml")
	u.types("kubectl -n metallb-system rollout status deployment/fairlead-controller daemonset/fairlead-speaker")
	u.page("172.25.254.50")
}

// TestKustomization: config/default, which names the image that was built last, and config/ipvs on top of it.
func TestKustomization(t *testing.T) {
	u := as(t)
	const image = "ghcr.io/fairlead-lb/fairlead"
	for i := range lab.Nodes() {
		_, err := lab.Ctr(u.ctx, i, "images", "tag", image+":e2e", image+":dev")
		u.must(err)
	}
	u.types("kubectl apply --server-side --force-conflicts -k config/default")
	u.types("kubectl -n metallb-system rollout status deployment/fairlead-controller daemonset/fairlead-speaker")
	u.eventually(image+":dev", "get", "deploy", "-n", namespace, "fairlead-controller", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	u.page("172.25.254.50")
	u.types("kubectl apply -k config/ipvs")
	u.eventually("2", "get", "ds", "-n", namespace, "fairlead-ipvs", "-o", "jsonpath={.status.currentNumberScheduled}")
	u.types("kubectl delete -k config/ipvs")
	u.page("172.25.254.50")
}

// TestNodesPullTheImage from a registry. It comes last: a kubelet that has pulled an image asks a registry again when the same
// one, which was on the node before, is wanted under another name.
func TestNodesPullTheImage(t *testing.T) {
	u := as(t)
	u.serveRegistry()
	const image = "=" + registry + "/fairlead:v1"
	u.kubectl("set", "image", "-n", namespace, "ds/fairlead-speaker", "speaker"+image)
	u.kubectl("set", "image", "-n", namespace, "deploy/fairlead-controller", "controller"+image)
	u.kubectl("rollout", "status", "-n", namespace, "ds/fairlead-speaker", "--timeout=90s")
	u.kubectl("rollout", "status", "-n", namespace, "deploy/fairlead-controller", "--timeout=90s")
	u.page("172.25.254.50")
}
