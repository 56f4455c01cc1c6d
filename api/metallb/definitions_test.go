package metallb_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/internal/crdtest"
)

const crdDir = "../../config/crd"

// kinds says what each CustomResourceDefinition looks like, in the words of package crdtest.
var kinds = []crdtest.Kind{
	{
		Kind: "IPAddressPool", Plural: "ipaddresspools", Short: "ipap",
		Columns: []string{
			"Auto Assign boolean .spec.autoAssign",
			"Avoid Buggy IPs boolean .spec.avoidBuggyIPs",
			"Addresses string .spec.addresses",
		},
		Versions: []crdtest.Version{{Name: "v1beta1", State: "served storage", Fields: `
spec object required
spec.addresses array required
spec.addresses[] string
spec.autoAssign boolean default=true
spec.avoidBuggyIPs boolean default=false
spec.serviceAllocation object
spec.serviceAllocation.namespaceSelectors array
spec.serviceAllocation.namespaceSelectors[] selector
spec.serviceAllocation.namespaces array
spec.serviceAllocation.namespaces[] string
spec.serviceAllocation.priority integer
spec.serviceAllocation.serviceSelectors array
spec.serviceAllocation.serviceSelectors[] selector
status object
status.assignedIPv4 integer required int64
status.assignedIPv6 integer required int64
status.availableIPv4 integer required int64
status.availableIPv6 integer required int64
`}},
	},
	{
		Kind: "L2Advertisement", Plural: "l2advertisements", Short: "l2adv",
		Columns: []string{
			"IPAddressPools string .spec.ipAddressPools",
			"IPAddressPool Selectors string .spec.ipAddressPoolSelectors",
			"Interfaces string .spec.interfaces",
			"Node Selectors string .spec.nodeSelectors/10",
		},
		Versions: []crdtest.Version{{Name: "v1beta1", State: "served storage", Fields: `
spec object
spec.interfaces array
spec.interfaces[] string
spec.ipAddressPoolSelectors array
spec.ipAddressPoolSelectors[] selector
spec.ipAddressPools array
spec.ipAddressPools[] string
spec.nodeSelectors array
spec.nodeSelectors[] selector
spec.preferredNodeSelectors array
spec.preferredNodeSelectors[] object
spec.preferredNodeSelectors[].preference selector required
spec.preferredNodeSelectors[].weight integer required 1..100 int32
spec.serviceSelectors array
spec.serviceSelectors[] selector
status object
`}},
	},
	{
		Kind: "BGPAdvertisement", Plural: "bgpadvertisements", Short: "bgpadv",
		Columns: []string{
			"IPAddressPools string .spec.ipAddressPools",
			"IPAddressPool Selectors string .spec.ipAddressPoolSelectors",
			"Peers string .spec.peers",
			"Node Selectors string .spec.nodeSelectors/10",
		},
		Versions: []crdtest.Version{{Name: "v1beta1", State: "served storage", Fields: `
spec object rule=!has(self.serviceSelectors) || size(self.serviceSelectors) == 0 || ((!has(self.aggregationLength) || self.aggregationLength == 32) && (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))
spec.aggregationLength integer 1.. int32 default=32
spec.aggregationLengthV6 integer int32 default=128
spec.communities array
spec.communities[] string
spec.ipAddressPoolSelectors array
spec.ipAddressPoolSelectors[] selector
spec.ipAddressPools array
spec.ipAddressPools[] string
spec.localPref integer 0..4294967295 int64
spec.nodeSelectors array
spec.nodeSelectors[] selector
spec.peers array
spec.peers[] string
spec.serviceSelectors array
spec.serviceSelectors[] selector
status object
`}},
	},
	{
		Kind: "BGPPeer", Plural: "bgppeers", Short: "bgppr",
		Columns: []string{
			"Address string .spec.peerAddress",
			"ASN string .spec.peerASN",
			"BFD Profile string .spec.bfdProfile",
			"Multi Hops string .spec.ebgpMultiHop",
		},
		Versions: []crdtest.Version{{Name: "v1beta1", State: "deprecated", Fields: `
spec object
spec.bfdProfile string
spec.ebgpMultiHop boolean
spec.holdTime string rule=duration(self) >= duration('0s')
spec.keepaliveTime string rule=duration(self) >= duration('0s')
spec.myASN integer required 0..4294967295 int64
spec.nodeSelectors array
spec.nodeSelectors[] object
spec.nodeSelectors[].matchExpressions array
spec.nodeSelectors[].matchExpressions[] object
spec.nodeSelectors[].matchExpressions[].key string required
spec.nodeSelectors[].matchExpressions[].operator string required
spec.nodeSelectors[].matchExpressions[].values array required 1..
spec.nodeSelectors[].matchExpressions[].values[] string
spec.nodeSelectors[].matchLabels map
spec.password string
spec.peerASN integer required 0..4294967295 int64
spec.peerAddress string required
spec.peerPort integer 0..16384
spec.routerID string
spec.sourceAddress string
status object
`}, {Name: "v1beta2", State: "served storage", Fields: `
spec object
spec.bfdProfile string
spec.connectTime string rule=duration(self) >= duration('1s') && duration(self) <= duration('65535s') rule=duration(self).getMilliseconds() % 1000 == 0
spec.disableMP boolean default=false
spec.dualStackAddressFamily boolean default=false
spec.dynamicASN string "internal"|"external"
spec.ebgpMultiHop boolean
spec.enableGracefulRestart boolean rule=self == oldSelf
spec.holdTime string rule=duration(self) >= duration('0s')
spec.interface string
spec.keepaliveTime string rule=duration(self) >= duration('0s')
spec.localASN integer 1..4294967295 int64
spec.myASN integer required 0..4294967295 int64
spec.nodeSelectors array
spec.nodeSelectors[] selector
spec.password string
spec.passwordSecret object
spec.passwordSecret.name string
spec.passwordSecret.namespace string
spec.peerASN integer 0..4294967295 int64
spec.peerAddress string
spec.peerPort integer 1..16384 default=179
spec.routerID string
spec.sourceAddress string
spec.vrf string
status object
`}},
	},
	{
		Kind: "BFDProfile", Plural: "bfdprofiles", Short: "bfdp",
		Columns: []string{
			"Passive Mode boolean .spec.passiveMode",
			"Transmit Interval integer .spec.transmitInterval",
			"Receive Interval integer .spec.receiveInterval",
			"Multiplier integer .spec.detectMultiplier",
		},
		Versions: []crdtest.Version{{Name: "v1beta1", State: "served storage", Fields: `
spec object
spec.detectMultiplier integer 2..255 int32
spec.echoInterval integer 10..60000 int32
spec.echoMode boolean
spec.minimumTtl integer 1..254 int32
spec.passiveMode boolean
spec.receiveInterval integer 10..60000 int32
spec.transmitInterval integer 10..60000 int32
status object
`}},
	},
	{
		Kind: "Community", Plural: "communities", Short: "comm",
		Versions: []crdtest.Version{{Name: "v1beta1", State: "served storage", Fields: `
spec object
spec.communities array
spec.communities[] object
spec.communities[].name string
spec.communities[].value string
status object
`}},
	},
	{
		Kind: "ServiceL2Status", Plural: "servicel2statuses", Short: "svcl2",
		Columns: []string{
			"Allocated Node string .status.node",
			"Service Name string .status.serviceName",
			"Service Namespace string .status.serviceNamespace",
		},
		Versions: []crdtest.Version{{Name: "v1beta1", State: "served storage", Fields: `
spec object
status object
status.interfaces array
status.interfaces[] object
status.interfaces[].name string
status.node string rule=self == oldSelf
status.serviceName string rule=self == oldSelf
status.serviceNamespace string rule=self == oldSelf
`}},
	},
	{
		Kind: "ServiceBGPStatus", Plural: "servicebgpstatuses", Short: "svcbgp",
		Columns: []string{
			"Node string .status.node",
			"Service Name string .status.serviceName",
			"Service Namespace string .status.serviceNamespace",
		},
		Versions: []crdtest.Version{{Name: "v1beta1", State: "served storage", Fields: `
spec object
status object
status.node string rule=self == oldSelf
status.peers array
status.peers[] string
status.serviceName string rule=self == oldSelf
status.serviceNamespace string rule=self == oldSelf
`}},
	},
	{
		Kind: "ConfigurationState", Plural: "configurationstates", Short: "cfgstate",
		Columns: []string{
			"Result string .status.result",
			"ErrorSummary string .status.errorSummary",
			"Age date .metadata.creationTimestamp",
		},
		Versions: []crdtest.Version{{Name: "v1beta1", State: "served storage", Fields: `
status object
status.conditions array keys=type
status.conditions[] condition
status.errorSummary string
status.result string "Valid"|"Invalid"|"Unknown"
`}},
	},
}

