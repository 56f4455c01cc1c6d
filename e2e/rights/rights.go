// Package rights compares what roles allow with what was asked for, as an API server's audit log tells it: a right that
// nobody uses is too much, and a refused request is a right that is missing.
package rights

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// A Right is one verb on one kind of resource that a role allows.
type Right struct {
	Role      string
	Namespace string // where; "" is everywhere
	Verb      string
	Resource  string // as the API names it: services/status, leases.coordination.k8s.io
	Name      string // of the only object; "" is any
}

// String writes the right as a person would tell it.
func (r Right) String() string {
	s := r.Role + " may " + r.Verb + " " + r.Resource
	if r.Name != "" {
		s += " " + r.Name
	}
	if r.Namespace != "" {
		s += " in " + r.Namespace
	}
	return s
}

// A Request is what an account asked for.
type Request struct {
	User      string
	Namespace string
	Verb      string
	Resource  string
	Name      string // "" where none was named
	Refused   bool   // for want of a right
}

// String writes the request as a person would tell it.
func (r Request) String() string {
	s := r.User + " wants to " + r.Verb + " " + r.Resource
	if r.Name != "" {
		s += " " + r.Name
	}
	if r.Namespace != "" {
		s += " in " + r.Namespace
	}
	return s
}

// Of returns the rights of the roles in manifests of several documents, sorted. A nonResourceURL counts as a resource. A
// role that allows everything of a sort by a star is an error: nobody can say what of that is used.
func Of(manifests []byte) ([]Right, error) {
	var out []Right
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		var role rbacv1.Role // a ClusterRole has the same rules, and other kinds have none
		err := documents.Decode(&role)
		if errors.Is(err, io.EOF) {
			slices.SortFunc(out, compare)
			return slices.Compact(out), nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading roles: %w", err)
		}
		for _, rule := range role.Rules {
			if slices.Contains(slices.Concat(rule.Verbs, rule.APIGroups, rule.Resources), "*") {
				return nil, fmt.Errorf("%s %q has a star", role.Kind, role.Name)
			}
			out = append(out, rightsOf(&role, rule)...)
		}
	}
}

// rightsOf returns the rights of one rule.
func rightsOf(role *rbacv1.Role, rule rbacv1.PolicyRule) (out []Right) {
	resources := slices.Clone(rule.NonResourceURLs)
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			resources = append(resources, named(resource, group))
		}
	}
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, resource := range resources {
		for _, verb := range rule.Verbs {
			for _, name := range names {
				out = append(out, Right{Role: role.Name, Namespace: role.Namespace, Verb: verb, Resource: resource, Name: name})
			}
		}
	}
	return out
}

// named writes a resource with its group, and a subresource behind them.
func named(resource, group string) string {
	if group == "" {
		return resource
	}
	resource, sub, has := strings.Cut(resource, "/")
	if has {
		sub = "/" + sub
	}
	return resource + "." + group + sub
}

func compare(a, b Right) int {
	return cmp.Or(strings.Compare(a.Role, b.Role), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Resource, b.Resource),
		strings.Compare(a.Verb, b.Verb), strings.Compare(a.Name, b.Name))
}

// Asked returns the requests for resources in an audit log, each once.
func Asked(log io.Reader) (map[Request]bool, error) {
	out := map[Request]bool{}
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Verb      string
			User      struct{ Username string }
			ObjectRef *struct{ Resource, Subresource, Namespace, Name, APIGroup string }
			// Decision of the authorizer.
			Annotations struct {
				Decision string `json:"authorization.k8s.io/decision"`
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		o := event.ObjectRef
		if o == nil {
			continue // discovery, which everybody may ask for
		}
		resource := o.Resource
		if o.Subresource != "" {
			resource += "/" + o.Subresource
		}
		out[Request{
			User: event.User.Username, Namespace: o.Namespace, Verb: event.Verb, Resource: named(resource, o.APIGroup), Name: o.Name,
			Refused: event.Annotations.Decision == "forbid",
		}] = true
	}
	return out, lines.Err()
}

// Unused returns the rights that none of the requests needed: one that was refused has used nothing. Holders are the roles by the user who has them. Who watches needs to
// list, too: API servers since Kubernetes 1.34 begin a watch with what there is, others are asked for the list first.
func Unused(rights []Right, requests map[Request]bool, holders map[string][]string) []Right {
	used := map[Right]bool{}
	for request := range requests {
		if request.Refused {
			continue
		}
		for _, right := range narrowest(rights, request, holders[request.User]) {
			used[right] = true
		}
		if request.Verb == "watch" {
			request.Verb = "list"
			for _, right := range narrowest(rights, request, holders[request.User]) {
				used[right] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(rights), func(r Right) bool { return used[r] })
}

// narrowest returns the rights that allow a request, and of them those that allow the least else: what a wider one would
// allow, too, is no reason to have that.
func narrowest(rights []Right, request Request, roles []string) (best []Right) {
	width := func(r Right) (w int) {
		if r.Namespace == "" {
			w += 2
		}
		if r.Name == "" {
			w++
		}
		return w
	}
	for _, r := range rights {
		if r.Verb != request.Verb || r.Resource != request.Resource || !slices.Contains(roles, r.Role) ||
			r.Namespace != "" && r.Namespace != request.Namespace || r.Name != "" && r.Name != request.Name {
			continue
		}
		if len(best) > 0 && width(r) < width(best[0]) {
			best = nil
		}
		if len(best) == 0 || width(r) == width(best[0]) {
			best = append(best, r)
		}
	}
	return best
}
