//go:build envtest

package controllers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

// counts waits until the pool's counters are these: assigned and available, IPv4 and IPv6.
func (s *story) counts(pool string, assigned4, available4, assigned6, available6 int64) {
	s.t.Helper()
	want := v1beta1.IPAddressPoolStatus{AssignedIPv4: assigned4, AvailableIPv4: available4, AssignedIPv6: assigned6, AvailableIPv6: available6}
	s.eventually(func() string {
		var p v1beta1.IPAddressPool
		s.ok(s.admin.Get(s.ctx, client.ObjectKey{Namespace: s.config, Name: pool}, &p))
		if p.Status != want {
			return fmt.Sprintf("the counters of %s are %+v, want %+v", pool, p.Status, want)
		}
		return ""
	})
}

func TestPoolStatusCounters(t *testing.T) {
	s := newStory(t)
	big := s.pool("big", "fd00:b::/64")
	s.create(s.pool("first-pool", "172.25.254.0/24", "fd00::/125"), big)
	c := s.start(settings{elect: true})
	s.counts("first-pool", 0, 256, 0, 8)
	s.counts("big", 0, 0, 0, 1<<63-1)
	shared := annotated(allocator.AnnotationSharingKey, "k")
	s.create(s.service("a", families(corev1.IPFamilyPolicyRequireDualStack), annotated(allocator.AnnotationPool, "first-pool")),
		s.service("b", shared), s.service("c", shared, func(v *corev1.Service) { v.Spec.Ports[0].Port = 81 }),
		s.service("d", families(corev1.IPFamilyPolicySingleStack, corev1.IPv6Protocol), annotated(allocator.AnnotationPool, "big")))
	s.counts("first-pool", 2, 254, 1, 7)
	s.counts("big", 0, 0, 1, 1<<63-1)
	s.delete(s.get("a"))
	s.counts("first-pool", 1, 255, 0, 8)
	s.merge(s.pool("first-pool"), `{"spec":{"avoidBuggyIPs":true}}`) // b and c have .1
	s.counts("first-pool", 1, 253, 0, 8)
	pool := s.pool("first-pool")
	s.ok(s.admin.Status().Patch(s.ctx, pool, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"assignedIPv4":99}}`)))) // by hand
	s.counts("first-pool", 1, 253, 0, 8)
	c.quiet()
}

// state waits until the ConfigurationState says so, and returns it.
func (s *story) state(name, condition string, result v1beta1.ConfigurationResult, summary string) *v1beta1.ConfigurationState {
	s.t.Helper()
	var o v1beta1.ConfigurationState
	s.eventually(func() string {
		o = v1beta1.ConfigurationState{}
		if err := s.admin.Get(s.ctx, client.ObjectKey{Namespace: s.config, Name: name}, &o); err != nil {
			return err.Error()
		}
		is := meta.FindStatusCondition(o.Status.Conditions, condition)
		if o.Status.Result != result || !strings.Contains(o.Status.ErrorSummary, summary) || (summary == "") != (o.Status.ErrorSummary == "") || is == nil || is.Message != o.Status.ErrorSummary {
			return fmt.Sprintf("%s says %+v, want %s: %s", name, o.Status, result, summary)
		}
		return ""
	})
	return &o
}

func TestTheControllersConfigurationState(t *testing.T) {
	s := newStory(t)
	pool := s.pool("first-pool", "172.25.254.50-172.25.254.99")
	s.create(pool)
	first := s.start(settings{elect: true})
	says := func(result v1beta1.ConfigurationResult, summary string) *v1beta1.ConfigurationState {
		t.Helper()
		return s.state("controller", "poolReconcilerValid", result, summary)
	}
	before := says("Valid", "")
	if before.Labels["metallb.io/component-type"] != "controller" || len(before.OwnerReferences) != 0 {
		t.Errorf("made as %+v", before.ObjectMeta)
	}
	first.again()
	if now := says("Valid", ""); now.ResourceVersion != before.ResourceVersion {
		t.Error("written though nothing changed")
	}
	s.merge(pool, `{"spec":{"addresses":["172.25.254.50-172.25.254.x"]}}`)
	bad := says("Invalid", `"172.25.254.x" is not an IP address`)
	if is := bad.Status.Conditions[0]; is.Status != metav1.ConditionFalse || is.Reason != "ConfigurationError" {
		t.Errorf("the condition is %+v", is)
	}
	s.delete(bad) // by hand
	if again := says("Invalid", `"172.25.254.x" is not an IP address`); again.UID == bad.UID {
		t.Error("it was not deleted at all")
	}
	s.ok(s.admin.Status().Patch(s.ctx, bad, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"result":"Valid","errorSummary":null}}`)))) // by hand
	says("Invalid", `"172.25.254.x" is not an IP address`)
	s.merge(pool, `{"spec":{"addresses":["172.25.254.50-172.25.254.99"]}}`)
	good := says("Valid", "")
	s.ok(first.stop())

	second := s.start(settings{elect: true}) // takes it over as it is
	s.create(s.service("huazi"))
	s.hasOne("huazi")
	second.again()
	if now := says("Valid", ""); now.ResourceVersion != good.ResourceVersion {
		t.Error("written by the next leader though nothing changed")
	}
	second.quiet()
}

