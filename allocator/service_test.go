package allocator

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/policy"
)

// object is a LoadBalancer Service as the API server has it.
func object(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "n", UID: "uid", Annotations: map[string]string{}}}
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	if change != nil {
		change(s)
	}
	return s
}

func annotate(name, value string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Annotations[name] = value }
}

func dual(f corev1.IPFamilyPolicy, families ...corev1.IPFamily) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &f, families }
}

func TestServiceOf(t *testing.T) {
	deleted := metav1.NewTime(epoch)
	got := ServiceOf(object(func(s *corev1.Service) {
		s.CreationTimestamp, s.DeletionTimestamp = metav1.NewTime(epoch), &deleted
		s.Labels = map[string]string{"tier": "web"}
		s.Annotations = map[string]string{
			"metallb.io/address-pool":           "a",
			"metallb.io/loadBalancerIPs":        " 10.0.0.1 , fd00::1",
			"metallb.io/allow-shared-ip":        "key",
			"metallb.io/ip-allocated-from-pool": "b",
			"fairlead.io/assigned-at":           "2026-01-02T03:04:05.000000006Z",
			"fairlead.io/port-ranges":           "10000-20000/UDP, 21",
		}
		dual(corev1.IPFamilyPolicyRequireDualStack, corev1.IPv6Protocol, corev1.IPv4Protocol)(s)
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.Selector = map[string]string{"b": "2", "a": "1"}
		s.Spec.Ports = []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}, {Protocol: corev1.ProtocolUDP, Port: 53}}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.9"}, {Hostname: "elsewhere"}, {IP: "::ffff:10.0.0.8"}, {IP: "garbage"}}
	}), labels.Set{"team": "red"})
	want := Service{
		Key:             Key{"x", "n"},
		UID:             "uid",
		Created:         epoch,
		Deleting:        true,
		Labels:          labels.Set{"tier": "web"},
		NamespaceLabels: labels.Set{"team": "red"},
		Families:        []policy.Family{policy.IPv6, policy.IPv4},
		RequireDual:     true,
		Ports:           []portrange.Range{portrange.Port(corev1.ProtocolTCP, 80), portrange.Port(corev1.ProtocolUDP, 53), {Protocol: corev1.ProtocolUDP, First: 10000, Last: 20000}, portrange.Port(corev1.ProtocolTCP, 21)},
		Local:           true,
		Backends:        "a=1,b=2",
		Pool:            "a",
		Addresses:       parse("10.0.0.1 fd00::1"),
		SharingKey:      "key",
		Held:            parse("10.0.0.9 10.0.0.8"),
		HeldFrom:        "b",
		AssignedAt:      time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestRequestsOfAService(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*corev1.Service)
		asks    string // addresses
		pool    string
		key     string
		invalid string
	}{
		{name: "none"},
		{name: "spec.loadBalancerIP", change: func(s *corev1.Service) { s.Spec.LoadBalancerIP = "10.0.0.1" }, asks: "10.0.0.1"},
		{name: "the annotation", change: annotate("metallb.io/loadBalancerIPs", "10.0.0.1"), asks: "10.0.0.1"},
		{name: "the annotation under the former prefix", change: annotate("metallb.universe.tf/loadBalancerIPs", "10.0.0.1"), asks: "10.0.0.1"},
		{name: "a pool under the former prefix", change: annotate("metallb.universe.tf/address-pool", "a"), pool: "a"},
		{name: "a key under the former prefix", change: annotate("metallb.universe.tf/allow-shared-ip", "k"), key: "k"},
		{name: "the prefix of today wins", change: func(s *corev1.Service) {
			s.Annotations = map[string]string{"metallb.universe.tf/address-pool": "old", "metallb.io/address-pool": "new"}
		}, pool: "new"},
		{name: "an IPv4-mapped address is IPv4", change: annotate("metallb.io/loadBalancerIPs", "::ffff:10.0.0.1"), asks: "10.0.0.1"},
		{name: "both ways at once", change: func(s *corev1.Service) {
			s.Spec.LoadBalancerIP = "10.0.0.1"
			s.Annotations["metallb.io/loadBalancerIPs"] = "10.0.0.1"
		}, invalid: "both spec.loadBalancerIP and the annotation metallb.io/loadBalancerIPs ask for an address: remove one of them"},
		{name: "garbage in the annotation", change: annotate("metallb.io/loadBalancerIPs", "10.0.0.1,ten"), invalid: `metallb.io/loadBalancerIPs: "ten" is not an IP address`},
		{name: "garbage in the field", change: func(s *corev1.Service) { s.Spec.LoadBalancerIP = "10.0.0.1/32" }, invalid: `spec.loadBalancerIP: "10.0.0.1/32" is not an IP address`},
		{name: "a comma too many", change: annotate("metallb.io/loadBalancerIPs", "10.0.0.1,"), invalid: `metallb.io/loadBalancerIPs: "" is not an IP address`},
		{name: "a zone", change: annotate("metallb.io/loadBalancerIPs", "fe80::1%eth0"), invalid: `metallb.io/loadBalancerIPs: "fe80::1%eth0" is not an IP address`},
		{name: "ranges of ports that overlap", change: annotate("fairlead.io/port-ranges", "10-20,20"), invalid: `fairlead.io/port-ranges: 10-20/TCP and 20/TCP overlap`},
		{name: "no range of ports", change: annotate("fairlead.io/port-ranges", ""), invalid: `fairlead.io/port-ranges: "" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP`},
		{name: "the wrong family", change: annotate("metallb.io/loadBalancerIPs", "fd00::1"), invalid: "the requested address fd00::1 is IPv6, but the Service is IPv4 only"},
		{name: "two of one family", change: annotate("metallb.io/loadBalancerIPs", "10.0.0.1,10.0.0.2"), invalid: "more than one IPv4 address is requested: ask for one of each family"},
		{name: "one address where both families are required", change: func(s *corev1.Service) {
			dual(corev1.IPFamilyPolicyRequireDualStack, corev1.IPv4Protocol, corev1.IPv6Protocol)(s)
			s.Spec.LoadBalancerIP = "10.0.0.1"
		}, invalid: "the Service requires both families, but asks for one address only: ask for one of each family"},
		{name: "one address where both families are preferred", change: func(s *corev1.Service) {
			dual(corev1.IPFamilyPolicyPreferDualStack, corev1.IPv4Protocol, corev1.IPv6Protocol)(s)
			s.Spec.LoadBalancerIP = "fd00::1"
		}, asks: "fd00::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ServiceOf(object(c.change), nil)
			if got.Invalid != c.invalid || got.Pool != c.pool || got.SharingKey != c.key {
				t.Errorf("invalid %q, pool %q, key %q, want %q, %q, %q", got.Invalid, got.Pool, got.SharingKey, c.invalid, c.pool, c.key)
			}
			if c.invalid == "" && !equal(got.Addresses, parse(c.asks)) {
				t.Errorf("asks for %v, want %s", got.Addresses, c.asks)
			}
		})
	}
}

func TestServiceOfToleratesWhatTheAPIServerNeverSends(t *testing.T) {
	got := ServiceOf(object(func(s *corev1.Service) {
		s.Spec.IPFamilies = nil
		s.Annotations = map[string]string{"fairlead.io/assigned-at": "yesterday"}
	}), nil)
	if len(got.Families) != 1 || got.Families[0] != policy.IPv4 || !got.AssignedAt.IsZero() {
		t.Errorf("families %v, assigned at %v, want IPv4 and the zero time", got.Families, got.AssignedAt)
	}
}
