//go:build e2e

package stories

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// TestMainJob is the guide's first page: pool, advertisement and Service as users of MetalLB have them.
func TestMainJob(t *testing.T) {
	s := begin(t)
	a, b := s.pod(0, "huazi"), s.pod(1, "huazi")
	s.sample("huazi.yaml")
	s.event("Service", "huazi", "NoPool", "there is no IPAddressPool")
	if got := s.getService("huazi"); !strings.Contains(got, "<pending>") {
		t.Fatalf("kubectl get svc says\n%s", got)
	}

	s.sample("first-pool.yaml")
	s.hasAddresses("huazi", "172.25.254.50")
	if got := s.getService("huazi"); !strings.Contains(got, "172.25.254.50") {
		t.Fatalf("kubectl get svc says\n%s", got)
	}
	if got := s.service("huazi").Annotations["metallb.io/ip-allocated-from-pool"]; got != "first-pool" {
		t.Fatalf("metallb.io/ip-allocated-from-pool is %q", got)
	}
	s.event("Service", "huazi", "IPAllocated", `172.25.254.50 from pool "first-pool"`)

	node := s.announcer("172.25.254.50")
	s.event("Service", "huazi", "nodeAssigned", fmt.Sprintf("%q", node.Name))
	s.page("172.25.254.50", 8080, a, b)
	mac, err := lab.Outside().Neighbor(s.ctx, netip.MustParseAddr("172.25.254.50"))
	s.must(err)
	if mac.String() != node.MAC.String() {
		t.Fatalf("the client's kernel resolves the address to %s, but %s (%s) announces it", mac, node.Name, node.MAC)
	}
}

func (s *story) getService(name string) string {
	s.Helper()
	out, err := lab.Kubectl(s.ctx, "", "get", "svc", name)
	s.must(err)
	return out
}

func TestIPv6(t *testing.T) {
	s := begin(t)
	a, b := s.pod(0, "six"), s.pod(2, "six")
	s.apply(pool("six", "fd00:172:25:254::60-fd00:172:25:254::6f") + service("six", "ipFamilies: [IPv6]"))
	s.hasAddresses("six", "fd00:172:25:254::60")
	node := s.announcer("fd00:172:25:254::60")
	s.page("fd00:172:25:254::60", 8080, a, b)
	mac, err := lab.Outside().Neighbor(s.ctx, netip.MustParseAddr("fd00:172:25:254::60"))
	s.must(err)
	if mac.String() != node.MAC.String() {
		t.Fatalf("the client's kernel resolves the address to %s, but %s (%s) announces it", mac, node.Name, node.MAC)
	}
}

func TestDualStackServiceHasBothFamiliesOnOneNode(t *testing.T) {
	s := begin(t)
	a, b := s.pod(0, "both"), s.pod(1, "both")
	s.apply(pool("both", "172.25.254.60-172.25.254.69", "fd00:172:25:254::60-fd00:172:25:254::6f") +
		service("both", "ipFamilyPolicy: RequireDualStack"))
	s.hasAddresses("both", "172.25.254.60", "fd00:172:25:254::60")
	if four, six := s.announcer("172.25.254.60"), s.announcer("fd00:172:25:254::60"); four != six {
		t.Errorf("%s announces the IPv4 address, %s the IPv6 address", four.Name, six.Name)
	}
	s.page("172.25.254.60", 8080, a, b)
	s.page("fd00:172:25:254::60", 8080, a, b)
}

func TestDeletedServiceFreesItsAddress(t *testing.T) {
	s := begin(t)
	s.pod(0, "gone")
	s.apply(pool("small", "172.25.254.70-172.25.254.70") + service("gone", ""))
	s.hasAddresses("gone", "172.25.254.70")
	s.announcer("172.25.254.70")
	s.must(lab.Client().Delete(s.ctx, s.service("gone")))
	s.silent("172.25.254.70")
	s.apply(service("next", ""))
	s.hasAddresses("next", "172.25.254.70")
}

