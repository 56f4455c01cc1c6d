//go:build envtest

package controllers

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

func TestAnAddressIsAssignedInOneWrite(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"), s.service("huazi"))
	c := s.start(settings{})
	s.gets("huazi", "172.25.254.50")
	s.told("huazi", assignedOne("172.25.254.50"))
	v := s.get("huazi")
	condition := meta.FindStatusCondition(v.Status.Conditions, ConditionAssigned)
	at, err := time.Parse(time.RFC3339Nano, v.Annotations[allocator.AnnotationAssignedAt])
	if v.Annotations[allocator.AnnotationAllocatedFrom] != "first-pool" || err != nil || time.Since(at) > time.Minute ||
		condition == nil || condition.Status != metav1.ConditionTrue || *v.Status.LoadBalancer.Ingress[0].IPMode != corev1.LoadBalancerIPModeVIP {
		t.Errorf("annotations %v, status %+v", v.Annotations, v.Status)
	}
	c.again()
	want := []string{
		"PATCH /api/v1/namespaces/" + s.namespace + "/services/huazi/status 200",
		"POST /apis/events.k8s.io/v1/namespaces/" + s.namespace + "/events 201",
	}
	if got := c.writes(); !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
	c.quiet()
}

func TestAFreedAddressGoesToTheNextOne(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first-pool", "172.25.254.50/32"), s.service("a", func(v *corev1.Service) { v.Finalizers = []string{"example.com/wait"} }))
	c := s.start(settings{})
	s.gets("a", "172.25.254.50")
	s.create(s.service("b"))
	s.waits("b", "PoolExhausted", `"first-pool"`)

	a := s.get("a")
	s.delete(a)
	c.again()
	if got := external(s.get("b")); got != "" {
		t.Errorf("b got %s while a still has it: a waits for its finalizers", got)
	}
	s.merge(a, `{"metadata":{"finalizers":null}}`)
	s.gets("b", "172.25.254.50")

	s.create(s.service("c"))
	s.waits("c", "PoolExhausted", "")
	s.merge(s.get("b"), `{"metadata":{"annotations":{"example.com/mine":"1"}}}`)
	s.merge(s.get("b"), `{"spec":{"type":"ClusterIP"}}`)
	s.gets("c", "172.25.254.50")
	s.eventually(func() string {
		v := s.get("b")
		if len(v.Status.Conditions) != 0 || external(v) != "" || len(v.Annotations) != 1 || v.Annotations["example.com/mine"] != "1" {
			return fmt.Sprintf("b, no load balancer any more, still has %v and %+v", v.Annotations, v.Status)
		}
		return ""
	})
	s.told("b", assignedOne("172.25.254.50"), `Warning PoolExhausted *`,
		"Normal IPReleased the Service is of type ClusterIP now, so its address was freed")

	s.delete(s.get("c"))
	s.merge(s.get("b"), fmt.Sprintf(`{"spec":{"type":"LoadBalancer","loadBalancerClass":%q}}`, s.class)) // and back
	s.gets("b", "172.25.254.50")
	c.quiet()
}

func TestAPoolThatIsTooSmallAndThenEnlarged(t *testing.T) {
	s := newStory(t)
	pool := s.pool("first-pool", "172.25.254.50-172.25.254.51")
	s.create(pool, s.service("a"), s.service("b"), s.service("c"))
	c := s.start(settings{})
	s.gets("a", "172.25.254.50")
	s.gets("b", "172.25.254.51")
	why := `Warning PoolExhausted *`
	s.told("c", why)
	c.again()
	s.told("c", why)
	s.merge(pool, `{"spec":{"addresses":["172.25.254.50-172.25.254.60"]}}`)
	s.gets("c", "172.25.254.52")
	s.told("c", why, assignedOne("172.25.254.52"))
	s.gets("a", "172.25.254.50")
	s.gets("b", "172.25.254.51")
	c.quiet()
}

