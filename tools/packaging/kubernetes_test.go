package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	openapi "github.com/google/gnostic-models/openapiv2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/kube-openapi/pkg/util/proto"
	"k8s.io/kube-openapi/pkg/util/proto/validation"
)

// facts is the file that `go run -C tools/packaging . kubernetes` writes.
const facts = "testdata/kubernetes.jsonl"

// api is what one version of Kubernetes has.
type api struct {
	models proto.Models
	kinds  map[string]string // the definition of "group/version kind"
	fields map[string]map[string]bool
	serves map[string]bool
}

// apis reads the facts of every supported version.
func apis(t *testing.T) map[string]*api {
	t.Helper()
	text, err := os.ReadFile(facts)
	if err != nil {
		t.Fatal(err)
	}
	out, definitions := map[string]*api{}, map[string]map[string]json.RawMessage{}
	for _, v := range Supported() {
		out[v] = &api{kinds: map[string]string{}, fields: map[string]map[string]bool{}, serves: map[string]bool{}}
		definitions[v] = map[string]json.RawMessage{}
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var f Fact
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			t.Fatal(err)
		}
		for _, v := range f.In {
			if out[v] == nil {
				t.Fatalf("%s has facts of %s, which is not supported: make it anew", facts, v)
			}
			if f.Serves != "" {
				out[v].serves[f.Serves] = true
				continue
			}
			definitions[v][f.Definition] = f.Schema
			for _, k := range kindsOf(f.Schema) {
				out[v].kinds[k] = f.Definition
			}
			var object struct{ Properties map[string]json.RawMessage }
			if err := json.Unmarshal(f.Schema, &object); err != nil {
				t.Fatal(err)
			}
			out[v].fields[f.Definition] = map[string]bool{}
			for name := range object.Properties {
				out[v].fields[f.Definition][name] = true
			}
		}
	}
	for v, a := range out {
		document, err := json.Marshal(map[string]any{"swagger": "2.0", "info": map[string]string{"title": "Kubernetes", "version": v}, "paths": map[string]any{}, "definitions": definitions[v]})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := openapi.ParseDocument(document)
		if err != nil {
			t.Fatal(err)
		}
		if a.models, err = proto.NewOpenAPIData(parsed); err != nil {
			t.Fatal(err)
		}
		if len(a.kinds) < len(kinds()) || len(a.serves) < 100 {
			t.Fatalf("of %s only %d kinds and %d resources are known: make %s anew", v, len(a.kinds), len(a.serves), facts)
		}
	}
	return out
}

// check says what is wrong with an object.
func (a *api) check(o *unstructured.Unstructured) error {
	name, ok := a.kinds[o.GetAPIVersion()+" "+o.GetKind()]
	if !ok {
		return errors.New("there is no such kind, or kinds() does not name it")
	}
	return errors.Join(validation.ValidateModel(o.Object, a.models.LookupModel(name), o.GetKind())...)
}

// ours says whether a group's kinds come with Fairlead or the Prometheus operator, and not with Kubernetes.
func ours(group string) bool {
	return slices.Contains([]string{"metallb.io", "fairlead.io", "monitoring.coreos.com"}, group)
}

// everything switches on all that the chart has.
const everything = `
ipvs: {enabled: true}
speaker: {dropUnserved: true}
controller: {statusPage: {enabled: true}}
pools: {first: {addresses: [192.0.2.0/28]}}
networkpolicies: {enabled: true, defaultDeny: true}
prometheus: {serviceAccount: p, namespace: m, secureMetrics: {enabled: true}, serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}, grafanaDashboard: {enabled: true}}`

// installed are all objects that an installation may consist of, by where they are from.
func installed(t *testing.T) map[string]objects {
	t.Helper()
	out := map[string]objects{"the chart": render(t, nil), "the chart with everything": render(t, values(t, everything))}
	for _, folder := range []string{"default", "ipvs"} {
		text, err := kustomized(root, repository+":dev", folder)
		if err != nil {
			t.Fatal(err)
		}
		out["config/"+folder] = parse(t, string(text))
	}
	return out
}

// TestManifestsFitEveryKubernetes: each object that is installed is of a kind that each supported version has, with no field
// that it does not know or that is of another type, and none missing: the kinds' definitions, too.
func TestManifestsFitEveryKubernetes(t *testing.T) {
	all := installed(t)
	for version, a := range apis(t) {
		checked := map[string]bool{}
		for from, objects := range all {
			for key, o := range objects {
				if ours(o.GroupVersionKind().Group) {
					continue
				}
				checked[o.GetKind()] = true
				if err := a.check(o); err != nil {
					t.Errorf("Kubernetes %s: %s of %s: %v", version, key, from, err)
				}
			}
		}
		if len(checked) < 14 {
			t.Errorf("only the kinds %v were checked", checked)
		}
	}
}

