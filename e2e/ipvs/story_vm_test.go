//go:build vm

package ipvs

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// patience is ten times what any single step takes on an idle machine, and syncing four times what one sync of a kube-proxy in
// IPVS mode does, which runs dozens of programs.
const (
	patience = time.Minute
	syncing  = 3 * time.Minute
)

// clock is how moments are told.
const clock = "15:04:05.0"

const (
	vip      = "172.25.254.50"
	port     = 8080
	nodePort = 33333

	clusterIPs = 2 // the API server's and the Service's
)

// manifests are a pool with one address, its advertisement, ports beside the API server's range, and a load balancer.
const manifests = `
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: first-pool, namespace: metallb-system}
spec: {addresses: ["172.25.254.50-172.25.254.50"]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: first, namespace: metallb-system}
---
apiVersion: fairlead.io/v1alpha1
kind: NodePortRange
metadata: {name: games, namespace: metallb-system}
spec: {ports: ["33000-33999"]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{name: http, port: 8080, targetPort: 80}]
`

// story is one user's story, beside kube-proxy in one mode.
type story struct {
	*testing.T
	ctx         context.Context
	proxy       string             // the mode of kube-proxy
	proxies     []*cluster.Process // those in IPVS mode
	lax         bool               // they run without strictARP
	pods        []*cluster.Pod
	programmers []*cluster.Process
	changing    [][2]time.Time // when kube-proxy was taking the address up or letting it go
}

// begin makes two pods and what manifests says.
func begin(t *testing.T, proxy string) *story {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 15*time.Minute)
	s := &story{T: t, ctx: ctx, proxy: proxy}
	t.Cleanup(func() {
		defer cancel()
		s.must(client.IgnoreNotFound(lab.Client().Delete(ctx, s.service())))
		for _, p := range s.pods {
			s.must(lab.RemovePod(ctx, p))
		}
		for _, p := range s.programmers {
			s.must(p.Kill())
		}
	})
	for i := range lab.Nodes() {
		p, err := lab.AddPod(ctx, cluster.PodOptions{Node: i, Labels: map[string]string{"app": "web"}})
		s.must(err)
		s.pods = append(s.pods, p)
	}
	s.must(lab.Apply(ctx, manifests))
	return s
}

func (s *story) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *story) eventually(what string, fn func() error) {
	s.Helper()
	began, limit := time.Now(), patience
	if s.proxy == "ipvs" {
		limit = syncing
	}
	if err := cluster.Eventually(s.ctx, limit, fn); err != nil {
		for _, n := range lab.Nodes() {
			s.Logf("%s\n%s", n.Name, s.run(n, "ipvsadm", "-Ln"))
		}
		s.Fatalf("%s: %v", what, err)
	}
	s.Logf("%s, after %.1f s: %s", time.Now().Format(clock), time.Since(began).Seconds(), what)
}

// run runs a command on a node.
func (s *story) run(n *cluster.Host, argv ...string) string {
	s.Helper()
	out, err := n.Run(s.ctx, argv...)
	s.must(err)
	return out
}

// startProgrammer starts the programmer of a node.
func (s *story) startProgrammer(node int) {
	s.Helper()
	p, err := lab.StartProgrammer(s.ctx, node)
	s.must(err)
	s.programmers = append(s.programmers, p)
	running = append(running, p)
}

// restartProgrammer kills the programmer of a node and starts it again.
func (s *story) restartProgrammer(node int) {
	s.Helper()
	s.must(s.programmers[node].Kill())
	p, err := lab.StartProgrammer(s.ctx, node)
	s.must(err)
	s.programmers[node] = p
	running = append(running, p)
	s.eventually("the programmer of "+lab.Node(node).Name+" is ready", func() error { return programmerReady(s.ctx, node) })
}

func (s *story) service() *corev1.Service {
	s.Helper()
	var out corev1.Service
	s.must(lab.Client().Get(s.ctx, client.ObjectKey{Namespace: "default", Name: "web"}, &out))
	return &out
}

