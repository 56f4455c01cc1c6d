package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// AddressPolicy is an AddressPolicy: how the pools that obey it give their addresses.
type AddressPolicy struct {
	Name string
	UID  string
	// Frozen: the object is bad, so the pools that obey it keep what they gave and give nothing new; what was good in it
	// last stays in force otherwise.
	Frozen     bool
	Priority   int32
	Strategy   v1alpha1.Strategy
	ReuseDelay time.Duration // 0: none
	Retain     time.Duration // 0: none
	Exclude    []Range       // sorted and disjoint
	Quotas     []Quota
	Exclusive  bool

	Pools []string // that obey it, by name
	Lost  []Lost   // that it selects but that obey another one, by pool

	problem       verdict.Verdict // of a bad object, the first one
	poolNames     []string
	poolSelectors []labels.Selector
}

// Quota limits the addresses of some namespaces, of all of them together, in the pools of an AddressPolicy.
type Quota struct {
	Addresses  int      // at most, both families counted
	Namespaces []string // by name
	Selector   labels.Selector
	everyone   bool // neither names nor a selector are given
}

// For says whether the quota is for the namespace.
func (q *Quota) For(namespace string, namespaceLabels labels.Set) bool {
	return q.everyone || slices.Contains(q.Namespaces, namespace) || q.Selector.Matches(namespaceLabels)
}

// Lost is a pool that an AddressPolicy selects but that obeys another one. It is comparable.
type Lost struct {
	Pool     string
	To       string // the AddressPolicy that the pool obeys
	Priority int32  // of that one
}

// Condition is a condition on a configuration object. It is comparable.
type Condition struct {
	Type string
	True bool
	verdict.Verdict
}

// Claimed says whether an address of the pool needs an AddressClaim: something about it has to outlive its Service.
func (a *AddressPolicy) Claimed() bool {
	return a != nil && (a.Retain > 0 || a.ReuseDelay > 0 || a.Strategy == v1alpha1.LeastRecentlyUsed)
}

// Excludes says whether the policy keeps the address from being given.
func (a *AddressPolicy) Excludes(addr netip.Addr) bool {
	if a == nil {
		return false
	}
	i := sort.Search(len(a.Exclude), func(i int) bool { return !a.Exclude[i].To.Less(addr) })
	return i < len(a.Exclude) && a.Exclude[i].Contains(addr)
}

// Conditions returns the conditions of the object: Ready and Conflicting.
func (a *AddressPolicy) Conditions() []Condition {
	ready := Condition{Type: v1alpha1.ConditionReady}
	switch {
	case a.Frozen:
		ready.Verdict = a.problem
	case len(a.Pools) > 0:
		ready.True = true
		ready.Verdict = verdict.Verdict{Reason: verdict.InForce, Message: "in force in " + poolList(a.Pools)}
	case len(a.Lost) > 0:
		ready.Verdict = verdict.Verdict{Reason: verdict.Conflicting, Message: "every pool that it selects obeys another AddressPolicy"}
	default:
		ready.Verdict = verdict.Verdict{Reason: verdict.NoPool, Message: "it selects no pool: name one in spec.poolNames or select some in spec.poolSelectors"}
	}
	conflicting := Condition{v1alpha1.ConditionConflicting, false, verdict.Verdict{Reason: verdict.NoConflict, Message: "no pool that it selects obeys another AddressPolicy"}}
	if len(a.Lost) > 0 {
		texts := make([]string, len(a.Lost))
		for i, l := range a.Lost {
			texts[i] = fmt.Sprintf("pool %q obeys AddressPolicy %q, which has priority %d", l.Pool, l.To, l.Priority)
		}
		conflicting.True = true
		conflicting.Verdict = verdict.Verdict{Reason: verdict.Conflicting, Message: strings.Join(texts, "; ") + fmt.Sprintf("; this one has priority %d", a.Priority)}
	}
	return []Condition{ready, conflicting}
}

func poolList(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	if len(names) == 1 {
		return "pool " + quoted[0]
	}
	return "pools " + strings.Join(quoted, ", ")
}

