package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConfigurationState tells whether one component could use the configuration as it stands in the cluster. The controller
// writes the object "controller", the speaker of each node the object "speaker-" with the node's name. The label
// metallb.io/component-type says which of the two, metallb.io/node-name on which node.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=configurationstates,scope=Namespaced,shortName=cfgstate
// +kubebuilder:printcolumn:name="Result",type=string,JSONPath=`.status.result`
// +kubebuilder:printcolumn:name="ErrorSummary",type=string,JSONPath=`.status.errorSummary`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ConfigurationState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Status ConfigurationStateStatus `json:"status,omitzero"`
}

// ConfigurationStateStatus is a component's verdict on the configuration.
type ConfigurationStateStatus struct {
	// result is the verdict in one word.
	// +optional
	Result ConfigurationResult `json:"result,omitempty"`

	// errorSummary says what is wrong, all errors in one text. Empty when result is Valid.
	// +optional
	ErrorSummary string `json:"errorSummary,omitempty"`

	// conditions are the verdicts of the component's parts, one for each type: poolReconcilerValid from the
	// controller, configReconcilerValid from a speaker.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ConfigurationResult is the verdict of a component on the whole configuration.
//
// +kubebuilder:validation:Enum=Valid;Invalid;Unknown
type ConfigurationResult string

const (
	// ConfigurationValid means that every object is in use.
	ConfigurationValid ConfigurationResult = "Valid"
	// ConfigurationInvalid means that at least one object has an error and is not in use as it stands.
	ConfigurationInvalid ConfigurationResult = "Invalid"
	// ConfigurationUnknown means that the component has not come to a verdict.
	ConfigurationUnknown ConfigurationResult = "Unknown"
)

// Types of the conditions in ConfigurationStateStatus.
const (
	// ConditionPoolReconcilerValid is the controller's: True when it uses all address pools as they stand.
	ConditionPoolReconcilerValid = "poolReconcilerValid"
	// ConditionConfigReconcilerValid is a speaker's: True when it uses all pools, advertisements and peers as they
	// stand.
	ConditionConfigReconcilerValid = "configReconcilerValid"
)

// ConfigurationStateList is a list of configuration states, as the API server returns it.
//
// +kubebuilder:object:root=true
type ConfigurationStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []ConfigurationState `json:"items"`
}
