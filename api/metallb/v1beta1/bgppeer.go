package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Why this version is not served: with conversion None the API server only rewrites apiVersion, so a v1beta2 object read
// and written back as v1beta1 would lose the fields that v1beta1 lacks. With config/webhook/conversion it is served: the
// conversion webhook keeps them in an annotation.

// BGPPeer is a BGP neighbor (RFC 4271) in its old form, kept so that old manifests can be read. Version v1beta2 is what
// is stored, and the one to write.
//
// +kubebuilder:object:root=true
// +kubebuilder:unservedversion
// +kubebuilder:deprecatedversion:warning="metallb.io/v1beta1 BGPPeer is deprecated; write metallb.io/v1beta2"
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

// BGPPeerSpec says with whom the nodes speak BGP, and with which parameters.
type BGPPeerSpec struct {
	// myASN is the AS number of this end, 1 to 4294967295 (RFC 6793).
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +required
	MyASN uint32 `json:"myASN"`

	// peerASN is the AS number that the peer must show, 1 to 4294967295.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +required
	PeerASN uint32 `json:"peerASN"`

	// peerAddress is the IP address to connect to.
	// +required
	PeerAddress string `json:"peerAddress"`

	// sourceAddress is the local IP address to connect from. Unset lets the kernel choose.
	// +optional
	SourceAddress string `json:"sourceAddress,omitempty"`

	// peerPort is the TCP port to connect to, up to 16384. 0, the same as unset, stands for 179.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16384
	// +optional
	PeerPort uint16 `json:"peerPort,omitempty"`

	// holdTime is the hold time to propose, as a Go duration ("90s"): 0, or at least 3 s (RFC 4271 section 4.2).
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="must be a duration, not negative"
	// +optional
	HoldTime *metav1.Duration `json:"holdTime,omitempty"`

	// keepaliveTime is the gap between KEEPALIVE messages, as a Go duration, at most holdTime.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="must be a duration, not negative"
	// +optional
	KeepaliveTime *metav1.Duration `json:"keepaliveTime,omitempty"`

	// routerID is the BGP identifier of this end (RFC 4271 section 4.2), written as an IPv4 address.
	// +optional
	RouterID string `json:"routerID,omitempty"`

	// nodeSelectors limits the nodes that open a session to those that match one of these selectors. Empty means
	// every node.
	// +optional
	NodeSelectors []NodeSelector `json:"nodeSelectors,omitempty"`

	// password is the shared secret of the TCP MD5 signature option (RFC 2385), in plain text.
	// +optional
	Password string `json:"password,omitempty"`

	// bfdProfile names the BFDProfile that guards the session. Unset means no BFD.
	// +optional
	BFDProfile string `json:"bfdProfile,omitempty"`

	// ebgpMultiHop allows a peer of another AS that is not on a directly connected link.
	// +optional
	EBGPMultiHop bool `json:"ebgpMultiHop,omitempty"`
}

// NodeSelector selects nodes by label; all its requirements must hold. It is the old relative of metav1.LabelSelector
// and differs in that every expression must have values.
type NodeSelector struct {
	// matchLabels are labels that a node must have with exactly these values.
	// +optional
	MatchLabels map[string]string `json:"matchLabels,omitempty"`

	// matchExpressions are further requirements on a node's labels.
	// +optional
	MatchExpressions []MatchExpression `json:"matchExpressions,omitempty"`
}

// MatchExpression is one requirement on a label.
type MatchExpression struct {
	// key is the label's name.
	// +required
	Key string `json:"key"`

	// operator relates the label to values: In or NotIn.
	// +required
	Operator string `json:"operator"`

	// values are what the label is compared with, at least one.
	// +kubebuilder:validation:MinItems=1
	// +required
	Values []string `json:"values"`
}

// BGPPeerStatus has no fields.
type BGPPeerStatus struct{}

// BGPPeerList is a list of BGP peers in the old form.
//
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []BGPPeer `json:"items"`
}
