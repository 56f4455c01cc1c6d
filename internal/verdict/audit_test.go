package verdict

// This file holds the audit of the whole module: what is said, and that nothing else is.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/fairlead-lb/fairlead/"
	self   = module + "internal/verdict"
)

// audited is what the audit of the module's code finds.
type audited struct {
	produced map[string]bool // the constants, by name, that are said somewhere
	wrong    []string        // reasons that are not of this package
}

// TestAudit: each Reason is produced somewhere in the product, not only compared with or documented; and wherever a Reason, a
// field Reason or an argument called reason is a constant, it is one of this package's. So no condition, Event, metric or page
// shows a reason that docs/reasons.md does not have.
func TestAudit(t *testing.T) {
	m := load(t)
	t.Run("finds what it is for", func(t *testing.T) { finds(t, m) })
	a := audit(t, m)
	for name := range constants(t) {
		if !a.produced[name] {
			t.Errorf("nothing in the product says %s: take it out, or say it", name)
		}
	}
	for _, x := range a.wrong {
		t.Errorf("%s: declare it in internal/verdict", x)
	}
}

// finds audits a package that does everything wrong.
func finds(t *testing.T, m *compiled) {
	const source = `package p
import "github.com/fairlead-lb/fairlead/internal/verdict"
type object struct{ Reason string }
func say(r verdict.Reason) {}
func record(reason, message string) {}
func f(r verdict.Reason) (o object) {
	say("Implicit")
	say(verdict.Reason("Explicit"))
	say(verdict.Assigned)
	say("")
	record("Argument", "no reason")
	record("a sentence is no reason", "")
	record(string(verdict.Moved), "no reason")
	o.Reason = "Assignment"
	if r == verdict.NoPool { return object{Reason: "Field"} }
	switch r { case verdict.Released: }
	return object{Reason: string(verdict.Cleared)}
}`
	f, err := parser.ParseFile(m.files, "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	a := audited{produced: map[string]bool{}}
	m.check(t, &a, "p", []*ast.File{f})
	text := strings.Join(a.wrong, "\n")
	for _, want := range []string{"Implicit", "Explicit", "Argument", "Assignment", "Field"} {
		if !strings.Contains(text, `"`+want+`"`) {
			t.Errorf("%s is not found in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "no reason") || strings.Contains(text, "IP") {
		t.Errorf("too much is found:\n%s", text)
	}
	for name, want := range map[string]bool{"Assigned": true, "Moved": true, "Cleared": true, "NoPool": false, "Released": false} {
		if a.produced[name] != want {
			t.Errorf("%s is said: %t", name, !want)
		}
	}
}

// audit checks the types of every package of the module.
func audit(t *testing.T, m *compiled) audited {
	t.Helper()
	a := audited{produced: map[string]bool{}}
	checked := 0
	for _, p := range m.packages {
		if !strings.HasPrefix(p.ImportPath, module) || p.ImportPath == self || strings.HasPrefix(p.ImportPath, module+"e2e") {
			continue
		}
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(m.files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		m.check(t, &a, p.ImportPath, files)
		checked++
	}
	if checked < 20 {
		t.Fatalf("only %d packages were checked", checked)
	}
	slices.Sort(a.wrong)
	return a
}

// compiled is the module and all that it imports, as the compiler left it.
type compiled struct {
	files    *token.FileSet
	packages []listed
	imports  types.Importer
}

type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

func load(t *testing.T) *compiled {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles", "./...")
	cmd.Dir, cmd.Stderr = "../..", os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	m := &compiled{files: token.NewFileSet()}
	exports := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		m.packages = append(m.packages, p)
		exports[p.ImportPath] = p.Export
	}
	m.imports = importer.ForCompiler(m.files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return m
}

// check looks through one package.
func (m *compiled) check(t *testing.T, a *audited, path string, files []*ast.File) {
	t.Helper()
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: m.imports}
	if _, err := config.Check(path, m.files, files, info); err != nil {
		t.Fatal(err)
	}
	c := checker{audited: a, info: info, files: m.files, compared: map[ast.Expr]bool{}}
	for _, f := range files {
		ast.Inspect(f, c.node)
	}
}

// letters are what a Reason is made of.
const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

type checker struct {
	*audited
	info     *types.Info
	files    *token.FileSet
	compared map[ast.Expr]bool // what is only compared with
}

func (c *checker) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if n.Op == token.EQL || n.Op == token.NEQ {
			c.compare(n.X, n.Y)
		}
	case *ast.CaseClause:
		c.compare(n.List...)
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Reason" {
			c.text(n.Value)
		}
	case *ast.AssignStmt:
		for i, to := range n.Lhs {
			if s, ok := to.(*ast.SelectorExpr); ok && s.Sel.Name == "Reason" && len(n.Lhs) == len(n.Rhs) {
				c.text(n.Rhs[i])
			}
		}
	case *ast.CallExpr:
		c.call(n)
	}
	if x, ok := n.(ast.Expr); ok {
		return c.expression(x)
	}
	return true
}

// compare notes what is only compared with, as it is or converted.
func (c *checker) compare(list ...ast.Expr) {
	for _, x := range list {
		c.compared[x] = true
		if conversion, ok := x.(*ast.CallExpr); ok && len(conversion.Args) == 1 {
			c.compared[conversion.Args[0]] = true
		}
	}
}

// call looks at the arguments for parameters called reason.
func (c *checker) call(call *ast.CallExpr) {
	of, ok := c.info.Types[call.Fun].Type.(*types.Signature)
	if !ok {
		return
	}
	for i, x := range call.Args {
		if i < of.Params().Len() && of.Params().At(i).Name() == "reason" {
			c.text(x)
		}
	}
}

// expression looks at one that may be a Reason: a constant is to be one of this package's, and counts as said unless it is
// compared with.
func (c *checker) expression(x ast.Expr) bool {
	tv := c.info.Types[x]
	if tv.Value == nil || tv.Type == nil || types.TypeString(tv.Type, nil) != self+".Reason" {
		return true
	}
	object := c.object(x)
	switch {
	case object != nil && object.Pkg() != nil && object.Pkg().Path() == self:
		if !c.compared[x] {
			c.produced[object.Name()] = true
		}
	case constant.StringVal(tv.Value) != "":
		c.tell(x, tv.Value)
	}
	return false
}

// text looks at what a field or an argument called reason gets, where that is a string: a constant one comes from a Reason,
// unless it is a sentence.
func (c *checker) text(x ast.Expr) {
	tv := c.info.Types[x]
	if tv.Value == nil || tv.Value.Kind() != constant.String || strings.Trim(constant.StringVal(tv.Value), letters) != "" || constant.StringVal(tv.Value) == "" || types.TypeString(tv.Type, nil) == self+".Reason" {
		return
	}
	if conversion, ok := x.(*ast.CallExpr); ok && len(conversion.Args) == 1 && c.object(conversion.Args[0]) != nil {
		return // string(verdict.X), which expression looks at
	}
	c.tell(x, tv.Value)
}

// object returns what a name stands for.
func (c *checker) object(x ast.Expr) types.Object {
	switch x := x.(type) {
	case *ast.Ident:
		return c.info.Uses[x]
	case *ast.SelectorExpr:
		return c.info.Uses[x.Sel]
	}
	return nil
}

func (c *checker) tell(x ast.Expr, v constant.Value) {
	c.wrong = append(c.wrong, fmt.Sprintf("%s: the reason %s", c.files.Position(x.Pos()), v))
}
