//go:build e2e

package stories

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestConfigureWaitsForTheWebhooks: the chart's Job starts at the same time as the controller. It waits for it, says what is
// refused, and deletes what is given no more but for a pool in use.
func TestConfigureWaitsForTheWebhooks(t *testing.T) {
	s := begin(t)
	s.sample("huazi.yaml")
	s.serveWebhooks()
	given := filepath.Join(t.TempDir(), "objects.yaml")
	give := func(manifests string) {
		t.Helper()
		s.must(os.WriteFile(given, []byte(manifests), 0o600))
	}
	const advertised = "\n---\n{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: all, namespace: metallb-system}}\n"
	configure := func(code int, want ...string) {
		t.Helper()
		out := s.ask(lab.Kubeconfig(), code, "configure", given, "--timeout=30s")
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("it does not say %q:\n%s", w, out)
			}
		}
	}
	s.stopController()
	give(onePool("first", "172.25.254.50-172.25.254.59") + "---" + onePool("second", "172.25.254.60-172.25.254.69") + advertised)
	go func() { // meanwhile
		time.Sleep(3 * time.Second)
		if p, err := lab.StartController(context.Background(), "--webhooks=on"); err == nil {
			lab.controller = p
		}
	}()
	configure(0, `waiting for="applying IPAddressPool`, "failed calling webhook", "applied kind=IPAddressPool name=first", "applied kind=L2Advertisement name=all")
	s.hasAddresses("huazi", "172.25.254.50")

	give(onePool("first", "172.25.254.50-172.25.254.5"))
	configure(1, "ends before it starts") // without a cluster
	s.apply(onePool("mine", "172.25.254.80-172.25.254.89"))
	give(onePool("first", "172.25.254.50-172.25.254.59") + "---" + onePool("third", "172.25.254.85-172.25.254.86") + advertised)
	configure(1, "admission webhook", `overlaps the older pool "mine"`)
	give(onePool("second", "172.25.254.60-172.25.254.69"))
	configure(1, "is in use, and deleting it would disturb running Services: Service default/huazi", "deleted kind=L2Advertisement name=all")
	give(onePool("first", "172.25.254.50-172.25.254.59"))
	configure(0, "deleted kind=IPAddressPool name=second")
	s.hasAddresses("huazi", "172.25.254.50")
}