func TestARestartChangesNothingAndWritesNothing(t *testing.T) {
	s := newStory(t)
	pool := s.pool("first-pool", "172.25.254.50-172.25.254.59", "fd00::50-fd00::59")
	s.create(pool, s.service("a"), s.service("b"), s.service("gone"), s.service("c", families(corev1.IPFamilyPolicyRequireDualStack)),
		s.service("shared-1", annotated("metallb.io/allow-shared-ip", "k")),
		s.service("shared-2", annotated("metallb.io/allow-shared-ip", "k"), func(v *corev1.Service) { v.Spec.Ports[0].Port = 81 }),
		s.service("waits", annotated("metallb.io/address-pool", "unknown")))
	c := s.start(settings{})
	names := []string{"a", "b", "c", "shared-1", "shared-2", "waits"}
	for _, name := range names[:5] {
		s.hasOne(name)
	}
	s.waits("waits", "UnknownPool", `"unknown" does not exist`)
	s.delete(s.get("gone")) // a lower address than others' is free now
	c.again()
	before := map[string]string{}
	for _, name := range names {
		before[name] = s.get(name).ResourceVersion
	}
	s.ok(c.stop())

	c = s.start(settings{})
	s.create(s.service("new")) // the positive control
	s.hasOne("new")
	c.again()
	for _, name := range names {
		if now := s.get(name).ResourceVersion; now != before[name] {
			t.Errorf("%s was written", name)
		}
	}
	for _, w := range c.writes() {
		if !strings.Contains(w, "/services/new/status") && !strings.Contains(w, "/events") {
			t.Errorf("wrote %s", w)
		}
	}
	c.quiet()
}

func TestWhatMetalLBAssignedIsAdopted(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"))
	old := s.service("old", annotated(allocator.AnnotationAllocatedFrom, "first-pool"))
	s.create(old, s.service("new"))
	old.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.25.254.50"}}
	s.ok(s.admin.Status().Update(s.ctx, old))
	c := s.start(settings{})
	s.gets("new", "172.25.254.51")
	s.waits("old", "IPAllocated", "172.25.254.50")
	c.again()
	s.gets("old", "172.25.254.50")
	s.told("old")
	s.told("new", assignedOne("172.25.254.51"))
}