// TestDefinitions compares the generated CustomResourceDefinitions with the table.
func TestDefinitions(t *testing.T) { crdtest.Check(t, crdDir, "metallb.io", kinds) }

// TestShortNames checks that no short name of ours is another resource's name or short name: kubectl would pick one.
func TestShortNames(t *testing.T) {
	taken := make(map[string]string)
	// What Kubernetes 1.36 itself and the CNIs that MetalLB is often run with have.
	for _, n := range strings.Fields("cm cs ep ev limits ns no po pvc pv quota rc sa svc crd crds deploy ds rs sts hpa " +
		"cj csr ing ip netpol pdb pc sc vac dc ippool ippools bgpp gnp gns np cnp ccnp cep ciliumep cn cid lbippool " +
		"cbgpadvert cbgppeer cbgpcluster l2announcement") {
		taken[n] = "another project"
	}
	for name, crd := range crdtest.Definitions(t, crdDir) {
		names := append([]string{crd.Spec.Names.Plural, crd.Spec.Names.Singular}, crd.Spec.Names.ShortNames...)
		for _, n := range names {
			if other, ok := taken[n]; ok {
				t.Errorf("%s: %q belongs to %s", name, n, other)
			}
			taken[n] = name
		}
	}
}

// TestKustomization checks that every definition is applied.
func TestKustomization(t *testing.T) {
	var k struct {
		Resources []string `json:"resources"`
	}
	data, err := os.ReadFile(filepath.Join(crdDir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &k); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, crd := range crdtest.Definitions(t, crdDir) {
		want = append(want, crd.Spec.Group+"_"+crd.Spec.Names.Plural+".yaml")
	}
	slices.Sort(want)
	if d := cmp.Diff(want, slices.Sorted(slices.Values(k.Resources))); d != "" {
		t.Errorf("resources (-want +got):\n%s", d)
	}
}
