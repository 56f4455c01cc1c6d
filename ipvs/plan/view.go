package plan

import (
	"cmp"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/portrange"
)

// View is everything that a plan depends on, as one node sees it at one time.
type View struct {
	Node      string       // the node that the plan is for
	Zone      string       // its topology.kubernetes.io/zone, or ""
	Addresses []netip.Addr // its own addresses, on which it serves the nodePorts of Services that Fairlead serves whole
	Services  []Service    // those that are to be served, in any order
	// Internal are the sources that belong to the cluster: what externalTrafficPolicy Local does not bind. The node's own
	// processes belong to it in any case.
	Internal []netip.Prefix
	// MarksOnly keeps away from servers with an address, which kube-proxy in IPVS mode deletes: all are firewall-mark servers.
	MarksOnly bool
	Scheduler Scheduler     // of Services that name none; the zero value is rr
	Lacking   []string      // schedulers that this node's kernel has not
	Drain     time.Duration // the longest time that a real server without new connections stays for those it has
	Ping      bool          // the addresses answer pings
	// Taken are the ports on which another process of the node listens, as in Local: no node port of ours may be there.
	Taken []Ports
	// Reserved are ports that the node does not take for connections of its own, whatever their protocol.
	Reserved []portrange.Range
}

// Service is what the plan reads of a Service.
type Service struct {
	Namespace, Name string
	UID             string
	AssignedAt      time.Time // when it got its addresses: where two want one port, the earlier one has it
	// LoadBalancer are the addresses that Fairlead serves. Those with ipMode VIP, which kube-proxy serves, are not among them.
	LoadBalancer []netip.Addr
	// Yields: kube-proxy serves those addresses, too. Connections go on, and what begins is left to kube-proxy where packets
	// meet firewall-mark servers, which come before its own.
	Yields bool
	// ClusterIPs, ExternalIPs and the ports' NodePorts are served only where the Service is served whole.
	ClusterIPs, ExternalIPs []netip.Addr
	Ports                   []Port
	NodePorts               []NodePort // from NodePortRanges, served whether or not the Service is served whole
	NodeRanges              []Ports    // the same: ports of this node that reach the same ports of the pods
	ExternalLocal           bool       // externalTrafficPolicy is Local
	HealthPort              uint16     // healthCheckNodePort, where this node is to answer it; 0: it is not
	InternalLocal           bool       // internalTrafficPolicy is Local
	Affinity                time.Duration
	SourceRanges            []netip.Prefix // empty: everybody may
	Drain                   time.Duration  // instead of the View's; 0: that one
	Slices                  []*Slice
	// Scheduler, Ranges and Weights are the values of the annotations, unread.
	Scheduler, Ranges, Weights string
}

// String returns namespace/name.
func (s *Service) String() string { return s.Namespace + "/" + s.Name }

// seniority orders Services that want the same port: the first one has it.
func seniority(a, b *Service) int {
	return cmp.Or(a.AssignedAt.Compare(b.AssignedAt), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Port is one port of a Service.
type Port struct {
	Name     string
	Protocol corev1.Protocol
	Port     uint16
	NodePort uint16 // 0: none, or none that is served here
}

// NodePort is a port that a NodePortRange gave to a port of a Service.
type NodePort struct {
	Name      string // of the Service's port
	Port      uint16
	Addresses []netip.Addr // of this node
}

// Slice is an EndpointSlice. The names of its ports are those of the Service's. It is not changed once it is in a View: one that
// changed is another one, by which a Builder knows it.
type Slice struct {
	Ports     []Port
	Endpoints []Endpoint
}

// Endpoint is one endpoint, mostly a pod.
type Endpoint struct {
	Address netip.Addr
	Node    string // or ""
	Ready   bool
	// Serving: it answers, though it may be terminating. What is Ready is Serving.
	Serving, Terminating bool
	Zones, Nodes         []string // for whom it is hinted
}
