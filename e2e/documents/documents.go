// Package documents reads what README and docs tell people to type, commands and manifests, so that tests do the same.
package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

// A Command is what a document has its reader type.
type Command struct {
	Document string // path from the root of the repository
	Mark     string // NAME, where its block comes after <!-- e2e: NAME -->
	Text     string // in one line, without prompt and comment
}

// Program is the command's first word.
func (c Command) Program() string {
	program, _, _ := strings.Cut(c.Text, " ")
	return program
}

// A Block is a fenced block of YAML: manifests, or values for the chart.
type Block struct {
	Document string // path from the root of the repository
	Line     int    // of its fence
	Text     string
}

// Manifests says whether the block is one of objects, and not of values.
func (b Block) Manifests() bool { return strings.Contains(b.Text, "apiVersion:") }

// programs are the first words of commands; a line of a block that begins otherwise is what a command prints, or a picture.
func programs() []string {
	return []string{"make", "helm", "kubectl", "fairlead", "arping", "ip", "ipvsadm", "nft", "export"}
}

// Read reads all documents: their commands, each text once for a mark, and their blocks of YAML.
func Read() (commands []Command, blocks []Block, err error) {
	root, err := kubebin.ModuleRoot()
	if err != nil {
		return nil, nil, err
	}
	for _, pattern := range []string{"README.md", "CONTRIBUTING.md", "docs/*.md", "docs/runbooks/*.md", "charts/fairlead/README.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, nil, err
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, nil, err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return nil, nil, err
			}
			c, b := parse(name, string(text))
			blocks = append(blocks, b...)
			for _, c := range c {
				if !slices.ContainsFunc(commands, func(o Command) bool { return o.Mark == c.Mark && o.Text == c.Text }) {
					commands = append(commands, c)
				}
			}
		}
	}
	return commands, blocks, nil
}

// parse reads one document.
func parse(name, text string) (commands []Command, blocks []Block) {
	var prose strings.Builder
	var mark, fence string // the name before a fence, and what the fence says: ```sh
	var begun string       // the first lines of a command that goes on
	var block Block
	for number, line := range strings.Split(text, "\n") {
		code, indented := strings.CutPrefix(line, "    ")
		switch {
		case fence == "" && strings.HasPrefix(line, "<!-- e2e: "):
			mark = strings.TrimSuffix(strings.TrimPrefix(line, "<!-- e2e: "), " -->")
			continue
		case fence == "" && strings.HasPrefix(line, "```"):
			fence = line
			block = Block{Document: name, Line: number + 1}
			continue
		case fence != "" && line == "```":
			if fence == "```yaml" {
				blocks = append(blocks, block)
			}
			fence, mark = "", ""
			continue
		case fence == "```yaml":
			block.Text += line + "\n"
			continue
		case fence == "```" || fence == "```sh":
			code = line
		case fence != "":
			continue // a picture
		case !indented:
			prose.WriteString(line + "\n")
			continue
		}
		if begun == "" {
			code = strings.TrimPrefix(code, "$ ")
			if word, _, _ := strings.Cut(code, " "); !slices.Contains(programs(), word) {
				continue
			}
		}
		if more, goesOn := strings.CutSuffix(code, `\`); goesOn {
			begun += more
			continue
		}
		commands = append(commands, Command{name, mark, plain(begun + code)})
		begun = ""
	}
	// Between backticks a command may go on in the next line.
	inText := regexp.MustCompile("`((?:make|helm|kubectl|fairlead)\\s[^`]*)`")
	for _, m := range inText.FindAllStringSubmatch(prose.String(), -1) {
		commands = append(commands, Command{name, "", plain(strings.ReplaceAll(m[1], `\|`, "|"))})
	}
	return commands, blocks
}

// plain is a command in one line, without a comment.
func plain(text string) string {
	text, _, _ = strings.Cut(text, " #")
	return strings.Join(strings.Fields(text), " ")
}
