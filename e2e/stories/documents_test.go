//go:build e2e

package stories

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/documents"
)

// world has all that the documents' commands are about.
const world = `
{apiVersion: v1, kind: Namespace, metadata: {name: games}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {type: LoadBalancer, selector: {app: huazi}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: lobby, namespace: games}, spec: {type: LoadBalancer, selector: {app: lobby}, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: media, namespace: default}, spec: {type: LoadBalancer, selector: {app: huazi}, ports: [{port: 5061}]}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: fairlead-ipvs, namespace: metallb-system}, data: {dataplane: annotated}}
---
{apiVersion: fairlead.io/v1alpha1, kind: ProgrammerState, metadata: {name: node-1, namespace: metallb-system}}
`

// placeholders are what a reader puts in the place of words in capitals, and of what a usage offers to choose from.
func placeholders() *strings.Replacer {
	return strings.NewReplacer(
		"svc NAMESPACE/NAME", "svc default/web", "NAMESPACE/NAME", "default/web", "-n NAMESPACE", "-n default", "HOME", cluster.FairleadNamespace, "KIND NAME", "ipaddresspool first-pool",
		"ipaddresspool NAME", "ipaddresspool first-pool", "peer NAME", "peer sample", "node NAME", "node node-1",
		"service NAME", "service web", "svc NAME", "svc web", "service-name=NAME", "service-name=web", "ip ADDRESS", "ip 172.25.254.50",
		"NODE", "node-1", "FILE|FOLDER|- ...", "config/samples", "FILES", "config/samples", "FILE", "config/samples/first-pool.yaml",
		"[--watch | --check]", "--check", "CHART", "charts/fairlead", "lint manifests/", "lint config/samples", "diff pools.yaml", "diff config/samples/first-pool.yaml",
		"~/.kube/config", lab.Kubeconfig(),
	)
}

// maySayNo are the commands whose exit code 1 means that something is not well, or would change: a peer is no router here.
func maySayNo() []string {
	return []string{"fairlead status", "fairlead explain", "fairlead diff", "fairlead drain", "kubectl fairlead"}
}

// TestWhatTheDocumentsTellToType: every manifest of every document is applied, to an API server that asks the webhooks, and
// every command is run that needs no pods from images.
func TestWhatTheDocumentsTellToType(t *testing.T) {
	s := begin(t)
	commands, blocks, err := documents.Read()
	s.must(err)
	s.serveWebhooks()
	s.pod(0, "huazi")
	s.sample("huazi.yaml")
	s.Cleanup(func() {
		ctx := context.Background()
		_, err := lab.Kubectl(ctx, world, "delete", "--ignore-not-found", "-f", "-")
		s.must(err)
		for _, kinds := range []string{"addresspolicies,addressreservations,nodeportranges", "addressclaims"} { // a policy retains addresses by claims
			_, err = lab.Kubectl(ctx, "", "delete", "-n", cluster.FairleadNamespace, "--all", kinds)
			s.must(err)
		}
	})
	for _, b := range blocks {
		if !b.Manifests() {
			continue // values: the tests of the chart have them
		}
		s.eventually(fmt.Sprintf("%s:%d is applied", b.Document, b.Line), func() error {
			_, err := lab.Kubectl(s.ctx, b.Text, "apply", "-f", "-")
			return err
		})
	}
	s.sample("bgp.yaml")
	s.hasAddresses("huazi", "172.25.254.50")
	s.apply(world)
	s.announcer("172.25.254.50")

	for _, c := range commands {
		if c.Place() != documents.Stories {
			continue
		}
		t.Run(c.Text, func(t *testing.T) {
			host := lab.ControlPlane()
			if p := c.Program(); p == "arping" || p == "ip" {
				host = lab.Outside()
			}
			line := placeholders().Replace(c.Text)
			out, err := lab.Shell(s.ctx, host, line)
			var failed *exec.ExitError
			if errors.As(err, &failed) && failed.ExitCode() == 1 && slices.ContainsFunc(maySayNo(), func(p string) bool { return strings.HasPrefix(line, p) }) {
				err = nil
			}
			if err != nil || strings.Contains(out, "there is no ") {
				t.Errorf("%s: %v\n%s", c.Document, err, out)
			}
		})
	}
}
