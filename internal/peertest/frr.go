//go:build linux

package peertest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

// Router is an FRR.
type Router struct {
	t       testing.TB
	ns      *netnstest.NS
	dir     string   // sockets, configuration and logs
	env     []string // what its programs need in their environment
	etc     string   // see start
	options map[string][]string
	daemons map[string]*process // those that run
}

// FRR starts an FRR in ns with an integrated configuration, as frr.conf holds it, and returns when that is loaded. The
// daemons are zebra, bgpd and bfdd unless some are named; zebra comes first. A daemon's name may be followed by options,
// as in "bgpd -p 1179". It ends with the test.
func FRR(t testing.TB, ns *netnstest.NS, config string, daemons ...string) *Router {
	t.Helper()
	if len(daemons) == 0 {
		daemons = []string{"zebra", "bgpd", "bfdd"}
	}
	dir := folder(t)
	libraries, err := filepath.Glob(program(t, "frr", "usr/lib/*/frr"))
	if err != nil {
		t.Fatal(err)
	}
	r := &Router{
		t: t, ns: ns, dir: dir,
		env:     []string{"LD_LIBRARY_PATH=" + strings.Join(libraries, ":")},
		etc:     etc(t, dir),
		options: map[string][]string{},
		daemons: map[string]*process{},
	}
	write(t, dir, "vtysh.conf", "service integrated-vtysh-config\n")
	write(t, dir, "frr.conf", config)
	t.Cleanup(r.end)
	for _, d := range daemons {
		words := strings.Fields(d)
		r.options[words[0]] = words[1:]
		r.start(words[0])
	}
	r.load()
	return r
}

// start starts a daemon and waits until it takes commands.
func (r *Router) start(daemon string) {
	r.t.Helper()
	socket, zebra := filepath.Join(r.dir, daemon+".vty"), filepath.Join(r.dir, "zserv.api")
	_ = os.Remove(socket) // of a daemon that was killed
	argv := []string{
		program(r.t, "frr", "usr/lib/frr/"+daemon), "-u", "root", "-g", "root",
		"-f", write(r.t, r.dir, daemon+".conf", ""), "-i", filepath.Join(r.dir, daemon+".pid"),
		"-z", zebra, "--vty_socket", r.dir, "-A", "127.0.0.1", "-P", "0",
		"--log", "file:" + filepath.Join(r.dir, daemon+".log"), "--log-level", "debugging",
	}
	if daemon == "bfdd" {
		argv = append(argv, "--bfdctl", filepath.Join(r.dir, "bfdd.sock"))
	}
	p, err := start(r.ns, r.etc, filepath.Join(r.dir, daemon+".out"), r.env, append(argv, r.options[daemon]...)...)
	if err != nil {
		r.t.Fatalf("starting %s: %v", daemon, err)
	}
	r.daemons[daemon] = p
	if daemon == "zebra" {
		p.awaitFile(r.t, zebra)
	}
	p.awaitFile(r.t, socket)
}

// load makes the daemons take the configuration.
func (r *Router) load() {
	r.t.Helper()
	if out, err := r.vtysh("-b"); err != nil {
		r.t.Fatalf("loading FRR's configuration: %v", err)
	} else if refused(out) {
		r.t.Fatalf("loading FRR's configuration: %s", out)
	}
}

func (r *Router) vtysh(args ...string) (string, error) {
	vtysh := append([]string{program(r.t, "frr", "usr/bin/vtysh"), "--vty_socket", r.dir, "--config_dir", r.dir}, args...)
	return run(r.env, append(prepared(r.etc), vtysh...)...)
}

// TryVtysh runs commands one after the other, as typed at FRR's prompt, and returns what it says. Some of FRR's refusals
// are an error and some are only said.
func (r *Router) TryVtysh(commands ...string) (string, error) {
	var args []string
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	return r.vtysh(args...)
}

// Vtysh is TryVtysh for commands that have to succeed.
func (r *Router) Vtysh(commands ...string) string {
	r.t.Helper()
	out, err := r.TryVtysh(commands...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// Configure is Vtysh in configuration mode.
func (r *Router) Configure(commands ...string) {
	r.t.Helper()
	if out := r.Vtysh(slices.Insert(commands, 0, "configure terminal")...); refused(out) {
		r.t.Fatalf("FRR refuses %q: %s", commands, out)
	}
}

// refused says whether FRR did not take a line of a configuration. A mere warning also begins with a percent sign.
func refused(out string) bool {
	return slices.ContainsFunc([]string{"% Unknown command", "% Ambiguous", "% Command incomplete", "% Configuration failed"},
		func(s string) bool { return strings.Contains(out, s) })
}

// Kill ends a daemon by SIGKILL, as a crash would: it tells no peer. What it put into the kernel stays.
func (r *Router) Kill(daemon string) { r.t.Helper(); r.signal(daemon, syscall.SIGKILL) }

// Stop ends a daemon by SIGTERM, as an operator does.
func (r *Router) Stop(daemon string) { r.t.Helper(); r.signal(daemon, syscall.SIGTERM) }

func (r *Router) signal(daemon string, s syscall.Signal) {
	r.t.Helper()
	if err := r.daemons[daemon].signal(s); err != nil {
		r.t.Fatalf("ending %s: %v", daemon, err)
	}
	delete(r.daemons, daemon)
}

// Start starts a daemon again that was killed or stopped, with the configuration that FRR was called with.
func (r *Router) Start(daemon string) {
	r.t.Helper()
	r.start(daemon)
	r.load()
}

// Log returns what a daemon logged so far.
func (r *Router) Log(daemon string) string {
	text, _ := os.ReadFile(filepath.Join(r.dir, daemon+".log"))
	return string(text)
}

// end kills what runs and, where the test failed, shows what each daemon said last.
func (r *Router) end() {
	for daemon, p := range r.daemons {
		if err := p.signal(syscall.SIGKILL); err != nil {
			r.t.Errorf("ending %s: %v", daemon, err)
		}
		if r.t.Failed() {
			r.t.Logf("the end of the log of %s:\n%s", daemon, tail(r.Log(daemon)))
		}
	}
}

// tail returns the last lines of a text.
func tail(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "")
}
