//go:build e2e

package stories

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// TestDoors: the status page, and metrics that are secured, are for those alone who have the ClusterRole for it, and the
// controller finds out with the rights of config/rbac/status.yaml and metrics.yaml.
func TestDoors(t *testing.T) {
	s := begin(t)
	for _, name := range []string{"status", "metrics"} {
		text, err := os.ReadFile("../../config/rbac/" + name + ".yaml")
		s.must(err)
		s.apply(string(text))
	}
	host := lab.ControlPlane().IPv4
	page, metrics := netip.AddrPortFrom(host, 7952).String(), netip.AddrPortFrom(host, cluster.MetricsPort).String()
	s.replaceController("--status-address="+page, "--secure-metrics")
	s.Cleanup(func() { s.replaceController() })
	s.must(lab.WaitReady(s.ctx, lab.controller))
	asks := &http.Client{Transport: &http.Transport{
		DialContext: lab.Outside().Dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // they sign themselves
	}}
	for user, role := range map[string]string{"viewer": "fairlead-viewer", "prometheus": "fairlead-metrics-reader", "nobody": ""} {
		config, err := clientcmd.LoadFromFile(s.user(user, role))
		s.must(err)
		for url, to := range map[string]string{"https://" + page + "/": "viewer", "https://" + metrics + "/metrics": "prometheus"} {
			want := http.StatusForbidden
			if user == to {
				want = http.StatusOK
			}
			s.eventually(user+" asks for "+url, func() error {
				r, err := http.NewRequestWithContext(s.ctx, http.MethodGet, url, nil)
				if err != nil {
					return err
				}
				for _, u := range config.AuthInfos {
					r.Header.Set("Authorization", "Bearer "+u.Token)
				}
				answer, err := asks.Do(r)
				if err != nil {
					return err
				}
				_ = answer.Body.Close()
				if answer.StatusCode != want {
					return fmt.Errorf("answered with %s, want %d", answer.Status, want)
				}
				return nil
			})
		}
	}
}
