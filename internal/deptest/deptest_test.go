// Package deptest states which package may depend on which, and what the pure core must not do.
package deptest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/fairlead-lb/fairlead/"
	root   = "../.."
)

var (
	core  = []string{"api/...", "policy", "allocator", "speaker/plan", "ipvs/plan", "ipvs/mode", "internal/addrset", "internal/diff", "internal/nearest", "internal/portrange", "internal/verdict", "lint", "explain"}
	edges = []string{"speaker/bfd", "speaker/bgp", "speaker/heartbeat", "speaker/layer2", "speaker/link", "speaker/members", "speaker/peering", "speaker/unserved", "ipvs/kernel", "ipvs/health"}

	upper   = []string{module + "controllers/...", module + "cmd/...", module + "e2e/..."}
	runtime = []string{"sigs.k8s.io/controller-runtime/..."}
	outside = append(own("speaker", "speaker/bfd", "speaker/bgp", "speaker/peering", "speaker/unserved", "speaker/heartbeat", "speaker/layer2", "speaker/link", "speaker/members", "ipvs/kernel", "ipvs/health"),
		"k8s.io/client-go/...", "github.com/prometheus/...", "github.com/mdlayher/...", "github.com/jsimonetti/rtnetlink/...",
		"github.com/hashicorp/...", "github.com/osrg/gobgp/...", "github.com/cloudflare/ipvs/...", "github.com/google/nftables/...", "golang.org/x/sys/unix", "golang.org/x/net/bpf")
)

// TestDirectionOfImports: cmd -> controllers -> speaker -> edges -> core, and in the core: allocator, plan -> policy
// -> api. Dependencies count at any remove.
func TestDirectionOfImports(t *testing.T) {
	rules := []struct{ of, not []string }{
		{core, slices.Concat(outside, runtime, upper)},
		{[]string{"api/...", "internal/diff", "internal/portrange", "internal/verdict"}, own("policy", "allocator", "speaker/plan")},
		{[]string{"policy"}, own("allocator", "speaker/plan", "lint", "explain")},
		{[]string{"allocator"}, own("speaker/plan", "lint", "explain")},
		{[]string{"speaker/plan"}, own("allocator", "lint", "explain", "ipvs/plan")},
		{[]string{"ipvs/plan"}, own("allocator", "policy", "speaker/plan", "lint", "explain")},
		{[]string{"ipvs/kernel"}, own("policy", "speaker/plan", "speaker/link", "speaker/bgp", "speaker/layer2", "speaker/members")},
		{[]string{"ipvs/health"}, own("policy", "speaker/plan", "ipvs/kernel")},
		{edges, slices.Concat(own("speaker", "ipvs"), runtime, upper)},
		{[]string{"speaker/bgp"}, own("speaker/bfd", "speaker/layer2", "speaker/link", "speaker/members")},
		{[]string{"speaker/bfd"}, own("speaker/plan", "speaker/bgp", "speaker/heartbeat", "speaker/layer2", "speaker/link", "speaker/members")},
		{[]string{"speaker/heartbeat"}, own("speaker/bgp", "speaker/layer2", "speaker/link", "speaker/members")},     // it is on the machinery of bfd
		{[]string{"speaker/peering"}, own("speaker/heartbeat", "speaker/layer2", "speaker/link", "speaker/members")}, // it joins bgp and bfd
		{[]string{"speaker/layer2"}, own("speaker/bfd", "speaker/bgp", "speaker/heartbeat", "speaker/members")},
		{[]string{"speaker/link"}, own("speaker/bfd", "speaker/bgp", "speaker/heartbeat", "speaker/layer2", "speaker/members")},
		{[]string{"speaker/members"}, own("speaker/bfd", "speaker/bgp", "speaker/heartbeat", "speaker/layer2", "speaker/link")},
		{[]string{"speaker/...", "ipvs/..."}, slices.Concat(runtime, upper)},
		{[]string{"ipvs/mode"}, own("allocator", "speaker/plan", "ipvs/plan", "lint", "explain")},
		{[]string{"ipvs"}, own("policy", "speaker", "speaker/plan", "ipvs/kernel", "ipvs/health")},
		{[]string{"statuspage"}, slices.Concat(outside, runtime, upper, own("lint"))},
		{[]string{"controllers/..."}, upper[1:]},
		{[]string{"internal/..."}, runtime},
	}
	packages := list(t)
	for _, r := range rules {
		checked := 0
		for _, p := range packages {
			if !matches(strings.TrimPrefix(p.ImportPath, module), r.of) {
				continue
			}
			checked++
			if i := slices.IndexFunc(p.Deps, func(d string) bool { return matches(d, r.not) }); i >= 0 {
				t.Errorf("%s depends on %s: see the direction of imports in docs/architecture.md", p.ImportPath, p.Deps[i])
			}
		}
		if checked == 0 {
			t.Errorf("the rule for %v is about no package: correct this test", r.of)
		}
	}
}