// addressPolicy compiles one AddressPolicy without regard to the others.
func (c *compiler) addressPolicy(o *v1alpha1.AddressPolicy, pools []v1beta1.IPAddressPool, last *Policy) AddressPolicy {
	id, before := ref("AddressPolicy", o), len(c.problems)
	a := AddressPolicy{
		Name:       o.Name,
		UID:        string(o.UID),
		Priority:   o.Spec.Priority,
		Strategy:   cmp.Or(o.Spec.Strategy, v1alpha1.LowestFirst),
		ReuseDelay: c.duration(id, "spec.reuseDelay", o.Spec.ReuseDelay),
		Retain:     c.duration(id, "spec.retain", o.Spec.Retain),
		Exclude:    c.excluded(id, o.Spec.Exclude),
		Quotas:     c.quotas(id, o.Spec.Quotas),
		Exclusive:  o.Spec.Exclusive,
		poolNames:  slices.Clone(o.Spec.PoolNames),
	}
	switch a.Strategy {
	case v1alpha1.LowestFirst, v1alpha1.LeastRecentlyUsed, v1alpha1.StableHash:
	default:
		c.report(id, verdict.InvalidValue, "%s, spec.strategy: there is no strategy %q", id, a.Strategy)
	}
	a.poolSelectors, _ = c.selectors(id, "spec.poolSelectors", o.Spec.PoolSelectors)
	if len(c.problems) > before {
		if good, ok := last.addressPolicy(o.Name, a.UID); ok {
			a = good
		}
		a.Frozen, a.problem = true, c.problems[before].Verdict
	}
	for _, name := range o.Spec.PoolNames {
		if !slices.ContainsFunc(pools, func(p v1beta1.IPAddressPool) bool { return p.Name == name }) {
			c.report(id, verdict.UnknownReference, "%s names pool %q, which does not exist: create it or correct the name", id, name)
		}
	}
	a.Pools, a.Lost = nil, nil
	return a
}

// addressPolicy returns the compiled object of that name and UID.
func (p *Policy) addressPolicy(name, uid string) (AddressPolicy, bool) {
	if p != nil {
		for _, a := range p.AddressPolicies {
			if a.Name == name && a.UID == uid {
				return a, true
			}
		}
	}
	return AddressPolicy{}, false
}

func (c *compiler) duration(id Ref, field string, d *metav1.Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case d.Duration < 0:
		c.report(id, verdict.InvalidValue, "%s, %s: %s is negative", id, field, d.Duration)
		return 0
	}
	return d.Duration
}

func (c *compiler) excluded(id Ref, texts []string) []Range {
	var out []Range
	for i, text := range texts {
		r, err := ParseRange(text)
		if a, bad := parseAddr(text); bad == nil {
			r, err = Range{a, a}, nil
		}
		if err != nil {
			c.report(id, verdict.InvalidAddresses, "%s, spec.exclude[%d]: %v", id, i, err)
			continue
		}
		out = append(out, r)
	}
	return sortRanges(out)
}

func (c *compiler) quotas(id Ref, in []v1alpha1.Quota) []Quota {
	var out []Quota
	for i, q := range in {
		field := fmt.Sprintf("spec.quotas[%d]", i)
		if q.Addresses < 0 {
			c.report(id, verdict.InvalidValue, "%s, %s.addresses: %d is negative", id, field, q.Addresses)
		}
		out = append(out, Quota{
			Addresses:  int(q.Addresses),
			Namespaces: slices.Clone(q.Namespaces),
			Selector:   c.optionalSelector(id, field+".namespaceSelector", q.NamespaceSelector),
			everyone:   len(q.Namespaces) == 0 && q.NamespaceSelector == nil,
		})
	}
	return out
}

// optionalSelector compiles a selector; one that is absent or bad matches nothing.
func (c *compiler) optionalSelector(id Ref, field string, in *metav1.LabelSelector) labels.Selector {
	s := labels.Nothing()
	if in != nil {
		s, _ = c.selector(id, field, in)
	}
	return s
}

// govern makes every pool obey one of the AddressPolicies that select it, and tells the others.
func (p *Policy) govern(objects []v1beta1.IPAddressPool) {
	order := make([]*AddressPolicy, len(p.AddressPolicies))
	for i := range p.AddressPolicies {
		order[i] = &p.AddressPolicies[i]
	}
	slices.SortFunc(order, func(a, b *AddressPolicy) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
	})
	labelled := make(map[string]labels.Set, len(objects))
	for i := range objects {
		labelled[objects[i].Name] = objects[i].Labels
	}
	for i := range p.Pools {
		pool := &p.Pools[i]
		pool.Rules = nil
		for _, a := range order {
			switch {
			case !slices.Contains(a.poolNames, pool.Name) && !matchesAny(a.poolSelectors, labelled[pool.Name]):
			case pool.Rules == nil:
				pool.Rules = a
				a.Pools = append(a.Pools, pool.Name)
			default:
				a.Lost = append(a.Lost, Lost{pool.Name, pool.Rules.Name, pool.Rules.Priority})
			}
		}
		var excluded []Range
		if pool.Rules != nil {
			excluded = pool.Rules.Exclude
		}
		pool.v4, pool.v6 = newSpace(pool.Ranges, IPv4, excluded), newSpace(pool.Ranges, IPv6, excluded)
	}
}
