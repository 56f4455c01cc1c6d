package health

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// loopback listens on free ports of 127.0.0.1 instead of those that are asked for, and remembers which.
type loopback map[string]string

func (l loopback) listen(address string) (net.Listener, error) {
	if address == ":7" {
		return nil, errors.New("somebody listens there")
	}
	x, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		l[address] = x.Addr().String()
	}
	return x, err
}

// TestChecks: a port answers what its Service has on the node, now; what is not wanted any more is closed; a port that
// cannot be had keeps no other one from being answered.
func TestChecks(t *testing.T) {
	at := loopback{}
	c := &Checks{Listen: at.listen}
	apply := func(want []plan.Check, failure string) {
		t.Helper()
		switch err := c.Apply(want); {
		case failure == "" && err != nil, failure != "" && (err == nil || !strings.Contains(err.Error(), failure)):
			t.Errorf("the error is %v, want %q", err, failure)
		}
	}
	ask := func(port string, status int, weight, body string) {
		t.Helper()
		r, err := http.Get("http://" + at[port])
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != status || r.Header.Get(weightHeader) != weight || strings.TrimSpace(string(text)) != body {
			t.Errorf("port %s answers %d, weight %q, %s (%v); want %d, %q, %s", port, r.StatusCode, r.Header.Get(weightHeader), text, err, status, weight, body)
		}
	}
	web := plan.Check{Namespace: "x", Name: "web", Port: 32001, Local: 2}
	taken := plan.Check{Namespace: "x", Name: "taken", Port: 7}
	apply([]plan.Check{web, taken, {Namespace: "x", Name: "none", Port: 32002}}, "answering health checks of Service x/taken: somebody listens there")
	ask(":32001", http.StatusOK, "2", `{"service":{"namespace":"x","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}`)
	ask(":32002", http.StatusServiceUnavailable, "0", `{"service":{"namespace":"x","name":"none"},"localEndpoints":0,"serviceProxyHealthy":true}`)

	before := at[":32001"]
	web.Local = 0
	apply([]plan.Check{web}, "")
	ask(":32001", http.StatusServiceUnavailable, "0", `{"service":{"namespace":"x","name":"web"},"localEndpoints":0,"serviceProxyHealthy":true}`)
	if at[":32001"] != before {
		t.Error("the port was opened anew")
	}
	if _, err := http.Get("http://" + at[":32002"]); err == nil {
		t.Error("a port that is not wanted any more is still answered")
	}
	if err := c.Apply(nil); err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + before); err == nil {
		t.Error("after the end a port is still answered")
	}
}
