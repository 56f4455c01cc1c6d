package documents

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-lb/fairlead/lint"
)

// TestParse: what counts as a command, and what as a block of YAML.
func TestParse(t *testing.T) {
	commands, blocks := parse("a.md", strings.ReplaceAll(`Run 'make demo' or 'kubectl
  get svc', and not the 'make' of others.

    $ kubectl get svc \
        web   # this one
    web   LoadBalancer
    helm test fairlead

make is not meant here.

<!-- e2e: there -->
'''sh
export A=b
kubectl delete svc web
'''

| cell | 'helm template CHART \| fairlead lint -' |

'''yaml
kind: Service
'''

'''mermaid
ip --> made
'''
`, "'", "`"))
	want := []Command{
		{"a.md", "", "kubectl get svc web"}, {"a.md", "", "helm test fairlead"}, {"a.md", "there", "export A=b"}, {"a.md", "there", "kubectl delete svc web"},
		{"a.md", "", "make demo"}, {"a.md", "", "kubectl get svc"}, {"a.md", "", "helm template CHART | fairlead lint -"},
	}
	if d := cmp.Diff(want, commands); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Block{{"a.md", 19, "kind: Service\n"}}, blocks); d != "" {
		t.Error(d)
	}
}

// TestEveryCommandHasItsPlace: each is run by a test, or stands in the list of those that are not, with the reason. Nothing
// stands there that no document has.
func TestEveryCommandHasItsPlace(t *testing.T) {
	commands, blocks, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	count := map[Place]int{}
	for _, c := range commands {
		seen[c.Text] = true
		count[c.Place()]++
	}
	for place, least := range map[Place]int{Stories: 60, Installation: 8, Migration: 12, Make: 12, Nowhere: 15} {
		if count[place] < least {
			t.Errorf("only %d commands are for %s: the documents are not read right", count[place], place)
		}
	}
	for _, text := range slices.Concat(inInstallation(), slices.Collect(maps.Keys(notRun()))) {
		if !seen[text] {
			t.Errorf("no document has %q: take it out of places.go", text)
		}
	}
	if len(blocks) < 6 {
		t.Errorf("only %d blocks of YAML", len(blocks))
	}
}

// TestMakeHasTheTargets that the documents name.
func TestMakeHasTheTargets(t *testing.T) {
	commands, _, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		if c.Place() != Make {
			continue
		}
		for _, target := range strings.Fields(c.Text)[1:] {
			if strings.Contains(target, "=") {
				continue // a variable
			}
			if !regexp.MustCompile(`(?m)^[a-z0-9 -]*\b` + regexp.QuoteMeta(target) + `\b[a-z0-9 -]*:`).Match(makefile) {
				t.Errorf("%s: %s: there is no target %s", c.Document, c.Text, target)
			}
		}
	}
}

// TestManifestsAreClean: what a reader copies is whole, and nothing is wrong with it.
func TestManifestsAreClean(t *testing.T) {
	_, blocks, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	var all []lint.File
	for _, b := range blocks {
		if b.Manifests() {
			all = append(all, lint.File{Name: fmt.Sprintf("%s:%d", b.Document, b.Line), Data: []byte(b.Text)})
		}
	}
	l, err := lint.New()
	if err != nil {
		t.Fatal(err)
	}
	r := l.Check(all, "metallb-system") // together: one block names the pool of another
	for _, f := range r.Findings {
		t.Error(f)
	}
	if len(all) < 5 || r.Checked < len(all) {
		t.Errorf("checked %d documents of %d blocks", r.Checked, len(all))
	}
}
