// Package v1beta1 holds the kinds of the API group metallb.io in version v1beta1: address pools, advertisements, BFD
// profiles, BGP community aliases, the deprecated form of BGP peers, and the kinds that report status. It is wire
// format only; package policy gives it meaning and checks what a schema cannot say.
//
// The group, its kinds and fields are MetalLB's, so that a manifest written for it is served unchanged. Nothing is added
// to a kind but short names. All objects are namespaced and are read from the one namespace of the release.
//
// In every list of label selectors an object matches when at least one selector matches, and a selector that is present
// but empty matches all objects.
//
// +kubebuilder:object:generate=true
// +groupName=metallb.io
package v1beta1
