package explain

// This file holds the cluster at a glance.

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Status is the cluster at a glance.
type Status struct {
	Namespace string          `json:"namespace"`
	Now       time.Time       `json:"now"`
	Pools     []PoolStatus    `json:"pools"`
	Services  ServiceCounts   `json:"services"`
	Waiting   []ServiceStatus `json:"waiting"`  // without an address, by name
	Silent    []ServiceStatus `json:"silent"`   // with an address that nobody announces, by name
	Nodes     []NodeStatus    `json:"nodes"`    // by name
	Sessions  []SessionStatus `json:"sessions"` // by peer and node
	Problems  []Problem       `json:"problems"` // of the configuration, and of the nodes
	Gaps      []string        `json:"gaps,omitempty"`
	Notes     []string        `json:"notes,omitempty"` // what makes it doubtful
}

// PoolStatus is one pool at a glance.
type PoolStatus struct {
	Name     string `json:"name"`
	IPv4     Count  `json:"ipv4,omitzero"`
	IPv6     Count  `json:"ipv6,omitzero"`
	Services int64  `json:"services"`
	Invalid  bool   `json:"invalid,omitempty"` // it gives nothing new
}

// Count is how many addresses are in use and how many there are.
type Count struct {
	Assigned int64 `json:"assigned"`
	Total    int64 `json:"total"`
}

// ServiceCounts counts the load balancers that are served.
type ServiceCounts struct {
	All      int `json:"all"`
	Assigned int `json:"assigned"`
	Waiting  int `json:"waiting"`
	Silent   int `json:"silent"`
}

// ServiceStatus is one Service at a glance.
type ServiceStatus struct {
	Service   string         `json:"service"` // namespace/name
	Addresses []netip.Addr   `json:"addresses,omitempty"`
	Pool      string         `json:"pool,omitempty"`
	Nodes     []string       `json:"nodes,omitempty"` // that announce it by layer 2
	Reason    verdict.Reason `json:"reason"`
	Message   string         `json:"message"`
	Since     time.Time      `json:"since,omitzero"` // that is so
}

// State is how far a Service comes.
type State string

// The states.
const (
	Waiting   State = "waiting"   // it has no address
	Silent    State = "silent"    // it has one, and nobody announces it
	Announced State = "announced" // it has one that is announced
)

// Urgency orders states: what is higher needs somebody sooner.
func (s State) Urgency() int { return slices.Index([]State{Announced, Silent, Waiting}, s) }

// State says how far the Service comes.
func (s *ServiceStatus) State() State {
	switch {
	case len(s.Addresses) == 0:
		return Waiting
	case silences(s.Reason):
		return Silent
	}
	return Announced
}

// Established says whether the session is.
func (s *SessionStatus) Established() bool { return s.State == stateEstablished }

// NodeStatus is one node at a glance.
type NodeStatus struct {
	Name        string    `json:"name"`
	Ready       bool      `json:"ready"`
	Excluded    string    `json:"excluded,omitempty"` // why it announces nothing
	Speaker     bool      `json:"speaker"`            // its speaker has said something of itself
	Settled     bool      `json:"settled"`
	Version     string    `json:"version,omitempty"`
	Since       time.Time `json:"since,omitzero"` // its speaker runs
	Announces   int       `json:"announces"`      // addresses by layer 2, as it says
	Wanted      int       `json:"wanted"`         // addresses by layer 2, as the plan says
	Sessions    int       `json:"sessions"`
	Established int       `json:"established"`
	Conflicts   int       `json:"conflicts"`
	// Programmer is the node's IPVS programmer; nil: the cluster has none at all.
	Programmer *ProgrammerStatus `json:"programmer,omitempty"`
}

// SessionStatus is one BGP session at a glance.
type SessionStatus struct {
	Peer    string `json:"peer"`
	Node    string `json:"node"`
	State   string `json:"state"`
	Message string `json:"message"`
}

// Problem is one problem, told.
type Problem struct {
	Object  string         `json:"object"`
	Reason  verdict.Reason `json:"reason"`
	Message string         `json:"message"`
}

// Table is what every Service comes to: its status, in the order of the View's Services, those that are served alone.
func Table(v *View) []ServiceStatus {
	out, _ := table(v)
	return out
}

