package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// AnnotationCrossNamespaceSharing on an IPAddressPool, with the value "true", lets Services of different namespaces
// share its addresses.
const AnnotationCrossNamespaceSharing = "fairlead.io/allow-cross-namespace-sharing"

// Objects are the configuration objects as the API server has them, in any order.
type Objects struct {
	Pools               []v1beta1.IPAddressPool
	L2Advertisements    []v1beta1.L2Advertisement
	AddressPolicies     []v1alpha1.AddressPolicy
	AddressReservations []v1alpha1.AddressReservation
	NodePortRanges      []v1alpha1.NodePortRange
	BGPPeers            []v1beta2.BGPPeer
	BGPAdvertisements   []v1beta1.BGPAdvertisement
	BFDProfiles         []v1beta1.BFDProfile
	Communities         []v1beta1.Community

	// ServiceNodePorts is the API server's own range of node ports, which no NodePortRange may have. The zero value: it is not
	// known, and nothing is told about it.
	ServiceNodePorts portrange.Range

	// Secrets are those that BGPPeers name, as far as they exist and, where only such were read, are of type basic-auth.
	Secrets map[SecretKey]Secret
	// SecretsUnread: the Secrets were not read, as by who only checks manifests. Nothing is told about those that are named,
	// and the peers that name one wait.
	SecretsUnread bool
}

