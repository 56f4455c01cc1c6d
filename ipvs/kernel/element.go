package kernel

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// Set names one of the lists that rules look packets up in. In nftables each is up to four sets: one for each family, and
// one each for single ports and for ranges.
type Set uint8

// The sets.
const (
	vips       Set = iota // the addresses that are bound
	open                  // see plan.Filter for these
	marks                 // with Mark
	external              // with Mark
	closed                //
	guarded               //
	allowed               // with From
	masquerade            //
	preserve              //
	clusterIPs            //
	hairpin               // addresses
	internal              // From only
	owned                 // the record of virtual servers with an address; looked up by no rule
	ownMarks              // the record of firewall-mark servers; and what a mark has to be for the rules to take it off again
	ping                  // there is an element where addresses answer pings
	sets
)

// Element is an element of a set. What the set does not have is zero. It is comparable.
type Element struct {
	Set
	plan.Ports
	From netip.Prefix
	Mark uint32
}

func (e Element) compare(o Element) int {
	if e.Set != o.Set {
		return cmp.Compare(e.Set, o.Set)
	}
	return cmp.Or(e.Ports.Compare(o.Ports), e.From.Addr().Compare(o.From.Addr()),
		cmp.Compare(e.From.Bits(), o.From.Bits()), cmp.Compare(e.Mark, o.Mark))
}

// sorted sorts elements in place and drops what stands twice.
func sorted(list []Element) []Element {
	if !slices.IsSortedFunc(list, Element.compare) {
		slices.SortFunc(list, Element.compare)
	}
	return slices.Compact(list)
}

// elements are those that packets meet under the plan, all but ping in their order. They take the place of what is
// in the list given, with room for the record behind them.
func elements(out []Element, p *plan.Plan) []Element {
	f := &p.Filter
	out = slices.Grow(out[:0], len(p.Addresses)+len(f.Open)+len(f.Marks)+len(f.External)+len(f.Closed)+len(f.Guarded)+len(f.Allowed)+len(f.Masquerade)+
		len(f.Preserve)+len(f.ClusterIPs)+len(f.Hairpin)+len(f.Internal)+1+len(p.Servers))
	ports := func(set Set, list []plan.Ports) {
		for _, x := range list {
			out = append(out, Element{Set: set, Ports: x})
		}
	}
	marked := func(set Set, list []plan.Marked) {
		for _, x := range list {
			out = append(out, Element{Set: set, Ports: x.Ports, Mark: x.Mark})
		}
	}
	for _, a := range p.Addresses {
		out = append(out, Element{Set: vips, Ports: plan.Ports{Address: a}})
	}
	ports(open, f.Open)
	marked(marks, f.Marks)
	marked(external, f.External)
	ports(closed, f.Closed)
	ports(guarded, f.Guarded)
	same := 0 // where those of the same ports begin
	for i, x := range f.Allowed {
		if f.Allowed[same].Ports != x.Ports {
			same = i
		}
		if !slices.ContainsFunc(f.Allowed[same:i], func(o plan.Allowed) bool { return contains(o.From, x.From) }) {
			out = append(out, Element{Set: allowed, Ports: x.Ports, From: x.From.Masked()})
		}
	}
	ports(masquerade, f.Masquerade)
	ports(preserve, f.Preserve)
	ports(clusterIPs, f.ClusterIPs)
	for _, a := range f.Hairpin {
		out = append(out, Element{Set: hairpin, Ports: plan.Ports{Address: a}})
	}
	for i, x := range f.Internal {
		if !slices.ContainsFunc(f.Internal[:i], func(o netip.Prefix) bool { return contains(o, x) }) {
			out = append(out, Element{Set: internal, From: x.Masked()})
		}
	}
	if f.Ping {
		out = append(out, Element{Set: ping, Mark: 1})
	}
	return out
}

// contains says whether all of inner is in outer. Prefixes are sorted with the larger one first.
func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// record adds the record of virtual servers to a list.
func record(out []Element, servers iter.Seq[plan.Frontend]) []Element {
	for f := range servers {
		if f.Mark != 0 {
			out = append(out, Element{Set: ownMarks, Mark: f.Mark})
			continue
		}
		r := portrange.Range{Protocol: f.Protocol, First: f.Address.Port(), Last: f.Address.Port()}
		out = append(out, Element{Set: owned, Ports: plan.Ports{Address: f.Address.Addr(), Range: r}})
	}
	return out
}

// owners are the virtual servers that the records name. A mark's server may be of either family.
func owners(records ...[]Element) map[plan.Frontend]bool {
	out := map[plan.Frontend]bool{}
	for _, list := range records {
		for _, e := range list {
			switch e.Set {
			case owned:
				out[plan.Frontend{Address: netip.AddrPortFrom(e.Address, e.First), Protocol: e.Protocol}] = true
			case ownMarks:
				out[plan.Frontend{Mark: e.Mark}] = true
				out[plan.Frontend{Mark: e.Mark, V6: true}] = true
			}
		}
	}
	return out
}
