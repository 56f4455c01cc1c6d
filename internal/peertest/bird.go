//go:build linux

package peertest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

// Bird is a BIRD.
type Bird struct {
	t    testing.TB
	ns   *netnstest.NS
	dir  string
	proc *process
}

// BIRD starts a BIRD in ns with a configuration, as bird.conf holds it, and returns when it takes commands. It ends with
// the test.
func BIRD(t testing.TB, ns *netnstest.NS, config string) *Bird {
	t.Helper()
	b := &Bird{t: t, ns: ns, dir: folder(t)}
	write(t, b.dir, "bird.conf", config)
	t.Cleanup(b.end)
	b.Start()
	return b
}

// Start starts it again after Kill or Stop.
func (b *Bird) Start() {
	b.t.Helper()
	_ = os.Remove(b.control()) // of one that was killed
	p, err := start(b.ns, etc(b.t, b.dir), filepath.Join(b.dir, "bird.out"), nil,
		program(b.t, "bird2", "usr/sbin/bird"), "-f", "-c", filepath.Join(b.dir, "bird.conf"), "-s", b.control())
	if err != nil {
		b.t.Fatalf("starting bird: %v", err)
	}
	b.proc = p
	p.awaitFile(b.t, b.control())
}

func (b *Bird) control() string { return filepath.Join(b.dir, "bird.ctl") }

// TryBirdc runs one command, as typed at BIRD's prompt, and returns what it says.
func (b *Bird) TryBirdc(command string) (string, error) {
	return run(nil, append([]string{program(b.t, "bird2", "usr/sbin/birdc"), "-s", b.control()}, strings.Fields(command)...)...)
}

// Birdc is TryBirdc for commands that have to succeed.
func (b *Bird) Birdc(command string) string {
	b.t.Helper()
	out, err := b.TryBirdc(command)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// Configure makes it take another configuration.
func (b *Bird) Configure(config string) {
	b.t.Helper()
	write(b.t, b.dir, "bird.conf", config)
	if out := b.Birdc("configure"); !strings.Contains(out, "Reconfigur") {
		b.t.Fatalf("BIRD refuses the configuration: %s", out)
	}
}

// Kill ends it by SIGKILL, as a crash would.
func (b *Bird) Kill() { b.t.Helper(); b.signal(syscall.SIGKILL) }

// Stop ends it by SIGTERM, as an operator does.
func (b *Bird) Stop() { b.t.Helper(); b.signal(syscall.SIGTERM) }

func (b *Bird) signal(s syscall.Signal) {
	b.t.Helper()
	if err := b.proc.signal(s); err != nil {
		b.t.Fatalf("ending bird: %v", err)
	}
	b.proc = nil
}

// Log returns what it logged so far to its standard error.
func (b *Bird) Log() string {
	text, _ := os.ReadFile(filepath.Join(b.dir, "bird.out"))
	return string(text)
}

// end kills it if it runs and, where the test failed, shows what it said last.
func (b *Bird) end() {
	if b.proc == nil {
		return
	}
	if err := b.proc.signal(syscall.SIGKILL); err != nil {
		b.t.Errorf("ending bird: %v", err)
	}
	if b.t.Failed() {
		b.t.Logf("the end of the log of bird:\n%s", tail(b.Log()))
	}
}
