package lint

// This file holds how manifests are taken apart into documents, and where in a file something stands.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// document is one object in a file.
type document struct {
	file            string
	first, last     int          // the lines on which its document starts and ends, from 1
	node            *yamlv3.Node // where its parts stand, relative to first; nil: not known
	json            []byte
	group, version  string
	kind            string
	namespace, name string
	broken          bool // an error was told of it before it was compiled
}

// head is what all objects have in common.
type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name         string `json:"name"`
		GenerateName string `json:"generateName"`
		Namespace    string `json:"namespace"`
	} `json:"metadata"`
}

// String returns the kind and the name.
func (d *document) String() string { return fmt.Sprintf("%s %q", d.kind, d.name) }

func (d *document) isKind(group, version, kind string) bool {
	return d.group == group && (version == "" || d.version == version) && d.kind == kind
}

// line returns the line of the value at a path, or of the last part of the path that is there. Keys follow the path that
// have dots in them.
func (d *document) line(path string, keys ...string) int {
	n := d.node
	if n == nil {
		return d.first
	}
	line := n.Line
	steps := strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
	for _, step := range append(steps, keys...) {
		key, value := child(n, step)
		if value == nil {
			break
		}
		line, n = key.Line, value
	}
	return d.at(line)
}

// at returns the line of the file that a line of the document is. YAML takes more for the end of a line than others do, so
// what it counts may be beyond the end.
func (d *document) at(line int) int { return min(d.first+line-1, d.last) }

// child returns the entry of a mapping or the item of a list, and the node that stands for where it begins.
func child(n *yamlv3.Node, step string) (at, value *yamlv3.Node) {
	switch n.Kind {
	case yamlv3.AliasNode:
		return child(n.Alias, step)
	case yamlv3.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i], n.Content[i+1]
			}
		}
	case yamlv3.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	}
	return nil, nil
}

// lineOf returns the line that a problem is about: that of the path which its message names, as in
// 'IPAddressPool "x", spec.addresses[0]: ...', or of the value in the specification that it quotes.
func (d *document) lineOf(message string) int {
	if path := regexp.MustCompile(`\bspec(\.\w+(\[\d+\])?)+`).FindString(message); path != "" {
		return d.line(path)
	}
	if d.node != nil {
		_, spec := child(d.node, "spec")
		for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(strings.TrimPrefix(message, d.String()), -1) {
			if n := scalar(spec, m[1]); n != nil {
				return d.at(n.Line)
			}
		}
	}
	return d.line("")
}

// scalar returns the first node at or below another one that holds a text, or nil. Aliases are not followed, which may
// lead in circles.
func scalar(n *yamlv3.Node, text string) *yamlv3.Node {
	if n == nil || n.Kind == yamlv3.ScalarNode && n.Value == text {
		return n
	}
	for _, x := range n.Content {
		if found := scalar(x, text); found != nil {
			return found
		}
	}
	return nil
}

// documents takes a file apart. What does not parse is told, and the rest goes on.
func (c *checker) documents(f File) []*document {
	var out []*document
	line := 1
	for _, text := range split(f.Data) {
		out = append(out, c.parse(f.Name, line, text)...)
		line += bytes.Count(text, []byte("\n"))
	}
	return out
}

// split parts a stream before every line that begins with "---", as kubectl does.
func split(data []byte) [][]byte {
	var out [][]byte
	start := 0
	for i := 0; i < len(data); {
		end := len(data)
		if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
			end = i + n + 1
		}
		if rest, ok := bytes.CutPrefix(data[i:end], []byte("---")); ok && i > start && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0]))) {
			out, start = append(out, data[start:i]), i
		}
		i = end
	}
	return append(out, data[start:])
}

// parse reads one document; a list of objects is taken apart.
func (c *checker) parse(file string, first int, text []byte) []*document {
	d := &document{file: file, first: first, last: first + bytes.Count(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))}
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		c.findings = append(c.findings, Finding{File: file, Line: d.at(lineIn(err)), Severity: Error, Reason: verdict.InvalidManifest, Message: plain(err)})
		return nil
	}
	var root yamlv3.Node
	if yamlv3.Unmarshal(text, &root) == nil && len(root.Content) == 1 {
		d.node = root.Content[0]
	}
	if d.json = data; string(data) == "null" {
		return nil
	}
	return c.expand(d)
}

// expand reads what an object is, and takes a List apart.
func (c *checker) expand(d *document) []*document {
	var h head
	if err := json.Unmarshal(d.json, &h); err != nil || h.Kind == "" || h.APIVersion == "" {
		c.findings = append(c.findings, Finding{File: d.file, Line: d.line(""), Severity: Error, Reason: verdict.InvalidManifest,
			Message: "this is no Kubernetes object: it needs apiVersion, kind and metadata"})
		return nil
	}
	d.kind, d.version = h.Kind, h.APIVersion
	if group, version, ok := strings.Cut(h.APIVersion, "/"); ok {
		d.group, d.version = group, version
	}
	d.name, d.namespace = h.Metadata.Name, h.Metadata.Namespace
	if d.name == "" {
		d.name = h.Metadata.GenerateName
	}
	if !strings.HasSuffix(d.kind, "List") {
		return []*document{d}
	}
	return c.items(d)
}

// items returns the objects of a List.
func (c *checker) items(d *document) []*document {
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(d.json, &list); err != nil {
		c.findings = append(c.findings, Finding{File: d.file, Line: d.line("items"), Severity: Error, Object: d.kind, Reason: verdict.InvalidManifest,
			Message: fmt.Sprintf("%s, items: it is not a list of objects", d.kind)})
		return nil
	}
	var out []*document
	for i, raw := range list.Items {
		item := &document{file: d.file, first: d.first, last: d.last, json: raw}
		if d.node != nil {
			if _, items := child(d.node, "items"); items != nil {
				_, item.node = child(items, strconv.Itoa(i))
			}
		}
		out = append(out, c.expand(item)...)
	}
	return out
}

// lineIn finds the line that an error of the YAML library names, or 1.
func lineIn(err error) int {
	if m := regexp.MustCompile(`line (\d+)`).FindStringSubmatch(err.Error()); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return max(n, 1)
		}
	}
	return 1
}

// plain words an error of the YAML library without its prefixes.
func plain(err error) string {
	text := err.Error()
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors:\n  "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return "the YAML cannot be read: " + regexp.MustCompile(`^line \d+: `).ReplaceAllString(text, "")
}
