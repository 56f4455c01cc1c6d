// Package debian installs the few Debian packages whose commands the e2e cluster and its tests run. None of them starts
// a service; packages that would are only unpacked.
package debian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A Need is a command, or a file, and the package that brings it.
type Need struct {
	Command string // looked for in PATH and in the folders of administrators
	File    string // instead of Command
	Package string
}

func needs() []Need {
	return []Need{
		{Command: "ip", Package: "iproute2"},
		{Command: "nsenter", Package: "util-linux"},
		{Command: "nft", Package: "nftables"},
		{Command: "arping", Package: "iputils-arping"},
		{Command: "ping", Package: "iputils-ping"},
		{Command: "ndisc6", Package: "ndisc6"},
		{Command: "curl", Package: "curl"},
		{Command: "conntrack", Package: "conntrack"},
		{Command: "tcpdump", Package: "tcpdump"},
		{Command: "qemu-system-x86_64", Package: "qemu-system-x86"}, // virtual machines for tests
		{Command: "gcc", Package: "gcc"},                            // go test -race links with it
		{File: "/usr/include/stdlib.h", Package: "libc6-dev"},
		{Command: "runc", Package: "runc"}, // these two for the cluster with kubelets
		{File: "/usr/lib/cni/ptp", Package: "containernetworking-plugins"},
	}
}

// Missing lists the needs that this machine does not meet: all of them, or only those of the given commands.
func Missing(commands ...string) []Need {
	list := missing(Find, exists)
	if len(commands) == 0 {
		return list
	}
	return slices.DeleteFunc(list, func(n Need) bool { return !slices.Contains(commands, n.Command) })
}

func missing(find func(string) (string, error), exists func(string) bool) []Need {
	var list []Need
	for _, n := range needs() {
		if n.File != "" && exists(n.File) {
			continue
		}
		if n.Command != "" {
			if _, err := find(n.Command); err == nil {
				continue
			}
		}
		list = append(list, n)
	}
	return list
}

// Find is exec.LookPath that also looks where Debian keeps the administrators' commands, which an ordinary user's PATH
// leaves out.
func Find(command string) (string, error) {
	path, err := exec.LookPath(command)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, command)); err == nil {
			return p, nil
		}
	}
	return "", err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// packages lists the packages once each.
func packages(list []Need) []string {
	var names []string
	for _, n := range list {
		if !slices.Contains(names, n.Package) {
			names = append(names, n.Package)
		}
	}
	return names
}

// Advice tells a person what to install.
func Advice(list []Need) string { return advice(packages(list)) }

func advice(packages []string) string {
	return "sudo apt-get install --no-install-recommends " + strings.Join(packages, " ")
}

// Install installs and unpacks what is missing, as root or through sudo, and says on log what it does.
func Install(ctx context.Context, log io.Writer) error {
	if list := Missing(); len(list) > 0 {
		if err := install(ctx, log, packages(list), func() []string { return packages(Missing()) }); err != nil {
			return err
		}
	}
	return unpackMissing(ctx, log)
}

// install installs packages, from new package lists if it does not work with those that are there; absent says what is
// missing then.
func install(ctx context.Context, log io.Writer, packages []string, absent func() []string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this is no Debian machine; install by hand what these packages bring: %s", strings.Join(packages, " "))
	}
	raise, err := raise()
	if err != nil {
		return fmt.Errorf("%w; install by hand: %s", err, advice(packages))
	}
	fmt.Fprintf(log, "Installing Debian packages: %s\n", strings.Join(packages, " "))
	command := append([]string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"}, packages...)
	if run(ctx, raise, command) == nil && len(absent()) == 0 {
		return nil
	}
	if err := update(ctx, log); err != nil {
		return fmt.Errorf("%w; install by hand: %s", err, advice(packages))
	}
	if err := run(ctx, raise, command); err != nil {
		return fmt.Errorf("%w; install by hand: %s", err, advice(packages))
	}
	if list := absent(); len(list) > 0 {
		return fmt.Errorf("still missing after the installation: %s", strings.Join(list, " "))
	}
	return nil
}

// update fetches new package lists.
func update(ctx context.Context, log io.Writer) error {
	raise, err := raise()
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "The package lists may be old: apt-get update, then again\n")
	return run(ctx, raise, []string{"apt-get", "update", "-qq"})
}

// raise returns what a command of root's begins with.
func raise() ([]string, error) {
	if os.Geteuid() == 0 {
		return nil, nil
	}
	if _, err := exec.LookPath("sudo"); err != nil {
		return nil, errors.New("neither root nor sudo")
	}
	return []string{"sudo"}, nil
}

// run runs a command with the terminal's input, for sudo's question.
func run(ctx context.Context, raise, argv []string) error {
	argv = append(slices.Clone(raise), argv...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = os.Stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
