//go:build bench

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

const (
	askedServices = 10_000
	questions     = 10
	// answerLimit is ten times what a question may take, and viewLimit ten times what the first view of the page may.
	answerLimit = 10 * time.Second
	viewLimit   = 3 * time.Second
	pageAt      = "127.0.0.1:7952"
)

// asking creates ten thousand Services with addresses and endpoints, and asks about them: by the command line, with the API
// server's caches warm, and by the status page, directly after the controller's start and later.
func asking(m *measurement) {
	m.Cleanup(func() { m.must(lab.clear(context.Background(), true)) })
	for _, p := range lab.speakers { // what they do with the Services is not what is measured; what they said of themselves stays
		_, err := p.Stop(m.ctx)
		m.must(err)
	}
	watch, err := lab.follow(m.ctx)
	m.must(err)
	defer watch.stop()
	m.during(fmt.Sprintf("%d Services and EndpointSlices are created", askedServices), func() error {
		if err := lab.create(m.ctx, askedServices, func(i int) client.Object { return lab.lightEndpoints(number(i)) }); err != nil {
			return err
		}
		return lab.create(m.ctx, askedServices, func(i int) client.Object { return light(number(i), "") })
	})
	m.during("they get addresses", func() error {
		_, err := watch.awaitAddresses(m.ctx, askedServices)
		return err
	})
	lab.settle(m.ctx)

	for _, q := range []struct {
		name string
		args []string
		want string
	}{
		{"explain", []string{"explain", "svc", namespace + "/" + number(askedServices/2)}, "yes  endpoints"},
		{"status", []string{"status"}, fmt.Sprintf("%d Services, %d with an address", askedServices, askedServices)},
	} {
		var took sample
		for range questions + 1 {
			begin := time.Now()
			out, err := question(m.ctx, q.args...)
			took = append(took, time.Since(begin))
			m.must(err)
			if !strings.Contains(out, q.want) {
				m.Fatalf("fairlead %s does not say %q:\n%s", strings.Join(q.args, " "), q.want, out)
			}
		}
		took = took[1:] // the first one warms the API server
		m.Logf("fairlead %s: median %s, worst %s", q.name, took.median(), took.worst())
		m.durations(q.name, fmt.Sprintf("fairlead %s, %d Services", strings.Join(q.args[:1], " "), askedServices), took, 1, "at most 1 s")
		if took.worst() > answerLimit {
			m.Errorf("fairlead %s: worst %s", q.name, took.worst())
		}
	}
	page(m)
}

// question asks fairlead as somebody at a terminal does. That something is not well is an answer.
func question(ctx context.Context, args ...string) (string, error) {
	binary, err := filepath.Abs("../../bin/fairlead")
	if err != nil {
		return "", err
	}
	cmd := lab.ControlPlane().Command(ctx, append(append([]string{binary}, args...), "--kubeconfig", lab.Kubeconfig(), "--namespace", cluster.FairleadNamespace)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) && failed.ExitCode() == 1 {
		err = nil
	}
	return out.String(), err
}

// page starts the controller anew, with the status page, and looks at it.
func page(m *measurement) {
	rights, err := os.ReadFile("../../config/rbac/status.yaml")
	m.must(err)
	m.must(lab.Apply(m.ctx, string(rights)))
	_, err = lab.controller.Stop(m.ctx)
	m.must(err)
	browser := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return lab.ControlPlane().Dial(ctx, network, address)
		},
	}}
	look := func(path string) (code int, body string, took time.Duration, err error) {
		begin := time.Now()
		r, err := http.NewRequestWithContext(m.ctx, "GET", "http://"+pageAt+path, nil)
		if err != nil {
			return 0, "", 0, err
		}
		answer, err := browser.Do(r)
		if err != nil {
			return 0, "", 0, err
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		return answer.StatusCode, string(text), time.Since(begin), err
	}
	started := time.Now()
	lab.controller, err = lab.StartController(m.ctx, "--status-address", pageAt)
	m.must(err)
	var first, worst, listening, complete time.Duration
	for complete == 0 {
		code, body, took, err := look("/")
		switch {
		case time.Since(started) > time.Minute:
			m.Fatalf("the page does not come: %d %v", code, err)
		case err != nil: // nobody listens yet
			time.Sleep(5 * time.Millisecond)
			continue
		case first == 0:
			first, listening = took, time.Since(started)-took
		}
		worst = max(worst, took)
		if code == http.StatusOK {
			if !strings.Contains(body, fmt.Sprintf("<b>%d</b> Services", askedServices)) {
				m.Fatalf("the page does not have all Services:\n%s", body)
			}
			complete = time.Since(started)
		}
		time.Sleep(20 * time.Millisecond)
	}
	m.value("page-listens", "s", "controller started -> the page is served", listening.Seconds(), show(listening), "")
	m.value("page-first", "ms", "the page's first view, directly after that", float64(first.Microseconds())/1000, show(first), "at most 300 ms")
	m.value("page-starting", "ms", "its slowest view until it has all Services", float64(worst.Microseconds())/1000, show(worst), "at most 300 ms")
	m.value("page-complete", "s", "controller started -> it has all Services", complete.Seconds(), show(complete), "")
	if first > viewLimit {
		m.Errorf("the first view took %s", first)
	}
	for name, path := range map[string]string{"overview": "/", "table": "/services", "searched": "/services?q=svc-04&sort=-address", "service": "/services/" + namespace + "/" + number(7)} {
		var took sample
		for range questions {
			code, _, d, err := look(path)
			m.must(err)
			if code != http.StatusOK {
				m.Fatal(path, code)
			}
			took = append(took, d)
			time.Sleep(200 * time.Millisecond) // while it looks at the cluster again and again
		}
		m.durations("page-"+name, "a view of "+path, took, 1, "at most 300 ms")
	}
}
