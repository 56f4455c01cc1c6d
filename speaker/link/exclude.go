//go:build linux

package link

import (
	"errors"
	"fmt"
	"regexp"

	"sigs.k8s.io/yaml"
)

// DefaultExclude returns the patterns of interface names that carry no announcements unless the user says otherwise:
// the list that MetalLB ships in its ConfigMap metallb-excludel2.
func DefaultExclude() []string {
	return []string{
		"^docker.*", "^cbr.*", "^dummy.*", "^virbr.*", "^lxcbr.*", "^veth.*", "^lo$", "^cali.*", "^tunl.*",
		"^flannel.*", "^kube-ipvs.*", "^cni.*", "^nodelocaldns.*", "^lxc.*",
	}
}

// ParseExcludeConfig reads the patterns of a ConfigMap metallb-excludel2: its key excludel2.yaml holds a YAML document
// with the list announcedInterfacesToExclude. An empty list is none; a document without one is an error.
func ParseExcludeConfig(document string) ([]string, error) {
	var config struct {
		Patterns *[]string `json:"announcedInterfacesToExclude"`
	}
	if err := yaml.UnmarshalStrict([]byte(document), &config); err != nil {
		return nil, fmt.Errorf("reading the interfaces to exclude: %w", err)
	}
	if config.Patterns == nil {
		return nil, errors.New("reading the interfaces to exclude: there is no list announcedInterfacesToExclude")
	}
	return *config.Patterns, nil
}

// ParseExclude compiles patterns of interface names (RE2 syntax, unanchored). A pattern that does not compile is
// named in the error and left out; the others are returned all the same.
func ParseExclude(patterns []string) ([]*regexp.Regexp, error) {
	var out []*regexp.Regexp
	var errs []error
	for _, p := range patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("interface name pattern %q: %w", p, err))
			continue
		}
		out = append(out, re)
	}
	return out, errors.Join(errs...)
}
