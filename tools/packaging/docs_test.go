package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"
	"helm.sh/helm/v3/pkg/strvals"
)

// documents are what tells users what to type.
func documents(t *testing.T) (out []string) {
	t.Helper()
	for _, pattern := range []string{"README.md", "CONTRIBUTING.md", "docs/*.md", "docs/runbooks/*.md", "charts/fairlead/README.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		out = append(out, files...)
	}
	return out
}

var (
	// commandLine is a command in a block, with what continues it.
	commandLine = regexp.MustCompile(`(?m)^(?: {4}(?:\$ )?|\$ )?(make|helm|kubectl|fairlead) ((?:[^\n]*\\\n)*[^\n]*)`)
	// inText is a command between backticks.
	inText = regexp.MustCompile("`(make|helm|kubectl|fairlead) ([^`]*)`")
	// flagInText is a flag of Fairlead's between backticks, without its command.
	flagInText = regexp.MustCompile("`(--[a-z-]+)[^`]*`")
	// valueInText is a value of the chart between backticks.
	valueInText = regexp.MustCompile("`((?:controller|speaker|ipvs|prometheus|crds|networkpolicies|image|rbac)\\.[A-Za-z0-9.]+)[^`]*`")
)

// command is what a document has somebody type.
type command struct{ program, rest string }

// commands returns all that a document tells to type. A line that only begins like one, such as a sentence or what a command
// prints, has no block around it.
func commands(text string) (out []command) {
	fenced := false
	var blocks strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case fenced || strings.HasPrefix(line, "    "):
			blocks.WriteString(line)
		}
	}
	for _, m := range commandLine.FindAllStringSubmatch(blocks.String(), -1) {
		out = append(out, command{m[1], strings.ReplaceAll(m[2], "\\\n", " ")})
	}
	for _, m := range inText.FindAllStringSubmatch(text, -1) {
		out = append(out, command{m[1], strings.ReplaceAll(m[2], "\n", " ")})
	}
	return out
}

// words splits a command at spaces, up to a comment, a pipe or the next command.
func (c command) words() (out []string) {
	for _, w := range strings.Fields(c.rest) {
		if w == "#" || w == "|" || w == `\|` || w == "&&" || w == ">" {
			break
		}
		out = append(out, strings.Trim(w, `"'[],;:()`))
	}
	return out
}

// TestTheDocsNameWhatThereIs: each command that a document tells to type is one that there is, with its flags, its files, its
// targets and its values.
func TestTheDocsNameWhatThereIs(t *testing.T) {
	help := helper(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commands(string(text)) {
			all[c.program]++
			words := c.words()
			switch c.program {
			case "make":
				for _, target := range words {
					if !strings.Contains(target, "=") && !regexp.MustCompile(`(?m)^[a-z0-9 -]*\b`+regexp.QuoteMeta(target)+`\b[a-z0-9 -]*:`).Match(makefile) {
						t.Errorf("%s: make %s: there is no target %q", path, c.rest, target)
					}
				}
			case "fairlead":
				checkFairlead(t, path, words, help)
			case "helm":
				checkHelm(t, path, words)
			case "kubectl":
				checkFiles(t, path, words)
			}
		}
		for _, m := range flagInText.FindAllStringSubmatch(string(text), -1) {
			all["flag"]++
			if !slices.Contains([]string{"--take-ownership", "--set"}, m[1]) && !slices.ContainsFunc(subcommands(), func(s string) bool { return hasFlag(help(s), m[1]) }) { // helm's
				t.Errorf("%s: no command has the flag %s", path, m[1])
			}
		}
		for _, m := range valueInText.FindAllStringSubmatch(string(text), -1) {
			all["value"]++
			if !hasValue(t, m[1]) {
				t.Errorf("%s: the chart has no value %s", path, m[1])
			}
		}
	}
	for _, what := range []string{"make", "fairlead", "helm", "kubectl", "flag", "value"} {
		if all[what] < 5 {
			t.Errorf("only %d times %s was found in the documents: this test does not read them right", all[what], what)
		}
	}
}

func subcommands() []string {
	return []string{"controller", "speaker", "ipvs", "status", "explain", "diff", "drain", "lint", "configure", "version"}
}

