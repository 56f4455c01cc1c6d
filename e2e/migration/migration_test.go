//go:build e2e

// Package migration tests docs/migrating-from-metallb.md: it runs the commands that stand there, under traffic, with a
// cluster as MetalLB leaves it.
package migration

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/documents"
)

const (
	guide    = "docs/migrating-from-metallb.md"
	patience = 30 * time.Second
	// metallb is the node that announces all addresses while MetalLB does.
	metallb = 0
)

// assigned is what MetalLB has given: its controller writes addresses with IPv4 first, and the pool.
var assigned = map[string]struct{ addresses, pool string }{
	"web":          {"172.25.254.50", "first-pool"},
	"api":          {"172.25.254.60", "first-pool"},
	"field":        {"172.25.254.80", "first-pool"},
	"dns-tcp":      {"172.25.254.70", "first-pool"},
	"dns-udp":      {"172.25.254.70", "first-pool"},
	"both":         {"172.25.254.55 fd00:172:25:254::55", "first-pool"},
	"from-reserve": {"172.25.254.102", "reserve"},
}

// move is one migration.
type move struct {
	*cluster.Cluster
	*testing.T
	ctx    context.Context
	folder string // with the user's values
}

func (m *move) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func (m *move) eventually(what string, fn func() error) {
	m.Helper()
	if err := cluster.Eventually(m.ctx, patience, fn); err != nil {
		m.Fatalf("%s: %v", what, err)
	}
}

