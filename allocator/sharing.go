package allocator

// This file holds who may have an address that another Service holds.

import (
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/internal/portrange"
)

// obstacle returns the first holder of the address that the Service cannot share it with, and why, or nil.
func (st *state) obstacle(s *Service, a netip.Addr) (*Service, conflict) {
	for _, h := range st.holders[a] {
		if h == s {
			continue
		}
		if c := st.conflict(s, h, a); c != none {
			return h, c
		}
	}
	return nil, none
}

// usable says whether the Service may hold the address, as far as its other holders are concerned.
func (st *state) usable(s *Service, a netip.Addr) bool {
	other, _ := st.obstacle(s, a)
	return other == nil
}

// conflict says, as the end of a sentence, why two Services cannot share an address.
type conflict string

// Conflicts. Where not both ask for sharing there is nothing to explain.
const (
	none              conflict = "-"
	notAsked          conflict = ""
	differentKeys     conflict = " under another sharing key"
	differentPolicies conflict = " under another externalTrafficPolicy"
	differentPods     conflict = " for other pods (externalTrafficPolicy is Local)"
	samePort          conflict = " on the same port"
	otherNamespace    conflict = " in another namespace (its pool does not allow that)"
)

// conflict compares two Services that want the same address: to share it they need the same key and no common port,
// and both have to be served by every node or both by the same pods. Across namespaces the address's pool must allow it.
func (st *state) conflict(a, b *Service, address netip.Addr) conflict {
	switch {
	case a.SharingKey == "" || b.SharingKey == "":
		return notAsked
	case a.SharingKey != b.SharingKey:
		return differentKeys
	case a.Namespace != b.Namespace && !st.crossesNamespaces(address):
		return otherNamespace
	case a.Local != b.Local:
		return differentPolicies
	case a.Local && (a.Namespace != b.Namespace || a.Backends != b.Backends):
		return differentPods
	case slices.ContainsFunc(a.Ports, func(p portrange.Range) bool { return slices.ContainsFunc(b.Ports, p.Overlaps) }):
		return samePort
	}
	return none
}

// crossesNamespaces says whether Services of different namespaces may share the address. Where its pool is gone, those
// that do so go on: nothing in such a pool is given to others.
func (st *state) crossesNamespaces(a netip.Addr) bool {
	pool, ok := st.Policy.PoolOf(a)
	return !ok || pool.CrossNamespaceSharing
}
