// Package lint checks manifests without a cluster: what the API server would say of them by their schemas, what the
// webhooks would say by policy.Compile, and what of a MetalLB installation is not carried over. It is pure: text in,
// findings out.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// Severity says how bad a finding is.
type Severity string

const (
	// Error: the manifest is refused when it is applied, or it does not do what it says.
	Error Severity = "error"
	// Warning: it can be applied, but something in it has no effect or depends on what is not here.
	Warning Severity = "warning"
)

// File is one input. Name is how findings name it.
type File struct {
	Name string
	Data []byte
}

// Finding is one thing to be told. It is comparable.
type Finding struct {
	File     string         `json:"file"`
	Line     int            `json:"line"` // from 1
	Severity Severity       `json:"severity"`
	Object   string         `json:"object,omitempty"` // kind and name, as in: IPAddressPool "first-pool"
	Reason   verdict.Reason `json:"reason"`
	Message  string         `json:"message"`
}

// String returns the finding on one line, as compilers write them.
func (f Finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s (%s)", f.File, f.Line, f.Severity, f.Message, f.Reason)
}

// Report is the result of one check.
type Report struct {
	Findings  []Finding `json:"findings"` // by file in the order of the input, then by line
	Documents int       `json:"documents"`
	Checked   int       `json:"checked"` // documents that Fairlead has something to do with
}

// Count returns the number of findings of a severity.
func (r *Report) Count(s Severity) (n int) {
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// checker collects findings about a set of manifests.
type checker struct {
	home     string
	schemas  schemas
	order    map[string]int // of the files
	findings []Finding
	seen     map[identity]*document
	objects  policy.Objects
	policy   *policy.Policy
	byUID    map[string]*document // of the objects that were decoded
	services []*document
	decoded  []corev1.Service // those of services that could be read
}

// identity names an object; two documents with the same one overwrite each other. It is comparable.
type identity struct{ group, kind, namespace, name string }

// Linter checks manifests. It holds what is the same for all, and is never changed.
type Linter struct {
	// ServiceNodePorts is the API server's own range of node ports; New sets the one that it has where nobody chose.
	ServiceNodePorts portrange.Range

	schemas schemas
}

// New reads the schemas of all kinds.
func New() (*Linter, error) {
	s, err := readSchemas()
	return &Linter{policy.DefaultServiceNodePorts(), s}, err
}

// Check checks manifests that are to be applied together. The namespace is the one that Fairlead reads its configuration
// from.
func (l *Linter) Check(files []File, namespace string) Report {
	r, _ := l.Read(files, namespace)
	return r
}

// Read checks manifests and returns what they hold, as far as it can be read.
func (l *Linter) Read(files []File, namespace string) (Report, Manifests) {
	c := checker{home: namespace, schemas: l.schemas, order: map[string]int{}, seen: map[identity]*document{}, byUID: map[string]*document{}}
	c.objects.ServiceNodePorts = l.ServiceNodePorts
	r := Report{}
	for i, f := range files {
		c.order[f.Name] = i
		for _, d := range c.documents(f) {
			r.Documents++
			if c.document(d) {
				r.Checked++
			}
		}
	}
	c.compile()
	c.checkServices()
	slices.SortStableFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(c.order[a.File], c.order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	r.Findings = slices.Compact(c.findings)
	return r, Manifests{c.objects, c.decoded}
}

// Manifests are the objects among manifests that Fairlead decides by.
type Manifests struct {
	Objects  policy.Objects
	Services []corev1.Service
}

// tell notes a finding about the value at a path in a document, such as spec.addresses[0]; "" is the document itself.
func (c *checker) tell(d *document, path string, severity Severity, reason verdict.Reason, format string, args ...any) {
	c.tellAt(d.line(path), d, severity, reason, format, args...)
}

// tellAt notes a finding about a line of a document.
func (c *checker) tellAt(line int, d *document, severity Severity, reason verdict.Reason, format string, args ...any) {
	c.findings = append(c.findings, Finding{
		File: d.file, Line: line, Severity: severity, Object: d.String(), Reason: reason,
		Message: strings.TrimSpace(fmt.Sprintf(format, args...)),
	})
}

// document sorts one document and says whether Fairlead has something to do with it.
func (c *checker) document(d *document) bool {
	if what := foreign(d); what != "" {
		c.tell(d, "", Warning, verdict.NotCarriedOver, "%s: %s", d, what)
		return true
	}
	switch {
	case d.isKind("", "v1", "Service"):
		c.services = append(c.services, d)
	case d.isKind("", "v1", "Secret"):
		c.secret(d)
		return false
	case !ownGroup(d.group):
		return false
	default:
		c.configuration(d)
	}
	return true
}

// compile tells what policy.Compile says of all configuration objects together. An object that was found wrong on its own
// may be there in parts only, so what is said of it then is left out.
func (c *checker) compile() {
	c.objects.SecretsUnread = c.objects.Secrets == nil
	var problems []policy.Problem
	c.policy, problems = policy.Compile(c.objects, nil)
	for _, p := range problems {
		d := c.byUID[p.Object.UID]
		if d == nil || d.broken {
			continue
		}
		severity := Error
		if p.Reason.Warns() {
			severity = Warning
		}
		c.tellAt(d.lineOf(p.Message), d, severity, p.Reason, "%s", p.Message)
	}
}
