// Package verdict is the one vocabulary in which Fairlead says what was decided and why. Conditions, Events, metrics
// and logs render these values; nothing else words a decision. It is pure.
package verdict

// Reason is a machine-readable word in CamelCase, stable across releases, fit for a condition's or an Event's reason.
type Reason string

// Reasons for an allocation.
const (
	// Assigned: the Service has every address that it asks for.
	Assigned Reason = "IPAllocated"
	// PartlyAssigned: a PreferDualStack Service has an address of one family; no pool has the other one free.
	PartlyAssigned Reason = "PartlyAllocated"
	// Released: the Service is no longer a load balancer of ours and its address was freed.
	Released Reason = "IPReleased"
	// Moved: the Service has another address than before.
	Moved Reason = "IPMoved"
	// NoPool: there is no pool that the Service may draw from.
	NoPool Reason = "NoPool"
	// PoolExhausted: every pool that the Service may draw from is full.
	PoolExhausted Reason = "PoolExhausted"
	// UnknownPool: the Service asks for a pool that does not exist.
	UnknownPool Reason = "UnknownPool"
	// PoolNotAllowed: the Service asks for a pool whose serviceAllocation does not admit it.
	PoolNotAllowed Reason = "PoolNotAllowed"
	// PoolInvalid: the pool's specification is bad; it keeps what it gave and gives nothing new.
	PoolInvalid Reason = "PoolInvalid"
	// FamilyUnavailable: no pool has addresses of a family that the Service needs.
	FamilyUnavailable Reason = "FamilyUnavailable"
	// AddressNotInPool: the requested address is in no pool.
	AddressNotInPool Reason = "AddressNotInPool"
	// AddressInUse: the requested address is held by another Service that it cannot be shared with.
	AddressInUse Reason = "AddressInUse"
	// InvalidRequest: the Service's own fields or annotations contradict each other or do not parse.
	InvalidRequest Reason = "InvalidRequest"
	// Deleting: the Service is being deleted, so it gets nothing new.
	Deleting Reason = "ServiceDeleting"
	// AddressConflict: two Services had an address, and the one that had it later lost it. Told once to both.
	AddressConflict Reason = "AddressConflict"
	// Orphaned: the address is in no pool any more and no other one is to be had, so it is kept for a time of grace.
	Orphaned Reason = "AddressOrphaned"
	// Cleared: the address was in no pool any more, no other one was to be had, and the time of grace is over. Told once; what
	// stands is the reason why there is no other one.
	Cleared Reason = "AddressCleared"
	// AddressExcluded: the requested address is one that the pool's AddressPolicy never gives.
	AddressExcluded Reason = "AddressExcluded"
	// AddressReserved: the requested address is held for another Service, by an AddressReservation, by an AddressClaim, or
	// by the retain of an AddressPolicy.
	AddressReserved Reason = "AddressReserved"
	// AddressResting: the requested address was released a short time ago and rests for the reuseDelay of an AddressPolicy.
	AddressResting Reason = "AddressResting"
	// QuotaExceeded: the Service's namespace has as many addresses as an AddressPolicy allows it.
	QuotaExceeded Reason = "QuotaExceeded"
)

// Reasons why one pool gives a Service nothing, beside those for an allocation.
const (
	// NoAutoAssign: the pool gives addresses to Services only that name it or the address.
	NoAutoAssign Reason = "NoAutoAssign"
	// PoolNotRequested: the Service asks for another pool, or for an address that another pool has.
	PoolNotRequested Reason = "PoolNotRequested"
	// PoolPassedOver: another pool that admits the Service is exclusive.
	PoolPassedOver Reason = "PoolPassedOver"
	// PoolNotNeeded: the pool has addresses to give, but the Service has what it needs from another one.
	PoolNotNeeded Reason = "PoolNotNeeded"
)

// DeprecatedAnnotation: an annotation of the Service has a former name, by which it still counts.
const DeprecatedAnnotation Reason = "DeprecatedAnnotation"