// annotate sets annotations of the Service; an empty value takes one away.
func (s *story) annotate(values map[string]string) {
	s.Helper()
	was := s.service()
	now := was.DeepCopy()
	for name, value := range values {
		if now.Annotations == nil {
			now.Annotations = map[string]string{}
		}
		if now.Annotations[name] = value; value == "" {
			delete(now.Annotations, name)
		}
	}
	s.must(lab.Client().Patch(s.ctx, now, client.MergeFrom(was)))
}

// ipMode is that of the Service's address, "" when it has none.
func (s *story) ipMode() corev1.LoadBalancerIPMode {
	s.Helper()
	ingress := s.service().Status.LoadBalancer.Ingress
	if len(ingress) != 1 || ingress[0].IP != vip || ingress[0].IPMode == nil {
		return ""
	}
	return *ingress[0].IPMode
}

func (s *story) becomes(mode corev1.LoadBalancerIPMode) {
	s.Helper()
	s.eventually(fmt.Sprintf("%s has the ipMode %s", vip, mode), func() error {
		if now := s.ipMode(); now != mode {
			return fmt.Errorf("it has %q", now)
		}
		return nil
	})
}

// reports says whether the programmer of a node says that it serves the address.
func (s *story) reports(n *cluster.Host) bool {
	s.Helper()
	state := &unstructured.Unstructured{}
	state.SetAPIVersion("fairlead.io/v1alpha1")
	state.SetKind("ProgrammerState")
	err := lab.Client().Get(s.ctx, client.ObjectKey{Namespace: cluster.FairleadNamespace, Name: n.Name}, state)
	s.must(client.IgnoreNotFound(err))
	addresses, _, err := unstructured.NestedStringSlice(state.Object, "status", "addresses")
	s.must(err)
	return slices.Contains(addresses, vip)
}

// atVIP is how ipvsadm shows a virtual server of the address.
var atVIP = "TCP  " + netip.AddrPortFrom(netip.MustParseAddr(vip), port).String() + " "

// programmed says whether the kernel of a node holds the programmer's virtual server of the address: beside kube-proxy in
// IPVS mode, which takes for its own what has an address, one of a firewall mark.
func (s *story) programmed(n *cluster.Host) bool {
	s.Helper()
	kind := atVIP
	if s.proxy == "ipvs" {
		kind = "FWM  "
	}
	return strings.Contains(s.run(n, "ipvsadm", "-Ln"), kind)
}

// kubeProxyServes says whether kube-proxy of a node serves the address. In IPVS mode it masquerades what the ipset holds, which
// it writes after its virtual servers; then it takes those away of Services that are gone.
func (s *story) kubeProxyServes(n *cluster.Host) bool {
	s.Helper()
	if s.proxy == "ipvs" {
		servers := s.run(n, "ipvsadm", "-Ln")
		masqueraded, _ := n.Run(s.ctx, "ipset", "list", "KUBE-LOAD-BALANCER") // which is not there before its first sync
		return strings.Contains(servers, atVIP) && strings.Contains(servers, "TCP  "+s.service().Spec.ClusterIP+":") && strings.Count(servers, "TCP  10.96.") == clusterIPs &&
			strings.Contains(masqueraded, fmt.Sprintf("%s,tcp:%d", vip, port)) && strings.Contains(s.run(n, "ip", "-o", "address", "show", "dev", "kube-ipvs0"), " "+vip+"/32 ")
	}
	table, _ := n.Run(s.ctx, "nft", "list", "table", "ip", "kube-proxy") // which is not there before its first sync
	return strings.Contains(table, vip)
}

// onNodes waits until something is so, or is not, on every node.
func (s *story) onNodes(what string, is func(*cluster.Host) bool, want bool) {
	s.Helper()
	for _, n := range lab.Nodes() {
		s.eventually(fmt.Sprintf("%s: %s is %v", n.Name, what, want), func() error {
			if is(n) != want {
				return fmt.Errorf("it is not")
			}
			return nil
		})
	}
}