// table also returns how many addresses the plan has every node announce by layer 2.
func table(v *View) ([]ServiceStatus, map[string]int) {
	view, _ := v.allocation(allocator.Key{})
	var decisions []allocator.Decision
	if !v.lacks(Services, Namespaces, Configuration, Claims) {
		decisions = allocator.Decide(view).Decisions
	}
	announced, wanted := v.announced()
	out := make([]ServiceStatus, 0, len(view.Services))
	at := 0
	for i := range v.Services {
		s := &v.Services[i]
		if !s.Ours {
			continue
		}
		x := ServiceStatus{Service: s.Key.String(), Addresses: s.Held, Pool: s.HeldFrom, Reason: s.Told.Reason, Message: s.Told.Message, Since: s.ToldSince}
		if decisions != nil {
			x.Reason, x.Message = decisions[at].Reason, decisions[at].Message
		}
		if a, ok := announced[s.Key]; ok && len(s.Held) > 0 {
			x.Nodes = a.nodes
			if a.silent.Reason != "" && x.Reason == verdict.Assigned {
				x.Reason, x.Message = a.silent.Reason, a.silent.Message
			}
		}
		out = append(out, x)
		at++
	}
	return out, wanted
}

// announced is what becomes of the addresses of one Service.
type announced struct {
	nodes  []string
	silent verdict.Verdict // why nobody announces one of them; the zero value: somebody does
}

// announced returns what becomes of every Service's addresses, and how many addresses each node is to announce.
func (v *View) announced() (map[allocator.Key]announced, map[string]int) {
	out, wanted := map[allocator.Key]announced{}, map[string]int{}
	if v.lacks(Configuration, Nodes, EndpointSlices) {
		return out, wanted
	}
	p := plan.Build(&v.Announcing)
	counted := make(map[netip.Addr]struct{}, len(p.Verdicts))
	open := map[allocator.Key]bool{} // that BGP alone may announce
	for i := range v.Announcing.Services {
		s := &v.Announcing.Services[i]
		open[allocator.Key{Namespace: s.Namespace, Name: s.Name}] = true
	}
	for _, x := range p.Verdicts {
		key := allocator.Key{Namespace: x.Namespace, Name: x.Name}
		a := out[key]
		if x.Owner == "" || x.Reason == verdict.SharedElsewhere {
			a.silent = x.Verdict
		} else {
			delete(open, key)
			if !slices.Contains(a.nodes, x.Owner) {
				a.nodes = append(a.nodes, x.Owner)
			}
			if _, ok := counted[x.Address]; !ok {
				counted[x.Address] = struct{}{}
				wanted[x.Owner]++
			}
		}
		out[key] = a
	}
	if len(v.Policy.BGPAds) > 0 {
		v.announcedByBGP(out, open)
	}
	return out, wanted
}

// announcedByBGP looks which of the Services that layer 2 does not announce some node announces by BGP.
func (v *View) announcedByBGP(out map[allocator.Key]announced, open map[allocator.Key]bool) {
	view := v.Announcing
	for i := range view.Nodes {
		view.Node = view.Nodes[i].Name
		view.Services = slices.DeleteFunc(slices.Clone(view.Services), func(s plan.Service) bool {
			return !open[allocator.Key{Namespace: s.Namespace, Name: s.Name}]
		})
		if len(view.Services) == 0 {
			return
		}
		for _, x := range plan.Build(&view).BGP {
			key := allocator.Key{Namespace: x.Namespace, Name: x.Name}
			a := out[key]
			switch {
			case len(x.Peers) > 0:
				a.silent = verdict.Verdict{}
				delete(open, key)
			case open[key]:
				a.silent = x.Verdict
			}
			out[key] = a
		}
	}
}

// OfCluster returns the cluster at a glance.
func OfCluster(v *View) Status {
	s, _ := Overview(v)
	return s
}

// Overview returns the cluster at a glance, and what every Service comes to, as Table does.
func Overview(v *View) (Status, []ServiceStatus) {
	s := Status{Namespace: v.Namespace, Now: v.Now, Pools: []PoolStatus{}, Waiting: []ServiceStatus{}, Silent: []ServiceStatus{}, Nodes: []NodeStatus{}, Sessions: []SessionStatus{}, Problems: []Problem{}}
	s.Gaps, s.Notes = v.gaps(), v.notes()
	rows, wanted := table(v)
	s.Services.All = len(rows)
	for _, x := range rows {
		switch x.State() {
		case Waiting:
			s.Waiting = append(s.Waiting, x)
		case Silent:
			s.Silent = append(s.Silent, x)
		}
	}
	s.Services.Waiting, s.Services.Silent = len(s.Waiting), len(s.Silent)
	s.Services.Assigned = s.Services.All - s.Services.Waiting
	s.Pools = v.pools()
	for i := range v.Announcing.Nodes {
		s.Nodes = append(s.Nodes, v.node(&v.Announcing.Nodes[i], wanted))
	}
	slices.SortFunc(s.Nodes, func(a, b NodeStatus) int { return cmp.Compare(a.Name, b.Name) })
	s.Sessions = append(s.Sessions, v.sessions()...)
	s.Problems = append(s.Problems, v.problems()...)
	return s, rows
}

