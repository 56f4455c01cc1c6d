// Package v1beta2 holds the API group metallb.io in version v1beta2, which has one kind: BGPPeer, in the form that is
// stored. It is wire format only; package policy gives it meaning and checks what a schema cannot say.
//
// +kubebuilder:object:generate=true
// +groupName=metallb.io
package v1beta2
