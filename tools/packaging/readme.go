package main

import (
	"bytes"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// valuesBegin is the line of the chart's README after which its values stand.
const valuesBegin = "<!-- What follows is made from the comments in values.yaml. -->\n"

// WithValues returns the README with its table of values made anew from values.yaml.
func WithValues(readme, values []byte) ([]byte, error) {
	head, _, ok := bytes.Cut(readme, []byte(valuesBegin))
	if !ok {
		return nil, fmt.Errorf("the README has no line %q", valuesBegin)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(values, &document); err != nil {
		return nil, fmt.Errorf("reading values.yaml: %w", err)
	}
	var out bytes.Buffer
	out.Write(head)
	out.WriteString(valuesBegin + "\n| value | default | |\n|---|---|---|\n")
	err := describe(&out, "", document.Content[0])
	return out.Bytes(), err
}

// describe writes a row for each value of a mapping. A mapping with a comment of its own, or without keys, is one value;
// of any other, the values within are rows.
func describe(out *bytes.Buffer, prefix string, mapping *yaml.Node) error {
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		comment, documented := comment(key)
		name := prefix + key.Value
		if value.Kind == yaml.MappingNode && value.Style&yaml.FlowStyle == 0 && len(value.Content) > 0 {
			if documented {
				fmt.Fprintf(out, "| `%s` | | %s |\n", name, comment)
			}
			if err := describe(out, name+".", value); err != nil {
				return err
			}
			continue
		}
		value.HeadComment, value.LineComment, value.FootComment = "", "", ""
		value.Style |= yaml.FlowStyle
		text, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| `%s` | `%s` | %s |\n", name, strings.TrimSpace(string(text)), comment)
	}
	return nil
}

// comment returns the documentation above a key: what follows "# -- ", in one line.
func comment(key *yaml.Node) (string, bool) {
	_, text, ok := strings.Cut(key.HeadComment, "# -- ")
	text = strings.ReplaceAll(text, "\n# ", " ")
	return strings.ReplaceAll(text, "|", `\|`), ok
}
