package verdict

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const page = "../../docs/reasons.md"

// TestMain adds the flag -update, which writes docs/reasons.md anew.
func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the page anew")
	os.Exit(m.Run())
}

// TestPageIsFresh: docs/reasons.md says what the code says.
func TestPageIsFresh(t *testing.T) {
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(page, []byte(Page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != Page() {
		t.Errorf("docs/reasons.md is stale (%v): run go test ./internal/verdict -update", err)
	}
}

// TestEveryReasonIsDocumented: each constant has one Doc, which says something.
func TestEveryReasonIsDocumented(t *testing.T) {
	documented := map[Reason]int{}
	for _, topic := range Topics() {
		for _, d := range topic.Docs {
			documented[d.Reason]++
			for what, text := range map[string]string{"cause": d.Cause, "what to do": d.Do} {
				if !strings.HasSuffix(text, ".") {
					t.Errorf("%s, %s: %q is no sentence", d.Reason, what, text)
				}
			}
		}
	}
	constants := constants(t)
	for name, r := range constants {
		if documented[r] != 1 {
			t.Errorf("%s = %q is documented %d times: give it one entry in internal/verdict/topics.go, then run go test ./internal/verdict -update", name, r, documented[r])
		}
	}
	if len(documented) != len(constants) {
		t.Errorf("%d reasons are documented, but there are %d", len(documented), len(constants))
	}
	if _, ok := Reason("NodeOnFire").Doc(); ok {
		t.Error("an unknown reason is documented")
	}
	if d, ok := NoPool.Doc(); !ok || d.Reason != NoPool {
		t.Error("NoPool is not documented")
	}
}

// constants returns the constants of type Reason of this package.
func constants(t *testing.T) map[string]Reason {
	t.Helper()
	out := map[string]Reason{}
	for _, f := range sources(t, ".") {
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 {
				return true
			}
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Reason" {
				text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Error(err)
				}
				out[v.Names[0].Name] = Reason(text)
			}
			return true
		})
	}
	if len(out) < 40 {
		t.Fatalf("found only %d constants", len(out))
	}
	return out
}

// TestNobodyElseWordsReasons: no other package makes a Reason of a text of its own.
func TestNobodyElseWordsReasons(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); path != "../.." && (strings.HasPrefix(name, ".") && name != ".." || name == "testdata" || name == "bin") {
			return fs.SkipDir
		}
		for name, f := range sources(t, path) {
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) != 1 {
					return true
				}
				fun, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || fun.Sel.Name != "Reason" {
					return true
				}
				if _, ok := call.Args[0].(*ast.BasicLit); ok {
					t.Errorf("%s words a reason of its own: declare it in internal/verdict", name)
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sources parses the Go files of a folder that are no tests.
func sources(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = f
	}
	return out
}
