package lint

// This file holds what is checked of Services: what they ask for in annotations.

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/nearest"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
	"github.com/fairlead-lb/fairlead/policy"
)

// checkServices tells what load balancers ask for that cannot be. Whether a pool has what they ask for shows only in a
// cluster.
func (c *checker) checkServices() {
	known := []string{allocator.AnnotationPool, allocator.AnnotationAddresses, allocator.AnnotationSharingKey}
	for _, d := range c.services {
		var s corev1.Service
		if err := json.Unmarshal(d.json, &s); err != nil {
			c.tell(d, "", Error, verdict.InvalidManifest, "%s: %v", d, err)
			continue
		}
		c.decoded = append(c.decoded, s)
		c.nodePorts(d, &s)
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(s.Annotations)) {
			c.annotation(d, name, known)
			c.ownAnnotation(d, name, s.Annotations[name])
		}
		if len(s.Spec.IPFamilies) == 0 { // the API server will choose: ask for no more than that the families may be those of the request
			s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
		}
		r := allocator.ServiceOf(&s, nil)
		if r.Invalid != "" {
			c.tell(d, "metadata.annotations", Error, verdict.InvalidRequest, "%s: %s", d, r.Invalid)
		}
		c.pool(d, &r)
	}
}

// nodePorts tells what a Service of any type asks for of NodePortRanges that cannot be. Which ports are taken shows only in a
// cluster.
func (c *checker) nodePorts(d *document, s *corev1.Service) {
	line := d.line("metadata.annotations", allocator.AnnotationNodePorts)
	r := allocator.NodePortServiceOf(s, nil)
	if r.Invalid != "" {
		c.tellAt(line, d, Error, verdict.InvalidRequest, "%s: %s", d, r.Invalid)
	}
	if len(c.policy.NodePortRanges) == 0 {
		return
	}
	for _, n := range r.Asked {
		ports, ok := r.Opens(n)
		if !ok {
			continue
		}
		if rest := c.policy.OutsideNodePortRanges(ports, func(*policy.NodePortRange) bool { return true }); len(rest) > 0 {
			c.tellAt(line, d, Warning, verdict.NodePortOutside, "%s: the requested port %s is in no NodePortRange of these manifests", d, rest[0])
		}
	}
}

// annotation tells annotations of ours that do nothing, or that have another name now.
func (c *checker) annotation(d *document, name string, known []string) {
	rest, legacy := strings.CutPrefix(name, allocator.LegacyPrefix)
	current := "metallb.io/" + rest
	switch {
	case legacy && slices.Contains(known, current):
		c.tellAt(d.line("metadata.annotations", name), d, Warning, verdict.NoEffect, "%s: the annotation %s still works, but is called %s now", d, name, current)
	case legacy || strings.HasPrefix(name, "metallb.io/") && !slices.Contains(known, name) && name != allocator.AnnotationAllocatedFrom:
		c.tellAt(d.line("metadata.annotations", name), d, Warning, verdict.NoEffect, "%s: the annotation %s has no effect%s", d, name, nearest.Ask(name, known))
	}
}

const ownPrefix = "fairlead.io/"

// ownAnnotation tells annotations of Fairlead's own whose values do not parse, or that are misspelled. Others that begin like
// them may be of a later version.
func (c *checker) ownAnnotation(d *document, name, value string) {
	rest, own := strings.CutPrefix(name, ownPrefix)
	if !own {
		return
	}
	wrong := func(format string, args ...any) {
		c.tellAt(d.line("metadata.annotations", name), d, Error, verdict.InvalidRequest, "%s: the annotation %s: %s", d, name, fmt.Sprintf(format, args...))
	}
	switch name {
	case mode.Annotation:
		if value != mode.IPVS && value != mode.KubeProxy {
			wrong("%q is neither %q nor %q", value, mode.IPVS, mode.KubeProxy)
		}
	case plan.AnnotationScheduler:
		if _, err := plan.ParseScheduler(value); err != nil {
			wrong("%v", err)
		}
	case plan.AnnotationWeights, portrange.Annotation, allocator.AnnotationAssignedAt, allocator.AnnotationOrphanedSince,
		allocator.AnnotationNodePorts, allocator.AnnotationNodePortsAssigned, allocator.AnnotationClass: // some are read elsewhere
	default:
		var known []string
		for _, x := range []string{mode.Annotation, plan.AnnotationScheduler, plan.AnnotationWeights, portrange.Annotation, allocator.AnnotationNodePorts} {
			known = append(known, strings.TrimPrefix(x, ownPrefix))
		}
		if near, ok := nearest.To(rest, known); ok {
			c.tellAt(d.line("metadata.annotations", name), d, Warning, verdict.NoEffect, "%s: the annotation %s has no effect (did you mean %q?)", d, name, ownPrefix+near)
		}
	}
}

// pool tells a pool or an address that the Service asks for and that none of the pools here has, where there are pools.
func (c *checker) pool(d *document, r *allocator.Service) {
	if len(c.objects.Pools) == 0 {
		return
	}
	names := make([]string, len(c.policy.Pools))
	for i := range names {
		names[i] = c.policy.Pools[i].Name
	}
	if r.Pool != "" && !slices.Contains(names, r.Pool) {
		c.tell(d, "metadata.annotations", Warning, verdict.UnknownPool, "%s: the requested pool %q is not among these manifests%s", d, r.Pool, nearest.Ask(r.Pool, names))
	}
	for _, a := range r.Addresses {
		if _, ok := c.policy.PoolOf(a); !ok {
			c.tell(d, "metadata.annotations", Warning, verdict.AddressNotInPool, "%s: the requested address %s is in no pool of these manifests", d, a)
		}
	}
}
