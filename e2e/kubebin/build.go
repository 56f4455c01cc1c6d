package kubebin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// heartbeat is the time between two signs of life while one binary compiles.
const heartbeat = 30 * time.Second

// Build compiles what is missing and says so on log, one line per binary. Each binary appears under its name only when
// it is whole: an interrupted build leaves the finished ones, and Go's build cache keeps the packages of the others.
func (b *Binaries) Build(ctx context.Context, log io.Writer) error {
	if len(b.Missing()) == 0 {
		return nil
	}
	if raised() {
		return fmt.Errorf("missing in %s: %s; build them as your own user, not through sudo: go run ./e2e/cmd/lab binaries", b.Dir, strings.Join(b.Missing(), ", "))
	}
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		return fmt.Errorf("creating the cache folder: %w", err)
	}
	unlock, err := b.lock(ctx, log)
	if err != nil {
		return err
	}
	defer unlock()
	missing := b.Missing() // another build may have made them meanwhile
	if len(missing) == 0 {
		return nil
	}
	fmt.Fprintf(log, "Kubernetes %s is compiled once from its Go modules into %s: %s.\n", b.Version, b.Dir, strings.Join(missing, ", "))
	fmt.Fprintf(log, "They take 7 to 12 minutes on two cores the first time, 0.5 GB there and about 2.5 GB in Go's own caches, and those of a cluster with kubelets about 5 more; an interrupt loses nothing that is built.\n")
	start := time.Now()
	for _, r := range b.recipes() {
		if slices.Contains(missing, r.name) {
			if err := b.build(ctx, log, r); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(log, "Kubernetes %s is ready after %s.\n", b.Version, time.Since(start).Round(time.Second))
	return nil
}

// lock keeps two builds from doing the same work twice; the kernel releases it with the process.
func (b *Binaries) lock(ctx context.Context, log io.Writer) (func(), error) {
	f, err := os.OpenFile(filepath.Join(b.Dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", b.Dir, err)
		}
		if !told {
			fmt.Fprintf(log, "Another build into %s is under way, waiting for it.\n", b.Dir)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// build compiles one binary under a temporary name and renames it.
func (b *Binaries) build(ctx context.Context, log io.Writer, r recipe) error {
	start := time.Now()
	fmt.Fprintf(log, "  %-24s compiling (%s)\n", r.name, r.cold)
	tmp := filepath.Join(b.Dir, fmt.Sprintf(".%s.%d", r.name, os.Getpid()))
	defer os.Remove(tmp)

	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", b.ldflags(r), "-o", tmp, r.pkg())
	cmd.Dir = filepath.Join(b.Module, pinnedIn(r.of))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("building %s: %w", r.name, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(log, "  %-24s still compiling, %s\n", r.name, time.Since(start).Round(time.Second))
		case err := <-done:
			if ctx.Err() != nil {
				return fmt.Errorf("building %s: %w", r.name, ctx.Err())
			}
			if err != nil {
				return fmt.Errorf("building %s: %w\n%s", r.name, err, tail(out.String(), 20))
			}
			if err := os.Rename(tmp, filepath.Join(b.Dir, r.name)); err != nil {
				return fmt.Errorf("building %s: %w", r.name, err)
			}
			fmt.Fprintf(log, "  %-24s built in %s\n", r.name, time.Since(start).Round(time.Second))
			return nil
		}
	}
}

// ldflags strips the binary and, for Kubernetes, tells it its version: a build from a module has none of its own.
func (b *Binaries) ldflags(r recipe) string {
	flags := "-s -w"
	if r.of != kubernetes {
		return flags
	}
	number := strings.Split(strings.TrimPrefix(b.Version, "v"), ".")
	for len(number) < 2 {
		number = append(number, "0")
	}
	const pkg = "k8s.io/component-base/version"
	return fmt.Sprintf("%s -X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s", flags, pkg, b.Version, pkg, number[0], pkg, number[1])
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
