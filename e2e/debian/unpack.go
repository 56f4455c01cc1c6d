package debian

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

// unpackedOnly lists the packages that are unpacked into the cache instead of being installed: those that would start a
// service, and what virtual machines are made of. Only the libraries that they link are installed. A package that stands
// for the newest of its kind, such as linux-image-cloud-amd64, is unpacked as the one that it depends on.
func unpackedOnly() []string {
	return []string{"frr", "bird2", "busybox-static", "ipvsadm", "iptables", "ipset", "linux-image-cloud-amd64"}
}

// Unpacked returns the folder below which a package's files are: what Debian calls /usr is usr in it.
func Unpacked(pkg string) (string, error) {
	cache, err := kubebin.CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "debian", pkg)
	if !exists(dir) {
		return "", fmt.Errorf("the Debian package %s is not in %s: run make setup", pkg, filepath.Dir(dir))
	}
	return dir, nil
}

// unpackMissing unpacks those of unpackedOnly that are not yet in the cache.
func unpackMissing(ctx context.Context, log io.Writer) error {
	cache, err := kubebin.CacheDir()
	if err != nil {
		return err
	}
	for _, pkg := range unpackedOnly() {
		dir := filepath.Join(cache, "debian", pkg)
		if exists(dir) {
			continue
		}
		fmt.Fprintf(log, "Unpacking the Debian package %s into %s\n", pkg, dir)
		if err := unpack(ctx, log, pkg, dir); err != nil {
			return fmt.Errorf("unpacking the Debian package %s: %w", pkg, err)
		}
	}
	return nil
}

// unpack makes dir, which appears whole or not at all, with the package's files in it.
func unpack(ctx context.Context, log io.Writer, pkg, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), pkg+".*.part")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	archive, err := download(ctx, log, pkg, work)
	if err != nil {
		return err
	}
	depends, err := output(ctx, work, "dpkg-deb", "-f", archive, "Depends")
	if err != nil {
		return err
	}
	if kernel := firstKernel(depends); kernel != "" {
		if err := os.Remove(archive); err != nil {
			return err
		}
		if archive, err = download(ctx, log, kernel, work); err != nil {
			return err
		}
		depends = ""
	}
	if err := installLibraries(ctx, log, libraries(depends)); err != nil {
		return err
	}
	tree := filepath.Join(work, "tree")
	if _, err := output(ctx, work, "dpkg-deb", "-x", archive, tree); err != nil {
		return err
	}
	return os.Rename(tree, dir)
}

// download fetches the package's archive into dir, and returns its path. That needs no root.
func download(ctx context.Context, log io.Writer, pkg, dir string) (string, error) {
	fetch := []string{"apt-get", "download", "-q", pkg}
	if _, err := output(ctx, dir, fetch...); err != nil {
		if err := update(ctx, log); err != nil {
			return "", err
		}
		if _, err := output(ctx, dir, fetch...); err != nil {
			return "", err
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("apt-get download left %q (%v), want one archive", found, err)
	}
	return found[0], nil
}

// firstKernel returns the kernel that a Depends field of Debian's begins with, or "".
func firstKernel(depends string) string {
	if name, _, _ := strings.Cut(strings.TrimSpace(depends), " "); strings.HasPrefix(name, "linux-image-") {
		return strings.TrimSuffix(name, ",")
	}
	return ""
}

// libraries returns the packages of libraries in a Depends field of Debian's, where the first alternative counts.
func libraries(depends string) []string {
	var names []string
	for item := range strings.SplitSeq(depends, ",") {
		if f := strings.Fields(item); len(f) > 0 && strings.HasPrefix(f[0], "lib") {
			names = append(names, f[0])
		}
	}
	return names
}

// installLibraries installs those of the packages that are not installed.
func installLibraries(ctx context.Context, log io.Writer, packages []string) error {
	absent := slices.DeleteFunc(packages, func(name string) bool {
		out, err := output(ctx, "", "dpkg-query", "-W", "-f", "${db:Status-Status}\n", name)
		return err == nil && strings.Contains(out, "installed") && !strings.Contains(out, "not-installed")
	})
	if len(absent) == 0 {
		return nil
	}
	return install(ctx, log, absent, func() []string { return nil })
}

// output runs a command, in dir, and returns what it wrote to its standard output.
func output(ctx context.Context, dir string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