// Reasons for a problem in a configuration object.
const (
	// InvalidAddresses: a range does not parse, ends before it starts or mixes families, or there is none.
	InvalidAddresses Reason = "InvalidAddresses"
	// OverlappingAddresses: a range overlaps another one, of this pool or of an older pool, which owns the overlap.
	OverlappingAddresses Reason = "OverlappingAddresses"
	// InvalidSelector: a label selector does not parse.
	InvalidSelector Reason = "InvalidSelector"
	// UnknownReference: an object is named that does not exist.
	UnknownReference Reason = "UnknownReference"
	// InvalidValue: a value is out of its range, or two fields contradict each other.
	InvalidValue Reason = "InvalidValue"
	// DuplicateName: a name is given twice that may be given once.
	DuplicateName Reason = "DuplicateName"
	// DuplicatePeer: two BGPPeers are for one neighbor on one node; the older one has the session.
	DuplicatePeer Reason = "DuplicatePeer"
	// ConflictingAdvertisements: two BGPAdvertisements give one route different values; the older one decides.
	ConflictingAdvertisements Reason = "ConflictingAdvertisements"
	// UnusableSecret: the Secret that is named is not of the type or has not the key that is needed.
	UnusableSecret Reason = "UnusableSecret"
	// NoEffect: a value is given that changes nothing.
	NoEffect Reason = "NoEffect"
	// InvalidPorts: a port or a range of ports does not parse or ends before it starts, or there is none.
	InvalidPorts Reason = "InvalidPorts"
	// OverlappingPorts: a port is listed twice, or an older NodePortRange has it.
	OverlappingPorts Reason = "OverlappingPorts"
	// ReservedPorts: a port is the API server's to give, or one that a cluster usually needs itself.
	ReservedPorts Reason = "ReservedPorts"
	// OverlapsCluster: a pool has addresses of nodes, of pods or of Services' cluster IPs.
	OverlapsCluster Reason = "OverlapsCluster"
)

// Warns says whether a problem of this reason leaves the object in force as it stands, as far as it can be: it is told,
// but nothing is stale and no change is refused for it.
func (r Reason) Warns() bool { return r == UnknownReference || r == NoEffect || r == OverlapsCluster }

// Reasons for the conditions of an AddressPolicy, an AddressReservation and a NodePortRange, beside those for problems and allocations.
const (
	// InForce: at least one pool obeys the AddressPolicy, or Services may have ports of the NodePortRange.
	InForce Reason = "InForce"
	// Conflicting: a pool that the AddressPolicy selects obeys another one.
	Conflicting Reason = "Conflicting"
	// NoConflict: no pool that the AddressPolicy selects obeys another one.
	NoConflict Reason = "NoConflict"
	// Bound: the address is held for those whom the AddressReservation is for.
	Bound Reason = "Bound"
)

// Reasons for the conditions of a ConfigurationState, as MetalLB has them.
const (
	// Reconciled: nothing is wrong with the configuration.
	Reconciled Reason = "Reconciled"
	// ConfigurationError: something is wrong with some object of it.
	ConfigurationError Reason = "ConfigurationError"
)

// Reasons for the announcement of an address, by layer 2 or by BGP.
const (
	// Announced: this node announces the address.
	Announced Reason = "nodeAssigned"
	// NotOwner: another node announces the address.
	NotOwner Reason = "NotOwner"
	// NoAdvertisement: no advertisement selects the address's pool and the Service.
	NoAdvertisement Reason = "NoAdvertisement"
	// NoEndpoints: no endpoint of the Service is serving.
	NoEndpoints Reason = "NoEndpoints"
	// NoEligibleNode: no live node fulfils what the advertisements and the Service ask for.
	NoEligibleNode Reason = "NoEligibleNode"
	// NoInterface: this node was elected, or all nodes are out, for want of an interface that the advertisements allow.
	NoInterface Reason = "NoInterface"
	// SharedElsewhere: another Service that shares the address decides which node announces it, and this one may not be
	// announced from there.
	SharedElsewhere Reason = "SharedElsewhere"
	// AddressUsedTwice: another host uses an address that this node announces.
	AddressUsedTwice Reason = "AddressUsedTwice"
	// NotProgrammed: the address has ipMode Proxy, and nothing in this node's, or in any node's, kernel serves it.
	NotProgrammed Reason = "NotProgrammed"
	// NoSpeaker: no speaker is alive on the node.
	NoSpeaker Reason = "NoSpeaker"
	// Candidate: the node may announce the address, and takes over when those that come before it are lost.
	Candidate Reason = "Candidate"
	// NodeExcluded: this node is excluded, out of service, without network or unknown.
	NodeExcluded Reason = "NodeExcluded"
	// NodeNotSelected: no advertisement for the address selects this node.
	NodeNotSelected Reason = "NodeNotSelected"
	// NoLocalEndpoints: externalTrafficPolicy is Local, and no endpoint on this node is serving.
	NoLocalEndpoints Reason = "NoLocalEndpoints"
	// NoPeer: this node has no BGP session that the advertisements allow and that carries the address's family.
	NoPeer Reason = "NoPeer"
	// AdvertisementWaits: every advertisement for the address is bad or waits for what it names.
	AdvertisementWaits Reason = "AdvertisementWaits"
)

