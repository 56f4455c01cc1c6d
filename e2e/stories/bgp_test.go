//go:build e2e

package stories

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/peertest"
)

// bgpVIP is the first address of the guide's pool; no subnet of the segment has it.
const bgpVIP = "192.168.1.240"

// guideBGP is what MetalLB's guide has users apply.
const guideBGP = `
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata:
  name: sample
  namespace: metallb-system
spec:
  myASN: 64500
  peerASN: 64501
  peerAddress: 10.0.0.1
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: first-pool
  namespace: metallb-system
spec:
  addresses:
  - 192.168.1.240-192.168.1.250
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata:
  name: example
  namespace: metallb-system
`

// frr is the router of the guides, 10.0.0.1, in AS 64501: the nodes are its neighbors and the client's way to the pool.
// It spreads connections over all next hops and takes BFD at 50 ms x 3 where lines ask for it.
const frr = `
frr defaults datacenter
hostname router
bfd
 profile fast
  receive-interval 50
  transmit-interval 50
 exit
exit
router bgp 64501
 bgp router-id 10.0.0.1
 no bgp ebgp-requires-policy
 neighbor NODES peer-group
 neighbor NODES remote-as 64500
 neighbor NODES passive
 neighbor NODES timers connect 1
 neighbor 10.0.0.10 peer-group NODES
 neighbor 10.0.0.11 peer-group NODES
 neighbor 10.0.0.12 peer-group NODES
 address-family ipv4 unicast
  neighbor NODES activate
  maximum-paths 8
`

// bgpStory is a story with a router.
type bgpStory struct {
	*story
	host *cluster.Host
	*peertest.Router
}

// routerHost is made once: hosts stay in the segment.
var routerHost = sync.OnceValues(func() (*cluster.Host, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h, err := lab.AddHost(ctx, "router", 200)
	if err != nil {
		return nil, err
	}
	for i, n := range lab.Nodes() {
		if _, err := n.Run(ctx, "ip", "addr", "add", fmt.Sprintf("10.0.0.%d/24", 10+i), "dev", "eth0"); err != nil {
			return nil, err
		}
	}
	for _, argv := range [][]string{{"ip", "addr", "add", "10.0.0.1/24", "dev", "eth0"}, {"sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1"}} {
		if _, err := h.Run(ctx, argv...); err != nil {
			return nil, err
		}
	}
	_, err = lab.Outside().Run(ctx, "ip", "route", "add", "192.168.1.0/24", "via", h.IPv4.String())
	return h, err
})

// withRouter starts the router, applies the guide's manifests and has a Service with a pod on every node that the router reaches by
// all nodes; lines are added to the router's configuration.
func withRouter(t *testing.T, lines ...string) (*bgpStory, []*cluster.Pod) {
	t.Helper()
	s := begin(t)
	runtime.LockOSThread() // the router ends with the thread that starts it
	h, err := routerHost()
	s.must(err)
	// A router that was there before ended by SIGKILL, which leaves its route; else this is an error.
	_, _ = h.Run(s.ctx, "ip", "route", "del", bgpVIP, "proto", "bgp")
	x := &bgpStory{s, h, peertest.FRR(t, netnstest.Open(t, "/run/netns/"+h.Namespace), frr+strings.Join(lines, "\n")+"\n")}
	pods := []*cluster.Pod{s.pod(0, "huazi"), s.pod(1, "huazi"), s.pod(2, "huazi")}
	s.apply(guideBGP)
	s.sample("huazi.yaml")
	s.hasAddresses("huazi", bgpVIP)
	x.routed("10.0.0.10", "10.0.0.11", "10.0.0.12")
	return x, pods
}

var via = regexp.MustCompile(`via (10\.0\.0\.\d+)`)

// nextHops returns the next hops of the router's kernel to the address.
func (s *bgpStory) nextHops() []string {
	s.Helper()
	out, err := s.host.Run(s.ctx, "ip", "route", "show", bgpVIP, "proto", "bgp")
	s.must(err)
	var hops []string
	for _, m := range via.FindAllStringSubmatch(out, -1) {
		hops = append(hops, m[1])
	}
	slices.Sort(hops)
	return hops
}

// routed waits until the router's kernel has exactly these next hops to the address.
func (s *bgpStory) routed(hops ...string) {
	s.Helper()
	s.eventually("next hops to "+bgpVIP, func() error {
		if got := s.nextHops(); !slices.Equal(got, hops) {
			return fmt.Errorf("%v, want %v", got, hops)
		}
		return nil
	})
}

