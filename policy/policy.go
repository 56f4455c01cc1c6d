// Package policy turns the configuration objects into one immutable value that everything else decides from. It is
// pure; the webhooks, the command line and the controllers call the same Compile.
package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// Policy is the configuration in force: valid, immutable, in a fixed order. The zero value has no pools.
type Policy struct {
	Pools []Pool // by name
	L2Ads []L2Ad // by name
	// AddressPolicies say how the pools give their addresses.
	AddressPolicies []AddressPolicy // by name
	Reservations    []Reservation   // by name
	NodePortRanges  []NodePortRange // by name
	// ServiceNodePorts is the API server's own range of node ports; the zero value: it is not known.
	ServiceNodePorts portrange.Range
	Peers            []Peer  // by name
	BGPAds           []BGPAd // by name

	owners      []owner        // every range of every pool, by first address
	bfdProfiles []bfdProfile   // by name
	aliases     []communitySet // by name
	problems    []Problem      // that Compile told, sorted
}

// owner is one range and the pool that owns it.
type owner struct {
	Range
	pool int // index in Policy.Pools
}

// Pool is an IPAddressPool.
type Pool struct {
	Name   string
	UID    string  // of the object that it was compiled from
	Ranges []Range // in the specification's order, disjoint from each other and from every other pool's
	// Frozen: the object is bad, so the pool keeps what it gave and gives nothing new.
	Frozen        bool
	AutoAssign    bool // whether Services that name neither the pool nor an address may draw from it
	AvoidBuggyIPs bool // whether IPv4 addresses that end in .0 and .255 are passed over
	Tenants       *Tenants
	// CrossNamespaceSharing allows Services of different namespaces to share an address of this pool.
	CrossNamespaceSharing bool
	// Rules is the AddressPolicy that the pool obeys, or nil.
	Rules *AddressPolicy

	namespace string  // of the object
	declared  []Range // as the object has them, before overlaps were settled
	v4, v6    Space
}

// Tenants says who may draw from a pool: a Service in one of the namespaces, if any are given, that matches one of the
// service selectors, if any are given. A selector that matches nothing admits nothing.
type Tenants struct {
	Priority           int      // lower is asked first; 0 is asked last
	Namespaces         []string // by name
	NamespaceSelectors []labels.Selector
	ServiceSelectors   []labels.Selector
}

// L2Ad is an L2Advertisement.
type L2Ad struct {
	Ref
	Scope
	Interfaces []string     // names; none means every usable interface
	Preferred  []Preference // scores that add up
}

// Preference adds a weight (1 to 100) to every node that the selector matches.
type Preference struct {
	Weight int32
	Nodes  labels.Selector
}

// Ref names a configuration object. It is comparable.
type Ref struct{ Kind, Namespace, Name, UID string }

// String returns the kind and the name.
func (r Ref) String() string { return fmt.Sprintf("%s %q", r.Kind, r.Name) }

// Elsewhere says what is wrong with an object outside the namespace that the configuration is read from, or "".
func (r Ref) Elsewhere(home string) string {
	if r.Namespace == home {
		return ""
	}
	return fmt.Sprintf("%s, metadata.namespace: Fairlead reads its configuration in namespace %q only: create it there, not in %q", r, home, r.Namespace)
}

// Problem is something wrong with one configuration object, told in one sentence. It is comparable.
type Problem struct {
	Object Ref
	verdict.Verdict
}

func compareProblems(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.Object.Kind, b.Object.Kind), cmp.Compare(a.Object.Name, b.Object.Name), cmp.Compare(a.Message, b.Message))
}

// Told says whether Compile told the problem, so that one that is found later need not be told again.
func (p *Policy) Told(x Problem) bool {
	_, ok := slices.BinarySearchFunc(p.problems, x, compareProblems)
	return ok
}

// PoolOf returns the pool that owns the address.
func (p *Policy) PoolOf(a netip.Addr) (*Pool, bool) {
	i := sort.Search(len(p.owners), func(i int) bool { return a.Less(p.owners[i].From) }) - 1
	if i < 0 || !p.owners[i].Contains(a) {
		return nil, false
	}
	return &p.Pools[p.owners[i].pool], true
}

