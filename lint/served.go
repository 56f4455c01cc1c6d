package lint

// This file compares the definitions of this version with those that a cluster has.

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Groups returns the groups and versions of all kinds, sorted.
func (l *Linter) Groups() (out []schema.GroupVersion) {
	for kind := range l.schemas {
		if gv := kind.GroupVersion(); !slices.Contains(out, gv) {
			out = append(out, gv)
		}
	}
	slices.SortFunc(out, func(a, b schema.GroupVersion) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// Lacking returns the fields that this version's kinds of a group have and the cluster's have not, sorted: it drops them without
// a word. The document is what an API server gives as /openapi/v3/apis/GROUP/VERSION. A kind that the cluster does not have at
// all is not told.
func (l *Linter) Lacking(gv schema.GroupVersion, document []byte) ([]string, error) {
	var served struct {
		Components struct {
			Schemas map[string]*spec.Schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &served); err != nil {
		return nil, fmt.Errorf("reading the API server's schemas of %s: %w", gv, err)
	}
	var out []string
	for kind, ours := range l.schemas {
		if kind.GroupVersion() != gv {
			continue
		}
		for name, theirs := range served.Components.Schemas {
			if strings.HasSuffix(name, "."+gv.Version+"."+kind.Kind) {
				out = append(out, lacking(ours, theirs, kind.Kind)...)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// lacking compares two schemas of one object; of what is lacking, it does not tell the parts.
func lacking(ours, theirs *spec.Schema, path string) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(ours.Properties)) {
		mine := ours.Properties[name]
		its, ok := theirs.Properties[name]
		switch below := path + "." + name; {
		case name == "apiVersion" || name == "kind" || name == "metadata":
		case !ok:
			out = append(out, below)
		default:
			out = append(out, lacking(&mine, &its, below)...)
		}
	}
	if ours.Items != nil && theirs.Items != nil && ours.Items.Schema != nil && theirs.Items.Schema != nil {
		out = append(out, lacking(ours.Items.Schema, theirs.Items.Schema, path+"[]")...)
	}
	return out
}
