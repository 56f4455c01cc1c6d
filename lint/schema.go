package lint

// This file holds what the API server would say of an object by the schema in its CustomResourceDefinition. The CEL rules
// are not run: policy.Compile says the same of every one of them, and a test sees to it that it does.

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	openapierrors "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/config/crd"
	"github.com/fairlead-lb/fairlead/internal/nearest"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// schemas are those of all kinds of our groups.
type schemas map[schema.GroupVersionKind]*spec.Schema

// definition is what is read of a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Group string `json:"group"`
		Names struct {
			Kind string `json:"kind"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Schema struct {
				OpenAPIV3Schema *spec.Schema `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

func readSchemas() (schemas, error) {
	out := schemas{}
	files := crd.Definitions()
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var d definition
		if err := yaml.Unmarshal(data, &d); err != nil {
			return nil, fmt.Errorf("reading the definition in %s: %w", name, err)
		}
		for _, v := range d.Spec.Versions {
			out[schema.GroupVersionKind{Group: d.Spec.Group, Version: v.Name, Kind: d.Spec.Names.Kind}] = v.Schema.OpenAPIV3Schema
		}
	}
	return out, nil
}

// of returns the schema of an object's kind.
func (s schemas) of(d *document) *spec.Schema {
	return s[schema.GroupVersionKind{Group: d.group, Version: d.version, Kind: d.kind}]
}

// unknown says what is wrong with a group, version and kind that has no schema.
func (s schemas) unknown(d *document) string {
	var kinds, versions []string
	for k := range s {
		if k.Group == d.group {
			kinds = append(kinds, k.Kind)
			if k.Kind == d.kind {
				versions = append(versions, k.Version)
			}
		}
	}
	if len(versions) > 0 {
		slices.Sort(versions)
		return fmt.Sprintf("there is no version %q of %s: write apiVersion: %s/%s", d.version, d.kind, d.group, versions[len(versions)-1])
	}
	return fmt.Sprintf("there is no kind %q in the group %s%s", d.kind, d.group, nearest.Ask(d.kind, kinds))
}

// validate tells what the schema says of an object, and of fields that it does not know.
func (c *checker) validate(d *document, s *spec.Schema) {
	var value any
	if err := json.Unmarshal(d.json, &value); err != nil {
		d.broken = true
		c.tell(d, "", Error, verdict.InvalidManifest, "%s: %v", d, err)
		return
	}
	c.unknownFields(d, s, value, "")
	for _, err := range validate.NewSchemaValidator(s, nil, "", strfmt.Default).Validate(value).Errors {
		d.broken = true
		path, text := "", err.Error()
		if v := (*openapierrors.Validation)(nil); errors.As(err, &v) {
			path = v.Name
			text = strings.TrimPrefix(strings.Replace(text, v.Name+" in body ", "", 1), v.Name+" ")
		}
		c.tell(d, path, Error, verdict.InvalidManifest, "%s", joined(d, path, text))
	}
}

// joined words a finding about a part of an object.
func joined(d *document, path, text string) string {
	if path = strings.TrimPrefix(path, "."); path == "" {
		return fmt.Sprintf("%s: %s", d, text)
	}
	return fmt.Sprintf("%s, %s: %s", d, path, text)
}

// unknownFields tells the fields that the schema does not have; the API server drops them without a word, unless it is
// asked to be strict.
func (c *checker) unknownFields(d *document, s *spec.Schema, value any, path string) {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			below := strings.TrimPrefix(path+"."+name, ".")
			if property, ok := s.Properties[name]; ok {
				c.unknownFields(d, &property, value[name], below)
			} else if len(s.Properties) > 0 {
				d.broken = true
				c.tell(d, below, Error, verdict.UnknownField, "%s, %s: there is no such field%s", d, below, nearest.Ask(name, slices.Collect(maps.Keys(s.Properties))))
			}
		}
	case []any:
		if s.Items == nil || s.Items.Schema == nil {
			return
		}
		for i, item := range value {
			c.unknownFields(d, s.Items.Schema, item, fmt.Sprintf("%s[%d]", path, i))
		}
	}
}
