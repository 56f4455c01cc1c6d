package controllers

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

// NewAsker returns a client for an Observation. It asks the API server itself, and does not ask it first which kinds it
// knows: of one that it does not know it says so when that is listed.
func NewAsker(config *rest.Config) (client.Client, error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"Service", "ConfigMap", "Node", "Namespace"} {
		scope := meta.RESTScopeRoot
		if kind == "Service" || kind == "ConfigMap" {
			scope = meta.RESTScopeNamespace
		}
		mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: kind}, scope)
	}
	for _, group := range []struct {
		schema.GroupVersion
		kinds []string
	}{
		{schema.GroupVersion{Group: "discovery.k8s.io", Version: "v1"}, []string{"EndpointSlice"}},
		{schema.GroupVersion{Group: "coordination.k8s.io", Version: "v1"}, []string{"Lease"}},
		{v1beta1.GroupVersion, []string{"IPAddressPool", "L2Advertisement", "BGPAdvertisement", "BFDProfile", "Community", "ServiceL2Status"}},
		{v1beta2.GroupVersion, []string{"BGPPeer"}},
		{v1alpha1.GroupVersion, []string{"AddressPolicy", "AddressReservation", "AddressClaim", "NodePortRange", "SpeakerState", "ProgrammerState"}},
	} {
		for _, kind := range group.kinds {
			mapper.Add(group.WithKind(kind), meta.RESTScopeNamespace)
		}
	}
	return client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
}
