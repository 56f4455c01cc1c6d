package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AddressReservation holds an address for a Service, whether or not that exists yet: nobody else gets it, and the Service
// gets it before any other address. It takes nothing away: while another Service has the address, the reservation waits.
// Of two reservations for one address the older one holds.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=addressreservations,scope=Namespaced,shortName=addrres
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.status.address`
// +kubebuilder:printcolumn:name="Pool",type=string,JSONPath=`.spec.pool`
// +kubebuilder:printcolumn:name="Bound",type=string,JSONPath=`.status.conditions[?(@.type=="Bound")].status`
// +kubebuilder:printcolumn:name="Service Namespace",type=string,JSONPath=`.status.service.namespace`
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.status.service.name`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AddressReservation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +required
	Spec AddressReservationSpec `json:"spec"`
	// +optional
	Status AddressReservationStatus `json:"status,omitzero"`
}

// AddressReservationSpec says what is held for whom.
//
// +kubebuilder:validation:XValidation:rule="has(self.address) != has(self.pool)",message="set either address or pool"
// +kubebuilder:validation:XValidation:rule="!has(self.family) || has(self.pool)",message="family goes with pool"
// +kubebuilder:validation:XValidation:rule="has(self.service) != has(self.selector)",message="set either service or selector"
type AddressReservationSpec struct {
	// address is the one IPv4 or IPv6 address to hold. The pool that has it must admit the Service.
	// +kubebuilder:validation:MinLength=1
	// +optional
	Address string `json:"address,omitempty"`

	// pool is the IPAddressPool of which any one free address is held; status.address shows which, and it stays that
	// one while the pool has it.
	// +kubebuilder:validation:MinLength=1
	// +optional
	Pool string `json:"pool,omitempty"`

	// family is the family of the address from the pool. Unset: IPv4 where the pool has any, else IPv6.
	// +optional
	Family Family `json:"family,omitempty"`

	// service is the one Service that the address is for.
	// +optional
	Service *ServiceReference `json:"service,omitempty"`

	// selector describes the Services that the address is for; the first of them that needs one gets it, and others
	// only where they may share it.
	// +optional
	Selector *ServiceSelector `json:"selector,omitempty"`
}

// Family is an IP address family.
//
// +kubebuilder:validation:Enum=IPv4;IPv6
type Family string

const (
	// IPv4 is the family of 32-bit addresses.
	IPv4 Family = "IPv4"
	// IPv6 is the family of 128-bit addresses.
	IPv6 Family = "IPv6"
)

// ServiceReference names a Service, which need not exist.
type ServiceReference struct {
	// namespace is the namespace of the Service.
	// +kubebuilder:validation:MinLength=1
	// +required
	Namespace string `json:"namespace"`

	// name is the name of the Service.
	// +kubebuilder:validation:MinLength=1
	// +required
	Name string `json:"name"`
}

// ServiceSelector describes Services by namespace and labels; both must fit.
type ServiceSelector struct {
	// namespaces names the namespaces of the Services. With neither names nor a selector all namespaces fit.
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`

	// namespaceSelector adds the namespaces whose labels match.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// labels selects Services by their labels. Unset: all Services of these namespaces.
	// +optional
	Labels *metav1.LabelSelector `json:"labels,omitempty"`
}

// AddressReservationStatus says what is held, and who has it; the controller writes it.
type AddressReservationStatus struct {
	// address is the address that is held.
	// +optional
	Address string `json:"address,omitempty"`

	// service is the Service that has the address, where one that it is meant for does.
	// +optional
	Service *ServiceReference `json:"service,omitempty"`

	// conditions are the type Bound.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AddressReservationList is a list of reservations, as the API server returns it.
//
// +kubebuilder:object:root=true
type AddressReservationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []AddressReservation `json:"items"`
}