func TestServiceThatBecomesClusterIPFreesItsAddress(t *testing.T) {
	s := begin(t)
	s.pod(0, "tamed")
	s.apply(pool("small", "172.25.254.70-172.25.254.70") + service("tamed", ""))
	s.hasAddresses("tamed", "172.25.254.70")
	s.announcer("172.25.254.70")
	x := s.service("tamed")
	x.Spec.Type = corev1.ServiceTypeClusterIP
	s.must(lab.Client().Update(s.ctx, x))
	s.silent("172.25.254.70")
	s.eventually("nothing of ours is left on the Service", func() error {
		x := s.service("tamed")
		if len(x.Annotations) > 0 || len(x.Status.Conditions) > 0 || len(x.Status.LoadBalancer.Ingress) > 0 {
			return fmt.Errorf("annotations %v, status %v", x.Annotations, x.Status)
		}
		return nil
	})
	s.apply(service("next", ""))
	s.hasAddresses("next", "172.25.254.70")
}

func TestPoolThatIsTooSmallSaysSoAndGrows(t *testing.T) {
	s := begin(t)
	s.apply(pool("small", "172.25.254.70-172.25.254.70") + service("first", ""))
	s.hasAddresses("first", "172.25.254.70")
	s.apply(service("late", ""))
	s.event("Service", "late", "PoolExhausted", `"small"`)
	if n := len(s.events("Service", "late")); n != 1 {
		t.Errorf("%d Events, want one: %v", n, notes(s.events("Service", "late")))
	}
	s.apply(pool("small", "172.25.254.70-172.25.254.71"))
	s.hasAddresses("late", "172.25.254.71")
	s.hasAddresses("first", "172.25.254.70")
}

func TestOtherServiceTypesAreLeftAlone(t *testing.T) {
	s := begin(t)
	s.apply(pool("first-pool", "172.25.254.50-172.25.254.99") + `
apiVersion: v1
kind: Service
metadata: {name: inside}
spec: {selector: {app: x}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: x}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: on-nodes}
spec: {type: NodePort, selector: {app: x}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: v1
kind: Service
metadata: {name: of-others}
spec: {type: LoadBalancer, loadBalancerClass: example.com/other, selector: {app: x}, ports: [{port: 80}]}
---
`)
	names := []string{"inside", "headless", "on-nodes", "outside", "of-others"}
	before := map[string]string{}
	for _, n := range names {
		before[n] = s.service(n).ResourceVersion
	}
	// A Service that is ours comes after them: when it is served, the others have been looked at.
	s.apply(service("ours", ""))
	s.hasAddresses("ours", "172.25.254.50")
	for _, n := range names {
		if x := s.service(n); x.ResourceVersion != before[n] {
			t.Errorf("Service %s was written: %+v", n, x)
		}
		if found := s.events("Service", n); len(found) > 0 {
			t.Errorf("Service %s has Events: %v", n, notes(found))
		}
	}
}

func TestControllerKilledAndStartedAgainMovesNothing(t *testing.T) {
	s := begin(t)
	s.apply(pool("first-pool", "172.25.254.50-172.25.254.99"))
	const n = 20
	for i := range n {
		s.apply(service(fmt.Sprintf("keep-%02d", i), ""))
	}
	// A hole in the middle: a controller without memory of who has what would fill it or pack the rest.
	s.must(lab.Client().Delete(s.ctx, s.service("keep-07")))
	before := map[string]string{}
	s.eventually("all have addresses", func() error {
		clear(before)
		for _, x := range s.services() {
			if got := addressesOf(&x); strings.HasPrefix(x.Name, "keep-") && len(got) == 1 {
				before[x.Name] = got[0] + " " + x.ResourceVersion
			}
		}
		if len(before) != n-1 {
			return fmt.Errorf("%d of %d", len(before), n-1)
		}
		return nil
	})
	s.must(lab.controller.Kill())
	s.restartController()
	s.apply(service("after", ""))
	// The killed leader's lease has to run out first.
	s.eventually("the new controller works", func() error {
		if len(addressesOf(s.service("after"))) == 0 {
			return fmt.Errorf("no address yet")
		}
		return nil
	})
	for _, x := range s.services() {
		if was, ok := before[x.Name]; ok && addressesOf(&x)[0]+" "+x.ResourceVersion != was {
			t.Errorf("%s had address and version %s, now %s %s", x.Name, was, addressesOf(&x)[0], x.ResourceVersion)
		}
	}
}

func (s *story) services() []corev1.Service {
	s.Helper()
	var list corev1.ServiceList
	s.must(lab.Client().List(s.ctx, &list, client.InNamespace("default")))
	return list.Items
}