// Reasons that the check of manifests gives, beside those for problems.
const (
	// InvalidManifest: the text is no YAML, no Kubernetes object, or not what the kind's schema asks for.
	InvalidManifest Reason = "InvalidManifest"
	// UnknownField: the kind has no such field; the API server drops it.
	UnknownField Reason = "UnknownField"
	// WrongNamespace: the object is outside the namespace that the configuration is read from.
	WrongNamespace Reason = "WrongNamespace"
	// NotCarriedOver: the object belongs to MetalLB, and Fairlead does not read it.
	NotCarriedOver Reason = "NotCarriedOver"
)

// Reasons for Events about a node's BGP sessions, and for what a speaker says of itself.
const (
	// SessionEstablished: the node's session with the BGPPeer is established.
	SessionEstablished Reason = "SessionEstablished"
	// SessionDown: the node's session with the BGPPeer has ended or cannot be established.
	SessionDown Reason = "SessionDown"
	// NotCarriedOut: a part of what the node is to announce could not be done; it is tried again.
	NotCarriedOut Reason = "NotCarriedOut"
	// KernelAnswers: the node's kernel answers ARP requests in the speaker's place.
	KernelAnswers Reason = "KernelAnswers"
	// TooMany: there would be more objects of a kind than a flag allows, so there are none.
	TooMany Reason = "TooMany"
)

// Reasons for ports of NodePortRanges.
const (
	// NodePortsAssigned: the Service has every port that it asks for, and nodes serve it.
	NodePortsAssigned Reason = "NodePortsAssigned"
	// NodePortsNotServed: the Service has its ports, and no node serves all of them yet.
	NodePortsNotServed Reason = "NodePortsNotServed"
	// NodePortsReleased: the Service asks for no ports any more, and those that it had are free.
	NodePortsReleased Reason = "NodePortsReleased"
	// NodePortOrphaned: no NodePortRange gives the Service the port any more, so it is kept for a time of grace.
	NodePortOrphaned Reason = "NodePortOrphaned"
	// NodePortTaken: another Service has the port.
	NodePortTaken Reason = "NodePortTaken"
	// NodePortOutside: no NodePortRange has the port.
	NodePortOutside Reason = "NodePortOutside"
	// NodePortNotAllowed: the NodePortRange does not admit the Service.
	NodePortNotAllowed Reason = "NodePortNotAllowed"
	// NodePortRangeInvalid: the NodePortRange is bad; it keeps what it gave and gives nothing new.
	NodePortRangeInvalid Reason = "NodePortRangeInvalid"
	// NodePortsExhausted: every port of the NodePortRanges that the Service may draw from is taken.
	NodePortsExhausted Reason = "NodePortsExhausted"
)

// Reasons for what the IPVS programmer does not serve as it was asked for.
const (
	// SchedulerUnavailable: the kernel lacks the scheduler that the Service asks for.
	SchedulerUnavailable Reason = "SchedulerUnavailable"
	// PortConflict: another Service, or another process of the node, has the port.
	PortConflict Reason = "PortConflict"
	// WrongFamily: an address of the Service has no endpoint of its family.
	WrongFamily Reason = "WrongFamily"
	// ModulesMissing: the node's kernel lacks modules without which it serves nothing.
	ModulesMissing Reason = "ModulesMissing"
	// ProgrammingFailed: the node's kernel did not take all of what it is to serve.
	ProgrammingFailed Reason = "ProgrammingFailed"
	// Programmed: every node that may announce the Service's addresses serves them by IPVS.
	Programmed Reason = "Programmed"
	// NoProgrammer: the Service, or node ports of it, are to be served by IPVS, but no node's programmer reports.
	NoProgrammer Reason = "NoProgrammer"
	// LeftToKubeProxy: the Service was served by IPVS, and is not to be any more.
	LeftToKubeProxy Reason = "LeftToKubeProxy"
	// KubeProxyIPVS: kube-proxy runs in IPVS mode on the node, so addresses are served by firewall marks only.
	KubeProxyIPVS Reason = "KubeProxyIPVS"
	// KubeProxyReplaced: eBPF of Cilium or Calico serves Services on the node, and IPVS only what that leaves alone.
	KubeProxyReplaced Reason = "KubeProxyReplaced"
)

// Verdict is one decision, told: a reason for machines and one sentence for people. It is comparable; the zero value
// says nothing.
type Verdict struct {
	Reason  Reason
	Message string
}

// String returns the message and the reason.
func (v Verdict) String() string { return v.Message + " (" + string(v.Reason) + ")" }