// own returns the import paths of packages of this module.
func own(names ...string) (paths []string) {
	for _, n := range names {
		paths = append(paths, module+n)
	}
	return paths
}

// matches says whether the path is one of the patterns; "x/..." stands for x and what is below it.
func matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, below := strings.CutSuffix(p, "/...")
		return path == prefix || below && strings.HasPrefix(path, prefix+"/")
	})
}

type listed struct {
	ImportPath string
	Deps       []string // at any remove
}

func list(t *testing.T) (packages []listed) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Deps", "./...")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// TestCode reads every source file of the module: nowhere is an init function; the core starts no goroutine, reads no
// clock and has no package variables but sentinel errors (nor, in the API packages, but what registers the types). Nowhere
// are templates interpreted: they find methods by name, so that the linker keeps every method of everything, a quarter of the
// program.
func TestCode(t *testing.T) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skip(path, d)
		case filepath.Ext(path) == ".go":
			check(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// skip leaves out hidden folders, test data and modules of their own.
func skip(path string, d fs.DirEntry) error {
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	if path != root && (err == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
		return fs.SkipDir
	}
	return nil
}

func check(t *testing.T, path string) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, nil, parser.ParseComments)
	if err != nil {
		t.Error(err)
		return
	}
	if ast.IsGenerated(f) {
		return
	}
	dir, _ := filepath.Rel(root, filepath.Dir(path))
	pure := matches(filepath.ToSlash(dir), core) && !strings.HasSuffix(path, "_test.go")
	breach := func(n ast.Node, what string) { t.Errorf("%s: %s", files.Position(n.Pos()), what) }
	for _, i := range f.Imports {
		if i.Path.Value == `"text/template"` || i.Path.Value == `"html/template"` {
			breach(i, "templates are compiled, by templ, and not interpreted")
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.Name == "init" && d.Recv == nil {
				breach(d, "there are no init functions")
			}
		case *ast.GenDecl:
			if d.Tok == token.VAR && pure && !strings.HasPrefix(filepath.ToSlash(dir), "api/") && !sentinels(d) {
				breach(d, "the core has no package variables but sentinel errors")
			}
		}
	}
	if !pure {
		return
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			breach(n, "the core starts no goroutine")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Sleep", "NewTimer", "NewTicker"}, n.Sel.Name) {
				breach(n, "the core reads no clock: time comes in as a value")
			}
		}
		return true
	})
}

// sentinels says whether the declaration makes errors only, by errors.New.
func sentinels(d *ast.GenDecl) bool {
	return !slices.ContainsFunc(d.Specs, func(s ast.Spec) bool {
		values := s.(*ast.ValueSpec).Values
		return len(values) == 0 || slices.ContainsFunc(values, func(v ast.Expr) bool { return !isErrorsNew(v) })
	})
}

func isErrorsNew(v ast.Expr) bool {
	call, ok := v.(*ast.CallExpr)
	if !ok {
		return false
	}
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := fun.X.(*ast.Ident)
	return ok && pkg.Name == "errors" && fun.Sel.Name == "New"
}
