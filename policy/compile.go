package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// AnnotationCrossNamespaceSharing on an IPAddressPool, with the value "true", lets Services of different namespaces
// share its addresses.
const AnnotationCrossNamespaceSharing = "fairlead.io/allow-cross-namespace-sharing"

// Objects are the configuration objects as the API server has them, in any order.
type Objects struct {
	Pools            []v1beta1.IPAddressPool
	L2Advertisements []v1beta1.L2Advertisement
}

// Compile turns the objects into a Policy. It never fails as a whole: an object that is bad keeps its value from the
// last Policy, or, where there is none, what of it is good; it gives nothing new and is told as a Problem. Problems
// are sorted. The result depends on the objects and on last, not on the order of the objects.
func Compile(objects Objects, last *Policy) (*Policy, []Problem) {
	var c compiler
	p := &Policy{}

	pools := slices.Clone(objects.Pools)
	slices.SortFunc(pools, func(a, b v1beta1.IPAddressPool) int { return olderFirst(&a, &b) })
	for i := range pools {
		p.Pools = append(p.Pools, c.pool(&pools[i], last))
	}
	c.settleOverlaps(pools, p.Pools)
	slices.SortFunc(p.Pools, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
	p.owners = owners(p.Pools)

	for i := range objects.L2Advertisements {
		p.L2Ads = append(p.L2Ads, c.l2Ad(&objects.L2Advertisements[i], pools, last))
	}
	slices.SortFunc(p.L2Ads, func(a, b L2Ad) int { return cmp.Compare(a.Name, b.Name) })

	slices.SortFunc(c.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Object.Kind, b.Object.Kind), cmp.Compare(a.Object.Name, b.Object.Name), cmp.Compare(a.Message, b.Message))
	})
	return p, c.problems
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
	var err error
	if pool.Tenants, err = tenants(o.Spec.AllocateTo); err != nil {
		pool.Frozen = true
		c.report(id, verdict.InvalidSelector, "%s, spec.serviceAllocation: %v", id, err)
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

func tenants(a *v1beta1.ServiceAllocation) (*Tenants, error) {
	if a == nil {
		return nil, nil
	}
	inNamespaces, err1 := selectors("namespaceSelectors", a.NamespaceSelectors)
	ofServices, err2 := selectors("serviceSelectors", a.ServiceSelectors)
	return &Tenants{
		Priority:           a.Priority,
		Namespaces:         slices.Clone(a.Namespaces),
		NamespaceSelectors: inNamespaces,
		ServiceSelectors:   ofServices,
	}, errors.Join(err1, err2)
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
				for _, taken := range pools[j].Ranges {
					if !r.Overlaps(taken) {
						continue
					}
					rest = without(rest, taken)
					c.reportOverlap(id, r, taken, pools[j].Name)
				}
			}
			pool.Ranges = append(pool.Ranges, rest...)
		}
	}
}

func (c *compiler) reportOverlap(id Ref, r, taken Range, owner string) {
	if owner == id.Name {
		c.report(id, verdict.OverlappingAddresses, "%s lists %s twice: remove it from %s", id, r.overlap(taken), r)
		return
	}
	c.report(id, verdict.OverlappingAddresses, "%s: range %s overlaps the older pool %q, which keeps %s: remove that from one of the two",
		id, r, owner, r.overlap(taken))
}

func without(ranges []Range, taken Range) []Range {
	var rest []Range
	for _, r := range ranges {
		rest = append(rest, r.subtract(taken)...)
	}
	return rest
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
	ofPools, err1 := selectors("ipAddressPoolSelectors", o.Spec.IPAddressPoolSelectors)
	nodes, err2 := selectors("nodeSelectors", o.Spec.NodeSelectors)
	services, err3 := selectors("serviceSelectors", o.Spec.ServiceSelectors)
	preferred, err4 := preferences(o.Spec.PreferredNodeSelectors)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		c.report(id, verdict.InvalidSelector, "%s: %v", id, strings.ReplaceAll(err.Error(), "\n", "; "))
		return lastL2Ad(last, o)
	}
	ad := L2Ad{
		Name:       o.Name,
		UID:        string(o.UID),
		AllPools:   len(o.Spec.IPAddressPools)+len(ofPools) == 0,
		Nodes:      nodes,
		Services:   services,
		Interfaces: slices.Clone(o.Spec.Interfaces),
		Preferred:  preferred,
	}
	for i := range pools {
		if slices.Contains(o.Spec.IPAddressPools, pools[i].Name) || matchesAny(ofPools, pools[i].Labels) {
			ad.Pools = append(ad.Pools, pools[i].Name)
		}
	}
	for _, name := range o.Spec.IPAddressPools {
		// An unknown pool stays in the list: it may be one that was just deleted and whose addresses are still in use.
		if !slices.Contains(ad.Pools, name) {
			ad.Pools = append(ad.Pools, name)
			c.report(id, verdict.UnknownReference, "%s names pool %q, which does not exist: create it or correct the name", id, name)
		}
	}
	slices.Sort(ad.Pools)
	return ad
}

// lastL2Ad returns the last good value of a bad advertisement, or one that selects no pool.
func lastL2Ad(last *Policy, o *v1beta1.L2Advertisement) L2Ad {
	if last != nil {
		for _, ad := range last.L2Ads {
			if ad.Name == o.Name && ad.UID == string(o.UID) {
				return ad
			}
		}
	}
	return L2Ad{Name: o.Name, UID: string(o.UID)}
}

func preferences(in []v1beta1.PreferredNodeSelector) ([]Preference, error) {
	var out []Preference
	for i := range in {
		s, err := metav1.LabelSelectorAsSelector(&in[i].Preference)
		if err != nil {
			return nil, fmt.Errorf("preferredNodeSelectors[%d]: %w", i, err)
		}
		out = append(out, Preference{in[i].Weight, s})
	}
	return out, nil
}

func selectors(field string, in []metav1.LabelSelector) ([]labels.Selector, error) {
	var out []labels.Selector
	for i := range in {
		s, err := metav1.LabelSelectorAsSelector(&in[i])
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		out = append(out, s)
	}
	return out, nil
}
