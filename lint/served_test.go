package lint

import (
	"encoding/json"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// TestLacking: fields that a cluster's older definitions have not are told, by their paths; a kind that it does not have is not.
func TestLacking(t *testing.T) {
	l := linter(t)
	if got := fmt.Sprint(l.Groups()); got != "[fairlead.io/v1alpha1 metallb.io/v1beta1 metallb.io/v1beta2]" {
		t.Error(got)
	}
	gv := schema.GroupVersion{Group: "metallb.io", Version: "v1beta1"}
	for name, c := range map[string]struct {
		change func(map[string]*spec.Schema)
		want   string
	}{
		"the same":       {func(map[string]*spec.Schema) {}, "[]"},
		"without a kind": {func(m map[string]*spec.Schema) { delete(m, "IPAddressPool") }, "[]"},
		"without fields": {func(m map[string]*spec.Schema) {
			delete(m["IPAddressPool"].Properties, "status")
			spec := m["L2Advertisement"].Properties["spec"]
			delete(spec.Properties, "interfaces")
			selectors := spec.Properties["nodeSelectors"]
			delete(selectors.Items.Schema.Properties, "matchLabels")
		}, "[IPAddressPool.status L2Advertisement.spec.interfaces L2Advertisement.spec.nodeSelectors[].matchLabels]"},
	} {
		older := linter(t).schemas // of its own
		kinds := map[string]*spec.Schema{}
		for k, s := range older {
			if k.GroupVersion() == gv {
				kinds[k.Kind] = s
			}
		}
		c.change(kinds)
		served := map[string]*spec.Schema{}
		for kind, s := range kinds {
			served["io.metallb.v1beta1."+kind] = s
			served["io.metallb.v1beta1."+kind+"List"] = &spec.Schema{}
		}
		document, err := json.Marshal(map[string]any{"components": map[string]any{"schemas": served}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Lacking(gv, document)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, %v, want %s", name, got, err, c.want)
		}
	}
	if _, err := l.Lacking(gv, []byte("{")); err == nil {
		t.Error("what is no document is taken for one")
	}
}