// TestBadInput has every kind of bad object side by side with good ones.
func TestBadInput(t *testing.T) {
	s := newStory(t)
	refused := s.pool("none")
	refused.Spec.Addresses = nil
	if err := s.admin.Create(s.ctx, refused); !apierrors.IsInvalid(err) {
		t.Errorf("the CRD lets a pool without the field addresses pass: %v", err)
	}
	bad := map[string]struct {
		object client.Object
		kind   string
		want   string
	}{
		"unparsable": {s.pool("unparsable", "10.1.0.0/24", "10.1.x.0/24"), "IPAddressPool", "Warning InvalidAddresses IPAddressPool \"unparsable\", spec.addresses[1]: \"10.1.x.0/24\" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20"},
		"backwards":  {s.pool("backwards", "10.2.0.9-10.2.0.1"), "IPAddressPool", `Warning InvalidAddresses IPAddressPool "backwards", spec.addresses[0]: range "10.2.0.9-10.2.0.1" ends before it starts`},
		"mixed":      {s.pool("mixed", "10.3.0.1-fd00::1"), "IPAddressPool", `Warning InvalidAddresses IPAddressPool "mixed", spec.addresses[0]: range "10.3.0.1-fd00::1" mixes IPv4 and IPv6`},
		"empty":      {s.pool("empty", []string{}...), "IPAddressPool", `Warning InvalidAddresses IPAddressPool "empty" has no addresses: list at least one CIDR or range in spec.addresses`},
		"two": {s.pool("two", "x", "y"), "IPAddressPool", `Warning InvalidAddresses IPAddressPool "two", spec.addresses[0]: "x" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20; ` +
			`IPAddressPool "two", spec.addresses[1]: "y" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20`},
		"overlap": {s.pool("overlap", "172.25.254.99-172.25.254.100"), "IPAddressPool", `Warning OverlappingAddresses IPAddressPool "overlap": range 172.25.254.99-172.25.254.100 overlaps the older pool "first-pool", which keeps 172.25.254.99: remove that from one of the two`},
		"ad": {&v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: "ad"}, Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"nope", "first-pool"}}},
			"L2Advertisement", `Warning UnknownReference L2Advertisement "ad" names pool "nope", which does not exist: create it or correct the name`},
		"unknown-pool": {s.service("unknown-pool", annotated(allocator.AnnotationPool, "nope")), "Service", `Warning UnknownPool the requested pool "nope" does not exist`},
		"outside":      {s.service("outside", annotated(allocator.AnnotationAddresses, "192.0.2.1")), "Service", `Warning AddressNotInPool the requested address 192.0.2.1 is in no pool`},
		"taken":        {s.service("taken", annotated(allocator.AnnotationAddresses, "172.25.254.50")), "Service", `Warning AddressInUse the requested address 172.25.254.50 is in use by ` + s.namespace + `/good`},
		"garbage":      {s.service("garbage", annotated(allocator.AnnotationAddresses, "ten")), "Service", `Warning InvalidRequest metallb.io/loadBalancerIPs: "ten" is not an IP address`},
		"both":         {s.service("both", annotated(allocator.AnnotationAddresses, "172.25.254.60"), func(v *corev1.Service) { v.Spec.LoadBalancerIP = "172.25.254.61" }), "Service", `Warning InvalidRequest both spec.loadBalancerIP and the annotation metallb.io/loadBalancerIPs ask for an address: remove one of them`},
		"of-a-bad-one": {s.service("of-a-bad-one", annotated(allocator.AnnotationPool, "unparsable")), "Service", `Warning PoolInvalid pool "unparsable" is invalid and gives nothing new until it is corrected: see its Events`},
	}
	empty := bad["empty"].object.(*v1beta1.IPAddressPool)
	empty.Spec.Addresses = []string{} // which is not the same as no field at all: the CRD lets it pass
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"), s.service("good"))
	c := s.start(settings{})
	s.gets("good", "172.25.254.50")
	for _, b := range bad {
		if b.kind != "Service" {
			s.create(b.object)
		}
	}
	for name, b := range bad {
		if b.kind != "Service" {
			s.toldOf(b.object.GetNamespace(), b.kind, name, b.want)
		}
	}
	for _, b := range bad {
		if b.kind == "Service" {
			s.create(b.object)
		}
	}
	for name, b := range bad {
		s.toldOf(b.object.GetNamespace(), b.kind, name, b.want)
	}
	s.create(s.service("still-works"), s.service("ask-for-the-rest", annotated(allocator.AnnotationAddresses, "172.25.254.100")))
	s.gets("still-works", "172.25.254.51")
	s.gets("ask-for-the-rest", "172.25.254.100") // what is good of the overlapping pool
	c.again()
	for name, b := range bad {
		s.toldOf(b.object.GetNamespace(), b.kind, name, b.want)
		for _, message := range strings.Split(strings.SplitN(b.want, " ", 3)[2], "; ") {
			logged := 0
			for line := range strings.Lines(c.log.String()) {
				if !strings.Contains(line, "level=DEBUG") && strings.Contains(strings.ReplaceAll(line, `\"`, `"`), message) && strings.Contains(line, name) {
					logged++
				}
			}
			if logged != 1 {
				t.Errorf("%q is logged %d times", message, logged)
			}
		}
	}
	s.merge(bad["unparsable"].object, `{"spec":{"addresses":["10.1.0.0/24"]}}`)
	s.gets("of-a-bad-one", "10.1.0.0")
	s.merge(bad["unknown-pool"].object, `{"metadata":{"annotations":{"metallb.io/address-pool":"first-pool"}}}`)
	s.gets("unknown-pool", "172.25.254.52")
}

