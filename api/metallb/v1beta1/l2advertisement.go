package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// L2Advertisement makes the addresses of pools reachable on the local link: one node at a time answers ARP (RFC 826)
// and neighbor discovery (RFC 4861) for each of them. One without a spec covers all pools, nodes and interfaces.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=l2advertisements,scope=Namespaced,shortName=l2adv
// +kubebuilder:printcolumn:name="IPAddressPools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="IPAddressPool Selectors",type=string,JSONPath=`.spec.ipAddressPoolSelectors`
// +kubebuilder:printcolumn:name="Interfaces",type=string,JSONPath=`.spec.interfaces`
// +kubebuilder:printcolumn:name="Node Selectors",type=string,JSONPath=`.spec.nodeSelectors`,priority=10
type L2Advertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec L2AdvertisementSpec `json:"spec,omitzero"`
	// +optional
	Status L2AdvertisementStatus `json:"status,omitzero"`
}

// L2AdvertisementSpec says which pools are announced, for which Services, from which nodes and on which interfaces.
type L2AdvertisementSpec struct {
	// ipAddressPools names pools to announce, each at most once. Together with ipAddressPoolSelectors it is a union;
	// when both are empty every pool is announced. A name that no pool has is passed over.
	// +optional
	IPAddressPools []string `json:"ipAddressPools,omitempty"`

	// ipAddressPoolSelectors adds the pools whose labels match one of these selectors.
	// +optional
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors,omitempty"`

	// nodeSelectors limits the announcing nodes to those whose labels match one of these selectors. Empty allows
	// every node.
	// +optional
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// interfaces names the network interfaces, exactly and without patterns, on which the addresses are announced.
	// Empty means all interfaces of the announcing node that can carry the announcements.
	// +optional
	Interfaces []string `json:"interfaces,omitempty"`

	// serviceSelectors limits the advertisement to Services whose labels match one of these selectors. Empty covers
	// every Service. A Service that shares its address (annotation metallb.io/allow-shared-ip) cannot be selected.
	// +optional
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`

	// preferredNodeSelectors ranks the nodes that nodeSelectors allow. Each entry that a node matches adds its
	// weight, over all advertisements that cover the Service; nodes with the highest sum are chosen first. A
	// preference never rules a node out.
	// +optional
	PreferredNodeSelectors []PreferredNodeSelector `json:"preferredNodeSelectors,omitempty"`
}

// PreferredNodeSelector gives weight to the nodes that a selector matches, after the model of a Pod's preferred node
// affinity.
type PreferredNodeSelector struct {
	// weight is what a matching node gains, 1 to 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +required
	Weight int32 `json:"weight"`

	// preference selects the nodes by label. An empty selector matches every node.
	// +required
	Preference metav1.LabelSelector `json:"preference"`
}

// L2AdvertisementStatus has no fields; what is announced where is told by ServiceL2Status.
type L2AdvertisementStatus struct{}

// L2AdvertisementList is a list of layer 2 advertisements, as the API server returns it.
//
// +kubebuilder:object:root=true
type L2AdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []L2Advertisement `json:"items"`
}
