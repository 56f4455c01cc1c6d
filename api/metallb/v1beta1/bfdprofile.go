package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BFDProfile is a set of BFD parameters (RFC 5880) that BGP peers refer to by name: it tells how fast the loss of a
// neighbor is noticed. All fields may be left out.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=bfdprofiles,scope=Namespaced,shortName=bfdp
// +kubebuilder:printcolumn:name="Passive Mode",type=boolean,JSONPath=`.spec.passiveMode`
// +kubebuilder:printcolumn:name="Transmit Interval",type=integer,JSONPath=`.spec.transmitInterval`
// +kubebuilder:printcolumn:name="Receive Interval",type=integer,JSONPath=`.spec.receiveInterval`
// +kubebuilder:printcolumn:name="Multiplier",type=integer,JSONPath=`.spec.detectMultiplier`
type BFDProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec BFDProfileSpec `json:"spec,omitzero"`
	// +optional
	Status BFDProfileStatus `json:"status,omitzero"`
}

// BFDProfileSpec holds the local parameters of a BFD session. The two ends agree on the slower of what one offers and
// the other accepts (RFC 5880 section 6.8.2).
type BFDProfileSpec struct {
	// receiveInterval is the shortest gap between control packets that this end accepts, in milliseconds, 10 to
	// 60000 (Required Min RX Interval, RFC 5880 section 4.1). Unset stands for 300.
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	// +optional
	ReceiveInterval *uint32 `json:"receiveInterval,omitempty"`

	// transmitInterval is the shortest gap between control packets that this end would send at, before jitter, in
	// milliseconds, 10 to 60000 (Desired Min TX Interval, RFC 5880 section 4.1). Unset stands for 300.
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	// +optional
	TransmitInterval *uint32 `json:"transmitInterval,omitempty"`

	// detectMultiplier is the number of packets in a row, 2 to 255, whose absence means the session is lost (Detect
	// Mult, RFC 5880 section 4.1). Unset stands for 3.
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=255
	// +optional
	DetectMultiplier *uint32 `json:"detectMultiplier,omitempty"`

	// echoInterval is the shortest gap between echo packets that this end can take, in milliseconds, 10 to 60000
	// (Required Min Echo RX Interval, RFC 5880 section 4.1). Unset stands for 50. Used with echoMode only.
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	// +optional
	EchoInterval *uint32 `json:"echoInterval,omitempty"`

	// echoMode turns on the echo function (RFC 5880 section 6.4), where the neighbor loops packets back. It is for
	// directly connected peers and IPv4 only. Unset means off.
	// +optional
	EchoMode *bool `json:"echoMode,omitempty"`

	// passiveMode makes this end wait for the neighbor's first control packet before it sends its own (the passive
	// role of RFC 5880 section 6.1). Unset means off.
	// +optional
	PassiveMode *bool `json:"passiveMode,omitempty"`

	// minimumTtl is the lowest TTL or hop limit, 1 to 254, with which a control packet of a multi-hop session is
	// accepted. It does not apply to single-hop sessions, which always demand 255 (RFC 5881 section 5).
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=254
	// +optional
	MinimumTTL *uint32 `json:"minimumTtl,omitempty"`
}

// BFDProfileStatus has no fields.
type BFDProfileStatus struct{}

// BFDProfileList is a list of BFD profiles, as the API server returns it.
//
// +kubebuilder:object:root=true
type BFDProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []BFDProfile `json:"items"`
}
