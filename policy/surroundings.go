package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// Network is addresses that the cluster itself uses, so that no pool should give them.
type Network struct {
	Range
	Kind NetworkKind
	Of   string // the object that it stands in
}

// NetworkKind says what a cluster uses addresses for, in words.
type NetworkKind string

// The kinds of networks.
const (
	NodeAddress NetworkKind = "the address of a node"
	PodCIDR     NetworkKind = "a node's pod CIDR"
	ServiceCIDR NetworkKind = "a Service CIDR"
)

// maxOverlaps is how many of the overlaps of one kind are named.
const maxOverlaps = 3

// Overlaps tells where pools reach into the cluster's own networks: one problem for a pool and a kind of network. It is
// told, not refused: somebody may know better.
func (p *Policy) Overlaps(networks []Network) []Problem {
	type about struct {
		pool int
		kind NetworkKind
	}
	found := map[about][]Network{}
	for _, n := range networks {
		for _, i := range p.poolsIn(n.Range) {
			found[about{i, n.Kind}] = append(found[about{i, n.Kind}], n)
		}
	}
	var out []Problem
	for x, overlaps := range found {
		pool := &p.Pools[x.pool]
		out = append(out, Problem{pool.ref(), verdict.Verdict{Reason: verdict.OverlapsCluster, Message: fmt.Sprintf(
			"%s has addresses that are in use otherwise: %s: take them out of spec.addresses", pool.ref(), name(overlaps, x.kind))}})
	}
	slices.SortFunc(out, compareProblems)
	return out
}

// poolsIn returns the indices of the pools that own an address of the range.
func (p *Policy) poolsIn(r Range) (out []int) {
	i, _ := slices.BinarySearchFunc(p.owners, r.From, func(o owner, a netip.Addr) int { return o.To.Compare(a) })
	for ; i < len(p.owners) && p.owners[i].Overlaps(r); i++ {
		if !slices.Contains(out, p.owners[i].pool) {
			out = append(out, p.owners[i].pool)
		}
	}
	return out
}

// name lists the first of some networks of a kind.
func name(networks []Network, kind NetworkKind) string {
	slices.SortFunc(networks, func(a, b Network) int { return a.From.Compare(b.From) })
	var out []string
	for _, n := range networks[:min(maxOverlaps, len(networks))] {
		out = append(out, fmt.Sprintf("%s is %s (%s)", n.Range, kind, n.Of))
	}
	if len(networks) > maxOverlaps {
		out = append(out, "and others")
	}
	return strings.Join(out, ", ")
}

func (p *Pool) ref() Ref { return Ref{"IPAddressPool", p.namespace, p.Name, p.UID} }
