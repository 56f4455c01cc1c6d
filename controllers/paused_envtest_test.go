//go:build envtest

package controllers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// process is one `fairlead controller` and the only way from it to the API server.
type process struct {
	*exec.Cmd
	log logBuffer

	mu     sync.Mutex
	hold   string        // the path of the write that is held up on its way, or ""
	held   *http.Request // that write
	holds  chan struct{} // closed when it is held
	writes []string      // that were let through
}

// startProcess starts the program with a proxy before it.
func (s *story) startProcess(program string) *process {
	s.t.Helper()
	p := &process{holds: make(chan struct{})}
	transport, err := rest.TransportFor(server)
	s.ok(err)
	to, err := url.Parse(server.Host)
	s.ok(err)
	proxy := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.pass(r) {
			<-r.Context().Done()
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	kubeconfig := filepath.Join(s.t.TempDir(), "kubeconfig")
	s.ok(os.WriteFile(kubeconfig, []byte(fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"c","context":{"cluster":"c"}}]}`, front.URL)), 0o600))
	p.Cmd = exec.Command(program, "controller", "--kubeconfig", kubeconfig, "--namespace", s.config, "--lb-class", s.class, "--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-level=debug")
	p.Stderr = &p.log
	s.ok(p.Start())
	s.t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
		front.CloseClientConnections()
		front.Close()
	})
	return p
}

// pass notes a write, or takes it out of the way where it is to be held up.
func (p *process) pass(r *http.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold != "" && r.URL.Path == p.hold {
		body, _ := io.ReadAll(r.Body)
		p.hold, p.held = "", r.Clone(r.Context())
		p.held.Body = io.NopCloser(bytes.NewReader(body))
		close(p.holds)
		return false
	}
	p.writes = append(p.writes, r.Method+" "+r.URL.Path)
	return true
}

// release sends what was held up and returns the API server's answer.
func (s *story) release(p *process) *metav1.Status {
	s.t.Helper()
	transport, err := rest.TransportFor(server)
	s.ok(err)
	r, err := http.NewRequestWithContext(s.ctx, p.held.Method, strings.TrimSuffix(server.Host, "/")+p.held.URL.RequestURI(), p.held.Body)
	s.ok(err)
	r.Header = p.held.Header
	r.Header.Set("Accept", "application/json")
	resp, err := transport.RoundTrip(r)
	s.ok(err)
	defer func() { _ = resp.Body.Close() }()
	var status metav1.Status
	s.ok(json.NewDecoder(resp.Body).Decode(&status))
	return &status
}

// leader waits until somebody leads who did not before, and returns who.
func (s *story) leader(before string) string {
	s.t.Helper()
	var holder string
	s.eventually(func() string {
		var l coordinationv1.Lease
		if err := s.admin.Get(s.ctx, client.ObjectKey{Namespace: s.config, Name: leaseName}, &l); err != nil {
			return err.Error()
		}
		if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || *l.Spec.HolderIdentity == before {
			return "nobody new leads"
		}
		holder = *l.Spec.HolderIdentity
		return ""
	})
	return holder
}

// TestALeaderThatIsPausedPastItsLease: a write of it that was under way conflicts, and when it is woken it writes nothing
// more and ends.
func TestALeaderThatIsPausedPastItsLease(t *testing.T) {
	s := newStory(t)
	program := filepath.Join(t.TempDir(), "fairlead")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/fairlead").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.create(s.pool("first-pool", "172.25.254.50/32"))
	first := s.startProcess(program)
	holder := s.leader("")
	s.state("controller", "poolReconcilerValid", "Valid", "")
	s.counts("first-pool", 0, 1, 0, 0)
	s.startProcess(program) // the next leader

	first.mu.Lock()
	first.hold = "/api/v1/namespaces/" + s.namespace + "/services/victim/status"
	first.mu.Unlock()
	s.create(s.service("victim"))
	select {
	case <-first.holds:
	case <-time.After(patience):
		t.Fatalf("the leader writes nothing:\n%s", first.log.String())
	}
	s.ok(first.Process.Signal(syscall.SIGSTOP))

	s.leader(holder)
	first.mu.Lock()
	writes := len(first.writes) // with those that were on their way when it was stopped
	first.mu.Unlock()
	s.gets("victim", "172.25.254.50")
	s.delete(s.get("victim")) // and the only address goes to another one
	s.create(s.service("heir"))
	s.gets("heir", "172.25.254.50")
	s.create(s.service("victim"))
	s.waits("victim", "PoolExhausted", "")

	if answer := s.release(first); answer.Code != http.StatusConflict {
		t.Errorf("the write that was under way is answered: %+v", answer)
	}
	s.ok(first.Process.Signal(syscall.SIGCONT))
	err := first.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(first.log.String(), "leader election lost") {
		t.Errorf("it ended with %v:\n%s", err, first.log.String())
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	for _, w := range first.writes[writes:] {
		if !strings.Contains(w, "/leases/") {
			t.Errorf("when it was woken it wrote %s", w)
		}
	}
	if got := external(s.get("victim")); got != "" {
		t.Errorf("victim has %s, which is heir's", got)
	}
	s.gets("heir", "172.25.254.50")
}
