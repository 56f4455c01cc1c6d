// Package v1alpha1 holds the kinds of the API group fairlead.io in version v1alpha1: what Fairlead has beyond the shared
// vocabulary of metallb.io. It is wire format only; package policy gives it meaning and checks what a schema cannot say.
//
// All objects are namespaced and are read from the one namespace of the release, the configuration namespace; tenants are
// named by selectors. Nothing here is needed: without any of these objects pools behave as metallb.io says.
//
// In every list of label selectors an object matches when at least one selector matches, and a selector that is present
// but empty matches all objects. Durations are Go durations ("90s", "24h"), never negative; allocation works with whole
// seconds.
//
// +kubebuilder:object:generate=true
// +groupName=fairlead.io
package v1alpha1
