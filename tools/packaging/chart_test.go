package main

import (
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

const root = "../.."

// objects are Kubernetes objects by "kind namespace/name".
type objects map[string]*unstructured.Unstructured

func parse(t *testing.T, manifests string) objects {
	t.Helper()
	out := objects{}
	d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		o := &unstructured.Unstructured{}
		switch err := d.Decode(o); {
		case err == io.EOF:
			return out
		case err != nil:
			t.Fatalf("%v in\n%s", err, manifests)
		case len(o.Object) == 0:
			continue
		}
		key := o.GetKind() + " " + strings.TrimPrefix(o.GetNamespace()+"/", "/") + o.GetName()
		if out[key] != nil {
			t.Errorf("%s stands twice", key)
		}
		out[key] = o
	}
}

func render(t *testing.T, values map[string]any) objects {
	t.Helper()
	m, err := RenderChart(root, "dev", values)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, joined(m))
}

// TestChartAndKustomizeAreOne: who installs by kubectl apply gets what who installs by helm gets, but for the namespace,
// which helm has made, and the marks of helm. The IPVS programmers are there where they are asked for.
func TestChartAndKustomizeAreOne(t *testing.T) {
	for name, c := range map[string]struct {
		folders []string
		values  map[string]any
	}{
		"default":   {[]string{"default"}, nil},
		"with IPVS": {[]string{"default", "ipvs"}, map[string]any{"ipvs": map[string]any{"enabled": true}}},
	} {
		t.Run(name, func(t *testing.T) {
			want := objects{}
			for _, folder := range c.folders {
				manifests, err := kustomized(root, repository+":dev", folder)
				if err != nil {
					t.Fatal(err)
				}
				maps.Copy(want, parse(t, string(manifests)))
			}
			delete(want, "Namespace metallb-system")
			compare(t, want, render(t, c.values))
		})
	}
}

// compare compares what kustomize renders with what the chart does.
func compare(t *testing.T, want, got objects) {
	t.Helper()
	for key, o := range got {
		if o.GetAnnotations()["helm.sh/hook"] != "" {
			delete(got, key)
			continue
		}
		for _, l := range []string{"helm.sh/chart", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"} {
			if o.GetLabels()[l] == "" {
				t.Errorf("%s has no label %s", key, l)
			}
			without(o, "labels", l)
		}
		if o.GetKind() == "CustomResourceDefinition" && o.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
			t.Errorf("an uninstall would delete %s and all objects of it", o.GetName())
		}
		without(o, "annotations", "helm.sh/resource-policy")
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
		t.Fatalf("kustomize -, chart +:\n%s", d)
	}
	for key := range want {
		if d := cmp.Diff(text(t, want[key]), text(t, got[key])); d != "" {
			t.Errorf("%s: kustomize -, chart +:\n%s", key, d)
		}
	}
}

// without takes a label or an annotation away, and the map of them when it is empty.
func without(o *unstructured.Unstructured, what, key string) {
	unstructured.RemoveNestedField(o.Object, "metadata", what, key)
	if m, _, _ := unstructured.NestedMap(o.Object, "metadata", what); len(m) == 0 {
		unstructured.RemoveNestedField(o.Object, "metadata", what)
	}
}

func text(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	out, err := sigsyaml.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestTheStatusPage: it is off unless it is asked for; then it has its port, its Service and its rights, and its certificate.
func TestTheStatusPage(t *testing.T) {
	more := []string{"ClusterRole fairlead-status", "ClusterRoleBinding fairlead-status", "Service metallb-system/fairlead-status"}
	for key := range render(t, nil) {
		if slices.Contains(more, key) {
			t.Errorf("%s is there although nobody asked for it", key)
		}
	}
	m, err := RenderChart(root, "dev", map[string]any{"controller": map[string]any{"statusPage": map[string]any{"enabled": true, "tlsSecret": "page"}}})
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, joined(m))
	for _, key := range more {
		if got[key] == nil {
			t.Errorf("%s is not there", key)
		}
	}
	for _, want := range []string{"--status-address=:7952", "--status-tls-cert=/etc/fairlead/status/tls.crt", "secretName: \"page\"", "mountPath: /etc/fairlead/status", "name: status, containerPort: 7952"} {
		if !strings.Contains(joined(m), want) {
			t.Errorf("without %s", want)
		}
	}
}