func TestAPoolThatTurnsBadKeepsWhatItGave(t *testing.T) {
	s := newStory(t)
	pool := s.pool("first-pool", "172.25.254.50-172.25.254.99")
	s.create(pool, s.service("a"))
	c := s.start(settings{})
	s.gets("a", "172.25.254.50")
	first := s.get("a").ResourceVersion
	s.merge(pool, `{"spec":{"addresses":["172.25.254.50-172.25.254.x"]}}`)
	s.eventually(func() string {
		if len(s.events(s.config, "IPAddressPool", "first-pool")) == 0 {
			return "the bad pool is not told"
		}
		return ""
	})
	s.create(s.service("b"))
	s.waits("b", "PoolInvalid", `pool "first-pool" is invalid`)
	s.merge(pool, `{"spec":{"addresses":["172.25.254.50-172.25.254.y"]}}`) // corrected, wrongly: the new text is told too
	s.toldOf(s.config, "IPAddressPool", "first-pool",
		`Warning InvalidAddresses IPAddressPool "first-pool", spec.addresses[0]: "172.25.254.x" is not an IP address`,
		`Warning InvalidAddresses IPAddressPool "first-pool", spec.addresses[0]: "172.25.254.y" is not an IP address`)
	c.again()
	s.ok(c.stop())

	c = s.start(settings{}) // which never saw the pool's good value
	s.eventually(func() string {
		if c.passes.Load() == 0 {
			return "no pass came"
		}
		return ""
	})
	c.again()
	if v := s.get("a"); external(v) != "172.25.254.50" || v.ResourceVersion != first {
		t.Errorf("a was touched while its pool is bad: %+v", v.Status)
	}
	s.merge(pool, `{"spec":{"addresses":["172.25.254.50-172.25.254.99"]}}`)
	s.gets("b", "172.25.254.51")
}

func TestBothFamilies(t *testing.T) {
	s := newStory(t)
	v4 := s.pool("v4", "172.25.254.60-172.25.254.69")
	v4.Spec.AutoAssign = new(bool)
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.59", "fd00:172:25:254::50-fd00:172:25:254::59"), v4,
		s.service("require", families(corev1.IPFamilyPolicyRequireDualStack)))
	c := s.start(settings{})
	s.gets("require", "172.25.254.50,fd00:172:25:254::50")
	s.told("require", assignedOne("172.25.254.50 and fd00:172:25:254::50"))
	s.create(s.service("prefer", families(corev1.IPFamilyPolicyPreferDualStack, corev1.IPv6Protocol, corev1.IPv4Protocol)))
	s.gets("prefer", "fd00:172:25:254::51,172.25.254.51")
	s.create(s.service("v6", families(corev1.IPFamilyPolicySingleStack, corev1.IPv6Protocol)))
	s.gets("v6", "fd00:172:25:254::52")
	s.create(s.service("asks", families(corev1.IPFamilyPolicyRequireDualStack), annotated(allocator.AnnotationAddresses, "fd00:172:25:254::59, 172.25.254.59")))
	s.eventually(func() string {
		if got := external(s.get("asks")); got != "fd00:172:25:254::59,172.25.254.59" && got != "172.25.254.59,fd00:172:25:254::59" {
			return "asks has " + got
		}
		return ""
	})
	// One family now, the other when the pool has it.
	s.create(s.service("grows", families(corev1.IPFamilyPolicyPreferDualStack), annotated(allocator.AnnotationPool, "v4")))
	s.gets("grows", "172.25.254.60")
	s.waits("grows", "PartlyAllocated", "IPv6")
	s.merge(v4, `{"spec":{"addresses":["172.25.254.60-172.25.254.69","fd00:172:25:254::60/124"]}}`)
	s.gets("grows", "172.25.254.60,fd00:172:25:254::60")
	// A family that the pool has not.
	s.create(s.service("cannot", families(corev1.IPFamilyPolicySingleStack, corev1.IPv6Protocol), annotated(allocator.AnnotationAddresses, "172.25.254.55")))
	s.waits("cannot", "InvalidRequest", "the requested address 172.25.254.55 is IPv4, but the Service is IPv6 only")
	c.quiet()
}

