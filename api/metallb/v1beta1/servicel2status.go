package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServiceL2Status tells which node announces a Service's addresses on the local link, and on which interfaces. The
// announcing speaker writes it; it has no configuration.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=servicel2statuses,scope=Namespaced,shortName=svcl2
// +kubebuilder:printcolumn:name="Allocated Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Service Name",type=string,JSONPath=`.status.serviceName`
// +kubebuilder:printcolumn:name="Service Namespace",type=string,JSONPath=`.status.serviceNamespace`
type ServiceL2Status struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec ServiceL2StatusSpec `json:"spec,omitzero"`
	// +optional
	Status ServiceL2StatusStatus `json:"status,omitzero"`
}

// ServiceL2StatusSpec has no fields.
type ServiceL2StatusSpec struct{}

// ServiceL2StatusStatus is the announcement of one Service. Node and Service cannot be changed: another node writes
// another object.
type ServiceL2StatusStatus struct {
	// node is the name of the node that answers ARP and neighbor discovery for the Service.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed"
	// +optional
	Node string `json:"node,omitempty"`

	// serviceName is the Service's name.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed"
	// +optional
	ServiceName string `json:"serviceName,omitempty"`

	// serviceNamespace is the Service's namespace.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed"
	// +optional
	ServiceNamespace string `json:"serviceNamespace,omitempty"`

	// interfaces are those of the node on which the Service is announced. Empty means all of them.
	// +optional
	Interfaces []InterfaceInfo `json:"interfaces,omitempty"`
}

// InterfaceInfo names a network interface of a node.
type InterfaceInfo struct {
	// name is the interface's name, as "eth0".
	// +optional
	Name string `json:"name,omitempty"`
}

// ServiceL2StatusList is a list of layer 2 statuses, as the API server returns it.
//
// +kubebuilder:object:root=true
type ServiceL2StatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []ServiceL2Status `json:"items"`
}
