package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/lint"
)

const (
	goodPool = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: good, namespace: metallb-system}\nspec: {addresses: [10.0.0.0/24]}\n"
	badPool  = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: bad, namespace: metallb-system}\nspec: {addresses: [10.0.1.0/33]}\n"
	ports    = "apiVersion: fairlead.io/v1alpha1\nkind: NodePortRange\nmetadata: {name: games, namespace: metallb-system}\nspec: {ports: [33000-33999]}\n"
	strayAd  = "apiVersion: metallb.io/v1beta1\nkind: L2Advertisement\nmetadata: {name: ad, namespace: metallb-system}\nspec: {ipAddressPools: [other]}\n"
)

// TestLint runs the command in a folder with a good, a bad and a doubtful manifest and a Helm chart.
func TestLint(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good.yaml": goodPool, "sub/bad.yml": badPool, "doubtful/ad.yaml": strayAd, "empty/readme.txt": "x",
		"chart/Chart.yaml": "name: x", "chart/templates/pool.yaml": "{{ .Values.x }}",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for name, c := range map[string]struct {
		args, stdin string
		code        int
		out, err    string // in standard output; in standard error or in the error
	}{
		"good":                                {args: "good.yaml", err: "checked 1 object: 0 errors, 0 warnings"},
		"bad, by its folder":                  {args: "sub", code: 1, out: "sub/bad.yml:4: error: IPAddressPool \"bad\", spec.addresses[0]: ", err: "1 error, 0 warnings"},
		"two folders":                         {args: "sub doubtful", code: 1, out: "doubtful/ad.yaml:4: warning: ", err: "checked 2 objects: 1 error, 1 warning"},
		"a warning is no error":               {args: "doubtful", out: "ad.yaml:4: warning: "},
		"unless it is asked to be":            {args: "doubtful --strict", code: 1},
		"standard input":                      {args: "-", stdin: badPool, code: 1, out: "-:4: error: "},
		"another namespace":                   {args: "good.yaml --namespace=fairlead", code: 1, out: "WrongNamespace"},
		"nothing of ours":                     {args: "-", stdin: "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", err: "nothing to check: none of 1 document is"},
		"node ports outside the API server's": {args: "-", stdin: ports, err: "0 errors"},
		"node ports of the API server's, whose range is another": {args: "- --service-node-port-range=30000-33500", stdin: ports, code: 1, out: "the API server gives 33000-33500 itself"},
		"no range of node ports":                                 {args: "- --service-node-port-range=web", stdin: ports, code: 2, err: "--service-node-port-range: "},
		"json":                                                   {args: "sub -o json", code: 1, out: `"reason": "InvalidAddresses"`},
		"a chart":                                                {args: "chart", code: 2, err: "helm template chart | fairlead lint -"},
		"a file that is not there":                               {args: "none.yaml", code: 2, err: "none.yaml"},
		"a folder without any":                                   {args: "empty", code: 2, err: "there is no .yaml, .yml or .json file in empty"},
		"no arguments":                                           {args: "", code: 2, err: "see fairlead lint --help"},
		"a flag that is not there":                               {args: "--fast", code: 2, err: "unknown flag: --fast"},
		"an output that is not":                                  {args: "good.yaml -o xml", code: 2, err: "want text or json"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			root := root()
			root.SetArgs(append([]string{"lint"}, strings.Fields(c.args)...))
			root.SetIn(strings.NewReader(c.stdin))
			root.SetOut(&out)
			root.SetErr(&stderr)
			code := 0
			err := root.ExecuteContext(t.Context())
			if err != nil {
				code = exitCode(err)
				stderr.WriteString(err.Error())
			}
			if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(stderr.String(), c.err) {
				t.Errorf("exit code %d, want %d\n%s\n%s", code, c.code, &out, &stderr)
			}
		})
	}
}

// TestLintJSON: what another program reads is complete even where there is nothing to tell.
func TestLintJSON(t *testing.T) {
	var out bytes.Buffer
	root := root()
	root.SetArgs([]string{"lint", "-", "-o", "json"})
	root.SetIn(strings.NewReader(goodPool))
	root.SetOut(&out)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var r lint.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Findings == nil || r.Checked != 1 {
		t.Errorf("%v\n%s", err, &out)
	}
}
