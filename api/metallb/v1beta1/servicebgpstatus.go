package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServiceBGPStatus tells to which BGP peers one node announces a Service's addresses. Each announcing speaker writes one
// for each Service; it has no configuration.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=servicebgpstatuses,scope=Namespaced,shortName=svcbgp
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Service Name",type=string,JSONPath=`.status.serviceName`
// +kubebuilder:printcolumn:name="Service Namespace",type=string,JSONPath=`.status.serviceNamespace`
type ServiceBGPStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec ServiceBGPStatusSpec `json:"spec,omitzero"`
	// +optional
	Status ServiceBGPStatusStatus `json:"status,omitzero"`
}

// ServiceBGPStatusSpec has no fields.
type ServiceBGPStatusSpec struct{}

// ServiceBGPStatusStatus is what one node announces for one Service. Node and Service cannot be changed: another pair
// has another object.
type ServiceBGPStatusStatus struct {
	// node is the name of the node that announces the Service.
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

	// peers names the BGPPeer objects to which the Service is to be announced. It is the intent: whether the session
	// with a peer is up does not show here.
	// +optional
	Peers []string `json:"peers,omitempty"`
}

// ServiceBGPStatusList is a list of BGP statuses, as the API server returns it.
//
// +kubebuilder:object:root=true
type ServiceBGPStatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []ServiceBGPStatus `json:"items"`
}
