package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/e2e/debian"
)

// netnsDir is where iproute2 keeps named network namespaces.
const netnsDir = "/run/netns"

func netnsPath(ns string) string { return filepath.Join(netnsDir, ns) }

// ip runs iproute2 with these lines as its batch, inside ns if it is not empty.
func ip(ctx context.Context, ns string, lines ...string) error {
	path, err := debian.Find("ip")
	if err != nil {
		return err
	}
	args := []string{"-batch", "-"}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("ip -n %s: %w: %s\nin the batch\n%s", ns, err, bytes.TrimSpace(out), strings.Join(lines, "\n"))
	}
	return nil
}

// inNamespace runs fn on an operating-system thread inside the namespace: sockets, interface look-ups and files of
// /proc/sys/net that fn itself opens belong to it. Goroutines that fn starts run outside.
func inNamespace(ns string, fn func() error) (err error) {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening this thread's namespace: %w", err)
	}
	defer func() {
		back := unix.Setns(home, unix.CLONE_NEWNET)
		unix.Close(home)
		if back != nil {
			// Left locked on purpose: the runtime ends the thread with the goroutine, so that none is lost in there.
			err = errors.Join(err, fmt.Errorf("leaving namespace %s: %w", ns, back))
			return
		}
		runtime.UnlockOSThread()
	}()
	there, err := unix.Open(netnsPath(ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening namespace %s: %w", ns, err)
	}
	err = unix.Setns(there, unix.CLONE_NEWNET)
	unix.Close(there)
	if err != nil {
		return fmt.Errorf("entering namespace %s: %w", ns, err)
	}
	return fn()
}

// A sysctl is a file below /proc/sys/net and its value.
type sysctl struct{ name, value string }

// addNamespace creates a namespace with its loopback up and these settings.
func addNamespace(ctx context.Context, ns string, settings ...sysctl) error {
	if err := ip(ctx, "", "netns add "+ns); err != nil {
		return err
	}
	err := inNamespace(ns, func() error {
		for _, s := range settings {
			if err := os.WriteFile(filepath.Join("/proc/sys/net", s.name), []byte(s.value), 0); err != nil {
				return fmt.Errorf("setting %s in %s: %w", s.name, ns, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return ip(ctx, ns, "link set lo up")
}

// deleteNamespace kills what still runs inside the namespace and removes it.
func deleteNamespace(ns string) error {
	err := killInside(ns)
	if e := unix.Unmount(netnsPath(ns), unix.MNT_DETACH); e != nil && !errors.Is(e, unix.EINVAL) && !errors.Is(e, unix.ENOENT) {
		err = errors.Join(err, fmt.Errorf("unmounting namespace %s: %w", ns, e))
	}
	if e := os.Remove(netnsPath(ns)); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("removing namespace %s: %w", ns, e))
	}
	return err
}

// namespacesOf lists the namespaces of a cluster.
func namespacesOf(cluster string) []string {
	entries, _ := os.ReadDir(netnsDir) // missing: no namespace was ever made
	var list []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), cluster+".") {
			list = append(list, e.Name())
		}
	}
	return list
}

// killInside kills every process whose network namespace is this one, and waits until they are gone: at Close what
// escaped from its process group, in a sweep what an earlier run left.
func killInside(ns string) error {
	var left []int
	for deadline := time.Now().Add(5 * time.Second); ; {
		if left = pidsInside(ns); len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v in namespace %s do not end", left, ns)
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(5 * time.Millisecond) // a killed process needs a moment; the kernel has no way to await another's child
	}
}

// pidsInside lists the processes whose network namespace is this one, but never the calling one.
func pidsInside(ns string) []int {
	want, err := os.Stat(netnsPath(ns))
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if is, err := os.Stat(filepath.Join("/proc", e.Name(), "ns/net")); err == nil && os.SameFile(is, want) {
			pids = append(pids, pid)
		}
	}
	return pids
}
