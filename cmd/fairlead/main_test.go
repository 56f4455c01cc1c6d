package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestFlagsFromEnvironment(t *testing.T) {
	type flags struct {
		node    string
		port    uint16
		exclude []string
		elect   bool
	}
	defaults := flags{node: "", port: 7947, exclude: []string{"^lo$"}, elect: true}
	cases := map[string]struct {
		args        []string
		environment map[string]string
		want        func(*flags)
		err         []string // all in the error
	}{
		"nothing":                 {want: func(*flags) {}},
		"from the environment":    {environment: map[string]string{"FAIRLEAD_NODE_NAME": "n1"}, want: func(f *flags) { f.node = "n1" }},
		"the command line wins":   {args: []string{"--node-name=a"}, environment: map[string]string{"FAIRLEAD_NODE_NAME": "b"}, want: func(f *flags) { f.node = "a" }},
		"even where it is empty":  {args: []string{"--node-name="}, environment: map[string]string{"FAIRLEAD_NODE_NAME": "b"}, want: func(*flags) {}},
		"a bool":                  {environment: map[string]string{"FAIRLEAD_LEADER_ELECT": "false"}, want: func(f *flags) { f.elect = false }},
		"a list replaces":         {environment: map[string]string{"FAIRLEAD_EXCLUDE_INTERFACES": "^a,^b"}, want: func(f *flags) { f.exclude = []string{"^a", "^b"} }},
		"not of help and version": {environment: map[string]string{"FAIRLEAD_HELP": "x", "FAIRLEAD_VERSION": "1.2.3"}, want: func(*flags) {}},
		"every bad one is told": {
			environment: map[string]string{"FAIRLEAD_MEMBERS_PORT": "70000", "FAIRLEAD_LEADER_ELECT": "perhaps"},
			err:         []string{"environment variable FAIRLEAD_MEMBERS_PORT", "70000", "environment variable FAIRLEAD_LEADER_ELECT", "perhaps"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got flags
			set := pflag.NewFlagSet("", pflag.ContinueOnError)
			set.StringVar(&got.node, "node-name", defaults.node, "")
			set.Uint16Var(&got.port, "members-port", defaults.port, "")
			set.StringSliceVar(&got.exclude, "exclude-interfaces", defaults.exclude, "")
			set.BoolVar(&got.elect, "leader-elect", defaults.elect, "")
			set.Bool("help", false, "")
			set.Bool("version", false, "")
			if err := set.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			err := flagsFromEnvironment(set, func(name string) (string, bool) { v, ok := c.environment[name]; return v, ok })
			if len(c.err) > 0 {
				for _, part := range c.err {
					if err == nil || !strings.Contains(err.Error(), part) {
						t.Errorf("the error is %v, without %q", err, part)
					}
				}
				return
			}
			want := defaults
			c.want(&want)
			if err != nil || got.node != want.node || got.port != want.port || strings.Join(got.exclude, " ") != strings.Join(want.exclude, " ") || got.elect != want.elect {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

func TestLogger(t *testing.T) {
	for name, c := range map[string]struct {
		format, level string
		want          string // what is logged; "" for nothing
		err           string
	}{
		"text":             {"text", "info", `level=INFO msg=hello service=default/huazi`, ""},
		"json":             {"json", "debug", `"level":"INFO","msg":"hello","service":"default/huazi"}`, ""},
		"not that bad":     {"text", "error", "", ""},
		"unknown format":   {"xml", "info", "", `--log-format "xml": want text or json`},
		"unknown level":    {"text", "loud", "", `--log-level "loud": want debug, info, warn or error`},
		"no level":         {"text", "", "", `--log-level "": want debug, info, warn or error`},
		"no format":        {"", "info", "", `--log-format "": want text or json`},
		"capitals are one": {"text", "WARN", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log, err := (&common{logFormat: c.format, logLevel: c.level}).logger(&out)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("got the error %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			log.Info("hello", slog.String("service", "default/huazi"))
			if got := out.String(); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("logged %q, want %q", got, c.want)
			}
		})
	}
}

// TestCommandLine runs whole commands, as far as they come without an API server.
func TestCommandLine(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "kubeconfig")
	for name, c := range map[string]struct {
		args        []string
		environment map[string]string
		out, err    string
	}{
		"version":                     {args: []string{"version"}, out: version + "\n"},
		"the flag too":                {args: []string{"--version"}, out: "fairlead version " + version},
		"an unknown command":          {args: []string{"announce"}, err: `unknown command "announce"`},
		"an unknown flag":             {args: []string{"controller", "--pool=x"}, err: "unknown flag: --pool"},
		"an argument too many":        {args: []string{"speaker", "n1"}, err: `unknown command "n1"`},
		"a speaker without a name":    {args: []string{"speaker"}, err: "--node-name (or FAIRLEAD_NODE_NAME) is needed"},
		"a port that is none":         {args: []string{"speaker", "--members-port=65536"}, err: "--members-port"},
		"no writers":                  {args: []string{"controller", "--status-writers=0"}, err: "--status-writers is 0"},
		"half a certificate":          {args: []string{"controller", "--status-tls-cert=x"}, err: "--status-tls-cert and --status-tls-key go together"},
		"a bad level":                 {args: []string{"controller", "--log-level=loud"}, err: "--log-level"},
		"a bad expression":            {args: []string{"speaker", "--node-name=n1", "--exclude-interfaces=("}, err: "("},
		"no gratuitous frames":        {args: []string{"speaker", "--node-name=n1", "--gratuitous-rate=0"}, err: "--gratuitous-rate 0: want 1"},
		"refreshed too often":         {args: []string{"speaker", "--node-name=n1", "--gratuitous-refresh=-1s"}, err: "--gratuitous-refresh -1s: want 0"},
		"back before it was away":     {args: []string{"speaker", "--node-name=n1", "--failback-after=-1s"}, err: "--failback-after -1s: want 0"},
		"no way to the API server":    {args: []string{"controller"}, err: "no way to the API server (outside a cluster, give --kubeconfig)"},
		"a kubeconfig that is not":    {args: []string{"controller", "--kubeconfig=" + nowhere}, err: nowhere},
		"a name from the environment": {args: []string{"speaker"}, environment: map[string]string{"FAIRLEAD_NODE_NAME": "n1", "FAIRLEAD_KUBECONFIG": nowhere}, err: nowhere},
		"a bad environment":           {args: []string{"controller"}, environment: map[string]string{"FAIRLEAD_KUBE_API_QPS": "fast"}, err: "environment variable FAIRLEAD_KUBE_API_QPS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			for k, v := range c.environment {
				t.Setenv(k, v)
			}
			var out bytes.Buffer
			root := root()
			root.SetArgs(c.args)
			root.SetOut(&out)
			root.SetErr(io.Discard)
			err := root.ExecuteContext(context.Background())
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("returned %v, want %q", err, c.err)
			}
			if !strings.Contains(out.String(), c.out) {
				t.Errorf("printed %q, want %q", out.String(), c.out)
			}
		})
	}
}
