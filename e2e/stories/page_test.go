//go:build e2e

package stories

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// TestTheStatusPageSaysWhy: somebody opens the page that a controller serves, sees why a Service does not work, and sees it work
// when it does; who has no right to look is refused, and so is who does not say who they are.
func TestTheStatusPageSaysWhy(t *testing.T) {
	s := begin(t)
	rights, err := os.ReadFile("../../config/rbac/status.yaml")
	s.must(err)
	s.apply(string(rights))
	viewer, nobody := s.token("viewer", "fairlead-viewer"), s.token("nobody", "")
	host := lab.ControlPlane()
	at := net.JoinHostPort(host.IPv4.String(), "7955")
	replica, err := lab.StartController(s.ctx, "--status-address", at) // it waits for the lease, and serves all the same
	s.must(err)
	defer func() {
		_, err := replica.Stop(context.WithoutCancel(s.ctx))
		s.must(err)
	}()
	browser := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: host.Dial, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate signs itself
	}}
	look := func(path, token string) (int, string, error) {
		r, err := http.NewRequestWithContext(s.ctx, "GET", "https://"+at+path, nil)
		s.must(err)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := browser.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		return answer.StatusCode, string(body), err
	}
	shows := func(path string, want ...string) {
		s.Helper()
		s.eventually(path, func() error {
			code, body, err := look(path, viewer)
			if err != nil || code != http.StatusOK {
				return fmt.Errorf("%d, %v\n%s", code, err, body)
			}
			for _, w := range want {
				if !strings.Contains(body, w) {
					return fmt.Errorf("it does not show %q:\n%s", w, body)
				}
			}
			return nil
		})
	}
	s.sample("huazi.yaml")
	shows("/services/default/huazi", "Does not work.", "there is no IPAddressPool: create one", ">NoPool<")
	for token, want := range map[string]int{"": http.StatusUnauthorized, "made up": http.StatusUnauthorized, nobody: http.StatusForbidden} {
		if code, body, err := look("/services/default/huazi", token); err != nil || code != want || strings.Contains(body, "NoPool") {
			t.Errorf("%d, %v, want %d\n%s", code, err, want, body)
		}
	}
	s.sample("first-pool.yaml")
	s.pod(0, "huazi")
	shows("/services/default/huazi", "Works.", "is announced by node", "nodeAssigned")
	shows("/", "<b>1</b> Services", "<b>0</b> without an address", "<b>0</b> not announced")
}

// token returns the token of a ServiceAccount that stands for a person.
func (s *story) token(name, role string) string {
	s.Helper()
	config, err := clientcmd.LoadFromFile(s.user(name, role))
	s.must(err)
	for _, user := range config.AuthInfos {
		return user.Token
	}
	s.Fatal("the kubeconfig has no user")
	return ""
}
