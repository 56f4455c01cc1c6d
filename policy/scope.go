package policy

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"
)

// Scope is what an advertisement is for: addresses of pools, for Services, from nodes.
type Scope struct {
	AllPools bool              // no pool is named and none selected
	Pools    []string          // otherwise: the pools that are named or selected, by name
	Nodes    []labels.Selector // any of them; none means every node
	Services []labels.Selector // any of them; none means every Service
}

// SelectsPool says whether the advertisement is for addresses of the pool.
func (s *Scope) SelectsPool(name string) bool {
	_, ok := slices.BinarySearch(s.Pools, name)
	return ok || s.AllPools
}

// SelectsService says whether the advertisement is for a Service with these labels.
func (s *Scope) SelectsService(l labels.Set) bool {
	return len(s.Services) == 0 || matchesAny(s.Services, l)
}

// SelectsNode says whether the advertisement lets a node with these labels announce.
func (s *Scope) SelectsNode(l labels.Set) bool { return len(s.Nodes) == 0 || matchesAny(s.Nodes, l) }

func matchesAny(selectors []labels.Selector, l labels.Set) bool {
	return slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(l) })
}

// meet says whether two lists of selectors are sure to select something in common, if there is anything: one of them is
// for everything, or a selector stands in both.
func meet(a, b []labels.Selector) bool {
	return unlimited(a) || unlimited(b) || slices.ContainsFunc(a, func(s labels.Selector) bool {
		return slices.ContainsFunc(b, func(t labels.Selector) bool { return s.String() == t.String() })
	})
}

func unlimited(selectors []labels.Selector) bool {
	return len(selectors) == 0 || slices.ContainsFunc(selectors, labels.Selector.Empty)
}
