package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestQuestionsThatCannotBeAsked: each is answered by one sentence that says what to do.
func TestQuestionsThatCannotBeAsked(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer refusing.Close()
	empty := httptest.NewServer(http.NotFoundHandler()) // knows no kind
	defer empty.Close()
	configs := map[string]string{"@gone": "http://127.0.0.1:1", "@refusing": refusing.URL, "@empty": empty.URL}
	dir := t.TempDir()
	for name, server := range configs {
		text := "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: '" + server + "'}}], contexts: [{name: c, context: {cluster: c}}]}"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"@good.yaml": goodPool, "@bad.yaml": badPool, "@ports.yaml": ports, "@others.yaml": "{apiVersion: v1, kind: Namespace, metadata: {name: x}}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", filepath.Join(dir, "none"))
	t.Setenv("HOME", dir)
	for name, c := range map[string]struct {
		args, want string
		code       int
	}{
		"no kubeconfig":          {"status", "no cluster to ask: there is no kubeconfig; give --kubeconfig or set KUBECONFIG", 1},
		"no cluster":             {"status --kubeconfig=@gone", "the API server at http://127.0.0.1:1 cannot be reached: see whether the cluster runs", 1},
		"not known":              {"explain svc a/b --kubeconfig=@refusing", "does not know you: log in again, or choose another --context", 1},
		"no definitions":         {"status --kubeconfig=@empty", "apply the CustomResourceDefinitions of this version (config/crd)", 1},
		"no such subject":        {"explain pol a", "explain svc, ip, pool, node or peer, not pol (did you mean \"pool\"?)", 2},
		"no subject's name":      {"explain svc", "Give the name of a svc", 2},
		"nothing":                {"explain", "see fairlead explain --help", 2},
		"no Service's name":      {"explain svc default/Web_1", `"Web_1" is no name of a Service or a namespace`, 2},
		"no address":             {"explain ip 10.0.0.300", `"10.0.0.300" is not an IP address`, 2},
		"no such output":         {"status -o xml", `--output "xml": want text, json or yaml`, 2},
		"no such context":        {"status --kubeconfig=@gone --context=x", `context "x" does not exist`, 1},
		"too often":              {"status --kubeconfig=@gone --watch --every=1ms", "want at least 100ms", 2},
		"nothing to compare":     {"diff", "see fairlead diff --help", 2},
		"no such file":           {"diff @none.yaml", "none.yaml", 2},
		"bad manifests":          {"diff @bad.yaml", "the manifests have 1 error: correct what is said above", 2},
		"manifests of others":    {"diff @others.yaml", "there is nothing to compare", 2},
		"node ports":             {"diff @ports.yaml --kubeconfig=@gone", "cannot be reached", 2},
		"the API server's ports": {"diff @ports.yaml --service-node-port-range=30000-33500", "the API server gives 33000-33500 itself", 2},
		"no range of node ports": {"diff @ports.yaml --service-node-port-range=web", "--service-node-port-range: ", 2},
		"no cluster to compare":  {"diff @good.yaml --kubeconfig=@gone", "cannot be reached: see whether the cluster runs", 2},
		"a drain for real":       {"drain n1", "fairlead only says what would happen: give --dry-run; to drain the node, kubectl drain n1", 2},
		"no node":                {"drain --dry-run", "see fairlead drain --help", 2},
		"no cluster to drain":    {"drain n1 --dry-run --kubeconfig=@gone", "cannot be reached: see whether the cluster runs", 1},
		"no definitions there":   {"drain n1 --dry-run --kubeconfig=@empty", "apply the CustomResourceDefinitions of this version (config/crd)", 1},
		"slash instead of space": {"explain pool/x --kubeconfig=@gone", "cannot be reached", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			root := root()
			root.SetArgs(strings.Fields(strings.ReplaceAll(c.args, "@", dir+"/@")))
			root.SetOut(&out)
			root.SetErr(&out)
			err := root.ExecuteContext(t.Context())
			if err == nil || exitCode(err) != c.code || !strings.Contains(out.String()+err.Error(), c.want) {
				t.Errorf("%v\n%s\nwant exit code %d and %q", err, &out, c.code, c.want)
			}
		})
	}
}

// TestColours: only a terminal gets them, and not where NO_COLOR is set.
func TestColours(t *testing.T) {
	unset := func(string) (string, bool) { return "", false }
	set := func(string) (string, bool) { return "1", true }
	terminal, err := os.Open("/dev/null") // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	if colours(&bytes.Buffer{}, unset) || !colours(terminal, unset) || colours(terminal, set) {
		t.Error("colours are where they should not be, or not where they should")
	}
}