// TestThereAndBack takes a cluster over from MetalLB and hands it back. No address changes, nothing of the configuration is
// lost, and clients are answered all the time.
func TestThereAndBack(t *testing.T) {
	ctrllog.SetLogger(logr.Discard()) // the client's errors come back to the test
	c, err := cluster.Start(t.Context(), cluster.Options{Log: os.Stderr, Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &move{Cluster: c, T: t, ctx: context.WithoutCancel(t.Context()), folder: t.TempDir()}
	// The controller is no pod here, so that its Service would have no endpoint.
	m.must(os.WriteFile(filepath.Join(m.folder, "metallb-values.yaml"), []byte("controller: {webhookMode: disabled}\nspeaker: {logLevel: debug}\n"), 0o600))
	m.installMetalLB()
	m.metallbAssigns()
	for i := range 2 {
		_, err := m.AddPod(m.ctx, cluster.PodOptions{Node: i, Labels: map[string]string{"app": "web"}})
		m.must(err)
	}
	m.metallbAnnounces(true)
	before := m.configuration()
	traffic := m.traffic()

	m.run("forget")
	m.run("install")
	processes := m.startFairlead()
	m.takenOver()
	m.run("delete-metallb")
	m.metallbAnnounces(false)
	m.onlyFairleadAnnounces()
	m.unchanged("taken over")
	m.apply(`{apiVersion: v1, kind: Service, metadata: {name: new}, spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 8080, targetPort: 80}]}}`)
	m.eventually("a new Service gets an address", func() error { return m.has("new", "172.25.254.51") })
	m.same(before, "taken over")
	time.Sleep(time.Second)
	traffic.check("there")

	traffic = m.traffic()
	m.installMetalLB() // MetalLB's chart is not to be had here; it would make these objects
	m.metallbAnnounces(true)
	m.run("uninstall")
	for _, p := range processes {
		_, err := p.Stop(m.ctx)
		m.must(err)
	}
	m.unchanged("handed back")
	m.must(m.has("new", "172.25.254.51"))
	m.same(before, "handed back")
	m.nothingIsLeft()
	time.Sleep(time.Second)
	traffic.check("back")
}

// run runs the commands that stand in the guide under a name.
func (m *move) run(name string) {
	m.Helper()
	commands, _, err := documents.Read()
	m.must(err)
	lines := []string{"cd " + m.folder}
	for _, c := range commands {
		if c.Document == guide && c.Mark == name {
			lines = append(lines, c.Text)
		}
	}
	if len(lines) == 1 {
		m.Fatalf("%s has no commands called %q", guide, name)
	}
	chart, err := filepath.Abs("../../charts/fairlead")
	m.must(err)
	_, err = m.Shell(m.ctx, m.ControlPlane(), strings.Join(lines, "\n"), "CHART="+chart)
	m.must(err)
}

func (m *move) apply(manifests string) {
	m.Helper()
	m.must(m.Apply(m.ctx, manifests))
}

// installMetalLB makes the objects of MetalLB's chart. Its kinds belong to its release.
func (m *move) installMetalLB() {
	m.Helper()
	m.must(m.InstallCRDs(m.ctx))
	for _, kind := range []string{"ipaddresspools", "l2advertisements", "bgpadvertisements", "bgppeers", "bfdprofiles", "communities", "servicel2statuses", "servicebgpstatuses", "configurationstates"} {
		name := kind + ".metallb.io"
		for _, args := range [][]string{
			{"annotate", "--overwrite", "crd", name, "meta.helm.sh/release-name=metallb", "meta.helm.sh/release-namespace=metallb-system"},
			{"label", "--overwrite", "crd", name, "app.kubernetes.io/managed-by=Helm"},
		} {
			_, err := m.Kubectl(m.ctx, "", args...)
			m.must(err)
		}
	}
	m.apply(m.testdata("metallb.yaml"))
}

func (m *move) testdata(name string) string {
	m.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	m.must(err)
	return string(text)
}

// metallbAssigns makes the user's objects, and on the Services what MetalLB's controller writes. The webhooks that would
// check them have no server here.
func (m *move) metallbAssigns() {
	m.Helper()
	_, err := m.Kubectl(m.ctx, "", "delete", "validatingwebhookconfiguration", "metallb-webhook-configuration")
	m.must(err)
	m.apply(m.testdata("configuration.yaml"))
	m.apply(m.testdata("metallb.yaml"))
	for name, a := range assigned {
		s := m.service(name)
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations["metallb.io/ip-allocated-from-pool"] = a.pool
		m.must(m.Client().Update(m.ctx, s))
		for ip := range strings.FieldsSeq(a.addresses) {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
		}
		m.must(m.Client().Status().Update(m.ctx, s))
	}
}

// metallbAnnounces has one node's kernel answer ARP for every IPv4 address, as MetalLB's speaker does, or no longer.
func (m *move) metallbAnnounces(on bool) {
	m.Helper()
	node, do := m.Node(metallb), "del"
	if on {
		do = "add"
	}
	for _, a := range assigned {
		ip := strings.Fields(a.addresses)[0]
		// A kernel answers for a neighbor only when it would forward to it over another interface.
		_, err1 := node.Run(m.ctx, "ip", "route", do, ip+"/32", "dev", "lo")
		_, err2 := node.Run(m.ctx, "ip", "neigh", do, "proxy", ip, "dev", "eth0")
		if err := errors.Join(err1, err2); err != nil && ip != "172.25.254.70" { // two Services share that
			m.Fatal(err)
		}
	}
}

func (m *move) service(name string) *corev1.Service {
	m.Helper()
	var s corev1.Service
	m.must(m.Client().Get(m.ctx, client.ObjectKey{Namespace: "default", Name: name}, &s))
	return &s
}

// has is nil when the Service has just these addresses.
func (m *move) has(name, addresses string) error {
	var got []string
	for _, in := range m.service(name).Status.LoadBalancer.Ingress {
		got = append(got, in.IP)
	}
	if strings.Join(got, " ") != addresses {
		return fmt.Errorf("%s has %v, want %s", name, got, addresses)
	}
	return nil
}

// unchanged checks that every Service has what MetalLB gave it.
func (m *move) unchanged(when string) {
	m.Helper()
	for name, a := range assigned {
		if err := m.has(name, a.addresses); err != nil {
			m.Errorf("%s: %v", when, err)
		}
		if got := m.service(name).Annotations["metallb.io/ip-allocated-from-pool"]; got != a.pool {
			m.Errorf("%s: %s is said to be from pool %q", when, name, got)
		}
	}
	if got := m.service("waits").Status.LoadBalancer.Ingress; len(got) > 0 {
		m.Errorf("%s: the Service that waits has %v", when, got)
	}
}

// startFairlead runs what the chart's Deployment and DaemonSet would: no kubelet does it here.
func (m *move) startFairlead() []*cluster.Process {
	m.Helper()
	controller, err := m.StartController(m.ctx)
	m.must(err)
	out := []*cluster.Process{controller}
	for i := range m.Nodes() {
		p, err := m.StartSpeaker(m.ctx, i)
		m.must(err)
		out = append(out, p)
	}
	for _, p := range out {
		m.must(m.WaitReady(m.ctx, p))
	}
	return out
}

// takenOver waits until every Service says in Fairlead's words what it has, and checks that nobody is told of a change.
func (m *move) takenOver() {
	m.Helper()
	for name, a := range assigned {
		m.eventually(name+" is taken over", func() error {
			c := meta.FindStatusCondition(m.service(name).Status.Conditions, "fairlead.io/Assigned")
			if c == nil || c.Reason != "IPAllocated" || !strings.Contains(c.Message, strings.Fields(a.addresses)[0]) {
				return fmt.Errorf("its condition is %+v", c)
			}
			return nil
		})
	}
	var list eventsv1.EventList
	m.must(m.Client().List(m.ctx, &list))
	for _, e := range list.Items {
		if e.ReportingController == "fairlead-controller" && e.Regarding.Kind == "Service" && e.Reason != "DeprecatedAnnotation" && e.Regarding.Name != "waits" {
			m.Errorf("Service %s is told %s: %s", e.Regarding.Name, e.Reason, e.Note)
		}
	}
}

// onlyFairleadAnnounces waits until one speaker answers for each address.
func (m *move) onlyFairleadAnnounces() {
	m.Helper()
	for _, a := range assigned {
		ip := netip.MustParseAddr(strings.Fields(a.addresses)[0])
		m.eventually("one node answers for "+ip.String(), func() error {
			who, err := m.Outside().WhoHas(m.ctx, ip, 300*time.Millisecond)
			if err != nil {
				return err
			}
			if len(who) != 1 || !slices.Contains(m.Nodes(), m.HostOf(who[0])) {
				return fmt.Errorf("%v do", who)
			}
			return nil
		})
	}
}

// configuration is what the user has configured, by name.
func (m *move) configuration() string {
	m.Helper()
	out, err := m.Kubectl(m.ctx, "", "get", "-n", "metallb-system", "ipaddresspools,l2advertisements,bgppeers.v1beta2.metallb.io", "-o",
		`jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.uid} {.spec}{"\n"}{end}`)
	m.must(err)
	return out
}

// same checks that the configuration is what it was, object for object.
func (m *move) same(before, when string) {
	m.Helper()
	if now := m.configuration(); now != before || strings.Count(now, "\n") < 4 {
		m.Errorf("%s, the configuration is\n%s\nand was\n%s", when, now, before)
	}
}

// nothingIsLeft checks that nothing of Fairlead runs or has rights any more.
func (m *move) nothingIsLeft() {
	m.Helper()
	out, err := m.Kubectl(m.ctx, "", "get", "-A", "-o", "name", "deployments,daemonsets,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,services,secrets,leases,validatingwebhookconfigurations")
	m.must(err)
	for line := range strings.Lines(out) {
		if strings.Contains(line, "fairlead") {
			m.Errorf("left of Fairlead: %s", line)
		}
	}
}

// stream is the clients of some addresses.
type stream struct {
	m      *move
	probes map[string]*cluster.Probe
}

func (m *move) traffic() *stream {
	s := &stream{m: m, probes: map[string]*cluster.Probe{}}
	for _, name := range []string{"web", "field", "both"} {
		ip := netip.MustParseAddr(strings.Fields(assigned[name].addresses)[0])
		m.eventually(name+" is answered", func() error {
			_, err := m.Outside().HTTPGet(m.ctx, cluster.URL(ip, 8080))
			return err
		})
		s.probes[name] = m.Outside().Probe(cluster.URL(ip, 8080), 20*time.Millisecond, time.Second)
	}
	return s
}

// check ends the clients: one packet may be lost when an address changes its node, and is sent again a second later.
func (s *stream) check(way string) {
	s.m.Helper()
	for name, p := range s.probes {
		r := p.Stop()
		s.m.Logf("%s, %s: %d of %d requests answered, longest gap %s", way, name, r.Answered, r.Asked, r.Gap)
		if r.Asked-r.Answered > 3 || r.Gap > 500*time.Millisecond {
			s.m.Errorf("%s, %s: %d of %d requests answered, longest gap %s: %v", way, name, r.Answered, r.Asked, r.Gap, r.LastError)
		}
	}
}