func TestRequests(t *testing.T) {
	s := newStory(t)
	second := s.pool("second-pool", "172.25.253.10-172.25.253.19")
	second.Spec.AutoAssign = new(bool)
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"), second)
	wants := map[string]string{"legacy-pool": "172.25.253.1*"}
	for name, v := range map[string]struct {
		name, value, want string
	}{
		"address":        {"metallb.io/loadBalancerIPs", "172.25.254.70", "172.25.254.70"},
		"legacy-address": {"metallb.universe.tf/loadBalancerIPs", "172.25.254.71", "172.25.254.71"},
		"pool":           {"metallb.io/address-pool", "second-pool", "172.25.253.1*"},
		"not-automatic":  {"metallb.io/loadBalancerIPs", "172.25.253.19", "172.25.253.19"},
	} {
		s.create(s.service(name, annotated(v.name, v.value)))
		wants[name] = v.want
	}
	s.create(s.service("field", func(v *corev1.Service) { v.Spec.LoadBalancerIP = "172.25.254.72" }))
	s.create(s.service("legacy-pool", annotated("metallb.universe.tf/address-pool", "second-pool")))
	s.create(s.service("new-name-wins", annotated("metallb.universe.tf/loadBalancerIPs", "172.25.254.90"), annotated("metallb.io/loadBalancerIPs", "172.25.254.91")))
	c := s.start(settings{})
	s.gets("field", "172.25.254.72")
	s.gets("new-name-wins", "172.25.254.91")
	const former = `Warning DeprecatedAnnotation metallb.universe.tf/loadBalancerIPs still counts: rename it to metallb.io/loadBalancerIPs`
	s.told("legacy-address", "Normal IPAllocated *", former)
	s.told("new-name-wins", "Normal IPAllocated *")
	requested := func() {
		t.Helper()
		for name, want := range wants {
			if want, ok := strings.CutSuffix(want, "*"); ok && strings.HasPrefix(s.hasOne(name), want) {
				continue
			}
			s.gets(name, want)
		}
	}
	requested()
	if got := s.get("pool").Annotations[allocator.AnnotationAllocatedFrom]; got != "second-pool" {
		t.Errorf("pool is said to be from %q", got)
	}
	// A wish that is changed is a move; one that cannot be fulfilled leaves what is there.
	s.merge(s.get("field"), `{"spec":{"loadBalancerIP":"172.25.254.80"}}`)
	s.gets("field", "172.25.254.80")
	s.told("field", assignedOne("172.25.254.72"), `Normal IPMoved moved from 172.25.254.72: assigned 172.25.254.80 from pool "first-pool"`)
	s.merge(s.get("field"), `{"spec":{"loadBalancerIP":"192.0.2.1"}}`)
	s.waits("field", "AddressNotInPool", "keeps 172.25.254.80: the requested address 192.0.2.1 is in no pool")
	s.gets("field", "172.25.254.80")
	s.merge(s.get("address"), `{"metadata":{"annotations":{"metallb.io/loadBalancerIPs":null}}}`) // the wish is gone, the address stays
	c.again()
	requested()
	s.told("legacy-address", "Normal IPAllocated *", former)
	c.quiet()
}

