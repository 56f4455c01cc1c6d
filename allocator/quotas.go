package allocator

import (
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// count counts an address that came into use for the quotas on the namespace of the Service that got it first.
func (st *state) count(s *Service, a netip.Addr, by int) {
	if st.inUse == nil {
		return
	}
	rules := st.rulesOf(a)
	if rules == nil {
		return
	}
	for i := range rules.Quotas {
		if q := &rules.Quotas[i]; q.For(s.Namespace, s.NamespaceLabels) {
			st.inUse[q] += by
		}
	}
}

// rulesOf returns the AddressPolicy that the address obeys, or nil.
func (st *state) rulesOf(a netip.Addr) *policy.AddressPolicy {
	if pool, ok := st.Policy.PoolOf(a); ok {
		return pool.Rules
	}
	return nil
}

// returned returns the addresses that only this Service has and that come out of use when it has the others instead.
func (st *state) returned(s *Service, instead []netip.Addr) (out []netip.Addr) {
	for _, a := range s.Held {
		if h := st.holders[a]; len(h) == 1 && h[0] == s && !st.left[a] && !slices.Contains(instead, a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// leave counts addresses out that a Service gives up, the only one to have them.
func (st *state) leave(s *Service, addresses []netip.Addr) {
	for _, a := range addresses {
		if st.inUse != nil {
			st.count(s, a, -1)
			st.left[a] = true
		}
	}
}

// unused says whether an address counts for nobody, so that whoever gets it has it counted.
func (st *state) unused(a netip.Addr) bool { return len(st.holders[a]) == 0 || st.left[a] }

// overQuota says which quota the Service's namespace would exceed if the Service had these addresses; no reason means
// that it may. What the Service gives back for them is taken into account.
func (st *state) overQuota(s *Service, addresses []netip.Addr) verdict.Verdict {
	if st.inUse == nil {
		return verdict.Verdict{}
	}
	var fresh []netip.Addr
	for _, a := range addresses {
		if st.unused(a) {
			fresh = append(fresh, a)
		}
	}
	for _, a := range fresh {
		rules := st.rulesOf(a)
		if rules == nil {
			continue
		}
		under := func(b netip.Addr) bool { return st.rulesOf(b) != rules }
		more := len(slices.DeleteFunc(slices.Clone(fresh), under)) - len(slices.DeleteFunc(st.returned(s, addresses), under))
		for i := range rules.Quotas {
			q := &rules.Quotas[i]
			if more > 0 && q.For(s.Namespace, s.NamespaceLabels) && st.inUse[q]+more > q.Addresses {
				return no(verdict.QuotaExceeded, "AddressPolicy %q sets a quota of %d for namespace %q (spec.quotas[%d]), and %d are in use, %d more needed: release some or raise the quota",
					rules.Name, q.Addresses, s.Namespace, i, st.inUse[q], more)
			}
		}
	}
	return verdict.Verdict{}
}