// Compile turns the objects into a Policy. It never fails as a whole: an object that is bad keeps its value from the
// last Policy, or, where there is none, what of it is good; it gives nothing new and is told as a Problem. Problems
// are sorted. The result depends on the objects and on last, not on the order of the objects.
func Compile(objects Objects, last *Policy) (*Policy, []Problem) {
	var c compiler
	p := &Policy{ServiceNodePorts: objects.ServiceNodePorts}

	pools := slices.Clone(objects.Pools)
	slices.SortFunc(pools, func(a, b v1beta1.IPAddressPool) int { return olderFirst(&a, &b) })
	for i := range pools {
		p.Pools = append(p.Pools, c.pool(&pools[i], last))
	}
	c.settleOverlaps(pools, p.Pools)
	slices.SortFunc(p.Pools, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
	p.owners = owners(p.Pools)
	for i := range objects.AddressPolicies {
		p.AddressPolicies = append(p.AddressPolicies, c.addressPolicy(&objects.AddressPolicies[i], pools, last))
	}
	slices.SortFunc(p.AddressPolicies, func(a, b AddressPolicy) int { return cmp.Compare(a.Name, b.Name) })
	p.govern(pools)

	reservations := slices.Clone(objects.AddressReservations)
	slices.SortFunc(reservations, func(a, b v1alpha1.AddressReservation) int { return olderFirst(&a, &b) })
	for i := range reservations {
		p.Reservations = append(p.Reservations, c.reservation(&reservations[i], pools, last))
	}
	c.settleReservations(reservations, p.Reservations)
	slices.SortFunc(p.Reservations, func(a, b Reservation) int { return cmp.Compare(a.Name, b.Name) })

	p.NodePortRanges = c.nodePortRanges(objects, last)

	for i := range objects.L2Advertisements {
		p.L2Ads = append(p.L2Ads, c.l2Ad(&objects.L2Advertisements[i], pools, last))
	}
	slices.SortFunc(p.L2Ads, func(a, b L2Ad) int { return cmp.Compare(a.Name, b.Name) })
	c.bgp(p, objects, pools, last)

	slices.SortFunc(c.problems, compareProblems)
	p.problems = slices.Compact(c.problems) // a range that stands three times is told once
	return p, slices.Clone(p.problems)
}

// compiler collects problems.
type compiler struct{ problems []Problem }

func (c *compiler) report(o Ref, reason verdict.Reason, format string, args ...any) {
	c.problems = append(c.problems, Problem{o, verdict.Verdict{Reason: reason, Message: fmt.Sprintf(format, args...)}})
}

func ref(kind string, o metav1.Object) Ref {
	return Ref{kind, o.GetNamespace(), o.GetName(), string(o.GetUID())}
}

func olderFirst(a, b metav1.Object) int {
	ta, tb := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return cmp.Or(ta.Compare(tb.Time), cmp.Compare(a.GetName(), b.GetName()))
}

// pool compiles one pool without regard to the others. What is bad in it freezes it.
func (c *compiler) pool(o *v1beta1.IPAddressPool, last *Policy) Pool {
	id := ref("IPAddressPool", o)
	pool := Pool{
		Name:                  o.Name,
		UID:                   string(o.UID),
		namespace:             o.Namespace,
		AutoAssign:            o.Spec.AutoAssign == nil || *o.Spec.AutoAssign,
		AvoidBuggyIPs:         o.Spec.AvoidBuggyIPs,
		CrossNamespaceSharing: o.Annotations[AnnotationCrossNamespaceSharing] == "true",
	}
	if len(o.Spec.Addresses) == 0 {
		pool.Frozen = true
		c.report(id, verdict.InvalidAddresses, "%s has no addresses: list at least one CIDR or range in spec.addresses", id)
	}
	for i, text := range o.Spec.Addresses {
		r, err := ParseRange(text)
		if err != nil {
			pool.Frozen = true
			c.report(id, verdict.InvalidAddresses, "%s, spec.addresses[%d]: %v", id, i, err)
			continue
		}
		pool.declared = append(pool.declared, r)
	}
	var ok bool
	if pool.Tenants, ok = c.tenants(id, o.Spec.AllocateTo); !ok {
		pool.Frozen = true
	}
	if !pool.Frozen || last == nil {
		return pool
	}
	if before, ok := last.Pool(o.Name); ok && before.UID == pool.UID {
		pool = *before
		pool.Frozen = true
	}
	return pool
}

func (c *compiler) tenants(id Ref, a *v1beta1.ServiceAllocation) (*Tenants, bool) {
	if a == nil {
		return nil, true
	}
	inNamespaces, ok1 := c.selectors(id, "spec.serviceAllocation.namespaceSelectors", a.NamespaceSelectors)
	ofServices, ok2 := c.selectors(id, "spec.serviceAllocation.serviceSelectors", a.ServiceSelectors)
	return &Tenants{
		Priority:           a.Priority,
		Namespaces:         slices.Clone(a.Namespaces),
		NamespaceSelectors: inNamespaces,
		ServiceSelectors:   ofServices,
	}, ok1 && ok2
}

// settleOverlaps gives every address to one pool: to the older of two pools, and within a pool to the range that
// stands first. The pools come oldest first, as their objects do.
func (c *compiler) settleOverlaps(objects []v1beta1.IPAddressPool, pools []Pool) {
	for i := range pools {
		pool, id := &pools[i], ref("IPAddressPool", &objects[i])
		pool.Ranges = nil
		for _, r := range pool.declared {
			rest := []Range{r}
			for j := range pools[:i+1] {
				var taken []Range
				rest, taken = split(rest, pools[j].Ranges)
				c.reportOverlap(id, r, taken, pools[j].Name)
			}
			pool.Ranges = append(pool.Ranges, rest...)
		}
	}
}

// split parts ranges into what none of the others holds and what one of them does.
func split(ranges, others []Range) (rest, taken []Range) {
	rest = ranges
	for _, o := range others {
		var left []Range
		for _, r := range rest {
			left = append(left, r.subtract(o)...)
			if r.Overlaps(o) {
				taken = append(taken, r.overlap(o))
			}
		}
		rest = left
	}
	slices.SortFunc(taken, func(a, b Range) int { return a.From.Compare(b.From) })
	return rest, taken
}

func (c *compiler) reportOverlap(id Ref, r Range, taken []Range, owner string) {
	switch {
	case len(taken) == 0:
	case owner == id.Name:
		c.report(id, verdict.OverlappingAddresses, "%s lists %s twice: remove it from %s", id, list(taken), r)
	default:
		c.report(id, verdict.OverlappingAddresses, "%s: range %s overlaps the older pool %q, which keeps %s: remove that from one of the two",
			id, r, owner, list(taken))
	}
}

func list(ranges []Range) string {
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = r.String()
	}
	return strings.Join(texts, ", ")
}

func owners(pools []Pool) []owner {
	var all []owner
	for i := range pools {
		for _, r := range pools[i].Ranges {
			all = append(all, owner{r, i})
		}
	}
	slices.SortFunc(all, func(a, b owner) int { return a.From.Compare(b.From) })
	return all
}