func TestThreeHundredAtOnce(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first-pool", "10.20.0.0/23"))
	c := s.start(settings{})
	const n = 300
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		g.Go(func() error { return s.admin.Create(s.ctx, s.service(fmt.Sprintf("s%d", i))) })
	}
	s.ok(g.Wait())
	var list corev1.ServiceList
	s.eventually(func() string {
		s.ok(s.admin.List(s.ctx, &list, client.InNamespace(s.namespace)))
		with := 0
		for i := range list.Items {
			if external(&list.Items[i]) != "" {
				with++
			}
		}
		if with < n {
			return fmt.Sprintf("%d of %d have an address", with, n)
		}
		return ""
	})
	holder := map[string]string{}
	for i := range list.Items {
		v := &list.Items[i]
		a := external(v)
		if other, ok := holder[a]; ok {
			t.Errorf("%s and %s both have %s", v.Name, other, a)
		}
		holder[a] = v.Name
	}
	c.again()
	patches := 0
	for _, w := range c.writes() {
		if strings.HasPrefix(w, "PATCH") && strings.HasSuffix(w, "/status 200") {
			patches++
		} else if !strings.HasPrefix(w, "POST") {
			t.Errorf("wrote %s", w)
		}
	}
	if patches != n {
		t.Errorf("%d status patches for %d Services", patches, n)
	}
	c.quiet()
}

func TestAUserIsFaster(t *testing.T) {
	s := newStory(t)
	var meddled atomic.Bool
	c := s.start(settings{meddle: func(method, path string) error {
		if method == http.MethodPatch && strings.HasSuffix(path, "/"+s.namespace+"/services/huazi/status") && meddled.CompareAndSwap(false, true) {
			s.merge(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "huazi"}}, `{"metadata":{"annotations":{"metallb.io/loadBalancerIPs":"172.25.254.77"}}}`)
		}
		return nil
	}})
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"), s.service("huazi"))
	s.gets("huazi", "172.25.254.77")
	s.told("huazi", assignedOne("172.25.254.77")) // and nothing of the write that came too late
	path := "PATCH /api/v1/namespaces/" + s.namespace + "/services/huazi/status "
	if got := c.writes(); !slices.Contains(got, path+"409") || !slices.Contains(got, path+"200") {
		t.Errorf("wrote %q, want a conflict and then a success", got)
	}
	c.quiet()
}

func TestARefusedWriteIsTriedAgain(t *testing.T) {
	s := newStory(t)
	var refused atomic.Int64
	c := s.start(settings{meddle: func(method, path string) error {
		if strings.HasSuffix(path, "/"+s.namespace+"/services/b/status") && refused.Add(1) <= 3 {
			return errors.New("the network is down")
		}
		return nil
	}})
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"), s.service("b"), s.service("a"))
	a, b := s.hasOne("a"), s.hasOne("b")
	if a == b {
		t.Errorf("both have %s", a)
	}
	s.told("b", assignedOne(b))
	if !strings.Contains(strings.Join(c.complaints(), ""), "writing the status of Service "+s.namespace+"/b") {
		t.Errorf("the log does not say what failed:\n%s", c.log.String())
	}
}

func TestTheSecondReplicaTakesOver(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"), s.service("a"), s.service("b"))
	first := s.start(settings{elect: true})
	s.gets("a", "172.25.254.50")
	s.gets("b", "172.25.254.51")
	second := s.start(settings{elect: true})
	s.delete(s.get("a"))
	first.again()
	before := s.get("b").ResourceVersion
	if n := second.passes.Load(); n != 0 {
		t.Errorf("the second one decided %d times without being the leader", n)
	}
	began := time.Now()
	s.ok(first.stop())
	stopped := time.Since(began)
	s.create(s.service("c"))
	s.gets("c", "172.25.254.50")
	t.Logf("stopped in %s, the next Service had its address %s after that", stopped, time.Since(began)-stopped)
	if now := s.get("b").ResourceVersion; now != before {
		t.Error("b was written by the change of leaders")
	}
	first.quiet()
	second.quiet()
}

