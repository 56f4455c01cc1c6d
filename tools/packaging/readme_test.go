package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated part of the chart's README anew")

func TestTheREADMETellsTheValuesThatThereAre(t *testing.T) {
	chart := filepath.Join(root, "charts", "fairlead")
	readme, err := os.ReadFile(filepath.Join(chart, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	values, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := WithValues(readme, values)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(filepath.Join(chart, "README.md"), want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(want), string(readme)); d != "" {
		t.Errorf("stale, write it anew with: go test -C tools/packaging -run README -update .\n%s", d)
	}
}

func TestWithValues(t *testing.T) {
	got, err := WithValues([]byte("# Head\n"+valuesBegin+"old"), []byte(`
# Not about a value.

# -- One
# or the other | both.
one: 1
two:
  # -- Three.
  three: {a: b}
  four: []
`))
	want := "# Head\n" + valuesBegin + `
| value | default | |
|---|---|---|
` + "| `one` | `1` | One or the other \\| both. |\n| `two.three` | `{a: b}` | Three. |\n| `two.four` | `[]` |  |\n"
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, cmp.Diff(want, string(got)))
	}
}
