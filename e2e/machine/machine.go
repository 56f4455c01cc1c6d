// Package machine runs a program, mostly the tests of one Go package, in a virtual machine of its own: QEMU with Debian's
// cloud kernel, which has what the kernels of containers and small machines lack (IPVS, dummy, VLAN and VRF devices). It
// needs neither root nor KVM nor a network, and takes about 3 s.
package machine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Options say what runs in the machine, and in how large a one.
type Options struct {
	Program string   // a static executable of this machine
	Args    []string // its arguments
	// Files are put beside the program, which runs in their folder: name there -> path here, of a file or a folder.
	Files  map[string]string
	Memory int           // MiB; 0 is 1024
	CPUs   int           // 0 is 1
	Limit  time.Duration // after which the machine is ended; 0 is 10 minutes
	Stdout io.Writer
	// Loopback lets programs in the machine connect to what listens on this machine's 127.0.0.1: they find it at the
	// address Loopback, which is all that they reach, since the machine has no default route.
	Loopback bool
}

// Loopback is the address at which QEMU's user-mode network has the 127.0.0.1 of the machine that it runs on, and
// loopbackPeer the one that it keeps for the guest.
const (
	Loopback     = "10.0.2.2"
	loopbackPeer = "10.0.2.15/24"
)

// ErrLimit is returned for a program that did not end in time.
var ErrLimit = errors.New("the time limit of the virtual machine is over")

// Run boots a machine, runs the program and returns its exit status. The error says that there is none: the machine could
// not be started, its kernel panicked, or its time was over.
func Run(ctx context.Context, o Options) (status int, err error) {
	base, err := find()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "fairlead-machine.")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := o.initramfs(base.initramfs, filepath.Join(dir, "initrd")); err != nil {
		return 0, fmt.Errorf("packing the files of the virtual machine: %w", err)
	}
	limit := o.Limit
	if limit == 0 {
		limit = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrLimit)
	defer cancel()
	console, result := filepath.Join(dir, "console"), filepath.Join(dir, "result")
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", o.arguments(base.kernel, filepath.Join(dir, "initrd"), console, result)...)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = o.Stdout, &stderr
	runErr := cmd.Run()
	if text, err := os.ReadFile(result); err == nil {
		if status, ok := exitStatus(string(text)); ok {
			return status, nil
		}
	}
	if ctx.Err() != nil {
		runErr = context.Cause(ctx)
	}
	return 0, fmt.Errorf("the virtual machine ended without a result: %w\n%s\nlast lines of its console:\n%s", errors.Join(runErr, ctx.Err()), stderr.String(), tail(console, 40))
}

// arguments is the command line of QEMU. The first serial port is the kernel's console, the second one the program's
// output, the third one carries its exit status. Without the flag cx16, kernel 6.12 crashes at random under emulation.
func (o *Options) arguments(kernel, initrd, console, result string) []string {
	memory, cpus := o.Memory, o.CPUs
	if memory == 0 {
		memory = 1024
	}
	if cpus == 0 {
		cpus = 1
	}
	arguments := []string{
		"-machine", "pc,accel=tcg", "-cpu", "max,-cx16", "-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 loglevel=4 panic=-1 oops=panic reboot=t mitigations=off nokaslr audit=0 apparmor=0 selinux=0 rcupdate.rcu_expedited=1",
		"-serial", "file:" + console, "-serial", "stdio", "-serial", "file:" + result,
	}
	if o.Loopback {
		arguments = append(arguments, "-netdev", "user,id=loopback,ipv6=off", "-device", "virtio-net-pci,netdev=loopback,romfile=")
	}
	return arguments
}

// initramfs writes base and after it what this run adds: the kernel unpacks one archive after the other.
func (o *Options) initramfs(base, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	b, err := os.Open(base)
	if err != nil {
		return err
	}
	defer b.Close()
	if _, err := io.Copy(w, b); err != nil {
		return err
	}
	a := newArchive(w)
	a.file("t/program", o.Program)
	for name, from := range o.Files {
		a.tree("t/"+name, from)
	}
	a.bytes("t/cmd", 0o755, []byte(o.script()))
	if err := a.close(); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// script is the shell script that runs the program.
func (o *Options) script() string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n")
	if o.Loopback {
		b.WriteString("set -e\nmodprobe virtio_pci\nmodprobe virtio_net\nip address add " + loopbackPeer + " dev eth0\nip link set eth0 up\n")
	}
	b.WriteString("exec ./program")
	for _, a := range o.Args {
		b.WriteString(" '" + strings.ReplaceAll(a, "'", `'\''`) + "'")
	}
	return b.String() + "\n"
}

// exitStatus finds the line "exit N" that the machine's init writes last.
func exitStatus(text string) (status int, ok bool) {
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(strings.TrimSpace(line), "exit "); found {
			n, err := strconv.Atoi(rest)
			return n, err == nil
		}
	}
	return 0, false
}

// tail returns the last lines of a file.
func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
