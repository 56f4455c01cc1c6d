// Package kubebin knows the Kubernetes binaries that the e2e cluster runs: where they are, which are missing, and how
// each is compiled from the Go modules that this repository pins. They live in a cache outside the repository, one folder
// per Kubernetes version, so that a second run compiles nothing; one that was compiled from another version than is pinned
// now is compiled again.
package kubebin

import (
	"bufio"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Names of the binaries, in the order in which they are compiled: the shortest first, so that a newcomer sees progress.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	Kubectl           = "kubectl"
	ControllerManager = "kube-controller-manager"
	Proxy             = "kube-proxy"

	// Only a cluster with kubelets has these.
	Scheduler      = "kube-scheduler"
	Kubelet        = "kubelet"
	Containerd     = "containerd"
	ContainerdShim = "containerd-shim-runc-v2"
	Ctr            = "ctr"
	Helm           = "helm"
)

// modulePath is the first line of the go.mod at the root of this repository.
const modulePath = "github.com/fairlead-lb/fairlead"

// Modules that the binaries are compiled from.
const (
	kubernetes = "k8s.io/kubernetes"
	etcd       = "go.etcd.io/etcd/server/v3"
	helm       = "helm.sh/helm/v3"
	containerd = "github.com/containerd/containerd/v2"
)

// A recipe says how one binary is compiled.
type recipe struct {
	name string
	of   string // the module that it comes from
	main string // the folder of its main package there
	cold string // time of a first build on two cores, for people
}

// pkg is the import path of the binary's main package.
func (r recipe) pkg() string { return path.Join(r.of, r.main) }

// recipes lists every binary that the cluster needs.
func (b *Binaries) recipes() []recipe {
	list := []recipe{
		{Etcd, etcd, "", "about 1 minute"},
		{APIServer, kubernetes, "cmd/kube-apiserver", "4 to 8 minutes"},
		{Kubectl, kubernetes, "cmd/kubectl", "about 1 minute"},
		{ControllerManager, kubernetes, "cmd/kube-controller-manager", "about 1 minute"},
		{Proxy, kubernetes, "cmd/kube-proxy", "under 1 minute"},
		{Helm, helm, "cmd/helm", "about 1 minute"},
	}
	if !b.Kubelets {
		return list
	}
	return append(list,
		recipe{Scheduler, kubernetes, "cmd/kube-scheduler", "under 1 minute"},
		recipe{Kubelet, kubernetes, "cmd/kubelet", "2 minutes"},
		recipe{Containerd, containerd, "cmd/containerd", "2 minutes"},
		recipe{ContainerdShim, containerd, "cmd/containerd-shim-runc-v2", "under 1 minute"},
		recipe{Ctr, containerd, "cmd/ctr", "under 1 minute"})
}

// pinnedIn is the folder of the module whose go.mod pins another one's version, from e2e/kube or a folder beside it.
func pinnedIn(module string) string {
	switch module {
	case helm:
		return "../../tools/packaging"
	case containerd:
		return "../containerd"
	default:
		return "."
	}
}

// Binaries is the set of binaries for one version of Kubernetes.
type Binaries struct {
	Version string // of Kubernetes, such as v1.36.3
	Dir     string // cache folder of this version
	Module  string // folder of the module that pins Kubernetes and etcd, such as e2e/kube
	Assets  string // value of KUBEBUILDER_ASSETS, or empty

	Kubelets bool // what a cluster with kubelets needs is meant too

	pinned map[string]string        // the wanted version of each module
	built  func(path string) string // the version that a binary was compiled from; "" where that cannot be told
}

// Find works out where the binaries are or would be: the versions from the modules that pin them, the cache from
// FAIRLEAD_CACHE or the user's cache folder. Kubernetes is that of e2e/kube or, where the environment has
// FAIRLEAD_KUBERNETES=oldest, of e2e/kube-oldest. It neither builds nor creates anything.
func Find() (*Binaries, error) {
	root, err := ModuleRoot()
	if err != nil {
		return nil, err
	}
	module := "kube"
	if which := os.Getenv("FAIRLEAD_KUBERNETES"); which != "" {
		module += "-" + which
	}
	b := &Binaries{Module: filepath.Join(root, "e2e", module), Assets: os.Getenv("KUBEBUILDER_ASSETS"), pinned: map[string]string{}, built: builtFrom}
	for _, module := range []string{kubernetes, etcd, helm, containerd} {
		if b.pinned[module], err = fieldAfter(filepath.Join(b.Module, pinnedIn(module), "go.mod"), module); err != nil {
			return nil, err
		}
	}
	b.Version = b.pinned[kubernetes]
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	b.Dir = filepath.Join(cache, "kube", b.Version)
	return b, nil
}

// builtFrom is the version of the module that a Go binary was compiled from, as the binary itself says.
func builtFrom(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return ""
	}
	return info.Main.Version
}

// CacheDir is $FAIRLEAD_CACHE, else the folder fairlead in the user's cache folder. A process raised by sudo must be told
// the folder: it would otherwise fill root's home.
func CacheDir() (string, error) {
	if dir := os.Getenv("FAIRLEAD_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if raised() {
		return "", errors.New("raised by sudo without FAIRLEAD_CACHE: pass the cache of your own user, with sudo FAIRLEAD_CACHE=$HOME/.cache/fairlead")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder: %w", err)
	}
	return filepath.Join(dir, "fairlead"), nil
}

// raised says whether sudo made this process root for somebody else.
func raised() bool { return raisedAs(os.Geteuid(), os.Getenv("SUDO_UID")) }

func raisedAs(euid int, sudoUID string) bool { return euid == 0 && sudoUID != "" && sudoUID != "0" }

// ModuleRoot is the folder with Fairlead's go.mod, looked for upwards from the working directory and then from the
// folder of the running program.
func ModuleRoot() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		if root, ok := rootAbove(dir); ok {
			return root, nil
		}
	}
	return "", fmt.Errorf("no go.mod of %s above %s", modulePath, strings.Join(starts, " or "))
}

func rootAbove(dir string) (string, bool) {
	for {
		if module, err := moduleLine(filepath.Join(dir, "go.mod")); err == nil && module == modulePath {
			return dir, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

func moduleLine(gomod string) (string, error) { return fieldAfter(gomod, "module") }

// fieldAfter returns the word that follows word at the start of a line of a go.mod, inside a require block or not.
func fieldAfter(gomod, word string) (string, error) {
	f, err := os.Open(gomod)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(strings.TrimPrefix(lines.Text(), "require "))
		if len(fields) >= 2 && fields[0] == word {
			return fields[1], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", fmt.Errorf("%s: no line for %s", gomod, word)
}

// Path is where the binary of that name is expected: in KUBEBUILDER_ASSETS if it is there, else in the cache.
func (b *Binaries) Path(name string) string {
	if path, given := b.given(name); given {
		return path
	}
	return filepath.Join(b.Dir, name)
}

// given is the binary of that name in KUBEBUILDER_ASSETS, whose versions are whoever set it's choice.
func (b *Binaries) given(name string) (path string, is bool) {
	if b.Assets == "" || name != Etcd && name != APIServer && name != Kubectl {
		return "", false
	}
	path = filepath.Join(b.Assets, name)
	return path, executable(path)
}

// Missing names the binaries that are nowhere yet in the version that is pinned, in build order.
func (b *Binaries) Missing() []string {
	var missing []string
	for _, r := range b.recipes() {
		if _, given := b.given(r.name); given {
			continue
		}
		if path := b.Path(r.name); !executable(path) || b.built(path) != b.pinned[r.of] {
			missing = append(missing, r.name)
		}
	}
	return missing
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