// helper returns what a command says of itself.
func helper(t *testing.T) func(subcommand string) string {
	t.Helper()
	binary := product(t)
	said := map[string]string{}
	return func(subcommand string) string {
		if said[subcommand] == "" {
			out, err := exec.Command(binary, subcommand, "--help").CombinedOutput()
			if err != nil {
				t.Errorf("fairlead %s: %v\n%s", subcommand, err, out)
			}
			said[subcommand] = string(out)
		}
		return said[subcommand]
	}
}

// product is the product's binary, made once.
var product = func() func(*testing.T) string {
	var once sync.Once
	var binary string
	return func(t *testing.T) string {
		t.Helper()
		once.Do(func() {
			dir, err := os.MkdirTemp("", "fairlead-")
			if err != nil {
				t.Fatal(err)
			}
			binary = filepath.Join(dir, "fairlead")
			build := exec.Command("go", "build", "-o", binary, "./cmd/fairlead")
			build.Dir = root
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
		return binary
	}
}()

// hasFlag says whether a command tells of a flag, by either of its names.
func hasFlag(help, flag string) bool {
	return regexp.MustCompile(`(?m)^\s+(-\w, )?` + regexp.QuoteMeta(flag) + `\b|^\s+` + regexp.QuoteMeta(flag) + `, --`).MatchString(help)
}

func checkFairlead(t *testing.T, path string, words []string, help func(string) string) {
	t.Helper()
	if len(words) == 0 || strings.HasPrefix(words[0], "-") {
		return
	}
	if !slices.Contains(subcommands(), words[0]) {
		t.Errorf("%s: there is no fairlead %s", path, words[0])
		return
	}
	for _, w := range words[1:] {
		if flag, _, _ := strings.Cut(w, "="); len(flag) > 1 && flag[0] == '-' && !hasFlag(help(words[0]), flag) {
			t.Errorf("%s: fairlead %s has no flag %s", path, words[0], flag)
		}
	}
}

// checkHelm renders the chart with what a command sets.
func checkHelm(t *testing.T, path string, words []string) {
	t.Helper()
	for i, w := range words {
		switch {
		case w == "--set" && i+1 < len(words):
			values, err := strvals.Parse(words[i+1])
			if err == nil {
				_, err = RenderChart(root, "dev", values)
			}
			if err != nil {
				t.Errorf("%s: helm --set %s: %v", path, words[i+1], err)
			}
		case strings.HasPrefix(w, "charts/"):
			if _, err := os.Stat(filepath.Join(root, w, "Chart.yaml")); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// checkFiles sees that the files and folders of the repository are there that a command applies or deletes.
func checkFiles(t *testing.T, path string, words []string) {
	t.Helper()
	for i, w := range words {
		if (w == "-f" || w == "-k") && i+1 < len(words) && strings.Contains(words[i+1], "/") && !strings.HasPrefix(words[i+1], "dist/") {
			if _, err := os.Stat(filepath.Join(root, words[i+1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// hasValue says whether the chart's values have a path.
func hasValue(t *testing.T, path string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "charts", "fairlead", "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	for _, step := range strings.Split(path, ".") {
		if step == "*" {
			return true
		}
		m, ok := value.(map[string]any)
		if !ok {
			return false
		}
		if value, ok = m[step]; !ok {
			return false
		}
	}
	return true
}

// TestCommands: what counts as a command of a document.
func TestCommands(t *testing.T) {
	got := commands("Run `make demo`\nor\n\n    $ kubectl get svc \\\n        web # this one\n    web   LoadBalancer\n\nmake is not meant here.\n\n```sh\nhelm test fairlead\n```\n")
	want := []command{{"kubectl", "get svc          web # this one"}, {"helm", "test fairlead"}, {"make", "demo"}}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := (command{"kubectl", `get "svc" # this one`}).words(); !slices.Equal(got, []string{"get", "svc"}) {
		t.Errorf("%q", got)
	}
	help := "Flags:\n  -o, --output string   text\n      --strict   fail\n"
	for flag, want := range map[string]bool{"--output": true, "-o": true, "--strict": true, "--str": false, "-x": false, "--fail": false} {
		if hasFlag(help, flag) != want {
			t.Errorf("hasFlag(%s) is %t", flag, !want)
		}
	}
}
