package controllers

import (
	"context"
	"fmt"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/webhook/conversion"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
)

// convertPath is where the API server has BGPPeers converted (config/webhook/conversion).
const convertPath = "/convert"

// bgppeersDefinition is the CustomResourceDefinition with two versions.
const bgppeersDefinition = "bgppeers.metallb.io"

// conversions returns the handler that converts BGPPeers between the versions v1beta1 and v1beta2.
func conversions(scheme *runtime.Scheme) (http.Handler, error) {
	spoke := conversion.NewSpokeConverter(&v1beta1.BGPPeer{},
		func(_ context.Context, in *v1beta2.BGPPeer, out *v1beta1.BGPPeer) error { return out.FromV1beta2(in) },
		func(_ context.Context, in *v1beta1.BGPPeer, out *v1beta2.BGPPeer) error {
			in.ToV1beta2(out)
			return nil
		})
	converter, err := conversion.NewHubSpokeConverter(&v1beta2.BGPPeer{}, spoke)(scheme)
	if err != nil {
		return nil, fmt.Errorf("preparing the conversion of BGPPeers: %w", err)
	}
	registry := conversion.NewRegistry()
	if err := registry.RegisterConverter(schema.GroupKind{Group: v1beta2.GroupVersion.Group, Kind: "BGPPeer"}, converter); err != nil {
		return nil, fmt.Errorf("preparing the conversion of BGPPeers: %w", err)
	}
	return conversion.NewWebhookHandler(scheme, registry), nil
}

// stripDefinition keeps of a CustomResourceDefinition how its versions are converted, and which are stored.
func stripDefinition(in any) (any, error) {
	d, ok := in.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return in, nil
	}
	d.ManagedFields, d.Annotations = nil, nil
	var versions []apiextensionsv1.CustomResourceDefinitionVersion
	for _, v := range d.Spec.Versions {
		versions = append(versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: v.Name, Storage: v.Storage})
	}
	d.Spec = apiextensionsv1.CustomResourceDefinitionSpec{Conversion: d.Spec.Conversion, Versions: versions}
	d.Status = apiextensionsv1.CustomResourceDefinitionStatus{StoredVersions: d.Status.StoredVersions}
	return d, nil
}
