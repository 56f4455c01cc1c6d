package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Community gives names to BGP communities, for use in BGPAdvertisement.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=communities,scope=Namespaced,shortName=comm
type Community struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec CommunitySpec `json:"spec,omitzero"`
	// +optional
	Status CommunityStatus `json:"status,omitzero"`
}

// CommunitySpec lists the aliases that one Community object defines.
type CommunitySpec struct {
	// communities are the aliases. A name stands at most once in all Community objects together.
	// +optional
	Communities []CommunityAlias `json:"communities,omitempty"`
}

// CommunityAlias is one name and the community it stands for.
type CommunityAlias struct {
	// name is what a BGPAdvertisement writes in its list of communities.
	// +optional
	Name string `json:"name,omitempty"`

	// value is a standard community (RFC 1997), two 16-bit numbers as "65000:100", or a large one (RFC 8092), three
	// 32-bit numbers as "large:65000:1:2".
	// +optional
	Value string `json:"value,omitempty"`
}

// CommunityStatus has no fields.
type CommunityStatus struct{}

// CommunityList is a list of Community objects, as the API server returns it.
//
// +kubebuilder:object:root=true
type CommunityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []Community `json:"items"`
}