// TestWhatDoesNotFitIsFound by what finds nothing in our manifests.
func TestWhatDoesNotFitIsFound(t *testing.T) {
	for version, a := range apis(t) {
		for _, bad := range []string{
			`{apiVersion: apps/v2, kind: Deployment}`, `{apiVersion: v1, kind: ConfigMap, dota: {}}`, `{apiVersion: v1, kind: ConfigMap, data: [a]}`,
			`{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a}, spec: {selector: {}}}`,
			`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, spec: {group: g, names: {kind: K, plural: k}, scope: Cluster, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {typo: object}}}]}}`,
		} {
			if err := a.check(&unstructured.Unstructured{Object: values(t, bad)}); err == nil {
				t.Errorf("Kubernetes %s has nothing against %s", version, bad)
			}
		}
	}
}

// TestEveryKubernetesServesWhatIsAskedFor: the resources in the roles, by the versions in the code's imports, and the fields that
// decisions depend on.
func TestEveryKubernetesServesWhatIsAskedFor(t *testing.T) {
	roles, versions := resources(t), imports(t)
	versions["events.k8s.io"] = []string{"v1"} // of client-go's recorder
	for version, a := range apis(t) {
		for resource := range roles {
			group, name, _ := strings.Cut(resource, " ")
			if !slices.ContainsFunc(versions[group], func(v string) bool { return a.serves[strings.TrimPrefix(group+"/"+v, "/")+" "+name] }) {
				t.Errorf("Kubernetes %s serves %s of the group %q in none of the versions %v that the code imports", version, name, group, versions[group])
			}
		}
		for _, field := range []string{
			"core.v1.ServiceStatus conditions", "core.v1.LoadBalancerIngress ipMode", "core.v1.ServiceSpec loadBalancerClass", "core.v1.ServiceSpec ipFamilies",
			"discovery.v1.EndpointConditions serving", "discovery.v1.EndpointConditions terminating", "networking.v1.ServiceCIDRSpec cidrs", "core.v1.NodeSpec podCIDRs",
		} {
			definition, name, _ := strings.Cut(field, " ")
			if !a.fields["io.k8s.api."+definition][name] {
				t.Errorf("Kubernetes %s has no %s", version, field)
			}
		}
	}
}

// resources are those of Kubernetes' own that the roles name, as "group resource", but for those of people and Prometheus.
func resources(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, objects := range installed(t) {
		for _, o := range objects {
			if kind := o.GetKind(); kind != "Role" && kind != "ClusterRole" || strings.Contains(o.GetName(), "prometheus") {
				continue
			}
			rules, _, _ := unstructured.NestedSlice(o.Object, "rules")
			for _, r := range rules {
				groups, _, _ := unstructured.NestedStringSlice(r.(map[string]any), "apiGroups")
				names, _, _ := unstructured.NestedStringSlice(r.(map[string]any), "resources")
				for _, g := range groups {
					for _, n := range names {
						if !ours(g) {
							out[g+" "+n] = true
						}
					}
				}
			}
		}
	}
	if len(out) < 10 {
		t.Fatalf("only %v are named in the roles", out)
	}
	return out
}

// imports are the versions of Kubernetes' groups that the product's code imports the types of.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{"e2e", "tools", "dist", "bin", ".git"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			m := regexp.MustCompile(`^"k8s.io/(?:api|apiextensions-apiserver/pkg/apis)/([a-z]+)/(v[a-z0-9]+)"$`).FindStringSubmatch(i.Path.Value)
			if m != nil && !slices.Contains(out[group(m[1])], m[2]) {
				out[group(m[1])] = append(out[group(m[1])], m[2])
			}
		}
		return nil
	})
	if err != nil || len(out[""]) == 0 {
		t.Fatalf("%v: %v", out, err)
	}
	return out
}

// group is the name of the API group whose types are in a folder of k8s.io/api.
func group(folder string) string {
	switch folder {
	case "core":
		return ""
	case "apps", "batch", "policy":
		return folder
	default:
		return folder + ".k8s.io"
	}
}

// TestSupportedVersions: the newest is the one that the tests run, the oldest that of make test-oldest, one of each minor, and the
// documents say so.
func TestSupportedVersions(t *testing.T) {
	s := Supported()
	for module, version := range map[string]string{"kube": s[len(s)-1], "kube-oldest": s[0]} {
		pinned, err := os.ReadFile(filepath.Join(root, "e2e", module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(pinned, []byte("k8s.io/kubernetes "+version+"\n")) {
			t.Errorf("e2e/%s does not pin %s: change Supported() and make %s anew", module, version, facts)
		}
	}
	minors := map[string]bool{}
	for _, v := range s {
		minors[v[:strings.LastIndex(v, ".")]] = true
	}
	if len(minors) < 4 || len(minors) != len(s) {
		t.Errorf("%v are not four minors", s)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "installation.md"))
	if err != nil {
		t.Fatal(err)
	}
	minor := func(v string) string { return strings.TrimPrefix(v[:strings.LastIndex(v, ".")], "v") }
	if want := "| Kubernetes | " + minor(s[0]) + " to " + minor(s[len(s)-1]) + " "; !bytes.Contains(page, []byte(want)) {
		t.Errorf("docs/installation.md does not say %q", want)
	}
}
