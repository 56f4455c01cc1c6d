package plan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// Plan is what this node is to announce. It is sorted; every node that has the same view names the same owners.
type Plan struct {
	L2       []Announcement
	Sessions []Session // by peer
	Routes   []Route   // by peer and prefix
	// Drain: the neighbors are to prefer other nodes (RFC 8326), since this one is draining.
	Drain bool
	// Leaves: if this speaker stops now, nobody may wait for its return, since the node is draining, excluded or unknown.
	Leaves bool

	// Verdicts say what becomes of each address of each Service by layer 2, by namespace, name and address. An address that
	// is for BGP alone has none.
	Verdicts []Verdict
	// BGP says what becomes by BGP of each address that a BGPAdvertisement is for, in the same order.
	BGP []BGPVerdict
	// Problems are those of configuration objects that show only on nodes, such as an interface that none has; not those
	// that policy.Compile told.
	Problems []policy.Problem
}

// Verdict says of one address of one Service what this node does about it by layer 2. It is comparable.
type Verdict struct {
	Namespace, Name string // of the Service
	Address         netip.Addr
	Owner           string            // the node that announces it, or ""
	Next            [Ranks - 1]string // the nodes that take over if the owner is lost, in order; "" where there are no more
	Candidates      int               // how many nodes may announce it, the owner included; 0 where that goes on although none may
	verdict.Verdict
}

// Build makes the plan of the view's node.
func Build(v *View) Plan {
	b := newBuilder(v)
	p := Plan{Sessions: b.speaking.sessions, Drain: b.own != nil && b.own.Draining}
	p.Leaves = b.own == nil || b.own.Draining || b.excluded(b.own)
	if len(v.Policy.L2Ads) > 0 {
		p.Verdicts = make([]Verdict, 0, len(v.Services))
	}
	if len(v.Policy.BGPAds) > 0 {
		p.BGP = make([]BGPVerdict, 0, len(v.Services))
	}
	for _, sharers := range b.claims() {
		b.address(&p, sharers)
	}
	p.Routes = b.speaking.table()
	p.Problems = b.problems()
	slices.SortFunc(p.Verdicts, func(a, b Verdict) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), a.Address.Compare(b.Address))
	})
	slices.SortFunc(p.BGP, func(a, b BGPVerdict) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), a.Address.Compare(b.Address))
	})
	return p
}

// claim is one Service's claim to one address.
type claim struct {
	address netip.Addr
	*Service
}

// claims returns the claims of all Services by address, those to one address by seniority.
func (b *builder) claims() [][]claim {
	all := make([]claim, 0, len(b.Services))
	for i := range b.Services {
		for _, a := range b.Services[i].Addresses {
			if a.IsValid() {
				all = append(all, claim{a, &b.Services[i]})
			}
		}
	}
	slices.SortFunc(all, func(x, y claim) int {
		if c := x.address.Compare(y.address); c != 0 {
			return c
		}
		return seniority(x.Service, y.Service)
	})
	all = slices.Compact(all)
	out := make([][]claim, 0, len(all))
	for i := 0; i < len(all); {
		end := i + 1
		for end < len(all) && all[end].address == all[i].address {
			end++
		}
		out = append(out, all[i:end])
		i = end
	}
	return out
}

// builder holds what is worked out once for all Services.
type builder struct {
	*View
	own      *Node             // the view's node, or nil where it is unknown
	present  []*Node           // nodes with a live speaker that no user excludes, by name
	scopes   map[string]*scope // by the positions of the advertisements in the Policy
	speaking *speaking
	bids     []bid       // reused from address to address
	near     []bool      // reused: which of the present nodes has the address in a subnet
	ranked   []candidate // reused
}

func newBuilder(v *View) *builder {
	b := &builder{View: v, scopes: map[string]*scope{}}
	alive := make(map[string]bool, len(v.Members))
	for _, m := range v.Members {
		alive[m] = true
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if n.Name == v.Node {
			b.own = n
		}
		if alive[n.Name] && !n.OutOfService && !b.excluded(n) {
			b.present = append(b.present, n)
		}
	}
	slices.SortFunc(b.present, func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
	b.near = make([]bool, len(b.present))
	b.speaking = b.newSpeaking()
	return b
}

func (b *builder) excluded(n *Node) bool { return n.Excluded && !b.IgnoreExcludeLabel }

// address decides about one address for the Services that share it, mostly just one.
func (b *builder) address(p *Plan, sharers []claim) {
	a := sharers[0].address
	b.bids = b.bids[:0]
	for _, s := range sharers {
		b.bids = append(b.bids, b.bid(s.Service, a))
	}
	d := b.decide(a, b.bids)
	for i := range b.bids {
		x := &b.bids[i]
		v, isForBGP := b.route(x.Service, a)
		if isForBGP {
			p.BGP = append(p.BGP, v)
		}
		if !isForBGP || len(x.ads) > 0 {
			p.Verdicts = append(p.Verdicts, b.told(x, &d))
		}
	}
	for _, l := range d.links {
		p.L2 = append(p.L2, Announcement{Address: a, Link: l})
	}
}

// problems returns what shows only on nodes and was not told by Compile, sorted.
func (b *builder) problems() []policy.Problem {
	all := b.unknownInterfaces()
	maps.Copy(all, b.speaking.problems)
	var out []policy.Problem
	for x := range all {
		if !b.Policy.Told(x) {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(x, y policy.Problem) int {
		return cmp.Or(cmp.Compare(x.Object.Kind, y.Object.Kind), cmp.Compare(x.Object.Name, y.Object.Name), cmp.Compare(x.Message, y.Message))
	})
	return out
}

// sortedKeys returns the keys of a set, sorted.
func sortedKeys(set map[string]struct{}) []string { return slices.Sorted(maps.Keys(set)) }
