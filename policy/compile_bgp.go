package policy

// This file holds the order in which the BGP objects are compiled: what is named first, then what names it.

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

// bgp compiles the BGP objects into the Policy, whose pools are compiled.
func (c *compiler) bgp(p *Policy, o Objects, pools []v1beta1.IPAddressPool, last *Policy) {
	p.bfdProfiles = c.compileBFDProfiles(o.BFDProfiles, last)
	p.Peers = c.peers(o, p, last)
	var values map[string]Communities
	p.aliases, values = c.communities(o.Communities, last)
	p.BGPAds = c.bgpAds(o, p, values, pools, last)
}

// oldestFirst returns a copy of a list of objects, sorted by age and name.
func oldestFirst[T any, P interface {
	*T
	metav1.Object
}](list []T) []T {
	out := slices.Clone(list)
	slices.SortFunc(out, func(a, b T) int { return olderFirst(P(&a), P(&b)) })
	return out
}

// find returns the item of the object that the last Policy had, unless the object was re-created since.
func find[T any](items []T, id Ref, of func(*T) Ref) (*T, bool) {
	for i := range items {
		if of(&items[i]) == id {
			return &items[i], true
		}
	}
	return nil, false
}

// named returns the item of that name in a sorted list.
func named[T any](items []T, name string, of func(*T) Ref) (*T, bool) {
	i, ok := slices.BinarySearchFunc(items, name, func(x T, n string) int { return cmp.Compare(of(&x).Name, n) })
	if !ok {
		return nil, false
	}
	return &items[i], true
}

// sortByName sorts compiled objects.
func sortByName[T any](items []T, of func(*T) Ref) {
	slices.SortFunc(items, func(a, b T) int { return cmp.Compare(of(&a).Name, of(&b).Name) })
}