// Well says whether nothing is wrong: there is no problem, every Service has an address that somebody announces, every
// session is established, and a speaker runs.
func (s *Status) Well() bool {
	return len(s.Problems) == 0 && len(s.Waiting) == 0 && len(s.Silent) == 0 &&
		!slices.ContainsFunc(s.Sessions, func(x SessionStatus) bool { return !x.Established() }) &&
		slices.ContainsFunc(s.Nodes, func(n NodeStatus) bool { return n.Speaker })
}

// pools counts what is in use of every pool.
func (v *View) pools() []PoolStatus {
	held := make([]allocator.Decision, 0, len(v.Services))
	for i := range v.Services {
		if v.Services[i].Ours {
			held = append(held, allocator.Decision{Addresses: v.Services[i].Held})
		}
	}
	out := []PoolStatus{}
	for i, u := range allocator.UsageOf(v.Policy, held) {
		count := func(c allocator.Count) Count { return Count{c.Assigned, c.Assigned + min(c.Available, maxTotal)} }
		out = append(out, PoolStatus{Name: u.Pool, IPv4: count(u.IPv4), IPv6: count(u.IPv6), Services: u.Services, Invalid: v.Policy.Pools[i].Stalled()})
	}
	return out
}

// maxTotal keeps the sum of addresses in use and free ones from running over.
const maxTotal = 1 << 62

// node returns one node at a glance.
func (v *View) node(n *plan.Node, wanted map[string]int) NodeStatus {
	out := NodeStatus{Name: n.Name, Ready: n.Ready, Wanted: wanted[n.Name], Programmer: v.programmerOf(n.Name)}
	switch {
	case n.Excluded && !v.Announcing.IgnoreExcludeLabel:
		out.Excluded = "labelled node.kubernetes.io/exclude-from-external-load-balancers"
	case n.OutOfService:
		out.Excluded = "tainted node.kubernetes.io/out-of-service"
	case n.NetworkUnavailable:
		out.Excluded = "its condition NetworkUnavailable is True"
	}
	if s, ok := v.speaker(n.Name); ok {
		c := s.State.Counts
		out.Speaker, out.Settled, out.Version, out.Since = true, s.State.Settled, s.State.Version, s.State.StartedAt.Time
		out.Announces, out.Sessions, out.Established, out.Conflicts = int(c.Addresses), int(c.Sessions), int(c.Established), int(c.Conflicts)
	}
	return out
}

// sessions returns the BGP sessions that the speakers tell, by peer and node.
func (v *View) sessions() (out []SessionStatus) {
	for i := range v.Speakers {
		for _, x := range v.Speakers[i].State.Sessions {
			out = append(out, SessionStatus{Peer: x.Peer, Node: v.Speakers[i].Node, State: x.State, Message: v.session(x)})
		}
	}
	slices.SortFunc(out, func(a, b SessionStatus) int { return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Node, b.Node)) })
	return out
}

// problems returns those of the configuration, then those that the speakers tell, then those that the programmers tell: of a
// Service once for each reason, however many nodes say so.
func (v *View) problems() (out []Problem) {
	for _, p := range v.Problems {
		out = append(out, Problem{p.Object.String(), p.Reason, p.Message})
	}
	for i := range v.Speakers {
		for _, p := range v.Speakers[i].State.Problems {
			out = append(out, Problem{policy.Ref{Kind: kindNode, Name: v.Speakers[i].Node}.String(), verdict.Reason(p.Reason), p.Message})
		}
	}
	said := map[Problem]bool{}
	for i := range v.Programmers {
		for _, p := range v.Programmers[i].State.Problems {
			x := Problem{policy.Ref{Kind: kindNode, Name: v.Programmers[i].Node}.String(), verdict.Reason(p.Reason), p.Message}
			if p.Kind != "" {
				x.Object = policy.Ref{Kind: p.Kind, Name: p.Name}.String()
			}
			once := Problem{Object: x.Object, Reason: x.Reason}
			if answerTo(x.Reason) == No && !said[once] {
				said[once] = true
				out = append(out, x)
			}
		}
	}
	return out
}

// silences says whether a reason means that nobody announces an address.
func silences(r verdict.Reason) bool {
	switch r {
	case verdict.NoAdvertisement, verdict.NoEndpoints, verdict.NoEligibleNode, verdict.NoInterface, verdict.SharedElsewhere, verdict.NotProgrammed,
		verdict.NodeExcluded, verdict.NodeNotSelected, verdict.NoLocalEndpoints, verdict.NoPeer, verdict.AdvertisementWaits, verdict.NoSpeaker:
		return true
	}
	return false
}
