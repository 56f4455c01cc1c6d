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
	// setting is what a command of helm's sets.
	setting = regexp.MustCompile(`--set[ \n]+([^\s` + "`" + `]+)`)
	// flagInText is a flag of Fairlead's between backticks, without its command.
	flagInText = regexp.MustCompile("`(--[a-z-]+)[^`]*`")
	// valueInText is a value of the chart between backticks.
	valueInText = regexp.MustCompile("`((?:controller|speaker|ipvs|prometheus|crds|networkpolicies|image|rbac)\\.[A-Za-z0-9.]+)[^`]*`")
)

// TestTheDocsNameWhatThereIs: the flags and the values of the chart that documents name are there. Whole commands are run, by
// the tests that e2e/documents names.
func TestTheDocsNameWhatThereIs(t *testing.T) {
	help := helper(t)
	seen := map[string]int{}
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range setting.FindAllStringSubmatch(string(text), -1) {
			seen["--set"]++
			values, err := strvals.Parse(m[1])
			if err == nil {
				_, err = RenderChart(root, "dev", values)
			}
			if err != nil {
				t.Errorf("%s: --set %s: %v", path, m[1], err)
			}
		}
		for _, m := range flagInText.FindAllStringSubmatch(string(text), -1) {
			seen["flag"]++
			if !slices.Contains([]string{"--take-ownership", "--set"}, m[1]) && !slices.ContainsFunc(subcommands(), func(s string) bool { return hasFlag(help(s), m[1]) }) { // helm's
				t.Errorf("%s: no command has the flag %s", path, m[1])
			}
		}
		for _, m := range valueInText.FindAllStringSubmatch(string(text), -1) {
			seen["value"]++
			if !hasValue(t, m[1]) {
				t.Errorf("%s: the chart has no value %s", path, m[1])
			}
		}
	}
	for _, what := range []string{"--set", "flag", "value"} {
		if seen[what] < 4 {
			t.Errorf("only %d times %s was found in the documents: this test does not read them right", seen[what], what)
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

// TestValuesOfTheDocs: a block of YAML that is no manifest is one of values, and the chart takes them.
func TestValuesOfTheDocs(t *testing.T) {
	seen := 0
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "apiVersion:") {
				continue
			}
			seen++
			if _, err := RenderChart(root, "dev", values(t, m[1])); err != nil {
				t.Errorf("%s: %v in\n%s", path, err, m[1])
			}
		}
	}
	if seen == 0 {
		t.Error("no document shows values: this test does not read them right")
	}
}

// TestHasFlag: what counts as a flag that a command tells of.
func TestHasFlag(t *testing.T) {
	help := "Flags:\n  -o, --output string   text\n      --strict   fail\n"
	for flag, want := range map[string]bool{"--output": true, "-o": true, "--strict": true, "--str": false, "-x": false, "--fail": false} {
		if hasFlag(help, flag) != want {
			t.Errorf("hasFlag(%s) is %t", flag, !want)
		}
	}
}
