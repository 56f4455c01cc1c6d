// Package v1alpha1_test checks the wire form of the group fairlead.io against tables and a manifest with every field.
package v1alpha1_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/crdtest"
)

// kinds says what each CustomResourceDefinition looks like, in the words of package crdtest.
var kinds = []crdtest.Kind{
	{
		Kind: "AddressPolicy", Plural: "addresspolicies", Short: "addrpol",
		Columns: []string{
			"Strategy string .spec.strategy",
			"Priority integer .spec.priority",
			"Pools string .spec.poolNames",
			`Ready string .status.conditions[?(@.type=="Ready")].status`,
			`Conflicting string .status.conditions[?(@.type=="Conflicting")].status`,
			"Age date .metadata.creationTimestamp",
		},
		Versions: []crdtest.Version{{Name: "v1alpha1", State: "served storage", Fields: `
spec object required
spec.exclude array
spec.exclude[] string
spec.exclusive boolean
spec.poolNames array
spec.poolNames[] string
spec.poolSelectors array
spec.poolSelectors[] selector
spec.priority integer int32 default=0
spec.quotas array
spec.quotas[] object
spec.quotas[].addresses integer required 0.. int32
spec.quotas[].namespaceSelector selector
spec.quotas[].namespaces array
spec.quotas[].namespaces[] string
spec.retain string rule=duration(self) >= duration('0s')
spec.reuseDelay string rule=duration(self) >= duration('0s')
spec.strategy string "LowestFirst"|"LeastRecentlyUsed"|"StableHash" default="LowestFirst"
status object
status.conditions array keys=type
status.conditions[] condition
`}},
	},
	{
		Kind: "AddressReservation", Plural: "addressreservations", Short: "addrres",
		Columns: []string{
			"Address string .status.address",
			"Pool string .spec.pool",
			`Bound string .status.conditions[?(@.type=="Bound")].status`,
			"Service Namespace string .status.service.namespace",
			"Service string .status.service.name",
			"Age date .metadata.creationTimestamp",
		},
		Versions: []crdtest.Version{{Name: "v1alpha1", State: "served storage", Fields: `
spec object required rule=has(self.address) != has(self.pool) rule=!has(self.family) || has(self.pool) rule=has(self.service) != has(self.selector)
spec.address string
spec.family string "IPv4"|"IPv6"
spec.pool string
spec.selector object
spec.selector.labels selector
spec.selector.namespaceSelector selector
spec.selector.namespaces array
spec.selector.namespaces[] string
spec.service object
spec.service.name string required
spec.service.namespace string required
status object
status.address string
status.conditions array keys=type
status.conditions[] condition
status.service object
status.service.name string required
status.service.namespace string required
`}},
	},
	{
		Kind: "AddressClaim", Plural: "addressclaims", Short: "addrclaim", NoStatus: true,
		Columns: []string{
			"Address string .spec.address",
			"Pool string .spec.pool",
			"Service Namespace string .spec.service.namespace",
			"Service string .spec.service.name",
			"Released date .spec.releasedAt",
			"Age date .metadata.creationTimestamp",
		},
		Versions: []crdtest.Version{{Name: "v1alpha1", State: "served storage", Fields: `
spec object required
spec.address string required rule=self == oldSelf
spec.claimedAt string required date-time
spec.pool string required
spec.releasedAt string date-time
spec.retainUntil string date-time
spec.reuseAfter string date-time
spec.service object required
spec.service.name string required
spec.service.namespace string required
spec.service.uid string required
`}},
	},
}

// TestDefinitions compares the generated CustomResourceDefinitions with the table.
func TestDefinitions(t *testing.T) { crdtest.Check(t, "../../config/crd", "fairlead.io", kinds) }

// TestManifests decodes manifests strictly and checks that encoding a copy gives back what was written.
func TestManifests(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("testdata/every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(data), "\n---\n") {
		var want map[string]any
		if err := yaml.Unmarshal([]byte(doc), &want); err != nil {
			t.Fatal(err)
		}
		kind := want["kind"].(string)
		t.Run(kind, func(t *testing.T) {
			obj, err := scheme.New(schema.FromAPIVersionAndKind(want["apiVersion"].(string), kind))
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
				t.Fatal(err)
			}
			encoded, err := yaml.Marshal(obj.DeepCopyObject())
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := yaml.Unmarshal(encoded, &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("round trip (-want +got):\n%s", d)
			}
		})
	}
}
