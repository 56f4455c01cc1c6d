//go:build vm

package ipvs

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

const (
	apiAddress = "127.0.0.1:8001"
	syncEvery  = 2 * time.Second  // of kube-proxy
	starting   = 90 * time.Second // of kube-proxy under emulation, which takes 9 s on an idle machine
	syncing    = 2 * time.Minute  // two syncs, which take 5 s there
	ownService = "10.96.0.20:80"  // a Service that kube-proxy serves
)

// apiServer answers what kube-proxy asks: lists, watches in which nothing happens, its node.
func (l *lab) apiServer(on *host) {
	l.t.Helper()
	meta := metav1.ObjectMeta{Name: "theirs", Namespace: "x", UID: "1", ResourceVersion: "1"}
	service := &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.20", ClusterIPs: []string{"10.96.0.20"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}}}}
	meta.Labels = map[string]string{discoveryv1.LabelServiceName: "theirs"}
	slice := &discoveryv1.EndpointSlice{TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}, ObjectMeta: meta,
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{l.pods["pod1"].v4.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
		Ports: []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}}}
	node := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "2", ResourceVersion: "1"},
		Spec:   corev1.NodeSpec{PodCIDR: "10.244.0.0/16", PodCIDRs: []string{"10.244.0.0/16"}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: on.v4.String()}}}}
	mux := http.NewServeMux()
	for path, list := range map[string]struct {
		version, kind string
		item          any
	}{
		"/api/v1/services": {"v1", "ServiceList", service}, "/apis/discovery.k8s.io/v1/endpointslices": {"discovery.k8s.io/v1", "EndpointSliceList", slice},
		"/api/v1/nodes": {"v1", "NodeList", node}, "/apis/networking.k8s.io/v1/servicecidrs": {"networking.k8s.io/v1", "ServiceCIDRList", nil},
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			items := []any{}
			if list.item != nil {
				items = append(items, list.item)
			}
			if r.FormValue("watch") == "" {
				json.NewEncoder(w).Encode(map[string]any{"apiVersion": list.version, "kind": list.kind, "metadata": map[string]string{"resourceVersion": "1"}, "items": items})
				return
			}
			if r.FormValue("sendInitialEvents") == "true" {
				for _, x := range items {
					json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": x})
				}
				json.NewEncoder(w).Encode(map[string]any{"type": "BOOKMARK", "object": map[string]any{"apiVersion": list.version, "kind": strings.TrimSuffix(list.kind, "List"),
					"metadata": map[string]any{"resourceVersion": "1", "annotations": map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}})
			}
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
	}
	mux.HandleFunc("GET /api/v1/nodes/a", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(node)
	})
	var listener net.Listener
	var err error
	on.Do(func() { listener, err = net.Listen("tcp", apiAddress) })
	if err != nil {
		l.t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	l.t.Cleanup(func() { server.Close() })
}