func TestSpeakerThatStopsHandsOver(t *testing.T) {
	s := begin(t)
	a, b := s.pod(0, "leaving"), s.pod(1, "leaving")
	s.apply(pool("first-pool", "172.25.254.50-172.25.254.99") + service("leaving", ""))
	s.hasAddresses("leaving", "172.25.254.50")
	old := s.announcer("172.25.254.50")
	s.served("172.25.254.50", 8080)
	s.page("172.25.254.50", 8080, a, b)

	probe := lab.Outside().Probe(cluster.URL(netip.MustParseAddr("172.25.254.50"), 8080), 20*time.Millisecond, time.Second)
	took, err := lab.speakers[nodeIndex(old)].Stop(s.ctx)
	s.must(err)
	t.Cleanup(func() { s.restartSpeaker(nodeIndex(old)) })
	if took > 2*time.Second {
		t.Errorf("the speaker took %s to stop after SIGTERM, want at most 2 s", took)
	}
	successor := s.announcer("172.25.254.50")
	if successor == old {
		t.Fatalf("%s still announces the address", old.Name)
	}
	mac, err := lab.Outside().KnownNeighbor(s.ctx, netip.MustParseAddr("172.25.254.50"))
	s.must(err)
	if mac.String() != successor.MAC.String() {
		t.Errorf("the client still sends to %s, not to %s", mac, successor.Name)
	}
	report := probe.Stop()
	t.Logf("stop took %s; longest gap %s; %d of %d requests answered", took, report.Gap, report.Answered, report.Asked)
	if failed := report.Asked - report.Answered; failed > 1 { // the last one may be on its way
		t.Errorf("%d requests failed during the hand-over: %v", failed, report.LastError)
	}
}

func TestNodeThatDiesIsReplaced(t *testing.T) {
	s := begin(t)
	pods := []*cluster.Pod{s.pod(0, "dying"), s.pod(1, "dying"), s.pod(2, "dying")}
	s.apply(pool("first-pool", "172.25.254.50-172.25.254.99") + service("dying", ""))
	s.hasAddresses("dying", "172.25.254.50")
	s.served("172.25.254.50", 8080)
	old := s.announcer("172.25.254.50")
	i := nodeIndex(old)
	// The dying node's pod would stay an endpoint until the API server hears of it, which is not what is tested here.
	s.must(lab.SetPodReady(s.ctx, pods[i], false))
	s.page("172.25.254.50", 8080, slices.Delete(slices.Clone(pods), i, i+1)...)
	s.eventually("the dying node's pod is no endpoint any more", func() error {
		for range 20 {
			body, err := s.get("172.25.254.50", 8080)
			if err != nil || strings.Fields(body)[0] == pods[i].Name {
				return fmt.Errorf("%q, %v", body, err)
			}
		}
		return nil
	})

	probe := lab.Outside().Probe(cluster.URL(netip.MustParseAddr("172.25.254.50"), 8080), 20*time.Millisecond, 200*time.Millisecond)
	s.must(lab.Cut(s.ctx, i))
	s.must(lab.speakers[i].Kill())
	t.Cleanup(func() {
		s.must(lab.Heal(s.ctx, i))
		s.restartSpeaker(i)
	})
	s.eventually("another node announces the address", func() error {
		if who := s.whoHas("172.25.254.50"); len(who) != 1 || lab.HostOf(who[0]) == old {
			return fmt.Errorf("%v", who)
		}
		return nil
	})
	s.page("172.25.254.50", 8080)
	report := probe.Stop()
	t.Logf("longest gap %s", report.Gap)
	if report.Gap > 10*time.Second {
		t.Errorf("a client was without an answer for %s", report.Gap)
	}
}

// pool returns manifests of a pool and of an advertisement for it.
func pool(name string, ranges ...string) string {
	return fmt.Sprintf(`
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: %[1]s, namespace: metallb-system}
spec: {addresses: ["%[2]s"]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: %[1]s, namespace: metallb-system}
spec: {ipAddressPools: [%[1]s]}
---
`, name, strings.Join(ranges, `", "`))
}

// service returns the manifest of a load balancer for the pods of the app of its name, on port 8080.
func service(name, spec string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  type: LoadBalancer
  selector: {app: %[1]s}
  ports: [{port: 8080, targetPort: 80}]
  %[2]s
---
`, name, spec)
}
