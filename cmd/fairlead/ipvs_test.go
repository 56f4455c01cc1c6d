package main

import (
	"strings"
	"testing"
)

// TestIPVSFlags: what is wrong with the flags is said before anything is done.
func TestIPVSFlags(t *testing.T) {
	for flags, want := range map[string]string{
		"":                                                "--node-name (or FAIRLEAD_NODE_NAME) is needed",
		"--cleanup --release":                             "give one of them",
		"--node-name=a --cluster-cidr=ten":                `--cluster-cidr "ten": want a CIDR`,
		"--node-name=a --drain-time=-1s":                  "--drain-time -1s: want 0 or more",
		"--node-name=a --scheduler=fastest":               `--scheduler: "fastest" is none of the schedulers`,
		"--node-name=a --api-server=1.2.3.4":              `--api-server "1.2.3.4": want a URL such as https://192.0.2.10:6443`,
		"--node-name=a --all-services":                    "--all-services needs --api-server",
		"--node-name=a --all-services --kubeconfig=/none": "/none",
		"--node-name=a --all-services --api-server=https://192.0.2.10:6443": "no way to the API server",
	} {
		cmd := root()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetErr(t.Output())
		cmd.SetArgs(append([]string{"ipvs", "--metrics-bind-address=0", "--health-probe-bind-address=0"}, strings.Fields(flags)...))
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", flags, err, want)
		}
	}
}
