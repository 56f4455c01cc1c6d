package rights

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const roles = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: a, namespace: ns}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: wide}
rules:
  - {apiGroups: [""], resources: [services, services/status], verbs: [list]}
  - {apiGroups: [x.io], resources: [things], verbs: [list, watch]}
  - {nonResourceURLs: [/metrics], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: narrow, namespace: ns}
rules:
  - {apiGroups: [x.io], resources: [things/status], verbs: [patch]}
  - {apiGroups: [x.io], resources: [things], verbs: [list, get]}
  - {apiGroups: [""], resources: [secrets], resourceNames: [one, two], verbs: [get]}
`

// TestUnused: a right is used by a request that no narrower right allows.
func TestUnused(t *testing.T) {
	rights, err := Of([]byte(roles))
	if err != nil {
		t.Fatal(err)
	}
	holders := map[string][]string{"a": {"wide", "narrow"}, "b": {"wide"}}
	all := []string{
		"narrow may get secrets one in ns", "narrow may get secrets two in ns", "narrow may get things.x.io in ns",
		"narrow may list things.x.io in ns", "narrow may patch things.x.io/status in ns",
		"wide may get /metrics", "wide may list services", "wide may list services/status", "wide may list things.x.io", "wide may watch things.x.io",
	}
	for name, c := range map[string]struct {
		log  string
		used []string
	}{
		"nothing is asked":          {"", nil},
		"an object by its name":     {event("a", "get", "", "secrets", "", "ns", "one"), []string{"narrow may get secrets one in ns"}},
		"a name that is not ours":   {event("a", "get", "", "secrets", "", "ns", "three"), nil},
		"another namespace":         {event("a", "get", "x.io", "things", "", "m", "t"), nil},
		"the narrower of two":       {event("a", "list", "x.io", "things", "", "ns", ""), []string{"narrow may list things.x.io in ns"}},
		"only the wider allows it":  {event("a", "list", "x.io", "things", "", "", ""), []string{"wide may list things.x.io"}},
		"a watch wants the list":    {event("b", "watch", "x.io", "things", "", "", ""), []string{"wide may list things.x.io", "wide may watch things.x.io"}},
		"who has no narrower one":   {event("b", "list", "x.io", "things", "", "ns", ""), []string{"wide may list things.x.io"}},
		"a subresource":             {event("a", "patch", "x.io", "things", "status", "ns", "t"), []string{"narrow may patch things.x.io/status in ns"}},
		"a subresource of the core": {event("a", "list", "", "services", "status", "", ""), []string{"wide may list services/status"}},
		"a refused request":         {strings.Replace(event("a", "list", "", "services", "", "", ""), "allow", "forbid", 1), nil},
		"somebody else's request":   {event("c", "list", "", "services", "", "", ""), nil},
	} {
		t.Run(name, func(t *testing.T) {
			requests, err := Asked(strings.NewReader(c.log))
			if err != nil {
				t.Fatal(err)
			}
			want := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(c.used, s) })
			var got []string
			for _, r := range Unused(rights, requests, holders) {
				got = append(got, r.String())
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestAStarIsNoRight that could be compared with anything.
func TestAStarIsNoRight(t *testing.T) {
	for _, rule := range []string{
		`{apiGroups: [""], resources: [pods], verbs: ["*"]}`, `{apiGroups: ["*"], resources: [pods], verbs: [get]}`, `{apiGroups: [""], resources: ["*"], verbs: [get]}`,
	} {
		if got, err := Of([]byte("{kind: Role, metadata: {name: r}, rules: [" + rule + "]}")); err == nil {
			t.Errorf("%s gives %v", rule, got)
		}
	}
}

// TestAsked: what an API server writes.
func TestAsked(t *testing.T) {
	got, err := Asked(strings.NewReader(`{"verb":"get","user":{"username":"a"},"requestURI":"/api"}
{"kind":"Event","stage":"ResponseComplete","verb":"watch","user":{"username":"a","groups":["g"]},"objectRef":{"resource":"leases","namespace":"n","name":"l","apiGroup":"coordination.k8s.io","apiVersion":"v1"},"annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":""}}
`))
	want := map[Request]bool{{User: "a", Namespace: "n", Verb: "watch", Resource: "leases.coordination.k8s.io", Name: "l", Refused: true}: true}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if _, err := Asked(strings.NewReader("{")); err == nil {
		t.Error("half a line is read as if it were whole")
	}
}

func event(user, verb, group, resource, sub, namespace, name string) string {
	return `{"verb":"` + verb + `","user":{"username":"` + user + `"},"objectRef":{"resource":"` + resource + `","subresource":"` + sub +
		`","namespace":"` + namespace + `","name":"` + name + `","apiGroup":"` + group + `"},"annotations":{"authorization.k8s.io/decision":"allow"}}`
}
