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
	{
		Kind: "NodePortRange", Plural: "nodeportranges", Short: "npr",
		Columns: []string{
			"Ports string .spec.ports",
			"Protocols string .spec.protocols",
			"Assigned integer .status.assigned",
			"Free integer .status.free",
			`Ready string .status.conditions[?(@.type=="Ready")].status`,
			"Age date .metadata.creationTimestamp",
		},
		Versions: []crdtest.Version{{Name: "v1alpha1", State: "served storage", Fields: `
spec object required
spec.allowReserved boolean
spec.nodeAddresses array ..100
spec.nodeAddresses[] string
spec.nodeSelector selector
spec.ports array required 1..100
spec.ports[] string
spec.protocols array ..3
spec.protocols[] string "TCP"|"UDP"|"SCTP"
spec.reserveLocally boolean
spec.services object
spec.services.labels selector
spec.services.namespaceSelector selector
spec.services.namespaces array
spec.services.namespaces[] string
status object
status.assigned integer int32
status.conditions array keys=type
status.conditions[] condition
status.free integer int32
`}},
	},
	{
		Kind: "ProgrammerState", Plural: "programmerstates", Short: "pgm", NoStatus: true,
		Columns: []string{
			"Ready boolean .status.ready",
			"Addresses integer .status.counts.addresses",
			"Node Ports integer .status.counts.nodePorts",
			"Refused integer .status.counts.refused",
			"Problems integer .status.counts.problems",
			"Kube-Proxy string .status.kubeProxy",
			"Version string .status.version/1",
			"Started date .status.startedAt",
		},
		Versions: []crdtest.Version{{Name: "v1alpha1", State: "served storage", Fields: `
status object
status.addresses array
status.addresses[] string
status.bootID string
status.counts object
status.counts.addresses integer int32
status.counts.nodePorts integer int32
status.counts.problems integer int32
status.counts.refused integer int32
status.kubeProxy string
status.missing array
status.missing[] string
status.morePorts array
status.morePorts[] string
status.nodePorts array
status.nodePorts[] object
status.nodePorts[].address string required
status.nodePorts[].port string required
status.nodePorts[].refused boolean
status.nodePorts[].service string required
status.problems array
status.problems[] object
status.problems[].kind string
status.problems[].message string required
status.problems[].name string
status.problems[].reason string required
status.ready boolean
status.startedAt string date-time
status.truncated boolean
status.version string
`}},
	},
	{
		Kind: "SpeakerState", Plural: "speakerstates", Short: "spk", NoStatus: true,
		Columns: []string{
			"Settled boolean .status.settled",
			"L2 Addresses integer .status.counts.addresses",
			"Conflicts integer .status.counts.conflicts",
			"Sessions integer .status.counts.sessions",
			"Established integer .status.counts.established",
			"Problems integer .status.counts.problems",
			"Address string .status.address/1",
			"Version string .status.version/1",
			"Started date .status.startedAt",
		},
		Versions: []crdtest.Version{{Name: "v1alpha1", State: "served storage", Fields: `
status object
status.address string
status.counts object
status.counts.addresses integer int32
status.counts.conflicts integer int32
status.counts.established integer int32
status.counts.problems integer int32
status.counts.sessions integer int32
status.layer2 object
status.layer2.addresses array
status.layer2.addresses[] string
status.layer2.conflicts array
status.layer2.conflicts[] object
status.layer2.conflicts[].address string required
status.layer2.conflicts[].link string required
status.layer2.conflicts[].mac string required
status.layer2.conflicts[].node string
status.layer2.conflicts[].silent boolean
status.layer2.conflicts[].since string date-time
status.layer2.digest string
status.layer2.truncated boolean
status.links array keys=name
status.links[] object
status.links[].mac string
status.links[].name string required
status.links[].subnets array
status.links[].subnets[] string
status.links[].unsettled boolean
status.links[].up boolean
status.problems array
status.problems[] object
status.problems[].kind string
status.problems[].message string required
status.problems[].name string
status.problems[].reason string required
status.sessions array keys=peer
status.sessions[] object
status.sessions[].address string
status.sessions[].asn integer int64
status.sessions[].bfd string
status.sessions[].capabilities array
status.sessions[].capabilities[] string
status.sessions[].families array
status.sessions[].families[] string
status.sessions[].gracefulRestart boolean
status.sessions[].holdTime string
status.sessions[].interface string
status.sessions[].keepaliveTime string
status.sessions[].lastError string
status.sessions[].lastErrorAt string date-time
status.sessions[].localAddress string
status.sessions[].peer string required
status.sessions[].prefixesPending integer int32
status.sessions[].prefixesSent integer int32
status.sessions[].reason string
status.sessions[].routerID string
status.sessions[].since string date-time
status.sessions[].state string required
status.settled boolean
status.startedAt string date-time
status.version string
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