// l2Ad compiles one advertisement; a bad one keeps its last value, and otherwise announces nothing.
func (c *compiler) l2Ad(o *v1beta1.L2Advertisement, pools []v1beta1.IPAddressPool, last *Policy) L2Ad {
	id := ref("L2Advertisement", o)
	c.tellUnknownPools(id, o.Spec.IPAddressPools, pools)
	scope, ok1 := c.scope(id, scopeSpec{o.Spec.IPAddressPools, o.Spec.IPAddressPoolSelectors, o.Spec.NodeSelectors, o.Spec.ServiceSelectors}, pools)
	preferred, ok2 := c.preferences(id, o.Spec.PreferredNodeSelectors)
	if ok1 && ok2 {
		return L2Ad{Ref: id, Scope: scope, Interfaces: slices.Clone(o.Spec.Interfaces), Preferred: preferred}
	}
	return lastL2Ad(last, id)
}

// scopeSpec is what the two kinds of advertisements say alike.
type scopeSpec struct {
	pools                             []string
	poolSelectors, nodes, forServices []metav1.LabelSelector
}

func (c *compiler) scope(id Ref, spec scopeSpec, pools []v1beta1.IPAddressPool) (Scope, bool) {
	ofPools, ok1 := c.selectors(id, "spec.ipAddressPoolSelectors", spec.poolSelectors)
	nodes, ok2 := c.selectors(id, "spec.nodeSelectors", spec.nodes)
	services, ok3 := c.selectors(id, "spec.serviceSelectors", spec.forServices)
	return Scope{
		AllPools: len(spec.pools)+len(ofPools) == 0,
		Pools:    poolsOf(spec.pools, ofPools, pools),
		Nodes:    nodes,
		Services: services,
	}, ok1 && ok2 && ok3
}

// poolsOf returns the names of the pools that an advertisement names or selects, sorted. An unknown one stays in the
// list: it may be one that was just deleted and whose addresses are still in use.
func poolsOf(named []string, selected []labels.Selector, pools []v1beta1.IPAddressPool) []string {
	names := slices.Clone(named)
	for i := range pools {
		if matchesAny(selected, pools[i].Labels) {
			names = append(names, pools[i].Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// tellUnknownPools tells the pools that an advertisement names and that do not exist.
func (c *compiler) tellUnknownPools(id Ref, named []string, pools []v1beta1.IPAddressPool) {
	for _, name := range named {
		if !slices.ContainsFunc(pools, func(p v1beta1.IPAddressPool) bool { return p.Name == name }) {
			c.report(id, verdict.UnknownReference, "%s names pool %q, which does not exist: create it or correct the name", id, name)
		}
	}
}

// lastL2Ad returns the last good value of a bad advertisement, or one that selects no pool.
func lastL2Ad(last *Policy, id Ref) L2Ad {
	if last != nil {
		for _, ad := range last.L2Ads {
			if ad.Ref == id {
				return ad
			}
		}
	}
	return L2Ad{Ref: id}
}

func (c *compiler) preferences(id Ref, in []v1beta1.PreferredNodeSelector) (out []Preference, ok bool) {
	ok = true
	for i := range in {
		s, good := c.selector(id, fmt.Sprintf("spec.preferredNodeSelectors[%d].preference", i), &in[i].Preference)
		out = append(out, Preference{in[i].Weight, s})
		ok = ok && good
	}
	return out, ok
}

// selectors compiles the list of selectors in a field; each bad one is reported, and matches nothing.
func (c *compiler) selectors(id Ref, field string, in []metav1.LabelSelector) (out []labels.Selector, ok bool) {
	ok = true
	for i := range in {
		s, good := c.selector(id, fmt.Sprintf("%s[%d]", field, i), &in[i])
		out = append(out, s)
		ok = ok && good
	}
	return out, ok
}

func (c *compiler) selector(id Ref, field string, in *metav1.LabelSelector) (labels.Selector, bool) {
	s, err := metav1.LabelSelectorAsSelector(in)
	if err != nil {
		c.report(id, verdict.InvalidSelector, "%s, %s: %v", id, field, err)
		return labels.Nothing(), false
	}
	return s, true
}
