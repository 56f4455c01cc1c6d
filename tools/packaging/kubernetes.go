package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Supported are the versions of Kubernetes that Fairlead is for, one of each minor, the newest first to last.
func Supported() []string { return []string{"v1.33.13", "v1.34.8", "v1.35.6", "v1.36.3"} }

// A Fact is something that the API of some of the versions has, taken from their OpenAPI: a definition that an object which is
// installed or used is made of, or a resource that is served.
type Fact struct {
	In         []string        `json:"in"` // the versions
	Definition string          `json:"definition,omitempty"`
	Schema     json.RawMessage `json:"schema,omitempty"` // of the definition, without descriptions
	Serves     string          `json:"serves,omitempty"` // such as "v1 services/status"
}

// kinds are those of Kubernetes' own that are installed, or that Fairlead reads and writes: "group/version kind".
func kinds() []string {
	return []string{
		"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy", "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding",
		"admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration", "apiextensions.k8s.io/v1 CustomResourceDefinition",
		"apps/v1 DaemonSet", "apps/v1 Deployment", "batch/v1 Job", "coordination.k8s.io/v1 Lease", "discovery.k8s.io/v1 EndpointSlice",
		"events.k8s.io/v1 Event", "networking.k8s.io/v1 NetworkPolicy", "networking.k8s.io/v1 ServiceCIDR", "policy/v1 PodDisruptionBudget",
		"rbac.authorization.k8s.io/v1 ClusterRole", "rbac.authorization.k8s.io/v1 ClusterRoleBinding",
		"rbac.authorization.k8s.io/v1 Role", "rbac.authorization.k8s.io/v1 RoleBinding",
		"v1 ConfigMap", "v1 Namespace", "v1 Node", "v1 Pod", "v1 Secret", "v1 Service", "v1 ServiceAccount",
	}
}

// Facts reads the OpenAPI of each version from its Go module, which is downloaded (40 MB each), and returns what is of use, one
// fact in a line.
func Facts(versions []string) ([]byte, error) {
	definitions, served := map[string][]string{}, map[string][]string{}
	for _, version := range versions {
		path, err := openAPI(version)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var api swagger
		if err := json.Unmarshal(text, &api); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		for name, schema := range api.needed(kinds()) {
			line := name + " " + schema
			definitions[line] = append(definitions[line], version)
		}
		for name := range api.serves() {
			served[name] = append(served[name], version)
		}
	}
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	lines.SetEscapeHTML(false)
	for _, line := range slices.Sorted(maps.Keys(definitions)) {
		name, schema, _ := strings.Cut(line, " ")
		if err := lines.Encode(Fact{In: definitions[line], Definition: name, Schema: json.RawMessage(schema)}); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(served)) {
		if err := lines.Encode(Fact{In: served[name], Serves: name}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// openAPI is the path of a version's OpenAPI in the module cache.
func openAPI(version string) (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes@"+version).Output()
	if err != nil {
		return "", fmt.Errorf("downloading Kubernetes %s: %w\n%s", version, err, out)
	}
	var module struct{ Dir string }
	err = json.Unmarshal(out, &module)
	return filepath.Join(module.Dir, "api", "openapi-spec", "swagger.json"), err
}

// swagger is what is read of an OpenAPI 2 document.
type swagger struct {
	Definitions map[string]json.RawMessage
	Paths       map[string]json.RawMessage
}

// needed are the definitions of the kinds and of all that these are made of, without descriptions, by name.
func (s *swagger) needed(kinds []string) map[string]string {
	reference := regexp.MustCompile(`"#/definitions/([^"]+)"`)
	out := map[string]string{}
	var add func(name string)
	add = func(name string) {
		if out[name] != "" {
			return
		}
		out[name] = plain(s.Definitions[name])
		for _, m := range reference.FindAllStringSubmatch(out[name], -1) {
			add(m[1])
		}
	}
	for name, schema := range s.Definitions {
		if slices.ContainsFunc(kindsOf(schema), func(k string) bool { return slices.Contains(kinds, k) }) {
			add(name)
		}
	}
	return out
}

// kindsOf are the kinds that a definition is of: "group/version kind".
func kindsOf(schema json.RawMessage) (out []string) {
	var d struct {
		Kinds []struct{ Group, Version, Kind string } `json:"x-kubernetes-group-version-kind"`
	}
	if json.Unmarshal(schema, &d) != nil {
		return nil
	}
	for _, k := range d.Kinds {
		out = append(out, strings.TrimPrefix(k.Group+"/"+k.Version, "/")+" "+k.Kind)
	}
	return out
}

// plain is a schema without what only people read.
func plain(schema json.RawMessage) string {
	var v any
	if json.Unmarshal(schema, &v) != nil {
		return "{}"
	}
	text, err := json.Marshal(undescribed(v))
	if err != nil {
		return "{}"
	}
	return string(text)
}

func undescribed(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if _, text := v["description"].(string); text { // and no property of that name
			delete(v, "description")
		}
		for k := range v {
			v[k] = undescribed(v[k])
		}
	case []any:
		for i := range v {
			v[i] = undescribed(v[i])
		}
	}
	return v
}

// serves are the resources with their group and version: "apps/v1 deployments/status".
func (s *swagger) serves() map[string]bool {
	out := map[string]bool{}
	path := regexp.MustCompile(`^/(?:api|apis)/((?:[^/]+/)?v[^/]+)/(?:namespaces/\{namespace\}/)?([a-z]+)(?:/\{name\}(/[a-z]+)?)?$`)
	for p := range s.Paths {
		if m := path.FindStringSubmatch(p); m != nil && m[2] != "watch" {
			out[m[1]+" "+m[2]+m[3]] = true
		}
	}
	return out
}
