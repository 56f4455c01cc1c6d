package kubebin

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, path string, mode os.FileMode, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func TestFindReadsThePinnedVersion(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("FAIRLEAD_CACHE", cache)
	t.Setenv("FAIRLEAD_KUBERNETES", "")
	b, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(b.Version, "v1.") {
		t.Errorf("version %q", b.Version)
	}
	if want := filepath.Join(cache, "kube", b.Version); b.Dir != want {
		t.Errorf("dir %q, want %q", b.Dir, want)
	}
	for _, module := range []string{kubernetes, etcd, helm, containerd} {
		if !strings.HasPrefix(b.pinned[module], "v") {
			t.Errorf("%s is pinned to %q", module, b.pinned[module])
		}
	}
}

// TestTheOldestKubernetesHasItsOwnPlace beside the newest.
func TestTheOldestKubernetesHasItsOwnPlace(t *testing.T) {
	t.Setenv("FAIRLEAD_CACHE", t.TempDir())
	t.Setenv("FAIRLEAD_KUBERNETES", "")
	newest, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("FAIRLEAD_KUBERNETES", "oldest")
	oldest, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	if oldest.Dir == newest.Dir || oldest.Version >= newest.Version || oldest.pinned[helm] != newest.pinned[helm] {
		t.Errorf("the oldest is %s in %s, the newest %s in %s", oldest.Version, oldest.Dir, newest.Version, newest.Dir)
	}
	t.Setenv("FAIRLEAD_KUBERNETES", "older")
	if _, err := Find(); err == nil {
		t.Error("found a Kubernetes that nothing pins")
	}
}

// anyVersion is what tests' binaries, which are none, were compiled from: nobody can tell.
func anyVersion(string) string { return "" }

// TestAnotherVersionIsMissing: who raises one module has that binary compiled anew, and no other.
func TestAnotherVersionIsMissing(t *testing.T) {
	dir := t.TempDir()
	all := []string{Etcd, APIServer, Kubectl, ControllerManager, Proxy, Helm}
	for _, name := range all {
		write(t, filepath.Join(dir, name), 0o755, "x")
	}
	versions := map[string]string{kubernetes: "v1.36.3", etcd: "v3.6.16", helm: "v3.22.0"}
	b := &Binaries{Dir: dir, pinned: versions, built: func(path string) string {
		switch filepath.Base(path) {
		case Etcd:
			return "v3.6.15"
		case Helm:
			return "v3.22.0"
		default:
			return "v1.36.3"
		}
	}}
	if diff := cmp.Diff([]string{Etcd}, b.Missing()); diff != "" {
		t.Error(diff)
	}
	b.Assets = dir
	if got := b.Missing(); len(got) > 0 {
		t.Errorf("KUBEBUILDER_ASSETS is its owner's choice, but missing are %v", got)
	}
}

// TestABinarySaysItsVersion, when it is one.
func TestABinarySaysItsVersion(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got := builtFrom(self); got == "" {
		t.Error("this test does not know what it was compiled from")
	}
	if got := builtFrom("kubebin_test.go"); got != "" {
		t.Errorf("a text was compiled from %q", got)
	}
}

func TestRaised(t *testing.T) {
	for _, c := range []struct {
		euid int
		sudo string
		want bool
	}{{0, "1000", true}, {0, "", false}, {0, "0", false}, {1000, "", false}, {1000, "1000", false}} {
		if got := raisedAs(c.euid, c.sudo); got != c.want {
			t.Errorf("euid %d, SUDO_UID %q: raised %v", c.euid, c.sudo, got)
		}
	}
}

func TestCacheDirIsToldByTheEnvironment(t *testing.T) {
	t.Setenv("SUDO_UID", "1000")
	t.Setenv("FAIRLEAD_CACHE", "/home/x/.cache/fairlead")
	if dir, err := CacheDir(); err != nil || dir != "/home/x/.cache/fairlead" {
		t.Errorf("got %q, %v", dir, err)
	}
}

