package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// AddressClaim is the controller's note of who has an address, or had it: what outlives the Service. There is one for
// each address of a pool whose AddressPolicy asks for retain, reuseDelay or LeastRecentlyUsed. Its name is made from the
// address, so that there cannot be two; it is created before the Service's status shows the address. Once released it
// expires by the times that it carries, whatever becomes of the policy. It is all spec, since it must be complete from
// the moment of its creation. Nobody but the controller writes it; one that is deleted by hand is forgotten.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=addressclaims,scope=Namespaced,shortName=addrclaim
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.address`
// +kubebuilder:printcolumn:name="Pool",type=string,JSONPath=`.spec.pool`
// +kubebuilder:printcolumn:name="Service Namespace",type=string,JSONPath=`.spec.service.namespace`
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.spec.service.name`
// +kubebuilder:printcolumn:name="Released",type=date,JSONPath=`.spec.releasedAt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AddressClaim struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +required
	Spec AddressClaimSpec `json:"spec"`
}

// AddressClaimSpec says who has the address, or who had it and until when that counts.
type AddressClaimSpec struct {
	// address is the address, IPv4 or IPv6, in its shortest form (RFC 5952 section 4).
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed; the name is made from it"
	// +required
	Address string `json:"address"`

	// pool is the IPAddressPool that the address came from.
	// +required
	Pool string `json:"pool"`

	// service is the Service that has the address, or had it last; of several that share it, one.
	// +required
	Service ClaimingService `json:"service"`

	// claimedAt is when the Service got the address.
	// +required
	ClaimedAt metav1.Time `json:"claimedAt"`

	// releasedAt is when it was seen that no Service has the address any more. Unset: one has it, or is about to.
	// +optional
	ReleasedAt *metav1.Time `json:"releasedAt,omitempty"`

	// retainUntil is until when only a Service of the same namespace and name may get the address.
	// +optional
	RetainUntil *metav1.Time `json:"retainUntil,omitempty"`

	// reuseAfter is when the address has rested long enough for anyone.
	// +optional
	ReuseAfter *metav1.Time `json:"reuseAfter,omitempty"`
}

// ClaimingService names one Service for the time that it lives.
type ClaimingService struct {
	// namespace is the namespace of the Service.
	// +required
	Namespace string `json:"namespace"`

	// name is the name of the Service.
	// +required
	Name string `json:"name"`

	// uid tells the Service from a later one of the same name.
	// +required
	UID types.UID `json:"uid"`
}

// AddressClaimList is a list of claims, as the API server returns it.
//
// +kubebuilder:object:root=true
type AddressClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []AddressClaim `json:"items"`
}