// TestAStatusThatIsEmptiedByHand: the status is the record of an assignment, so that its loss is the loss of the
// address; the Service is served like a new one. It gets the lowest free address: the same one, unless a lower one is
// free.
func TestAStatusThatIsEmptiedByHand(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"), s.service("a"))
	c := s.start(settings{})
	s.gets("a", "172.25.254.50")
	s.create(s.service("b"))
	s.gets("b", "172.25.254.51")
	empty := func(name string) {
		t.Helper()
		s.ok(s.admin.Status().Patch(s.ctx, s.get(name), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"loadBalancer":null}}`))))
	}
	s.told("b", assignedOne("172.25.254.51"))
	empty("b")
	s.gets("b", "172.25.254.51")
	s.told("b", assignedOne("172.25.254.51"), assignedOne("172.25.254.51"))
	s.delete(s.get("a"))
	c.again()
	empty("b")
	s.gets("b", "172.25.254.50")
	c.quiet()
}

func TestANamespaceThatIsDeleted(t *testing.T) {
	s := newStory(t)
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-2"}}
	s.create(other, s.pool("first-pool", "172.25.254.50/32"))
	in := func(v *corev1.Service) { v.Namespace = other.Name }
	gone := s.service("gone", in)
	s.create(gone)
	c := s.start(settings{})
	s.eventually(func() string {
		s.ok(s.admin.Get(s.ctx, client.ObjectKeyFromObject(gone), gone))
		if external(gone) == "" {
			return "gone has no address yet"
		}
		return ""
	})
	s.create(s.service("next"))
	s.waits("next", "PoolExhausted", "")
	s.delete(other) // Terminating; its Services go one by one
	c.again()
	s.delete(gone)
	s.gets("next", "172.25.254.50")
	c.quiet()
}

// TestTwoServicesThatShowOneAddress, as after a restored backup: the earlier one keeps it, the other one moves, and both are
// told.
func TestTwoServicesThatShowOneAddress(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"))
	for name, at := range map[string]string{"late": "2026-01-02T00:00:00Z", "early": "2026-01-01T00:00:00Z"} {
		v := s.service(name, annotated(allocator.AnnotationAllocatedFrom, "first-pool"), annotated(allocator.AnnotationAssignedAt, at))
		s.create(v)
		v.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.25.254.50"}}
		s.ok(s.admin.Status().Update(s.ctx, v))
	}
	c := s.start(settings{})
	s.gets("late", "172.25.254.51")
	s.told("late", fmt.Sprintf(`Warning AddressConflict lost 172.25.254.50 to %s/early, which held it earlier: assigned 172.25.254.51 from pool "first-pool"`, s.namespace))
	s.told("early", fmt.Sprintf("Warning AddressConflict %s/late had 172.25.254.50 too, but later, and lost it", s.namespace))
	c.again()
	s.gets("early", "172.25.254.50")
	if n := len(s.events(s.namespace, "Service", "early")) + len(s.events(s.namespace, "Service", "late")); n != 2 {
		t.Errorf("%d Events, want one on each", n)
	}
	c.quiet()
}

// TestWhatAnotherClassOwnsIsNeverWritten, whatever stands in its status and whatever of ours is left on it.
func TestWhatAnotherClassOwnsIsNeverWritten(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first-pool", "172.25.254.50-172.25.254.99"))
	other := "example.com/another"
	foreign := s.service("foreign", func(v *corev1.Service) { v.Spec.LoadBalancerClass = &other },
		annotated(allocator.AnnotationAllocatedFrom, "first-pool"), annotated(allocator.AnnotationAssignedAt, "2026-01-02T00:00:00Z"))
	s.create(foreign)
	foreign.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.25.254.50"}, {Hostname: "lb.example.com"}}
	foreign.Status.Conditions = []metav1.Condition{{Type: ConditionAssigned, Status: metav1.ConditionTrue, Reason: "IPAllocated", LastTransitionTime: metav1.Now()}}
	s.ok(s.admin.Status().Update(s.ctx, foreign))
	c := s.start(settings{})
	s.create(s.service("ours"))
	s.gets("ours", "172.25.254.50") // what others show is no claim on our pools
	s.delete(s.get("ours"))
	c.again()
	if now := s.get("foreign"); now.ResourceVersion != foreign.ResourceVersion {
		t.Errorf("it was written: %+v", now)
	}
	s.told("foreign")
	c.quiet()
}
