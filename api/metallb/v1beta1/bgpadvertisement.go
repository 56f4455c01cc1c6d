package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPAdvertisement makes the addresses of pools reachable over BGP (RFC 4271): the nodes it selects announce them to
// their peers with the path attributes given here. One without a spec covers all pools, nodes and peers.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=bgpadvertisements,scope=Namespaced,shortName=bgpadv
// +kubebuilder:printcolumn:name="IPAddressPools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="IPAddressPool Selectors",type=string,JSONPath=`.spec.ipAddressPoolSelectors`
// +kubebuilder:printcolumn:name="Peers",type=string,JSONPath=`.spec.peers`
// +kubebuilder:printcolumn:name="Node Selectors",type=string,JSONPath=`.spec.nodeSelectors`,priority=10
type BGPAdvertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec BGPAdvertisementSpec `json:"spec,omitzero"`
	// +optional
	Status BGPAdvertisementStatus `json:"status,omitzero"`
}

// BGPAdvertisementSpec says which pools are announced, for which Services, from which nodes, to which peers and how.
//
// A prefix that is wider than one address serves every Service inside it, hence the rule that Services are selected only
// where each has a route of its own.
//
// +kubebuilder:validation:XValidation:rule="!has(self.serviceSelectors) || size(self.serviceSelectors) == 0 || ((!has(self.aggregationLength) || self.aggregationLength == 32) && (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))",message="serviceSelectors needs a route per address: leave aggregationLength at 32 and aggregationLengthV6 at 128"
type BGPAdvertisementSpec struct {
	// aggregationLength is the prefix length, 1 to 32, under which IPv4 addresses are announced: 32 gives each
	// address its route, 24 announces the /24 around it as long as one address in it is in use. Unset stands for 32,
	// which the API server fills in only where there is a spec.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:default:=32
	// +optional
	AggregationLength *int32 `json:"aggregationLength,omitempty"`

	// aggregationLengthV6 is the prefix length, up to 128, under which IPv6 addresses are announced. Unset stands for
	// 128, which the API server fills in only where there is a spec.
	// +kubebuilder:default:=128
	// +optional
	AggregationLengthV6 *int32 `json:"aggregationLengthV6,omitempty"`

	// localPref is the LOCAL_PREF attribute (RFC 4271 section 5.1.5) of the routes; routers of the same AS prefer the
	// highest. It goes to peers of the own AS only. 0, the same as unset, stands for the speaker's default.
	// Advertisements that give one prefix different values for one peer contradict each other.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	LocalPref uint32 `json:"localPref,omitempty"`

	// communities are attached to the routes, each at most once: a standard community (RFC 1997) as "65000:100", a
	// large one (RFC 8092) as "large:65000:1:2", or an alias that a Community object defines.
	// +optional
	Communities []string `json:"communities,omitempty"`

	// ipAddressPools names pools to announce, each at most once. Together with ipAddressPoolSelectors it is a union;
	// when both are empty every pool is announced. A name that no pool has is passed over.
	// +optional
	IPAddressPools []string `json:"ipAddressPools,omitempty"`

	// ipAddressPoolSelectors adds the pools whose labels match one of these selectors.
	// +optional
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors,omitempty"`

	// nodeSelectors limits the announcing nodes, and so the next hops, to those whose labels match one of these
	// selectors. Empty allows every node.
	// +optional
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// peers names the BGPPeer objects that receive the routes, each at most once. Empty means every peer.
	// +optional
	Peers []string `json:"peers,omitempty"`

	// serviceSelectors limits the advertisement to Services whose labels match one of these selectors. Empty covers
	// every Service. Needs aggregationLength 32 and aggregationLengthV6 128.
	// +optional
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}

// BGPAdvertisementStatus has no fields; what is announced to whom is told by ServiceBGPStatus.
type BGPAdvertisementStatus struct{}

// BGPAdvertisementList is a list of BGP advertisements, as the API server returns it.
//
// +kubebuilder:object:root=true
type BGPAdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []BGPAdvertisement `json:"items"`
}
