package plan

import (
	"cmp"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/labels"

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
	// IgnoreExcludeLabel lets nodes announce although they are Excluded.
	IgnoreExcludeLabel bool
	// Held names the node that announces an address by layer 2 now, as far as is known. It counts only where no node may
	// announce the address by what the API server says.
	Held map[netip.Addr]string
	// Programmed names the nodes whose kernel serves an address, as their programmers report. It counts only for addresses
	// with ipMode Proxy.
	Programmed map[netip.Addr][]string
}

// Service is what announcing reads of a Service that has addresses from us.
//
// Whether its endpoints come from a selector or were written by hand makes no difference. An endpoint that names no node
// counts as serving somewhere: enough where externalTrafficPolicy is Cluster, and on no node where it is Local.
type Service struct {
	Namespace, Name string
	UID             string
	Labels          labels.Set
	Addresses       []netip.Addr
	Proxy           []netip.Addr // those of Addresses whose ipMode is Proxy: only a node whose kernel serves it may announce
	AssignedAt      time.Time    // when it got its addresses; the zero value comes before all others
	Pool            string       // the pool that they came from, for an address that is in no pool any more; a comma joins two
	Local           bool         // externalTrafficPolicy is Local: only a node with a serving endpoint may announce
	Serving         bool         // an endpoint is serving somewhere, on a known node or not
	ServingNodes    []string     // the node of each serving endpoint that names one; a node stands there once for each
	// Endpoints: there are endpoints, serving or not. It counts only where none is serving: an address that is announced by
	// layer 2 then stays where it is, while one of a Service without any endpoint is announced by nobody.
	Endpoints bool
}

// String returns namespace/name.
func (s *Service) String() string { return s.Namespace + "/" + s.Name }

// seniority orders Services that share an address: the first one decides where they cannot agree.
func seniority(a, b *Service) int {
	return cmp.Or(a.AssignedAt.Compare(b.AssignedAt), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Node is what announcing reads of a Node and of its speaker.
type Node struct {
	Name               string
	Labels             labels.Set
	Ready              bool
	NetworkUnavailable bool
	Excluded           bool // labelled node.kubernetes.io/exclude-from-external-load-balancers
	OutOfService       bool // tainted node.kubernetes.io/out-of-service
	Unsettled          bool // its speaker came up a short time ago: it serves where no other node can
	// Draining: the node is about to stop, or cordoned where that counts: it serves where no other node can.
	Draining bool
	// Links are those that its speaker published, up or not; nil: they are not known, and it may have any. They decide for
	// this node, too, so that all nodes come to the same result.
	Links []NodeLink
}

// NodeLink is one link of a node as its speaker published it.
type NodeLink struct {
	Name    string
	Up      bool
	Subnets []netip.Prefix // on-link prefixes
	// Unsettled: it came back a short time ago, so that a node with no other link for an address serves where no other can.
	Unsettled bool
}
