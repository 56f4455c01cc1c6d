package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// AnnotationWeights is the key of the annotation that gives the real servers of a Service weights by node, such as
// "node-a=3,node-b=1"; a node that is not named has 1. Weight 0 gets no new connections.
const AnnotationWeights = "fairlead.io/ipvs-weights"

// maxWeight is the largest weight that all tools show (16 bits).
const maxWeight = 65535

func parseWeights(text string) (map[string]uint32, error) {
	if text == "" {
		return nil, nil
	}
	weights := map[string]uint32{}
	for item := range strings.SplitSeq(text, ",") {
		node, value, ok := strings.Cut(strings.TrimSpace(item), "=")
		n, err := strconv.ParseUint(value, 10, 32)
		if !ok || node == "" || err != nil || n > maxWeight {
			return nil, fmt.Errorf("%q is not of the form node=weight with a weight from 0 to %d", item, maxWeight)
		}
		weights[node] = uint32(n)
	}
	return weights, nil
}

// scope says which endpoints serve.
type scope uint8

const (
	everywhere scope = iota
	onThisNode
)

// candidate is an endpoint with the port that the question was for; 0 is the client's own.
type candidate struct {
	*Endpoint
	port uint16
}

// candidates returns the endpoints of a family for a port of the Service, or, without one, for ranges.
func (s *Service) candidates(port *Port, v6 bool) (out []candidate) {
	for i := range s.Slices {
		slice := s.Slices[i]
		var target uint16
		if port != nil {
			j := slices.IndexFunc(slice.Ports, func(p Port) bool { return p.Name == port.Name && p.Protocol == port.Protocol })
			if j < 0 {
				continue
			}
			target = slice.Ports[j].Port
		}
		out = slices.Grow(out, len(slice.Endpoints))
		for j := range slice.Endpoints {
			if e := &slice.Endpoints[j]; e.Address.Is6() == v6 {
				out = append(out, candidate{e, target})
			}
		}
	}
	return out
}

// pool is the real servers of a scope, and the endpoints that get nothing new there.
type pool struct {
	reals   []Real
	leaving []Leaving
}

// pool sorts the endpoints of a scope.
func (v *View) pool(all []candidate, where scope, weights map[string]uint32) pool {
	if where == onThisNode {
		all = filter(all, func(c candidate) bool { return c.Node == v.Node })
	}
	out := pool{reals: reals(v.serving(all, where), weights)}
	if len(out.reals) == len(all) {
		return out
	}
	for _, c := range all {
		at := netip.AddrPortFrom(c.Address, c.port)
		if _, serves := slices.BinarySearchFunc(out.reals, at, func(r Real, a netip.AddrPort) int { return r.Address.Compare(a) }); !serves {
			out.leaving = append(out.leaving, Leaving{at, c.Terminating})
		}
	}
	// Of one that is listed twice, the one that stays longer counts.
	slices.SortFunc(out.leaving, func(a, b Leaving) int {
		return cmp.Or(a.Address.Compare(b.Address), compareBool(a.Terminating, b.Terminating))
	})
	out.leaving = slices.CompactFunc(out.leaving, func(a, b Leaving) bool { return a.Address == b.Address })
	return out
}

// serving returns those that get new connections: the ready ones, else those that are terminating but still serving. Of
// all ready ones in the cluster, those hinted for this node or its zone, where every one has such a hint
// (kubernetes.io/docs, "Topology Aware Routing" and "trafficDistribution").
func (v *View) serving(all []candidate, where scope) []candidate {
	ready := filter(all, func(c candidate) bool { return c.Ready })
	if len(ready) == 0 {
		return filter(all, func(c candidate) bool { return c.Serving && c.Terminating })
	}
	if where == onThisNode {
		return ready
	}
	if near := hinted(ready, func(e *Endpoint) []string { return e.Nodes }, v.Node); len(near) > 0 {
		return near
	}
	if near := hinted(ready, func(e *Endpoint) []string { return e.Zones }, v.Zone); len(near) > 0 {
		return near
	}
	return ready
}

// hinted returns the endpoints with a hint for a name, or none if an endpoint has no hint at all.
func hinted(list []candidate, hints func(*Endpoint) []string, name string) []candidate {
	if name == "" || slices.ContainsFunc(list, func(c candidate) bool { return len(hints(c.Endpoint)) == 0 }) {
		return nil
	}
	return filter(list, func(c candidate) bool { return slices.Contains(hints(c.Endpoint), name) })
}

// filter is a slices.DeleteFunc that leaves its argument alone, and copies only where something goes.
func filter(list []candidate, keep func(candidate) bool) []candidate {
	i := slices.IndexFunc(list, func(c candidate) bool { return !keep(c) })
	if i < 0 {
		return list
	}
	out := slices.Clone(list[:i])
	for _, c := range list[i:] {
		if keep(c) {
			out = append(out, c)
		}
	}
	return out
}

// reals makes real servers of endpoints, sorted, each once: of one that is listed on two nodes, the larger weight counts.
func reals(list []candidate, weights map[string]uint32) []Real {
	out := make([]Real, 0, len(list))
	for _, c := range list {
		w := uint32(1)
		if x, ok := weights[c.Node]; ok {
			w = x
		}
		out = append(out, Real{netip.AddrPortFrom(c.Address, c.port), w})
	}
	slices.SortFunc(out, func(a, b Real) int {
		if c := a.Address.Compare(b.Address); c != 0 {
			return c
		}
		return cmp.Compare(b.Weight, a.Weight)
	})
	return slices.CompactFunc(out, func(a, b Real) bool { return a.Address == b.Address })
}

// isStream says whether connections of the protocol are worth waiting for: those of UDP and SCTP end at once when their
// real server goes.
func isStream(p corev1.Protocol) bool { return p == corev1.ProtocolTCP }