// Pool returns the pool of that name.
func (p *Policy) Pool(name string) (*Pool, bool) {
	i, ok := slices.BinarySearchFunc(p.Pools, name, func(x Pool, n string) int { return cmp.Compare(x.Name, n) })
	if !ok {
		return nil, false
	}
	return &p.Pools[i], true
}

// Candidates returns the pools that a Service may draw from without naming one, in the order in which they are asked:
// first those whose serviceAllocation admits it, by priority (0 last) and name, then those open to everyone, by name. If
// some of the first kind are exclusive, it is those alone.
func (p *Policy) Candidates(namespace string, namespaceLabels, serviceLabels labels.Set) []*Pool {
	var pools []*Pool
	for i := range p.Pools {
		if x := &p.Pools[i]; x.AutoAssign && x.Admits(namespace, namespaceLabels, serviceLabels) {
			pools = append(pools, x)
		}
	}
	if slices.ContainsFunc(pools, (*Pool).exclusive) {
		pools = slices.DeleteFunc(pools, func(x *Pool) bool { return !x.exclusive() })
	}
	slices.SortStableFunc(pools, func(a, b *Pool) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.priority(), b.priority()))
	})
	return pools
}

// exclusive says whether the Services that the pool admits may not fall through to others.
func (p *Pool) exclusive() bool { return p.Tenants != nil && p.Rules != nil && p.Rules.Exclusive }

// rank orders pools by kind: those with a priority, those with tenants but no priority, those open to everyone.
func (p *Pool) rank() int {
	switch {
	case p.Tenants == nil:
		return 2
	case p.Tenants.Priority == 0:
		return 1
	}
	return 0
}

func (p *Pool) priority() int {
	if p.Tenants == nil {
		return 0
	}
	return p.Tenants.Priority
}

// Admits says whether the pool's serviceAllocation lets a Service draw from it.
func (p *Pool) Admits(namespace string, namespaceLabels, serviceLabels labels.Set) bool {
	t := p.Tenants
	if t == nil {
		return true
	}
	if len(t.Namespaces)+len(t.NamespaceSelectors) > 0 &&
		!slices.Contains(t.Namespaces, namespace) && !matchesAny(t.NamespaceSelectors, namespaceLabels) {
		return false
	}
	return len(t.ServiceSelectors) == 0 || matchesAny(t.ServiceSelectors, serviceLabels)
}

// Stalled says whether the pool gives nothing new, because it or the AddressPolicy that it obeys is bad.
func (p *Pool) Stalled() bool { return p.Frozen || p.Rules != nil && p.Rules.Frozen }

// Gives says whether the pool may hand out the address; it does not look at who holds it.
func (p *Pool) Gives(a netip.Addr) bool {
	return !p.Stalled() && !p.Avoids(a) && !p.Rules.Excludes(a) && slices.ContainsFunc(p.Ranges, func(r Range) bool { return r.Contains(a) })
}

// Avoids says whether avoidBuggyIPs keeps the address back.
func (p *Pool) Avoids(a netip.Addr) bool { return p.AvoidBuggyIPs && buggy(a) }

// Space returns the addresses of the family that the pool may give, apart from those that it avoids.
func (p *Pool) Space(f Family) *Space {
	if f == IPv4 {
		return &p.v4
	}
	return &p.v6
}

// Has says whether the pool has addresses of the family.
func (p *Pool) Has(f Family) bool {
	return slices.ContainsFunc(p.Ranges, func(r Range) bool { return r.Family() == f })
}

// buggy says whether old equipment may take the IPv4 address for a network's or a broadcast address.
func buggy(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	last := a.As4()[3]
	return last == 0 || last == 255
}

// SelectsInterface says whether the advertisement lets the interface carry announcements.
func (a *L2Ad) SelectsInterface(name string) bool {
	return len(a.Interfaces) == 0 || slices.Contains(a.Interfaces, name)
}

// Score returns the sum of the weights of the preferences that match a node with these labels.
func (a *L2Ad) Score(l labels.Set) int64 {
	var sum int64
	for _, p := range a.Preferred {
		if p.Nodes.Matches(l) {
			sum += int64(p.Weight)
		}
	}
	return sum
}
