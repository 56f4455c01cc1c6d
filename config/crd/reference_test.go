package crd

import (
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const page = "../../docs/reference.md"

// TestMain adds the flag -update, which writes docs/reference.md anew.
func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the page anew")
	os.Exit(m.Run())
}

// TestReferenceIsFresh: docs/reference.md says what the types say.
func TestReferenceIsFresh(t *testing.T) {
	want := reference(definitionsOf(t))
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != want {
		t.Errorf("docs/reference.md is stale (%v): run go test ./config/crd -update", err)
	}
}

// TestEveryFieldIsDescribed: the reference is as good as the comments on the types.
func TestEveryFieldIsDescribed(t *testing.T) {
	for _, d := range definitionsOf(t) {
		for _, v := range d.Spec.Versions {
			fields := fieldsOf(v.Schema.OpenAPIV3Schema)
			if len(fields) == 0 {
				t.Errorf("%s %s has no fields", d.Spec.Names.Kind, v.Name)
			}
			for _, f := range fields {
				if f.schema.Description == "" {
					t.Errorf("%s %s: %s has no description", d.Spec.Names.Kind, v.Name, f.path)
				}
			}
		}
	}
}

// definitionsOf parses all definitions, in the order of their files' names.
func definitionsOf(t *testing.T) (out []apiextensions.CustomResourceDefinition) {
	t.Helper()
	names, err := fs.Glob(Definitions(), "*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no definitions: %v", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(Definitions(), name)
		if err != nil {
			t.Fatal(err)
		}
		var d apiextensions.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(text, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, d)
	}
	return out
}

// reference renders the page: a section for each version of each kind, with a table of its fields.
func reference(definitions []apiextensions.CustomResourceDefinition) string {
	var b strings.Builder
	b.WriteString(`# The kinds and their fields

This page is made from the types: edit the comments in api/, run make generate, then go test ./config/crd -update.

` + "`[]` after a name stands for each item of a list, `{}` for each value of a map. A field in **bold** is required where its parent is given.\n\n")
	for _, d := range definitions {
		for _, v := range d.Spec.Versions {
			fmt.Fprintf(&b, "- [%s](#%s), %s/%s\n", d.Spec.Names.Kind, anchor(d, v), d.Spec.Group, v.Name)
		}
	}
	for _, d := range definitions {
		for _, v := range d.Spec.Versions {
			section(&b, d, v)
		}
	}
	return b.String()
}

func section(b *strings.Builder, d apiextensions.CustomResourceDefinition, v apiextensions.CustomResourceDefinitionVersion) {
	fmt.Fprintf(b, "\n## %s %s\n\n`apiVersion: %s/%s`, `kubectl get %s`", d.Spec.Names.Kind, v.Name, d.Spec.Group, v.Name, d.Spec.Names.Plural)
	if short := d.Spec.Names.ShortNames; len(short) > 0 {
		fmt.Fprintf(b, ", short: `%s`", strings.Join(short, "`, `"))
	}
	if !v.Served {
		b.WriteString(". Not served as installed by default")
	}
	fmt.Fprintf(b, ".\n\n%s\n\n| field | type | meaning |\n|---|---|---|\n", prose(v.Schema.OpenAPIV3Schema.Description))
	for _, f := range fieldsOf(v.Schema.OpenAPIV3Schema) {
		name := "`" + f.path + "`"
		if f.required {
			name = "**" + name + "**"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, typeOf(f.schema), strings.ReplaceAll(prose(f.schema.Description)+limits(f.schema), "|", `\|`))
	}
}

// anchor is what GitHub makes of a section's title.
func anchor(d apiextensions.CustomResourceDefinition, v apiextensions.CustomResourceDefinitionVersion) string {
	return strings.ToLower(d.Spec.Names.Kind + "-" + v.Name)
}

type field struct {
	path     string
	schema   apiextensions.JSONSchemaProps
	required bool
}

// fieldsOf lists what spec and status (or whatever a kind has beside its metadata) consist of, parents first.
func fieldsOf(root *apiextensions.JSONSchemaProps) (out []field) {
	var walk func(prefix string, s apiextensions.JSONSchemaProps)
	walk = func(prefix string, s apiextensions.JSONSchemaProps) {
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			p := s.Properties[name]
			path := prefix + name
			if prefix == "" && (name == "apiVersion" || name == "kind" || name == "metadata") {
				continue
			}
			if prefix != "" {
				out = append(out, field{path, p, slices.Contains(s.Required, name)})
			}
			switch {
			case p.Items != nil && p.Items.Schema != nil:
				walk(path+"[].", *p.Items.Schema)
			case p.AdditionalProperties != nil && p.AdditionalProperties.Schema != nil:
				walk(path+"{}.", *p.AdditionalProperties.Schema)
			default:
				walk(path+".", p)
			}
		}
	}
	walk("", *root)
	return out
}

// typeOf names a schema's type as a person writes it.
func typeOf(s apiextensions.JSONSchemaProps) string {
	switch {
	case s.XIntOrString:
		return "integer or string"
	case s.Items != nil && s.Items.Schema != nil:
		return "list of " + typeOf(*s.Items.Schema)
	case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return "map of " + typeOf(*s.AdditionalProperties.Schema)
	case s.Format != "" && s.Type == "string":
		return s.Format
	}
	return s.Type
}

// limits says which values a field takes, and which one it has when it is not given.
func limits(s apiextensions.JSONSchemaProps) (out string) {
	say := func(format string, args ...any) { out += " " + fmt.Sprintf(format, args...) }
	if len(s.Enum) > 0 {
		values := make([]string, len(s.Enum))
		for i, e := range s.Enum {
			values[i] = "`" + strings.Trim(string(e.Raw), `"`) + "`"
		}
		say("One of %s.", strings.Join(values, ", "))
	}
	if s.Minimum != nil {
		say("At least %v.", *s.Minimum)
	}
	if s.Maximum != nil {
		say("At most %.0f.", *s.Maximum)
	}
	if s.Default != nil {
		say("Default: `%s`.", s.Default.Raw)
	}
	return out
}

// prose joins a comment's lines.
func prose(text string) string { return strings.Join(strings.Fields(text), " ") }
