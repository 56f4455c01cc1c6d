// Package metallb_test checks the wire form of the group metallb.io against manifests and against tables transcribed from
// the inventory of MetalLB's API, so that a change of a type that would break a manifest is seen as a change of a table.
package metallb_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/internal/crdtest"
)

// TestManifests decodes manifests strictly and checks that encoding gives back what was written, nothing lost and
// nothing added.
func TestManifests(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1beta1.AddToScheme, v1beta2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	full := make(map[schema.GroupVersionKind]bool)
	for _, file := range []string{"every-field.yaml", "guides.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(data), "\n---\n") {
			var want struct {
				APIVersion string `json:"apiVersion"`
				Kind       string `json:"kind"`
				Metadata   struct {
					Name string `json:"name"`
				} `json:"metadata"`
			}
			if err := yaml.Unmarshal([]byte(doc), &want); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			gvk := schema.FromAPIVersionAndKind(want.APIVersion, want.Kind)
			t.Run(strings.Join([]string{file, gvk.Version, gvk.Kind, want.Metadata.Name}, "/"), func(t *testing.T) {
				obj, err := scheme.New(gvk)
				if err != nil {
					t.Fatal(err)
				}
				if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
					t.Fatal(err)
				}
				checkLossless(t, doc, obj)
				if file == "every-field.yaml" {
					full[gvk] = true
					checkFilled(t, reflect.ValueOf(obj).Elem())
				}
			})
		}
	}
	for gvk := range scheme.AllKnownTypes() {
		own := gvk.GroupVersion() == v1beta1.GroupVersion || gvk.GroupVersion() == v1beta2.GroupVersion
		listed := slices.ContainsFunc(kinds, func(k crdtest.Kind) bool {
			return k.Kind == gvk.Kind
		})
		if own && listed && !full[gvk] {
			t.Errorf("every-field.yaml has no %s", gvk)
		}
	}
}

// checkLossless compares a manifest with what its decoded and copied form encodes to.
func checkLossless(t *testing.T, doc string, obj runtime.Object) {
	t.Helper()
	encoded, err := yaml.Marshal(obj.DeepCopyObject())
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := yaml.Unmarshal([]byte(doc), &want); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(encoded, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("round trip (-want +got):\n%s", d)
	}
}

// checkFilled checks that the manifest with every field has every field: nothing in spec and status is zero.
func checkFilled(t *testing.T, obj reflect.Value) {
	t.Helper()
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		if !strings.HasPrefix(v.Type().PkgPath(), "github.com/fairlead-lb/") || v.Kind() != reflect.Struct {
			if v.IsZero() {
				t.Errorf("%s is not set", path)
			}
			switch {
			case v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct:
				walk(path, v.Elem())
			case v.Kind() == reflect.Slice && v.Len() > 0:
				walk(path+"[0]", v.Index(0))
			}
			return
		}
		for i := range v.NumField() {
			walk(path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
	for _, name := range []string{"Spec", "Status"} {
		if v := obj.FieldByName(name); v.IsValid() {
			walk(name, v)
		}
	}
}