func TestMissing(t *testing.T) {
	dir, assets := t.TempDir(), t.TempDir()
	b := &Binaries{Version: "v1.36.3", Dir: dir, built: anyVersion}
	all := []string{Etcd, APIServer, Kubectl, ControllerManager, Proxy, Helm}
	if diff := cmp.Diff(all, b.Missing()); diff != "" {
		t.Errorf("empty cache: %s", diff)
	}
	write(t, filepath.Join(dir, Kubectl), 0o755, "x")
	write(t, filepath.Join(dir, "."+Proxy+".77"), 0o755, "half a binary")
	write(t, filepath.Join(dir, APIServer), 0o644, "not executable")
	if diff := cmp.Diff([]string{Etcd, APIServer, ControllerManager, Proxy, Helm}, b.Missing()); diff != "" {
		t.Errorf("kubectl is there: %s", diff)
	}
	b.Assets = assets
	write(t, filepath.Join(assets, Etcd), 0o755, "x")
	write(t, filepath.Join(assets, APIServer), 0o755, "x")
	write(t, filepath.Join(assets, Proxy), 0o755, "assets serve no kube-proxy")
	if diff := cmp.Diff([]string{ControllerManager, Proxy, Helm}, b.Missing()); diff != "" {
		t.Errorf("assets serve: %s", diff)
	}
	if got, want := b.Path(Etcd), filepath.Join(assets, Etcd); got != want {
		t.Errorf("etcd at %s, want %s", got, want)
	}
	if got, want := b.Path(Kubectl), filepath.Join(dir, Kubectl); got != want {
		t.Errorf("kubectl at %s, want %s", got, want)
	}
}

// TestKubeletsNeedMore: only a cluster with kubelets wants what those need, after the rest.
func TestKubeletsNeedMore(t *testing.T) {
	b := &Binaries{Version: "v1.36.3", Dir: t.TempDir(), Kubelets: true, built: anyVersion}
	want := []string{Etcd, APIServer, Kubectl, ControllerManager, Proxy, Helm, Scheduler, Kubelet, Containerd, ContainerdShim, Ctr}
	if diff := cmp.Diff(want, b.Missing()); diff != "" {
		t.Error(diff)
	}
}

func TestLdflags(t *testing.T) {
	b := &Binaries{Version: "v1.36.3"}
	if got := b.ldflags(recipe{of: etcd}); got != "-s -w" {
		t.Error(got)
	}
	const want = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
	if got := b.ldflags(recipe{of: kubernetes}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestModuleRootPassesInnerModules(t *testing.T) {
	root := t.TempDir()
	inner := filepath.Join(root, "e2e", "kube")
	write(t, filepath.Join(root, "go.mod"), 0o644, "module "+modulePath+"\n\ngo 1.26\n")
	write(t, filepath.Join(inner, "go.mod"), 0o644, "module "+modulePath+"/e2e/kube\n")
	if got, ok := rootAbove(inner); !ok || got != root {
		t.Errorf("got %q, want %q", got, root)
	}
	if got, ok := rootAbove(t.TempDir()); ok {
		t.Errorf("found a root in an empty folder: %q", got)
	}
}

// TestBuildLeavesNoHalfBinary runs Build with a go command that is interrupted half-way.
func TestBuildLeavesNoHalfBinary(t *testing.T) {
	t.Setenv("SUDO_UID", "")
	bin, dir := t.TempDir(), t.TempDir()
	write(t, filepath.Join(bin, "go"), 0o755, "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = -o ] && out=$2; shift; done\necho half > $out; chmod +x $out\ncase $out in */.etcd.*) exit 0;; esac\necho boom >&2; exit 1\n")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	b := &Binaries{Version: "v1.36.3", Dir: dir, Module: bin, built: anyVersion}
	var log bytes.Buffer
	err := b.Build(context.Background(), &log)
	if err == nil || !strings.Contains(err.Error(), "boom") {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff([]string{APIServer, Kubectl, ControllerManager, Proxy, Helm}, b.Missing()); diff != "" {
		t.Errorf("what was built must stay, the rest be missing: %s", diff)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".kube-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if !strings.Contains(log.String(), "etcd                     built in") {
		t.Errorf("log: %s", log.String())
	}
}
