package v1beta2

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPPeer is a BGP neighbor (RFC 4271) to which the selected nodes each open a session.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=bgppeers,scope=Namespaced,shortName=bgppr
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.peerAddress`
// +kubebuilder:printcolumn:name="ASN",type=string,JSONPath=`.spec.peerASN`
// +kubebuilder:printcolumn:name="BFD Profile",type=string,JSONPath=`.spec.bfdProfile`
// +kubebuilder:printcolumn:name="Multi Hops",type=string,JSONPath=`.spec.ebgpMultiHop`
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec BGPPeerSpec `json:"spec,omitzero"`
	// +optional
	Status BGPPeerStatus `json:"status,omitzero"`
}

// BGPPeerSpec says with whom the nodes speak BGP, and with which parameters. The peer is given by peerAddress or by
// interface, its AS by peerASN or by dynamicASN: exactly one of each pair.
type BGPPeerSpec struct {
	// myASN is the AS number of this end, 1 to 4294967295 (RFC 6793).
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +required
	MyASN uint32 `json:"myASN"`

	// peerASN is the AS number that the peer must show, 1 to 4294967295. Excludes dynamicASN.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	PeerASN uint32 `json:"peerASN,omitempty"`

	// dynamicASN accepts whatever AS number the peer shows, as long as it is the own one (internal) or another
	// (external). Excludes peerASN.
	// +optional
	DynamicASN DynamicASN `json:"dynamicASN,omitempty"`

	// localASN is shown to this peer in place of myASN, 1 to 4294967295, as in an AS migration (RFC 7705); myASN then
	// does not appear in the AS path.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	LocalASN uint32 `json:"localASN,omitempty"`

	// peerAddress is the IP address to connect to. Excludes interface.
	// +optional
	PeerAddress string `json:"peerAddress,omitempty"`

	// interface is the name of the node's network interface on whose link the one neighbor is discovered and reached
	// by its IPv6 link-local address ("unnumbered"); IPv4 routes then carry an IPv6 next hop (RFC 8950). Excludes
	// peerAddress.
	// +optional
	Interface string `json:"interface,omitempty"`

	// sourceAddress is the local IP address to connect from. Unset lets the kernel choose.
	// +optional
	SourceAddress string `json:"sourceAddress,omitempty"`

	// peerPort is the TCP port to connect to, 1 to 16384.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16384
	// +kubebuilder:default:=179
	// +optional
	PeerPort uint16 `json:"peerPort,omitempty"`

	// holdTime is the hold time to propose, as a Go duration ("90s"): 0, or at least 3 s (RFC 4271 section 4.2).
	// With only keepaliveTime set it is three times that; with neither, the speaker's default.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="must be a duration, not negative"
	// +optional
	HoldTime *metav1.Duration `json:"holdTime,omitempty"`

	// keepaliveTime is the gap between KEEPALIVE messages (RFC 4271 section 4.4), as a Go duration, at most holdTime.
	// With only holdTime set it is a third of that; with neither, the speaker's default.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="must be a duration, not negative"
	// +optional
	KeepaliveTime *metav1.Duration `json:"keepaliveTime,omitempty"`

	// connectTime is the gap between attempts to connect (ConnectRetryTime, RFC 4271 section 10), as a Go duration
	// of whole seconds, 1 s to 65535 s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('65535s')",message="must be from 1s to 65535s"
	// +kubebuilder:validation:XValidation:rule="duration(self).getMilliseconds() % 1000 == 0",message="must be a whole number of seconds"
	// +optional
	ConnectTime *metav1.Duration `json:"connectTime,omitempty"`

	// routerID is the BGP identifier of this end (RFC 4271 section 4.2), written as an IPv4 address. Unset lets each
	// node choose its own.
	// +optional
	RouterID string `json:"routerID,omitempty"`

	// nodeSelectors limits the nodes that open a session to those whose labels match one of these selectors. Empty
	// means every node.
	// +optional
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// password is the shared secret of the TCP MD5 signature option (RFC 2385), in plain text. Excludes
	// passwordSecret, which is the better place for it.
	// +optional
	Password string `json:"password,omitempty"`

	// passwordSecret names the Secret with the shared secret of the TCP MD5 signature option (RFC 2385): of type
	// kubernetes.io/basic-auth, under the key "password", in the namespace of this object. Excludes password.
	// +optional
	PasswordSecret corev1.SecretReference `json:"passwordSecret,omitzero"`

	// bfdProfile names the BFDProfile that guards the session. Unset means no BFD.
	// +optional
	BFDProfile string `json:"bfdProfile,omitempty"`

	// enableGracefulRestart asks the peer to keep the routes, and so the traffic, while this end restarts (RFC 4724).
	// It is negotiated when a session opens and cannot be changed afterwards.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed; make a new BGPPeer"
	// +optional
	EnableGracefulRestart bool `json:"enableGracefulRestart,omitempty"`

	// ebgpMultiHop allows a peer of another AS that is not on a directly connected link. A peer of the own AS needs
	// none and may not have it.
	// +optional
	EBGPMultiHop bool `json:"ebgpMultiHop,omitempty"`

	// vrf names the node's VRF device through which the session is opened. Unset means the default routing table.
	// +optional
	VRFName string `json:"vrf,omitempty"`

	// disableMP is deprecated and has no effect: a session carries the routes of its own address family only, unless
	// dualStackAddressFamily is set.
	// +kubebuilder:default:=false
	// +optional
	DisableMP bool `json:"disableMP,omitempty"`

	// dualStackAddressFamily lets the session carry IPv4 and IPv6 routes (RFC 4760) instead of those of its own
	// address family only.
	// +kubebuilder:default:=false
	// +optional
	DualStackAddressFamily bool `json:"dualStackAddressFamily,omitempty"`
}

// DynamicASN says which AS numbers a peer may show whose number is not given.
//
// +kubebuilder:validation:Enum=internal;external
type DynamicASN string

const (
	// DynamicASNInternal accepts a peer of the own AS: an iBGP session.
	DynamicASNInternal DynamicASN = "internal"
	// DynamicASNExternal accepts a peer of any other AS: an eBGP session.
	DynamicASNExternal DynamicASN = "external"
)

// BGPPeerStatus has no fields.
type BGPPeerStatus struct{}

// BGPPeerList is a list of BGP peers, as the API server returns it.
//
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []BGPPeer `json:"items"`
}