func (s *story) whoHas() []net.HardwareAddr {
	s.Helper()
	who, err := lab.Outside().WhoHas(s.ctx, netip.MustParseAddr(vip), time.Second)
	s.must(err)
	return who
}

// announcer waits until exactly one host answers ARP for the address, that being a node, and returns it.
func (s *story) announcer() *cluster.Host {
	s.Helper()
	var host *cluster.Host
	s.eventually("exactly one node answers for "+vip, func() error {
		who := s.whoHas()
		if len(who) != 1 {
			return fmt.Errorf("%d hosts answer: %v", len(who), who)
		}
		host = lab.HostOf(who[0])
		if !slices.Contains(lab.Nodes(), host) {
			return fmt.Errorf("%s answers, which is no node", who[0])
		}
		return nil
	})
	return host
}

// page asks from outside until every pod has answered.
func (s *story) page(address netip.Addr, port uint16) {
	s.Helper()
	s.pageFrom(lab.Outside(), address, port)
}

func (s *story) pageFrom(client *cluster.Host, address netip.Addr, port uint16) {
	s.Helper()
	waiting := map[string]bool{}
	for _, p := range s.pods {
		waiting[p.Name] = true
	}
	s.eventually(fmt.Sprintf("every pod answers %s at %s port %d", client.Name, address, port), func() error {
		ctx, cancel := context.WithTimeout(s.ctx, 3*time.Second)
		defer cancel()
		body, err := client.HTTPGet(ctx, cluster.URL(address, port))
		if err != nil {
			return err
		}
		delete(waiting, strings.Fields(body)[0])
		if len(waiting) > 0 {
			return fmt.Errorf("not heard of: %v", waiting)
		}
		return nil
	})
}

// explains asks Fairlead about the Service until the answer has all the words.
func (s *story) explains(words ...string) {
	s.Helper()
	s.explain([]string{"svc", "default/web"}, words...)
}

func (s *story) explain(what []string, words ...string) {
	s.Helper()
	s.eventually("fairlead explain "+strings.Join(what, " "), func() error {
		cmd := lab.ControlPlane().Command(s.ctx, append([]string{here + "/fairlead", "explain"}, append(what, "--kubeconfig", lab.Kubeconfig(), "--namespace", cluster.FairleadNamespace)...)...)
		out, _ := cmd.CombinedOutput() // its status says how the Service stands
		for _, w := range words {
			if !strings.Contains(string(out), w) {
				return fmt.Errorf("it does not say %q:\n%s", w, out)
			}
		}
		return nil
	})
}

// found is what of the nodes a programmer might leave changed. What stays on purpose is not among it, ip_forward and
// vs.conntrack; nor is what kube-proxy drains, pods of before.
func (s *story) found() (out []string) {
	s.Helper()
	for _, n := range lab.Nodes() {
		out = append(out, n.Name, s.run(n, "ip", "-o", "link"), s.run(n, "sh", "-c", "ip -o address | cut -d: -f2- | sort"),
			s.run(n, "nft", "list", "tables"), s.run(n, "sh", "-c", "ipvsadm -Sn | grep -v -e '-w 0$' | sort"),
			s.run(n, "sh", "-c", "cd /proc/sys/net/ipv4; grep -H . conf/*/arp_announce conf/*/arp_ignore vs/expire_* ip_local_reserved_ports"))
	}
	return out
}

// TestNoWayOut: the machine reaches the loopback of the one that it runs on, and nothing else.
func TestNoWayOut(t *testing.T) {
	out, err := exec.Command("ip", "route", "get", "192.0.2.1").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "unreachable") {
		t.Errorf("ip route get 192.0.2.1: %v\n%s", err, out)
	}
}
