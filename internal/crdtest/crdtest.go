// Package crdtest compares CustomResourceDefinitions with tables, so that a change of a type that would break a manifest
// is seen as a change of a table.
package crdtest

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

// Kind says what the definition of one kind looks like. A column is "name type path", and "/priority" if it has one.
type Kind struct {
	Kind, Plural, Short string
	Columns             []string
	Versions            []Version
	NoStatus            bool // it has no status subresource
}

// Version is one version of a kind: its state is made of served, storage and deprecated. A line of fields is a path ("[]"
// for the items of a list), a type and, as far as they apply: required, the range, the format, the values, the default
// and the CEL rules.
type Version struct{ Name, State, Fields string }

// Check compares the definitions of a group in a directory with the table.
func Check(t *testing.T, dir, group string, kinds []Kind) {
	t.Helper()
	crds := Definitions(t, dir)
	for _, want := range kinds {
		t.Run(want.Kind, func(t *testing.T) {
			crd, ok := crds[want.Plural+"."+group]
			if !ok {
				t.Fatalf("no definition of %s in %s", want.Plural, dir)
			}
			wantNames := apiextensionsv1.CustomResourceDefinitionNames{
				Kind: want.Kind, ListKind: want.Kind + "List",
				Plural: want.Plural, Singular: strings.ToLower(want.Kind), ShortNames: []string{want.Short},
			}
			if d := cmp.Diff(wantNames, crd.Spec.Names); d != "" {
				t.Errorf("names (-want +got):\n%s", d)
			}
			if crd.Spec.Scope != apiextensionsv1.NamespaceScoped {
				t.Errorf("scope %s, want Namespaced", crd.Spec.Scope)
			}
			if c := crd.Spec.Conversion; c != nil && c.Strategy != apiextensionsv1.NoneConverter {
				t.Errorf("conversion %s, want None", c.Strategy)
			}
			if len(crd.Spec.Versions) != len(want.Versions) {
				t.Fatalf("%d versions, want %d", len(crd.Spec.Versions), len(want.Versions))
			}
			for i, v := range crd.Spec.Versions {
				checkVersion(t, v, want.Versions[i], want)
			}
		})
	}
	for name, crd := range crds {
		if crd.Spec.Group == group && !slices.ContainsFunc(kinds, func(k Kind) bool { return k.Kind == crd.Spec.Names.Kind }) {
			t.Errorf("%s is in %s but not in the table", name, dir)
		}
	}
}

// checkVersion compares one version of a definition with its row.
func checkVersion(t *testing.T, got apiextensionsv1.CustomResourceDefinitionVersion, want Version, kind Kind) {
	t.Helper()
	if s := state(got); got.Name != want.Name || s != want.State {
		t.Errorf("version %s is %q, want %s to be %q", got.Name, s, want.Name, want.State)
	}
	if sub := got.Subresources; (sub == nil || sub.Status == nil) != kind.NoStatus || sub != nil && sub.Scale != nil {
		t.Errorf("%s: status subresource wanted: %v, and no other", got.Name, !kind.NoStatus)
	}
	var cols []string
	for _, c := range got.AdditionalPrinterColumns {
		col := c.Name + " " + c.Type + " " + c.JSONPath
		if c.Priority != 0 {
			col += fmt.Sprintf("/%d", c.Priority)
		}
		cols = append(cols, col)
	}
	if d := cmp.Diff(kind.Columns, cols); d != "" {
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
	if d := cmp.Diff(strings.Split(strings.TrimSpace(want.Fields), "\n"), lines); d != "" {
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

// Definitions reads all CustomResourceDefinitions in a directory, keyed by name.
func Definitions(t *testing.T, dir string) map[string]apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crds := make(map[string]apiextensionsv1.CustomResourceDefinition)
	for _, file := range definitionFiles(t, dir) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &crd); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if base := crd.Spec.Group + "_" + crd.Spec.Names.Plural + ".yaml"; filepath.Base(file) != base {
			t.Errorf("%s holds %s", file, crd.Name)
		}
		crds[crd.Name] = crd
	}
	return crds
}

// definitionFiles lists the files of the CustomResourceDefinitions, sorted; controller-gen names them group_plural.yaml.
func definitionFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no definitions in %s: %v", dir, err)
	}
	return files
}
