package plan

import (
	"cmp"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// View is everything that a plan depends on, as one node sees it at one time.
type View struct {
	Node     string // the node that the plan is for
	Policy   *policy.Policy
	Services []Service
	Nodes    []Node   // in any order
	Members  []string // names of the nodes whose speaker is alive, this one included
	Links    []LinkState
}

// Service is what announcing reads of a Service that has addresses from us.
type Service struct {
	Namespace, Name string
	Labels          labels.Set
	Addresses       []netip.Addr
	Pool            string // the pool that they came from, for an address that is in no pool any more; a comma joins two
	Local           bool   // externalTrafficPolicy is Local: only a node with a serving endpoint may announce
	Serving         bool   // an endpoint is serving somewhere, on a known node or not
	ServingNodes    []string
}

// String returns namespace/name.
func (s *Service) String() string { return s.Namespace + "/" + s.Name }

// Node is what announcing reads of a Node.
type Node struct {
	Name               string
	Labels             labels.Set
	Ready              bool
	NetworkUnavailable bool
	Excluded           bool // labelled node.kubernetes.io/exclude-from-external-load-balancers
	OutOfService       bool // tainted node.kubernetes.io/out-of-service
}

// Verdict says of one address of one Service what this node does about it.
type Verdict struct {
	Namespace, Name string // of the Service
	Address         netip.Addr
	Owner           string // the node that announces it, or ""
	verdict.Verdict
}

// Plan is what this node is to announce. It is sorted; every node that has the same view names the same owners.
type Plan struct {
	L2       []Announcement
	Verdicts []Verdict // one for each address of each Service, by namespace, name and address
}

// Build makes the plan of the view's node.
func Build(v *View) Plan {
	b := newBuilder(v)
	sharers := map[netip.Addr][]*Service{}
	for i := range v.Services {
		for _, a := range v.Services[i].Addresses {
			sharers[a] = append(sharers[a], &v.Services[i])
		}
	}
	var p Plan
	for a, services := range sharers {
		slices.SortFunc(services, compareServices)
		verdicts, links := b.address(a, slices.Compact(services))
		p.Verdicts = append(p.Verdicts, verdicts...)
		for _, l := range links {
			p.L2 = append(p.L2, Announcement{Address: a, Link: l})
		}
	}
	slices.SortFunc(p.L2, Announcement.Compare)
	slices.SortFunc(p.Verdicts, func(a, b Verdict) int {
		if c := cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)); c != 0 {
			return c
		}
		return a.Address.Compare(b.Address)
	})
	return p
}

func compareServices(a, b *Service) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// builder holds what is worked out once for all Services.
type builder struct {
	*View
	own    *Node             // the view's node, or nil where it is unknown
	live   []*Node           // nodes that may announce at all, by name
	scopes map[string]*scope // by the positions of the advertisements in the Policy
}

func newBuilder(v *View) *builder {
	b := &builder{View: v, scopes: map[string]*scope{}}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if n.Name == v.Node {
			b.own = n
		}
		if !n.NetworkUnavailable && !n.Excluded && !n.OutOfService && slices.Contains(v.Members, n.Name) {
			b.live = append(b.live, n)
		}
	}
	slices.SortFunc(b.live, func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
	return b
}

// address decides who announces one address for the Services that share it, mostly just one, and on which links where
// it is this node. The Services come sorted.
func (b *builder) address(a netip.Addr, sharers []*Service) ([]Verdict, []Link) {
	bids := make([]bid, len(sharers))
	for i, s := range sharers {
		bids[i] = b.bid(s, a)
	}
	owner := Elect(keyOf(a, sharers), eligible(bids))
	var links []Link
	if owner != "" && owner == b.Node {
		links = b.linksFor(bids)
	}
	verdicts := make([]Verdict, len(bids))
	for i := range bids {
		x := &bids[i]
		verdicts[i] = Verdict{Namespace: x.Namespace, Name: x.Name, Address: a, Verdict: x.refusal}
		if x.refusal.Reason == "" {
			verdicts[i].Owner = owner
			verdicts[i].Verdict = b.told(x, a, owner, links)
		}
	}
	return verdicts, links
}

// keyOf returns the address that the election hashes: a dual-stack Service's IPv4 address for both of its families, so
// that one node speaks for both.
func keyOf(a netip.Addr, sharers []*Service) netip.Addr {
	key := a
	for _, s := range sharers {
		for _, x := range s.Addresses {
			if !a.Is4() && x.Is4() && (!key.Is4() || x.Less(key)) {
				key = x
			}
		}
	}
	return key
}

// linksFor returns this node's links that an advertisement for this node allows.
func (b *builder) linksFor(bids []bid) []Link {
	var out []Link
	for i := range b.Links {
		l := b.Links[i].Link
		allows := func(ad *policy.L2Ad) bool { return ad.SelectsNode(b.own.Labels) && ad.SelectsInterface(l.Name) }
		if slices.ContainsFunc(bids, func(x bid) bool { return slices.ContainsFunc(x.ads, allows) }) {
			out = append(out, l)
		}
	}
	return out
}

// told words what becomes of an address that is announced.
func (b *builder) told(x *bid, a netip.Addr, owner string, links []Link) verdict.Verdict {
	switch _, ours := find(x.nodes, owner); {
	case !ours:
		return say(verdict.NoEligibleNode, "%s is announced by node %q for a Service that shares it, and this one may not be announced from there", a, owner)
	case owner != b.Node:
		return say(verdict.NotOwner, "%s is announced by node %q", a, owner)
	case len(links) == 0:
		return say(verdict.NoInterface, "node %q was elected for %s, but has no usable interface that the advertisements allow", b.Node, a)
	}
	return say(verdict.Announced, "announcing %s from node %q with protocol \"layer2\"", a, b.Node)
}