// probe asks for the Service's page through the router, a hundred times a second.
func (s *bgpStory) probe() *cluster.Probe {
	s.Helper()
	p := lab.Outside().Probe("http://"+bgpVIP+":8080/", 10*time.Millisecond, 2*time.Second)
	s.eventually("the probe is answered", func() error {
		if p.Answered() < 10 {
			return fmt.Errorf("%d answers", p.Answered())
		}
		return nil
	})
	return p
}

// The manifests of the guide for BGP: the Service is reached through the router, over all nodes at the same time; and
// kubectl tells what there is to know.
func TestBGPAsInTheGuide(t *testing.T) {
	s, pods := withRouter(t)
	port := uint16(s.service("huazi").Spec.Ports[0].Port)
	s.page(bgpVIP, port, pods...)
	s.event("Service", "huazi", "nodeAssigned", `announcing 192.168.1.240 from node "node-1" with protocol "bgp" to`)
	s.event("BGPPeer", "sample", "SessionEstablished", `the session of node "node-2" with 10.0.0.1 is established`)
	s.eventually("the ServiceBGPStatuses", func() error {
		var list v1beta1.ServiceBGPStatusList
		s.must(lab.Client().List(s.ctx, &list, client.InNamespace(cluster.FairleadNamespace)))
		nodes := map[string]bool{}
		for _, o := range list.Items {
			if o.Status.ServiceName == "huazi" && slices.Equal(o.Status.Peers, []string{"sample"}) {
				nodes[o.Status.Node] = true
			}
		}
		if len(nodes) != 3 || len(list.Items) != 3 {
			return fmt.Errorf("there are %+v", list.Items)
		}
		return nil
	})
	s.eventually("the SpeakerStates", func() error {
		out, err := lab.Kubectl(s.ctx, "", "-n", cluster.FairleadNamespace, "get", "speakerstates",
			"-o", `jsonpath={range .items[*]}{.status.sessions[*].peer} {.status.sessions[*].state} {.status.sessions[*].prefixesSent}{"\n"}{end}`)
		s.must(err)
		if out != strings.Repeat("sample established 1\n", 3) {
			return fmt.Errorf("they say %q", out)
		}
		return nil
	})
	metrics, err := lab.Metrics(s.ctx, lab.speakers[0])
	s.must(err)
	for _, line := range []string{
		`metallb_bgp_session_up{peer="10.0.0.1:179",vrf=""} 1`, `metallb_bgp_announced_prefixes_total{peer="10.0.0.1:179",vrf=""} 1`,
		`metallb_speaker_announced{ip="192.168.1.240",node="node-0",protocol="bgp",service="default/huazi"} 1`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	s.must(lab.Client().Delete(s.ctx, s.service("huazi")))
	s.routed()
}

// With the annotation for weights the router's kernel sends nodes traffic in proportion to their pods.
func TestBGPWeighsNodesByPods(t *testing.T) {
	s, _ := withRouter(t)
	s.pod(0, "huazi")
	s.pod(0, "huazi") // three on node-0 now, one on each of the others
	s.apply(`
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: {name: example, namespace: metallb-system, annotations: {fairlead.io/weight: endpoints}}
`)
	s.eventually("weights in the router's kernel", func() error {
		out, err := s.host.Run(s.ctx, "ip", "route", "show", bgpVIP, "proto", "bgp")
		s.must(err)
		weights := map[string]int{}
		for _, m := range regexp.MustCompile(`via (10\.0\.0\.\d+) dev \S+ weight (\d+)`).FindAllStringSubmatch(out, -1) {
			weights[m[1]], _ = strconv.Atoi(m[2])
		}
		one := weights["10.0.0.11"]
		if one == 0 || weights["10.0.0.12"] != one || weights["10.0.0.10"] < 3*one-1 || weights["10.0.0.10"] > 3*one+1 {
			return fmt.Errorf("the route is %s", out)
		}
		return nil
	})
}

// A password in a Secret: the session waits for the Secret, says so, and takes over a changed one without a restart.
func TestBGPPasswordIsChangedLive(t *testing.T) {
	s, _ := withRouter(t)
	password := func(text string) {
		s.Helper()
		s.apply(fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: router, namespace: metallb-system}
type: kubernetes.io/basic-auth
stringData: {username: "", password: %s}
`, text))
	}
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s.must(client.IgnoreNotFound(lab.Client().Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.FairleadNamespace, Name: "router"}})))
	})
	s.Configure("router bgp 64501", "neighbor NODES password one")
	s.routed()
	s.apply(`
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: sample, namespace: metallb-system}
spec: {myASN: 64500, peerASN: 64501, peerAddress: 10.0.0.1, passwordSecret: {name: router}, connectTime: 1s}
`)
	s.eventually("what is missing is told", func() error {
		out, err := lab.Kubectl(s.ctx, "", "-n", cluster.FairleadNamespace, "get", "configurationstates", "-o", "jsonpath={.items[*].status.errorSummary}")
		s.must(err)
		if strings.Count(out, `BGPPeer "sample" names Secret "metallb-system/router", which does not exist`) != 3 {
			return fmt.Errorf("it is %s", out)
		}
		return nil
	})
	password("one")
	s.routed("10.0.0.10", "10.0.0.11", "10.0.0.12")
	s.Configure("router bgp 64501", "neighbor NODES password two")
	s.routed()
	password("two")
	s.routed("10.0.0.10", "10.0.0.11", "10.0.0.12")
	for _, p := range lab.speakers {
		if log := p.Tail(1000); strings.Contains(log, "password: one") || strings.Contains(log, "Password:one") {
			s.Errorf("the log of %s shows the password", p.Name)
		}
	}
}

// A node is lost without a word: with BFD the router stops using it within a fraction of a second, and uses it again
// when it is back.
func TestBGPNodeIsLost(t *testing.T) {
	s, _ := withRouter(t, " exit", " neighbor NODES bfd profile fast")
	s.apply(`
apiVersion: metallb.io/v1beta1
kind: BFDProfile
metadata: {name: fast, namespace: metallb-system}
spec: {receiveInterval: 50, transmitInterval: 50, detectMultiplier: 3}
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: sample, namespace: metallb-system}
spec: {myASN: 64500, peerASN: 64501, peerAddress: 10.0.0.1, bfdProfile: fast}
`)
	s.eventually("BFD is up with all nodes", func() error {
		if out := s.Vtysh("show bfd peers brief"); strings.Count(out, " up ") != 3 {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	s.routed("10.0.0.10", "10.0.0.11", "10.0.0.12")
	s.must(lab.SetNodeReady(s.ctx, 2, true))
	began := time.Now()
	s.must(lab.Mute(s.ctx, 2))
	s.Cleanup(func() { s.must(lab.Heal(context.Background(), 2)) })
	s.routed("10.0.0.10", "10.0.0.11")
	took := time.Since(began)
	s.Logf("the router stopped using the node after %v", took)
	if took > time.Second {
		s.Errorf("the route was gone after %v", took)
	}
	s.must(lab.Heal(s.ctx, 2))
	s.routed("10.0.0.10", "10.0.0.11", "10.0.0.12")
}

// With graceful restart, as a new version of the speaker is rolled out, no request through the router fails and the
// router's kernel is not touched.
func TestBGPSpeakerRestartsGracefully(t *testing.T) {
	s, _ := withRouter(t)
	s.apply(`
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: sample, namespace: metallb-system}
spec: {myASN: 64500, peerASN: 64501, peerAddress: 10.0.0.1, enableGracefulRestart: true}
`)
	s.negotiatesGracefulRestart()
	s.routed("10.0.0.10", "10.0.0.11", "10.0.0.12")
	var events strings.Builder
	monitor := s.host.Command(s.ctx, "ip", "monitor", "route")
	monitor.Stdout = &events
	s.must(monitor.Start())
	probe := s.probe()
	took, err := lab.speakers[1].Stop(s.ctx)
	s.must(err)
	s.restartSpeaker(1)
	s.eventually("the session is back and nothing is stale", func() error {
		out := s.Vtysh("show bgp ipv4 unicast " + bgpVIP)
		if strings.Contains(strings.ToLower(out), "stale") || strings.Count(out, "multipath") < 3 {
			return fmt.Errorf("FRR has %s", out)
		}
		return nil
	})
	r := probe.Stop()
	_ = monitor.Process.Kill()
	_ = monitor.Wait()
	s.Logf("the speaker ended after %v; %d of %d requests were answered, the longest gap was %v", took, r.Answered, r.Asked, r.Gap)
	if r.Answered != r.Asked {
		s.Errorf("%d of %d requests failed: %v", r.Asked-r.Answered, r.Asked, r.LastError)
	}
	if strings.Contains(events.String(), bgpVIP) {
		s.Errorf("the router's route was touched:\n%s", events.String())
	}
}

// negotiatesGracefulRestart waits until all sessions have it.
func (s *bgpStory) negotiatesGracefulRestart() {
	s.Helper()
	s.eventually("graceful restart is negotiated with all nodes", func() error {
		out, err := lab.Kubectl(s.ctx, "", "-n", cluster.FairleadNamespace, "get", "speakerstates",
			"-o", `jsonpath={range .items[*]}{.status.sessions[*].state} {.status.sessions[*].gracefulRestart} {end}`)
		s.must(err)
		if out != strings.Repeat("established true ", 3) {
			return fmt.Errorf("the sessions are %q", out)
		}
		return nil
	})
}

// A node that is cordoned before it goes: the router prefers the others before the node's speaker stops, so no request
// fails; then the route is gone.
func TestBGPNodeIsDrained(t *testing.T) {
	s, _ := withRouter(t)
	_, err := lab.speakers[2].Stop(s.ctx)
	s.must(err)
	p, err := lab.StartSpeaker(s.ctx, 2, "--drain-cordoned", "--drain-time=1s")
	s.must(err)
	lab.speakers[2] = p
	s.must(lab.WaitReady(s.ctx, p))
	s.Cleanup(func() { s.restartSpeaker(2) })
	s.routed("10.0.0.10", "10.0.0.11", "10.0.0.12")
	probe := s.probe()
	s.cordon(2, true)
	s.Cleanup(func() { s.cordon(2, false) })
	s.routed("10.0.0.10", "10.0.0.11")
	if out := s.Vtysh("show bgp ipv4 unicast " + bgpVIP); !strings.Contains(out, "graceful-shutdown") {
		s.Errorf("FRR does not know why: %s", out)
	}
	took, err := p.Stop(s.ctx)
	s.must(err)
	s.eventually("the session is gone", func() error {
		if out := s.Vtysh("show bgp ipv4 unicast " + bgpVIP); strings.Contains(out, "10.0.0.12") {
			return fmt.Errorf("FRR has %s", out)
		}
		return nil
	})
	r := probe.Stop()
	s.Logf("the speaker ended after %v; %d of %d requests were answered", took, r.Answered, r.Asked)
	s.movedWithout("drained", r)
}

// A node that leaves for good says so, though graceful restart was negotiated, with which its routes would stay: one whose
// Node is deleted, is excluded from load balancers, or shuts down. The router's kernel uses the others before the speaker
// is gone, and no request fails.
func TestBGPNodeLeavesForGood(t *testing.T) {
	s, _ := withRouter(t)
	s.apply(`
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: sample, namespace: metallb-system}
spec: {myASN: 64500, peerASN: 64501, peerAddress: 10.0.0.1, enableGracefulRestart: true}
`)
	name := lab.Node(2).Name
	for _, way := range []struct {
		name        string
		leave, stay func(context.Context) error
	}{
		{"excluded", func(ctx context.Context) error {
			return patchNode(ctx, name, `{"metadata":{"labels":{"`+corev1.LabelNodeExcludeBalancers+`":"true"}}}`)
		}, func(ctx context.Context) error {
			return patchNode(ctx, name, `{"metadata":{"labels":{"`+corev1.LabelNodeExcludeBalancers+`":null}}}`)
		}},
		{"shutting down", func(ctx context.Context) error {
			return patchNode(ctx, name, `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"KubeletNotReady","message":"node is shutting down"}]}}`, "status")
		}, func(ctx context.Context) error {
			return patchNode(ctx, name, `{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":""}]}}`, "status")
		}},
		{"deleted", func(ctx context.Context) error {
			return lab.Client().Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		}, func(ctx context.Context) error { return lab.RegisterNode(ctx, 2) }},
	} {
		s.routed("10.0.0.10", "10.0.0.11", "10.0.0.12")
		s.negotiatesGracefulRestart()
		probe := s.probe()
		s.must(way.leave(s.ctx))
		s.Cleanup(func() { _ = way.stay(context.Background()) }) // it is an error where it was done already
		s.routed("10.0.0.10", "10.0.0.11")
		took, err := lab.speakers[2].Stop(s.ctx)
		s.must(err)
		s.eventually("nothing is kept for the node", func() error {
			if out := s.Vtysh("show bgp ipv4 unicast " + bgpVIP); strings.Contains(out, "10.0.0.12") {
				return fmt.Errorf("FRR has %s", out)
			}
			return nil
		})
		r := probe.Stop()
		s.Logf("%s: the speaker ended after %v; %d of %d requests were answered", way.name, took, r.Answered, r.Asked)
		s.movedWithout(way.name, r)
		s.must(way.stay(s.ctx))
		s.restartSpeaker(2)
	}
}

// movedWithout fails if a request failed while the router moved from a node to others. One connection may have been open just
// then, and be reset: the node that gets its next packet does not know it.
func (s *story) movedWithout(way string, r cluster.ProbeReport) {
	s.Helper()
	if failed := r.Asked - r.Answered; failed > r.Reset || r.Reset > 1 {
		s.Errorf("%s: %d of %d requests failed, %d by a reset: %v", way, failed, r.Asked, r.Reset, r.LastError)
	}
}

// patchNode changes a Node as kubectl or a kubelet would.
func patchNode(ctx context.Context, name, patch string, subresource ...string) error {
	n, p := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, client.RawPatch(types.StrategicMergePatchType, []byte(patch))
	if len(subresource) > 0 {
		return lab.Client().Status().Patch(ctx, n, p)
	}
	return lab.Client().Patch(ctx, n, p)
}
