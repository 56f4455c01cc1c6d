package main

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestAdmissionIsAboutOurKindsOnly: no webhook and no admission policy that is installed asks about a kind of another
// group, so a controller that is down blocks neither Services nor Nodes; and none is about all groups or all kinds.
func TestAdmissionIsAboutOurKindsOnly(t *testing.T) {
	seen := 0
	check := func(key string, rules []any) {
		if len(rules) == 0 {
			t.Errorf("%s has no rule, which may mean everything", key)
		}
		for _, r := range rules {
			groups, _, _ := unstructured.NestedStringSlice(r.(map[string]any), "apiGroups")
			kinds, _, _ := unstructured.NestedStringSlice(r.(map[string]any), "resources")
			for _, g := range groups {
				if g != "metallb.io" && g != "fairlead.io" {
					t.Errorf("%s is about the group %q", key, g)
				}
			}
			for _, k := range kinds {
				if k == "*" || k == "*/*" {
					t.Errorf("%s is about all kinds", key)
				}
			}
			seen += min(len(groups), len(kinds))
		}
	}
	for key, o := range render(t, nil) {
		switch o.GetKind() {
		case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration":
			hooks, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
			for _, h := range hooks {
				rules, _, _ := unstructured.NestedSlice(h.(map[string]any), "rules")
				check(key, rules)
			}
		case "ValidatingAdmissionPolicy", "MutatingAdmissionPolicy":
			rules, _, _ := unstructured.NestedSlice(o.Object, "spec", "matchConstraints", "resourceRules")
			check(key, rules)
		}
	}
	if seen == 0 {
		t.Error("no admission at all was found")
	}
}
