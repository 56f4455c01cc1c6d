//go:build envtest

package controllers

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// TestStatusPage serves the page beside a real API server: to who has the ClusterRole fairlead-viewer, by HTTPS, and to nobody
// else.
func TestStatusPage(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first", "192.0.2.32/28"), s.service("web"))
	s.asker("system:serviceaccount:"+s.namespace+":looker", s.viewerRules(), nil)
	options, err := ManagerOptions(s.config)
	s.ok(err)
	(&Programmers{Namespace: s.config}).Configure(&options)
	(&StaleStatuses{Namespace: s.config}).Configure(&options)
	options.Metrics.BindAddress, options.HealthProbeBindAddress = "0", "0"
	m, err := manager.New(server, options)
	s.ok(err)
	page := &StatusPage{Address: "0.0.0.0:0", Namespace: s.config, Class: s.class, Version: "test", Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	s.ok(page.SetUp(m))
	ended := make(chan error, 1)
	go func() { ended <- m.Start(s.ctx) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	_, port, _ := strings.Cut(page.listener.Addr().String(), "]:")
	if port == "" {
		_, port, _ = strings.Cut(page.listener.Addr().String(), ":")
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	get := func(token string) (int, string) {
		r, err := http.NewRequestWithContext(s.ctx, "GET", "https://127.0.0.1:"+port+"/services/"+s.namespace+"/web", nil)
		s.ok(err)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := client.Do(r)
		s.ok(err)
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		s.ok(err)
		return answer.StatusCode, string(body)
	}
	looker, nobody := s.token("looker"), s.token("nobody")
	s.eventually(func() string {
		code, body := get(looker)
		if code != 200 || !strings.Contains(body, "LoadBalancer") {
			return fmt.Sprintf("%d\n%s", code, body)
		}
		return ""
	})
	for token, want := range map[string]int{"": 401, "wrong": 401, nobody: 403} {
		if code, body := get(token); code != want || strings.Contains(body, "LoadBalancer") {
			t.Errorf("%d, want %d\n%s", code, want, body)
		}
	}
	plain, err := http.Get("http://127.0.0.1:" + port + "/")
	if err == nil {
		defer func() { _ = plain.Body.Close() }()
		if plain.StatusCode == 200 {
			t.Error("it is served without TLS")
		}
	}
}

// token makes a ServiceAccount and returns a token of it.
func (s *story) token(name string) string {
	s.t.Helper()
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}})
	admin, err := kubernetes.NewForConfig(server)
	s.ok(err)
	r, err := admin.CoreV1().ServiceAccounts(s.namespace).CreateToken(s.ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	s.ok(err)
	return r.Status.Token
}
