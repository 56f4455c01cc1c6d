package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaxSpeakerAddresses is how many layer-2 addresses a SpeakerState lists at most.
const MaxSpeakerAddresses = 512

// SpeakerState is what the speaker of one node says of itself: there is one for each, named after its Node, which owns
// it, so that it goes when the Node does. The speaker writes it when something changes, at most once in five seconds; the
// other speakers read the links and the addresses, and people read all of it. Nobody else writes it; one that is deleted
// by hand comes back. It never holds BGP prefixes, and stays under 64 KiB: where something would not fit, lists are cut,
// and counts says how much there is.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=speakerstates,scope=Namespaced,shortName=spk
// +kubebuilder:printcolumn:name="Settled",type=boolean,JSONPath=`.status.settled`
// +kubebuilder:printcolumn:name="L2 Addresses",type=integer,JSONPath=`.status.counts.addresses`
// +kubebuilder:printcolumn:name="Conflicts",type=integer,JSONPath=`.status.counts.conflicts`
// +kubebuilder:printcolumn:name="Sessions",type=integer,JSONPath=`.status.counts.sessions`
// +kubebuilder:printcolumn:name="Established",type=integer,JSONPath=`.status.counts.established`
// +kubebuilder:printcolumn:name="Problems",type=integer,JSONPath=`.status.counts.problems`
// +kubebuilder:printcolumn:name="Address",type=string,priority=1,JSONPath=`.status.address`
// +kubebuilder:printcolumn:name="Version",type=string,priority=1,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Started",type=date,JSONPath=`.status.startedAt`
type SpeakerState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// status is all that there is. It is no subresource, so that the object is complete from its creation.
	// +optional
	Status SpeakerStateStatus `json:"status,omitzero"`
}

// SpeakerStateStatus is what a speaker says of itself.
type SpeakerStateStatus struct {
	// version is that of the speaker.
	// +optional
	Version string `json:"version,omitempty"`

	// startedAt is when the speaker started.
	// +optional
	StartedAt metav1.Time `json:"startedAt,omitzero"`

	// address is where the other speakers reach this one.
	// +optional
	Address string `json:"address,omitempty"`

	// settled says that the speaker takes addresses from others where it comes before them. One that came up a short time
	// ago, or that was cut off, serves only where no other can.
	// +optional
	Settled bool `json:"settled"`

	// links are the network interfaces that can carry announcements, up or not.
	// +listType=map
	// +listMapKey=name
	// +optional
	Links []SpeakerLink `json:"links,omitempty"`

	// layer2 is what the node announces by ARP and neighbor discovery.
	// +optional
	Layer2 SpeakerLayer2 `json:"layer2,omitzero"`

	// sessions are the BGP sessions of the node.
	// +listType=map
	// +listMapKey=peer
	// +optional
	Sessions []BGPSession `json:"sessions,omitempty"`

	// problems are those that show only on nodes, and what could not be carried out.
	// +listType=atomic
	// +optional
	Problems []SpeakerProblem `json:"problems,omitempty"`

	// counts says how much there is of everything, of what the lists leave out as well.
	// +optional
	Counts SpeakerCounts `json:"counts,omitzero"`
}

// SpeakerCounts are numbers of things.
type SpeakerCounts struct {
	// addresses are those that are announced by layer 2.
	// +optional
	Addresses int32 `json:"addresses"`

	// conflicts are the other hosts that use such an address.
	// +optional
	Conflicts int32 `json:"conflicts"`

	// sessions are the BGP sessions that are wanted.
	// +optional
	Sessions int32 `json:"sessions"`

	// established are the BGP sessions that are established.
	// +optional
	Established int32 `json:"established"`

	// problems are those that the speaker tells.
	// +optional
	Problems int32 `json:"problems"`
}

// SpeakerLink is a network interface that can carry announcements.
type SpeakerLink struct {
	// name is the interface's name, as "eth0".
	// +required
	Name string `json:"name"`

	// up says that frames can be sent and received.
	// +optional
	Up bool `json:"up"`

	// unsettled says that the interface came back a short time ago: for what the node can announce on no other one, it serves
	// only where no other node can.
	// +optional
	Unsettled bool `json:"unsettled,omitempty"`

	// mac is the hardware address that answers carry.
	// +optional
	MAC string `json:"mac,omitempty"`

	// subnets are the on-link prefixes, as "192.0.2.0/24".
	// +listType=set
	// +optional
	Subnets []string `json:"subnets,omitempty"`
}

