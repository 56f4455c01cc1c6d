package allocator

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/policy"
)

// Annotations on a Service.
const (
	// AnnotationPool asks for an address of the pool that it names.
	AnnotationPool = "metallb.io/address-pool"
	// AnnotationAddresses asks for addresses: one, or one of each family separated by a comma.
	AnnotationAddresses = "metallb.io/loadBalancerIPs"
	// AnnotationSharingKey lets Services with the same key share an address.
	AnnotationSharingKey = "metallb.io/allow-shared-ip"
	// AnnotationAllocatedFrom is written by the controller: the pool that the address came from.
	AnnotationAllocatedFrom = "metallb.io/ip-allocated-from-pool"
	// AnnotationAssignedAt is written by the controller: when the address was assigned, in RFC 3339 with nanoseconds.
	AnnotationAssignedAt = "fairlead.io/assigned-at"
	// AnnotationOrphanedSince is written by the controller: since when an address of the Service is in no pool any more
	// and no other one is to be had, in the same form. It stands while that is so.
	AnnotationOrphanedSince = "fairlead.io/orphaned-since"
	// LegacyPrefix is what the first three annotations began with formerly, instead of "metallb.io/".
	LegacyPrefix = "metallb.universe.tf/"
)

// Key names a Service. It is comparable.
type Key struct{ Namespace, Name string }

// String returns namespace/name.
func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Service is what allocation reads of a Service of type LoadBalancer that is ours.
type Service struct {
	Key
	UID             string
	Created         time.Time
	Deleting        bool // waits for its finalizers: keeps what it has, gets nothing new
	Labels          labels.Set
	NamespaceLabels labels.Set

	Families    []policy.Family   // of its cluster IPs, the first decides; one or two
	RequireDual bool              // both families or nothing; otherwise two Families mean: both if possible
	Ports       []portrange.Range // of its spec and of the annotation for ranges
	Local       bool              // externalTrafficPolicy is Local
	Backends    string            // the selector in canonical form

	Pool       string       // the pool that it asks for, or ""
	Addresses  []netip.Addr // the addresses that it asks for, or none
	Invalid    string       // what is wrong with its requests, or ""
	SharingKey string       // or ""

	Held       []netip.Addr // what its status shows
	HeldFrom   string       // the pool that Held came from, as its annotation says, or ""
	AssignedAt time.Time    // zero where unknown, which counts as earliest
	// OrphanedSince is since when it has kept an address that is in no pool any more; zero where it has none.
	OrphanedSince time.Time
}

// ServiceOf reads a Service of type LoadBalancer. What does not parse is told in Invalid.
func ServiceOf(s *corev1.Service, namespaceLabels labels.Set) Service {
	out := Service{
		Key:             Key{s.Namespace, s.Name},
		UID:             string(s.UID),
		Created:         s.CreationTimestamp.Time,
		Deleting:        s.DeletionTimestamp != nil,
		Labels:          s.Labels,
		NamespaceLabels: namespaceLabels,
		Families:        familiesOf(s),
		RequireDual:     s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack,
		Local:           s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		Backends:        labels.Set(s.Spec.Selector).String(),
		Pool:            annotation(s, AnnotationPool),
		SharingKey:      annotation(s, AnnotationSharingKey),
		Held:            Ingress(s),
		HeldFrom:        s.Annotations[AnnotationAllocatedFrom],
	}
	for _, p := range s.Spec.Ports {
		out.Ports = append(out.Ports, portrange.Port(p.Protocol, uint16(p.Port)))
	}
	out.AssignedAt = AssignedAt(s)
	out.OrphanedSince, _ = time.Parse(time.RFC3339Nano, s.Annotations[AnnotationOrphanedSince])
	out.readAddresses(s)
	out.readPortRanges(s)
	return out
}

// readPortRanges reads the ports that the Service has beside those of its spec.
func (out *Service) readPortRanges(s *corev1.Service) {
	text, ok := s.Annotations[portrange.Annotation]
	if !ok {
		return
	}
	ranges, err := portrange.Parse(text)
	if err != nil && out.Invalid == "" {
		out.Invalid = fmt.Sprintf("%s: %v", portrange.Annotation, err)
	}
	out.Ports = append(out.Ports, ranges...)
}

// readAddresses reads the requested addresses from the annotation or from spec.loadBalancerIP.
func (out *Service) readAddresses(s *corev1.Service) {
	text, field := annotation(s, AnnotationAddresses), AnnotationAddresses
	switch {
	case text != "" && s.Spec.LoadBalancerIP != "":
		out.Invalid = fmt.Sprintf("both spec.loadBalancerIP and the annotation %s ask for an address: remove one of them", AnnotationAddresses)
		return
	case text == "":
		text, field = s.Spec.LoadBalancerIP, "spec.loadBalancerIP"
	}
	if text == "" {
		return
	}
	for part := range strings.SplitSeq(text, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil || a.Zone() != "" {
			out.Invalid = fmt.Sprintf("%s: %q is not an IP address", field, strings.TrimSpace(part))
			return
		}
		out.Addresses = append(out.Addresses, a.Unmap())
	}
	out.Invalid = out.familyMismatch()
}

// familyMismatch says what is wrong with the families of the requested addresses, or "".
func (out *Service) familyMismatch() string {
	seen := map[policy.Family]bool{}
	for _, a := range out.Addresses {
		f := policy.FamilyOf(a)
		if !slices.Contains(out.Families, f) {
			return fmt.Sprintf("the requested address %s is %s, but the Service is %s only", a, f, out.Families[0])
		}
		if seen[f] {
			return fmt.Sprintf("more than one %s address is requested: ask for one of each family", f)
		}
		seen[f] = true
	}
	if out.RequireDual && len(seen) == 1 {
		return "the Service requires both families, but asks for one address only: ask for one of each family"
	}
	return ""
}

// Ingress returns the addresses that the Service's status shows.
func Ingress(s *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, in := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil && a.Zone() == "" {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// familiesOf returns the families of the Service; the API server always sets them, IPv4 stands in where it did not.
func familiesOf(s *corev1.Service) []policy.Family {
	var out []policy.Family
	for _, f := range s.Spec.IPFamilies {
		if f == corev1.IPv6Protocol {
			out = append(out, policy.IPv6)
		} else {
			out = append(out, policy.IPv4)
		}
	}
	if len(out) == 0 {
		return []policy.Family{policy.IPv4}
	}
	return out
}

// annotation returns the value under its name or, where that is absent, under its former name.
func annotation(s *corev1.Service, name string) string {
	if v, ok := s.Annotations[name]; ok {
		return v
	}
	return s.Annotations[legacy(name)]
}

// legacy returns the former name of an annotation.
func legacy(name string) string { return LegacyPrefix + strings.TrimPrefix(name, "metallb.io/") }

// LegacyNames returns the annotations of the Service that count under their former names, and what they are called today.
func LegacyNames(s *corev1.Service) (former, today []string) {
	for _, name := range []string{AnnotationPool, AnnotationAddresses, AnnotationSharingKey} {
		_, new := s.Annotations[name]
		if _, old := s.Annotations[legacy(name)]; old && !new {
			former, today = append(former, legacy(name)), append(today, name)
		}
	}
	return former, today
}

// AssignedAt is when a Service got its address; zero: that is not known.
func AssignedAt(s *corev1.Service) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s.Annotations[AnnotationAssignedAt])
	return t
}
