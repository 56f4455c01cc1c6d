package metallb_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const crdDir = "../../config/crd"

// kinds says what each CustomResourceDefinition looks like. A column is "name type path", and "/priority" if it has one.
// A line of fields is a path ("[]" for the items of a list), a type and, as far as they apply: required, the range, the
// format, the values, the default and the CEL rules.
var kinds = []kind{
	{
		kind: "IPAddressPool", plural: "ipaddresspools", short: "ipap",
		columns: []string{
			"Auto Assign boolean .spec.autoAssign",
			"Avoid Buggy IPs boolean .spec.avoidBuggyIPs",
			"Addresses string .spec.addresses",
		},
		versions: []version{{name: "v1beta1", state: "served storage", fields: `
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
		kind: "L2Advertisement", plural: "l2advertisements", short: "l2adv",
		columns: []string{
			"IPAddressPools string .spec.ipAddressPools",
			"IPAddressPool Selectors string .spec.ipAddressPoolSelectors",
			"Interfaces string .spec.interfaces",
			"Node Selectors string .spec.nodeSelectors/10",
		},
		versions: []version{{name: "v1beta1", state: "served storage", fields: `
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
		kind: "BGPAdvertisement", plural: "bgpadvertisements", short: "bgpadv",
		columns: []string{
			"IPAddressPools string .spec.ipAddressPools",
			"IPAddressPool Selectors string .spec.ipAddressPoolSelectors",
			"Peers string .spec.peers",
			"Node Selectors string .spec.nodeSelectors/10",
		},
		versions: []version{{name: "v1beta1", state: "served storage", fields: `
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
		kind: "BGPPeer", plural: "bgppeers", short: "bgppr",
		columns: []string{
			"Address string .spec.peerAddress",
			"ASN string .spec.peerASN",
			"BFD Profile string .spec.bfdProfile",
			"Multi Hops string .spec.ebgpMultiHop",
		},
		versions: []version{{name: "v1beta1", state: "deprecated", fields: `
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
`}, {name: "v1beta2", state: "served storage", fields: `
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
		kind: "BFDProfile", plural: "bfdprofiles", short: "bfdp",
		columns: []string{
			"Passive Mode boolean .spec.passiveMode",
			"Transmit Interval integer .spec.transmitInterval",
			"Receive Interval integer .spec.receiveInterval",
			"Multiplier integer .spec.detectMultiplier",
		},
		versions: []version{{name: "v1beta1", state: "served storage", fields: `
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
		kind: "Community", plural: "communities", short: "comm",
		versions: []version{{name: "v1beta1", state: "served storage", fields: `
spec object
spec.communities array
spec.communities[] object
spec.communities[].name string
spec.communities[].value string
status object
`}},
	},
	{
		kind: "ServiceL2Status", plural: "servicel2statuses", short: "svcl2",
		columns: []string{
			"Allocated Node string .status.node",
			"Service Name string .status.serviceName",
			"Service Namespace string .status.serviceNamespace",
		},
		versions: []version{{name: "v1beta1", state: "served storage", fields: `
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
		kind: "ServiceBGPStatus", plural: "servicebgpstatuses", short: "svcbgp",
		columns: []string{
			"Node string .status.node",
			"Service Name string .status.serviceName",
			"Service Namespace string .status.serviceNamespace",
		},
		versions: []version{{name: "v1beta1", state: "served storage", fields: `
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
		kind: "ConfigurationState", plural: "configurationstates", short: "cfgstate",
		columns: []string{
			"Result string .status.result",
			"ErrorSummary string .status.errorSummary",
			"Age date .metadata.creationTimestamp",
		},
		versions: []version{{name: "v1beta1", state: "served storage", fields: `
status object
status.conditions array keys=type
status.conditions[] condition
status.errorSummary string
status.result string "Valid"|"Invalid"|"Unknown"
`}},
	},
}

// kind is the row of one kind.
type kind struct {
	kind, plural, short string
	columns             []string
	versions            []version
}

// version is one version of a kind: its state is made of served, storage and deprecated.
type version struct{ name, state, fields string }

// TestDefinitions compares the generated CustomResourceDefinitions with the table.
func TestDefinitions(t *testing.T) {
	crds := definitions(t)
	for _, want := range kinds {
		t.Run(want.kind, func(t *testing.T) {
			crd, ok := crds[want.plural+".metallb.io"]
			if !ok {
				t.Fatalf("no definition of %s in %s", want.plural, crdDir)
			}
			wantNames := apiextensionsv1.CustomResourceDefinitionNames{
				Kind: want.kind, ListKind: want.kind + "List",
				Plural: want.plural, Singular: strings.ToLower(want.kind), ShortNames: []string{want.short},
			}
			if d := cmp.Diff(wantNames, crd.Spec.Names); d != "" {
				t.Errorf("names (-want +got):\n%s", d)
			}
			if crd.Spec.Group != "metallb.io" || crd.Spec.Scope != apiextensionsv1.NamespaceScoped {
				t.Errorf("group %s, scope %s; want metallb.io, Namespaced", crd.Spec.Group, crd.Spec.Scope)
			}
			if c := crd.Spec.Conversion; c != nil && c.Strategy != apiextensionsv1.NoneConverter {
				t.Errorf("conversion %s, want None", c.Strategy)
			}
			if len(crd.Spec.Versions) != len(want.versions) {
				t.Fatalf("%d versions, want %d", len(crd.Spec.Versions), len(want.versions))
			}
			for i, v := range crd.Spec.Versions {
				checkVersion(t, v, want.versions[i], want.columns)
			}
		})
	}
	for name, crd := range crds {
		if crd.Spec.Group == "metallb.io" && !slices.ContainsFunc(kinds, func(k kind) bool {
			return k.kind == crd.Spec.Names.Kind
		}) {
			t.Errorf("%s is in %s but not in the table", name, crdDir)
		}
	}
}

// checkVersion compares one version of a definition with its row.
func checkVersion(t *testing.T, got apiextensionsv1.CustomResourceDefinitionVersion, want version, columns []string) {
	t.Helper()
	if s := state(got); got.Name != want.name || s != want.state {
		t.Errorf("version %s is %q, want %s to be %q", got.Name, s, want.name, want.state)
	}
	if got.Subresources == nil || got.Subresources.Status == nil || got.Subresources.Scale != nil {
		t.Errorf("%s: want the status subresource and no other", got.Name)
	}
	var cols []string
	for _, c := range got.AdditionalPrinterColumns {
		col := c.Name + " " + c.Type + " " + c.JSONPath
		if c.Priority != 0 {
			col += fmt.Sprintf("/%d", c.Priority)
		}
		cols = append(cols, col)
	}
	if d := cmp.Diff(columns, cols); d != "" {
		t.Errorf("%s: columns (-want +got):\n%s", got.Name, d)
	}
	var lines []string
	root := got.Schema.OpenAPIV3Schema
	for _, name := range slices.Sorted(maps.Keys(root.Properties)) {
		switch name {
		case "apiVersion", "kind", "metadata":
		default:
			lines = render(lines, name, root.Properties[name], slices.Contains(root.Required, name))
		}
	}
	if d := cmp.Diff(strings.Split(strings.TrimSpace(want.fields), "\n"), lines); d != "" {
		t.Errorf("%s: fields (-want +got):\n%s", got.Name, d)
	}
}

// state writes the flags of a version as the table does.
func state(v apiextensionsv1.CustomResourceDefinitionVersion) string {
	var out []string
	if v.Served {
		out = append(out, "served")
	}
	if v.Storage {
		out = append(out, "storage")
	}
	if v.Deprecated {
		out = append(out, "deprecated")
	}
	return strings.Join(out, " ")
}

// render appends the lines of a schema and of what it contains, as the table writes them. Kubernetes' own types stand
// for themselves: a label selector, a condition.
func render(lines []string, path string, s apiextensionsv1.JSONSchemaProps, required bool) []string {
	words := []string{path, s.Type}
	leaf := true
	_, hasLabels := s.Properties["matchLabels"]
	_, hasTransition := s.Properties["lastTransitionTime"]
	switch {
	case hasLabels && s.XMapType != nil:
		words[1] = "selector"
	case hasTransition:
		words[1] = "condition"
	case s.AdditionalProperties != nil:
		words[1] = "map"
	default:
		leaf = false
	}
	if required {
		words = append(words, "required")
	}
	if s.Minimum != nil || s.Maximum != nil {
		words = append(words, bound(s.Minimum)+".."+bound(s.Maximum))
	}
	if s.MinItems != nil || s.MaxItems != nil {
		words = append(words, bound(s.MinItems)+".."+bound(s.MaxItems))
	}
	if s.Format != "" {
		words = append(words, s.Format)
	}
	if len(s.Enum) > 0 {
		var values []string
		for _, e := range s.Enum {
			values = append(values, string(e.Raw))
		}
		words = append(words, strings.Join(values, "|"))
	}
	if len(s.XListMapKeys) > 0 {
		words = append(words, "keys="+strings.Join(s.XListMapKeys, ","))
	}
	if s.Default != nil {
		words = append(words, "default="+string(s.Default.Raw))
	}
	for _, r := range s.XValidations {
		words = append(words, "rule="+r.Rule)
	}
	lines = append(lines, strings.Join(words, " "))
	if leaf {
		return lines
	}
	if s.Items != nil {
		lines = render(lines, path+"[]", *s.Items.Schema, false)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		lines = render(lines, path+"."+name, s.Properties[name], slices.Contains(s.Required, name))
	}
	return lines
}

// bound writes one end of a range, an open one as nothing.
func bound[T int64 | float64](v *T) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%d", int64(*v))
}

// TestShortNames checks that no short name of ours is another resource's name or short name: kubectl would pick one.
func TestShortNames(t *testing.T) {
	taken := make(map[string]string)
	// What Kubernetes 1.36 itself and the CNIs that MetalLB is often run with have.
	for _, n := range strings.Fields("cm cs ep ev limits ns no po pvc pv quota rc sa svc crd crds deploy ds rs sts hpa " +
		"cj csr ing ip netpol pdb pc sc vac dc ippool ippools bgpp gnp gns np cnp ccnp cep ciliumep cn cid lbippool " +
		"cbgpadvert cbgppeer cbgpcluster l2announcement") {
		taken[n] = "another project"
	}
	for name, crd := range definitions(t) {
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
	for _, file := range definitionFiles(t) {
		want = append(want, filepath.Base(file))
	}
	if d := cmp.Diff(want, slices.Sorted(slices.Values(k.Resources))); d != "" {
		t.Errorf("resources (-want +got):\n%s", d)
	}
}

// definitions reads all CustomResourceDefinitions, keyed by name.
func definitions(t *testing.T) map[string]apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crds := make(map[string]apiextensionsv1.CustomResourceDefinition)
	for _, file := range definitionFiles(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &crd); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		crds[crd.Name] = crd
	}
	return crds
}

// definitionFiles lists the files of the CustomResourceDefinitions, sorted; controller-gen names them group_plural.yaml.
func definitionFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(crdDir, "*_*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no definitions in %s: %v", crdDir, err)
	}
	return files
}
