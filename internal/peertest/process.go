//go:build linux

// Package peertest runs real routers, FRR and BIRD, as peers in the network namespaces of a test. They are the programs
// of Debian's packages, unpacked into the cache by make setup; nothing of them is installed, so none runs as a service.
// Everything that a test starts ends with it, also when the test process is killed.
package peertest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/e2e/debian"
	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

// limit is how long a program may take to start or to end; it takes fractions of a second.
const limit = 30 * time.Second

// process is a program that runs in a network namespace, in the foreground.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // how it ended; after ended is closed
	out   string
}

// setUp runs before a program, in a mount namespace of its own: it puts the files in force that FRR asks for and hides
// the folder where FRR would leave crash logs.
const setUp = `mount --bind "$0/group" /etc/group && mount --bind "$0/pam.d" /etc/pam.d && mount -t tmpfs none /var/tmp && exec "$@"`

// prepared returns what a command begins with that is to run after setUp; dir is what etc made.
func prepared(dir string) []string { return []string{"unshare", "--mount", "sh", "-c", setUp, dir} }

// etc makes a folder with what FRR looks for in /etc: the group that may command it, with root as its member, and leave
// for everybody who reaches its sockets.
func etc(t testing.TB, dir string) string {
	t.Helper()
	text, err := os.ReadFile("/etc/group")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "etc")
	if err := os.MkdirAll(filepath.Join(dir, "pam.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "group", "frrvty:x:0:root\n"+string(text)) // the first of a name counts
	write(t, dir, "pam.d/frr", "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\n")
	return dir
}

// start runs a program in ns, after setUp. Its outputs go to the file out.
func start(ns *netnstest.NS, etc, out string, env []string, argv ...string) (*process, error) {
	f, err := os.Create(out)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	argv = slices.Concat([]string{"nsenter", "--net=" + ns.Path()}, prepared(etc), argv)
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), ended: make(chan struct{}), out: out}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// signal sends a signal and waits for the end.
func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("process %d does not end on %v", p.cmd.Process.Pid, s)
	}
}

// awaitFile waits until the program made a file, and fails the test if it ends instead.
func (p *process) awaitFile(t testing.TB, path string) {
	t.Helper()
	netnstest.Eventually(t, limit, func() error {
		select {
		case <-p.ended:
			text, _ := os.ReadFile(p.out)
			t.Fatalf("%s ended (%v) and said:\n%s", filepath.Base(path), p.err, text)
		default:
		}
		_, err := os.Stat(path)
		return err
	})
}

// program returns the path of a file of an unpacked Debian package.
func program(t testing.TB, pkg, path string) string {
	t.Helper()
	dir, err := debian.Unpacked(pkg)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, path)
}

// folder makes a folder whose path is short enough for sockets in it.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// write puts text into a file of dir.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a command that talks to a router and returns what it says.
func run(env []string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out), nil
}