// kubeProxy runs kube-proxy in a mode on a node until stop is called, and returns what reads its log.
func (l *lab) kubeProxy(on *host, mode plan.Proxy, args ...string) (log func() string, stop func()) {
	l.t.Helper()
	config := filepath.Join(l.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c"}}],
		"clusters": [{"name": "c", "cluster": {"server": "http://%s"}}]}`, apiAddress)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(l.t.TempDir(), "log"))
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("/t/kube-proxy", append([]string{"--kubeconfig=" + config, "--proxy-mode=" + string(mode), "--hostname-override=a", "--cluster-cidr=10.244.0.0/16",
		"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
		"--ipvs-sync-period=" + syncEvery.String(), "--ipvs-min-sync-period=1s"}, args...)...)
	cmd.Stdout, cmd.Stderr = file, file
	on.Do(func() { err = cmd.Start() })
	if err != nil {
		l.t.Fatal(err)
	}
	log = func() string {
		text, err := os.ReadFile(file.Name())
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	return log, func() {
		cmd.Process.Kill()
		cmd.Wait()
		file.Close()
	}
}

// beside is a programmer on node a, beside the real kube-proxy.
type beside struct {
	*lab
	a *host
	p *Programmer
}

func besideKubeProxy(t *testing.T) *beside {
	if out, err := exec.Command("modprobe", "ip_vs").CombinedOutput(); err != nil {
		t.Fatalf("modprobe ip_vs: %v\n%s", err, out)
	}
	l := newLab(t)
	a := l.nodes["a"]
	l.apiServer(a)
	p, stop := l.run("a", l.view("a", l.service("pod1", "pod3")))
	t.Cleanup(stop)
	return &beside{l, a, p}
}

// sees waits until the programmer knows kube-proxy's mode, and kube-proxy serves its own Service, which it does later.
func (b *beside) sees(mode plan.Proxy) {
	b.t.Helper()
	netnstest.Eventually(b.t, starting, func() error {
		r := b.p.Report()
		told := false
		for _, v := range r.Problems {
			told = told || v.Reason == verdict.KubeProxyIPVS
		}
		if r.Proxy != mode || told != (mode == plan.ProxyIPVS) || !r.Ready {
			return fmt.Errorf("the report has kube-proxy in mode %q, problems %v, ready %v; want mode %s", r.Proxy, r.Problems, r.Ready, mode)
		}
		f, err := b.pods["pod2"].open("tcp", ownService, "", 300*time.Millisecond)
		if err == nil {
			f.Close()
		}
		return err
	})
}

// stays asks until a condition holds, without one request that fails.
func (b *beside) stays(log func() string, until func(time.Duration) bool) {
	b.t.Helper()
	asked := 0
	for began := time.Now(); !until(time.Since(began)); asked++ {
		for to, source := range map[string]string{web4: "10.0.0.1", web6: "fd00:a::1"} {
			if _, from, err := b.client.ask("tcp", to); err != nil || from != source {
				b.t.Fatalf("%v, source %s\n%s", err, from, b.a.Command(b.t, "ipvsadm", "-Ln"))
			}
		}
		time.Sleep(200 * time.Millisecond) // the machine's one processor is kube-proxy's, too
		if time.Since(began) > syncing {
			b.t.Fatalf("kube-proxy does not get on:\n%s", log())
		}
	}
	b.t.Logf("%d requests answered beside kube-proxy in mode %s", 2*asked, b.p.Report().Proxy)
	if _, _, err := b.pods["pod2"].ask("tcp", ownService); err != nil {
		b.t.Errorf("kube-proxy's own Service: %v\n%s", err, log())
	}
}

// triesInVain is what kube-proxy in IPVS mode logs in every sync of each firewall-mark server: it takes it for one with an
// address that it does not know, and does not get it deleted.
const triesInVain = `"Failed to delete service"`

// foreign makes a server with an address that kube-proxy does not know, and says whether it is there.
func (b *beside) foreign(address string) (there func() bool) {
	b.a.Command(b.t, "ipvsadm", "-A", "-t", address)
	return func() bool { return strings.Contains(b.a.Command(b.t, "ipvsadm", "-Ln"), address) }
}

// TestKubeProxyInIPVSMode: beside the real kube-proxy in IPVS mode the addresses are served through two full syncs, by
// firewall-mark servers alone, on no other ports than theirs, and pings stay unanswered where they are not to be.
func TestKubeProxyInIPVSMode(t *testing.T) {
	b := besideKubeProxy(t)
	b.a.serve(t, 2222)
	log, end := b.kubeProxy(b.a, plan.ProxyIPVS)
	defer end()
	b.sees(plan.ProxyIPVS)
	got := b.a.Command(t, "ipvsadm", "-Ln")
	if strings.Contains(got, vip4) || !strings.Contains(got, "FWM") || !strings.Contains(got, ownService) {
		t.Errorf("there are servers with the address, or none of kube-proxy's:\n%s", got)
	}
	there := b.foreign("198.51.100.9:80")
	syncs := func() int { return strings.Count(log(), `virtualServer="0.0.0.0:0/"`) }
	marked := strings.Count(got, "FWM") - strings.Count(got, "IPv6")
	before := syncs()
	b.stays(log, func(time.Duration) bool { return syncs() >= before+2*marked && !there() })
	if !strings.Contains(log(), triesInVain) {
		t.Errorf("kube-proxy says something else of what it cannot delete:\n%s", log())
	}
	for _, vip := range []string{vip4, vip6} {
		to := net.JoinHostPort(vip, "2222")
		b.refused(b.client, "tcp", to)
		b.refused(b.client, "udp", to)
		if out, err := b.client.Try("ping", "-c1", "-W1", vip); err == nil {
			t.Errorf("%s answers pings:\n%s", vip, out)
		}
	}
}