// SpeakerLayer2 is what a node announces by ARP and neighbor discovery.
type SpeakerLayer2 struct {
	// addresses are those that are announced now, at most 512.
	// +listType=set
	// +optional
	Addresses []string `json:"addresses,omitempty"`

	// truncated says that there are more addresses.
	// +optional
	Truncated bool `json:"truncated,omitempty"`

	// digest changes with the addresses, listed or not.
	// +optional
	Digest string `json:"digest,omitempty"`

	// conflicts are other hosts that use an address which is announced here.
	// +listType=atomic
	// +optional
	Conflicts []SpeakerConflict `json:"conflicts,omitempty"`
}

// SpeakerConflict is another host that uses an address which a node announces.
type SpeakerConflict struct {
	// address is the address.
	// +required
	Address string `json:"address"`

	// link is the interface on which the host was heard.
	// +required
	Link string `json:"link"`

	// mac is the host's hardware address.
	// +required
	MAC string `json:"mac"`

	// node is the node whose speaker it is. Unset: it is a foreign host, which is reported and never fought.
	// +optional
	Node string `json:"node,omitempty"`

	// silent says that the address is left to the other speaker at present.
	// +optional
	Silent bool `json:"silent,omitempty"`

	// since is when the conflict was noticed first.
	// +optional
	Since metav1.Time `json:"since,omitzero"`
}

// SpeakerProblem is something that people should know of.
type SpeakerProblem struct {
	// kind is the kind of the object that it is about. Unset: it is about the node.
	// +optional
	Kind string `json:"kind,omitempty"`

	// name is the name of the object that it is about. Unset: it is about the node.
	// +optional
	Name string `json:"name,omitempty"`

	// reason is a word for machines.
	// +required
	Reason string `json:"reason"`

	// message is a sentence for people.
	// +required
	Message string `json:"message"`
}

// BGPSession is one BGP session of a node.
type BGPSession struct {
	// peer is the name of the BGPPeer.
	// +required
	Peer string `json:"peer"`

	// address is the neighbor's: of the connection, or as the BGPPeer gives it where there is none.
	// +optional
	Address string `json:"address,omitempty"`

	// localAddress is this end's of the connection.
	// +optional
	LocalAddress string `json:"localAddress,omitempty"`

	// interface is the one that a link-local address belongs to.
	// +optional
	Interface string `json:"interface,omitempty"`

	// state is the session's (RFC 4271 section 8.2.2): idle, connect, active, opensent, openconfirm or established.
	// +required
	State string `json:"state"`

	// since is when the state was entered.
	// +optional
	Since metav1.Time `json:"since,omitzero"`

	// reason says why the session is not established.
	// +optional
	Reason string `json:"reason,omitempty"`

	// lastError says why the last connection or attempt ended.
	// +optional
	LastError string `json:"lastError,omitempty"`

	// lastErrorAt is when that was.
	// +optional
	LastErrorAt *metav1.Time `json:"lastErrorAt,omitempty"`

	// asn is the neighbor's AS number.
	// +optional
	ASN int64 `json:"asn,omitempty"`

	// routerID is the neighbor's.
	// +optional
	RouterID string `json:"routerID,omitempty"`

	// families are those that are negotiated: ipv4, ipv6.
	// +listType=set
	// +optional
	Families []string `json:"families,omitempty"`

	// prefixesSent is how many routes the neighbor has from this node.
	// +optional
	PrefixesSent int32 `json:"prefixesSent"`

	// prefixesPending is how many wait for the session, or are of a family that is not negotiated.
	// +optional
	PrefixesPending int32 `json:"prefixesPending,omitempty"`

	// holdTime is the negotiated one. Zero: the neighbor's silence ends nothing.
	// +optional
	HoldTime metav1.Duration `json:"holdTime,omitzero"`

	// keepaliveTime is the negotiated one.
	// +optional
	KeepaliveTime metav1.Duration `json:"keepaliveTime,omitzero"`

	// capabilities are those that the neighbor told.
	// +listType=atomic
	// +optional
	Capabilities []string `json:"capabilities,omitempty"`

	// gracefulRestart says that the neighbor keeps the routes over a restart of the speaker (RFC 4724).
	// +optional
	GracefulRestart bool `json:"gracefulRestart,omitempty"`

	// bfd is the state of BFD. Unset: the session is not guarded by it.
	// +optional
	BFD string `json:"bfd,omitempty"`
}

// SpeakerStateList is a list of speaker states, as the API server returns it.
//
// +kubebuilder:object:root=true
type SpeakerStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []SpeakerState `json:"items"`
}