// TestReadiness: a controller is ready when it has seen everything, whether it leads or not.
func TestReadiness(t *testing.T) {
	s := newStory(t)
	isReady := func(c *replica) {
		t.Helper()
		s.eventually(func() string {
			if err := c.ready(nil); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"), s.service("huazi"))
	first := s.start(settings{elect: true})
	s.hasOne("huazi")
	isReady(first)
	second := s.start(settings{elect: true})
	isReady(second)
	if n := second.passes.Load(); n != 0 {
		t.Errorf("the second one decided %d times without being the leader", n)
	}
	blind := s.start(settings{as: s.config + "/nobody"})
	time.Sleep(500 * time.Millisecond)
	if blind.ready(nil) == nil {
		t.Error("a controller that may see nothing is ready")
	}
	_ = blind.stop()
}

// TestTheGraceOfAnOrphanEnds: by time alone, and where the controller is restarted meanwhile.
func TestTheGraceOfAnOrphanEnds(t *testing.T) {
	s := newStory(t)
	pool := s.pool("first-pool", "172.25.254.50-172.25.254.99")
	s.create(pool, s.service("huazi"))
	c := s.start(settings{grace: 3 * time.Second})
	s.gets("huazi", "172.25.254.50")
	s.delete(pool)
	began := time.Now()
	s.waits("huazi", "AddressOrphaned", "keeps 172.25.254.50 until ")
	if got := external(s.get("huazi")); got != "172.25.254.50" {
		t.Errorf("it has %q in the time of grace", got)
	}
	s.ok(c.stop())
	c = s.start(settings{grace: 3 * time.Second})
	s.gets("huazi", "")
	if took := time.Since(began); took < 2*time.Second || took > 4500*time.Millisecond {
		t.Errorf("cleared %s after the pool was deleted", took)
	}
	s.told("huazi", assignedOne("172.25.254.50"), "Warning AddressOrphaned *",
		"Warning AddressCleared cleared 172.25.254.50, which is in no pool any more: there is no IPAddressPool: create one")
	s.waits("huazi", "NoPool", "there is no IPAddressPool")
	if v := s.get("huazi"); v.Annotations[allocator.AnnotationOrphanedSince] != "" {
		t.Errorf("annotations %v", v.Annotations)
	}
	c.quiet()
}

// TestSteadyState: with everything that is written at all, and then nothing more to write, there are no writes but the
// lease's.
func TestSteadyState(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.59", "bad"), s.pool("second-pool", "172.25.253.0/24", "fd00::/64"))
	for i := range 20 {
		s.create(s.service(fmt.Sprintf("s%d", i), families(corev1.IPFamilyPolicyPreferDualStack)))
	}
	s.create(s.service("waits", annotated(allocator.AnnotationPool, "unknown")))
	c := s.start(settings{elect: true})
	for i := range 20 {
		s.hasOne(fmt.Sprintf("s%d", i))
	}
	s.told("waits", `Warning UnknownPool *`)
	s.state("controller", "poolReconcilerValid", "Invalid", "bad")
	s.counts("second-pool", 20, 236, 20, 1<<63-1)
	c.again()
	c.allWrites()
	for range 6 {
		c.again()
		time.Sleep(500 * time.Millisecond) // something that would come later
	}
	if got := c.allWrites(); len(got) > 0 {
		t.Errorf("wrote %q", got)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.leases, func(w string) bool { return strings.HasPrefix(w, http.MethodPut) }) {
		t.Error("not even the lease is renewed: the test sees no writes at all")
	}
}

// TestAPoolOverTheClustersOwnNetworks is told on the pool, once, and is in force.
func TestAPoolOverTheClustersOwnNetworks(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first-pool", "192.0.2.64/26"), s.service("a"))
	c := s.start(settings{})
	s.gets("a", "192.0.2.64")
	s.toldOf(s.config, "IPAddressPool", "first-pool")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "over-a-pool"}, Spec: corev1.NodeSpec{PodCIDR: "192.0.2.0/25", PodCIDRs: []string{"192.0.2.0/25"}}}
	s.create(node)
	pods := `Warning OverlapsCluster IPAddressPool "first-pool" has addresses that are in use otherwise: 192.0.2.0-192.0.2.127 is a node's pod CIDR (Node "over-a-pool"): take them out of spec.addresses`
	s.toldOf(s.config, "IPAddressPool", "first-pool", pods)
	c.again()
	s.merge(node, `{"metadata":{"labels":{"a":"b"}}}`)
	c.again()
	s.toldOf(s.config, "IPAddressPool", "first-pool", pods)
	s.state("controller", "poolReconcilerValid", "Valid", "")
	s.create(s.pool("second-pool", "10.96.255.0/24"))
	s.toldOf(s.config, "IPAddressPool", "second-pool", `Warning OverlapsCluster IPAddressPool "second-pool" has addresses that are in use otherwise: 10.96.0.0-10.96.255.255 is a Service CIDR (ServiceCIDR "kubernetes"): take them out of spec.addresses`)
	s.create(s.service("b"))
	s.gets("b", "192.0.2.65")
	s.delete(node)
	for line := range strings.Lines(strings.Join(c.complaints(), "")) {
		if !strings.Contains(line, "OverlapsCluster") {
			t.Errorf("the log complains: %s", line)
		}
	}
}
