//go:build linux && netns && !race

package bgp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// childVariable makes the test program a speaker that takes a Want from its standard input and runs until it is killed.
const childVariable = "FAIRLEAD_TEST_SPEAKER"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child() error {
	var want Want
	if err := json.NewDecoder(os.Stdin).Decode(&want); err != nil {
		return err
	}
	s := New(Config{Log: slog.New(slog.DiscardHandler), RouterID: netip.MustParseAddr("10.0.0.1")})
	ctx := context.Background()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if err := s.Apply(ctx, want); err != nil {
		return err
	}
	for {
		select {
		case err := <-ended:
			return err
		case <-s.Changed():
			if s.Sessions()[0].State == Established {
				fmt.Println("established")
			}
		}
	}
}

// speakerProcess is a speaker in a process of its own.
func speakerProcess(t *testing.T, ns *netnstest.NS, want Want) (kill func()) {
	t.Helper()
	in, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(in)), t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	ns.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	if !bufio.NewScanner(out).Scan() {
		t.Fatal(errors.New("the speaker ended before its session was established"))
	}
	return kill
}

// A speaker that is killed and started again: with graceful restart FRR's kernel keeps every route without a moment's
// gap; without, they are gone at once.
func TestKilledSpeaker(t *testing.T) {
	for _, graceful := range []bool{true, false} {
		t.Run(fmt.Sprintf("graceful restart %v", graceful), func(t *testing.T) { killSpeaker(t, graceful) })
	}
}

func killSpeaker(t *testing.T, graceful bool) {
	w := emptyWorld(t)
	f := newFRR(t, w.segment("e1", 2), frrConfig())
	want := Want{
		Sessions: []plan.Session{session4(func(s *plan.Session) { s.GracefulRestart = graceful })},
		Routes:   []plan.Route{route("router", "203.0.113.1/32"), route("router", "2001:db8:f::1/128")},
	}
	kill := speakerProcess(t, w.ns, want)
	f.awaitKernel("203.0.113.1/32", true)
	f.awaitKernel("2001:db8:f::1/128", true)
	events := monitor(t, f.ns)
	kill()
	if !graceful {
		f.awaitKernel("203.0.113.1/32", false)
		f.awaitKernel("2001:db8:f::1/128", false)
		return
	}
	speakerProcess(t, w.ns, want)
	netnstest.Eventually(t, limit, func() error { // FRR has seen the End-of-RIB: nothing is stale
		out := f.Vtysh("show bgp neighbors 192.0.2.1 json")
		var got map[string]struct {
			BgpState string `json:"bgpState"`
			Info     struct {
				End map[string]bool `json:"endOfRibRecv"`
			} `json:"gracefulRestartInfo"`
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			return err
		}
		if n := got["192.0.2.1"]; n.BgpState != "Established" || !n.Info.End["ipv4Unicast"] || !n.Info.End["ipv6Unicast"] {
			return fmt.Errorf("neighbor is %+v", n)
		}
		return nil
	})
	for _, line := range events() {
		if contains(line, "203.0.113.1") || contains(line, "2001:db8:f::1") {
			t.Errorf("a route was touched: %s", line)
		}
	}
}
