//go:build linux

// Package netnstest gives tests network namespaces of their own. A namespace has no name and is held by a file
// descriptor only, so the kernel removes it, with its interfaces, when the test process ends, however it ends; tests can
// run in parallel and leave nothing behind.
package netnstest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// NS is a network namespace.
type NS struct{ file *os.File }

// New makes an empty namespace, with its loopback interface up, that lives until the test ends. Without root the test
// fails.
func New(t testing.TB) *NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces and has to run as root (or under `unshare -rn`)")
	}
	type made struct {
		file *os.File
		err  error
	}
	c := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- made{err: os.NewSyscallError("unshare", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		c <- made{f, err}
	}()
	m := <-c
	if m.err != nil {
		t.Fatalf("making a network namespace: %v", m.err)
	}
	t.Cleanup(func() { m.file.Close() })
	n := &NS{m.file}
	n.Command(t, "ip", "link", "set", "lo", "up")
	return n
}

// Open returns a namespace that another made, such as /run/netns/NAME.
func Open(t testing.TB, path string) *NS {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatalf("opening a network namespace: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return &NS{f}
}

// Path names the namespace to other processes, as `ip link set ... netns PATH` takes it.
func (n *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Do calls f in the namespace, in another goroutine that keeps its thread, and returns when f does. Sockets that f opens
// and processes that it starts belong to the namespace; goroutines that it starts do not. f does not call t.FailNow.
func (n *NS) Do(f func()) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		panic(fmt.Sprintf("netnstest: entering a namespace: %v", err))
	}
}

// Try runs a command in the namespace and returns what it wrote to both outputs.
func (n *NS) Try(name string, args ...string) (string, error) {
	var out []byte
	var err error
	n.Do(func() { out, err = exec.Command(name, args...).CombinedOutput() })
	return string(out), err
}

// Command is Try for commands that have to succeed.
func (n *NS) Command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := n.Try(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// Lines runs one command for each line, split at spaces; empty lines are skipped.
func (n *NS) Lines(t testing.TB, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		if f := strings.Fields(line); len(f) > 0 {
			n.Command(t, f[0], f[1:]...)
		}
	}
}

// Veth joins two namespaces by a pair of interfaces and sets both up. Duplicate address detection is off, so that
// addresses are usable at once.
func Veth(t testing.TB, a *NS, nameA string, b *NS, nameB string) {
	t.Helper()
	a.Command(t, "ip", "link", "add", nameA, "type", "veth", "peer", "name", nameB, "netns", b.Path())
	for _, end := range []struct {
		ns   *NS
		name string
	}{{a, nameA}, {b, nameB}} {
		end.ns.Command(t, "sysctl", "-qw", "net.ipv6.conf."+end.name+".accept_dad=0", "net.ipv6.conf."+end.name+".router_solicitations=0")
		end.ns.Command(t, "ip", "link", "set", end.name, "up")
	}
}

// Eventually waits until condition holds, and fails the test with what it said last if that takes longer than limit.
func Eventually(t testing.TB, limit time.Duration, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v still: %v", limit, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
