package plan

import (
	"cmp"
	"fmt"
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
	Pool            string // the pool that they came from, for an address that is in no pool any more
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
	b := builder{View: v, nodes: map[string]*Node{}}
	for i := range v.Nodes {
		b.nodes[v.Nodes[i].Name] = &v.Nodes[i]
	}
	b.live = b.liveNodes()
	var p Plan
	wanted := map[Announcement]struct{}{}
	for i := range v.Services {
		s := &v.Services[i]
		for _, a := range s.Addresses {
			said, announce := b.address(s, a)
			p.Verdicts = append(p.Verdicts, said)
			for _, x := range announce {
				wanted[x] = struct{}{}
			}
		}
	}
	for x := range wanted {
		p.L2 = append(p.L2, x)
	}
	slices.SortFunc(p.L2, Announcement.Compare)
	slices.SortFunc(p.Verdicts, func(a, b Verdict) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), a.Address.Compare(b.Address))
	})
	return p
}

// builder holds what is worked out once for all Services.
type builder struct {
	*View
	nodes map[string]*Node
	live  []*Node // nodes that may announce at all, by name
}

// liveNodes returns the nodes that run a live speaker and that nothing excludes.
func (b *builder) liveNodes() []*Node {
	var out []*Node
	for _, name := range b.Members {
		if n := b.nodes[name]; n != nil && !n.NetworkUnavailable && !n.Excluded && !n.OutOfService {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// address decides who announces one address, and on which links where it is this node.
func (b *builder) address(s *Service, a netip.Addr) (Verdict, []Announcement) {
	said := Verdict{Namespace: s.Namespace, Name: s.Name, Address: a}
	ads := b.adsFor(s, a)
	if len(ads) == 0 {
		said.Verdict = verdict.Verdict{Reason: verdict.NoAdvertisement, Message: fmt.Sprintf("no advertisement selects pool %q and this Service, so %s is announced by nobody", b.poolOf(s, a), a)}
		return said, nil
	}
	if !s.Serving {
		said.Verdict = verdict.Verdict{Reason: verdict.NoEndpoints, Message: fmt.Sprintf("no endpoint of the Service is serving, so %s is announced by nobody", a)}
		return said, nil
	}
	candidates := b.candidates(s, ads)
	if len(candidates) == 0 {
		said.Verdict = verdict.Verdict{Reason: verdict.NoEligibleNode, Message: b.whyNoNode(s, a)}
		return said, nil
	}
	said.Owner = Elect(b.keyOf(s, a), candidates)
	if said.Owner != b.Node {
		said.Verdict = verdict.Verdict{Reason: verdict.NotOwner, Message: fmt.Sprintf("%s is announced by node %q", a, said.Owner)}
		return said, nil
	}
	announce := b.onLinks(ads, a)
	if len(announce) == 0 {
		said.Verdict = verdict.Verdict{Reason: verdict.NoInterface, Message: fmt.Sprintf("node %q was elected for %s, but has no usable interface that the advertisements allow", b.Node, a)}
		return said, nil
	}
	said.Verdict = verdict.Verdict{Reason: verdict.Announced, Message: fmt.Sprintf("announcing %s from node %q with protocol \"layer2\"", a, b.Node)}
	return said, announce
}

// keyOf returns the address that the election hashes: a dual-stack Service's IPv4 address for both of its families, so
// that one node speaks for both.
func (b *builder) keyOf(s *Service, a netip.Addr) netip.Addr {
	for _, x := range s.Addresses {
		if x.Is4() {
			return x
		}
	}
	return a
}

func (b *builder) poolOf(s *Service, a netip.Addr) string {
	if pool, ok := b.Policy.PoolOf(a); ok {
		return pool.Name
	}
	return s.Pool
}

// adsFor returns the advertisements that are for this address of this Service.
func (b *builder) adsFor(s *Service, a netip.Addr) []*policy.L2Ad {
	pool := b.poolOf(s, a)
	var out []*policy.L2Ad
	for i := range b.Policy.L2Ads {
		if ad := &b.Policy.L2Ads[i]; ad.SelectsPool(pool) && ad.SelectsService(s.Labels) {
			out = append(out, ad)
		}
	}
	return out
}

// candidates returns the nodes that may announce an address of the Service, with the scores of the advertisements.
func (b *builder) candidates(s *Service, ads []*policy.L2Ad) []Candidate {
	var out []Candidate
	for _, n := range b.live {
		if s.Local && !slices.Contains(s.ServingNodes, n.Name) {
			continue
		}
		c, selected := Candidate{Node: n.Name, Ready: n.Ready}, false
		for _, ad := range ads {
			if ad.SelectsNode(n.Labels) {
				selected = true
				c.Score += ad.Score(n.Labels)
			}
		}
		if selected {
			out = append(out, c)
		}
	}
	return out
}

func (b *builder) whyNoNode(s *Service, a netip.Addr) string {
	switch {
	case len(b.live) == 0:
		return fmt.Sprintf("no node with a live speaker may announce %s: all are excluded, out of service or without network", a)
	case s.Local && len(s.ServingNodes) == 0:
		return fmt.Sprintf("externalTrafficPolicy is Local and no serving endpoint names its node, so nobody announces %s", a)
	case s.Local:
		return fmt.Sprintf("externalTrafficPolicy is Local and no selected node with a live speaker has a serving endpoint, so nobody announces %s", a)
	}
	return fmt.Sprintf("the advertisements' nodeSelectors match no node with a live speaker, so nobody announces %s", a)
}

// onLinks returns this node's links that an advertisement for this node allows.
func (b *builder) onLinks(ads []*policy.L2Ad, a netip.Addr) []Announcement {
	own := b.nodes[b.Node]
	var out []Announcement
	for i := range b.Links {
		l := b.Links[i].Link
		if slices.ContainsFunc(ads, func(ad *policy.L2Ad) bool { return ad.SelectsNode(own.Labels) && ad.SelectsInterface(l.Name) }) {
			out = append(out, Announcement{Address: a, Link: l})
		}
	}
	return out
}
