// Package kubebin knows the Kubernetes binaries that the e2e cluster runs: where they are, which are missing, and how
// each is compiled from the Go modules that e2e/kube pins. They live in a cache outside the repository, one folder per
// Kubernetes version, so that a second run compiles nothing.
package kubebin

import (
	"bufio"
	"errors"
	"fmt"
	"os"
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

// A recipe says how one binary is compiled.
type recipe struct {
	name string
	pkg  string // import path of its main package
	cold string // time of a first build on two cores, for people
	kube bool   // carries the Kubernetes version in its ldflags

	module string // folder of the module that pins it, from e2e/kube
}

// recipes lists every binary that the cluster needs.
func (b *Binaries) recipes() []recipe {
	const containerd, packaging = "../containerd", "../../tools/packaging"
	list := []recipe{
		{Etcd, "go.etcd.io/etcd/server/v3", "about 1 minute", false, ""},
		{APIServer, "k8s.io/kubernetes/cmd/kube-apiserver", "4 to 8 minutes", true, ""},
		{Kubectl, "k8s.io/kubernetes/cmd/kubectl", "about 1 minute", true, ""},
		{ControllerManager, "k8s.io/kubernetes/cmd/kube-controller-manager", "about 1 minute", true, ""},
		{Proxy, "k8s.io/kubernetes/cmd/kube-proxy", "under 1 minute", true, ""},
		{Helm, "helm.sh/helm/v3/cmd/helm", "about 1 minute", false, packaging},
	}
	if !b.Kubelets {
		return list
	}
	return append(list,
		recipe{Scheduler, "k8s.io/kubernetes/cmd/kube-scheduler", "under 1 minute", true, ""},
		recipe{Kubelet, "k8s.io/kubernetes/cmd/kubelet", "2 minutes", true, ""},
		recipe{Containerd, "github.com/containerd/containerd/v2/cmd/containerd", "2 minutes", false, containerd},
		recipe{ContainerdShim, "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "under 1 minute", false, containerd},
		recipe{Ctr, "github.com/containerd/containerd/v2/cmd/ctr", "under 1 minute", false, containerd})
}

// Binaries is the set of binaries for one version of Kubernetes.
type Binaries struct {
	Version string // of Kubernetes, such as v1.36.3
	Dir     string // cache folder of this version
	Module  string // folder of the module that pins the versions, e2e/kube
	Assets  string // value of KUBEBUILDER_ASSETS, or empty

	Kubelets bool // what a cluster with kubelets needs is meant too
}

// Find works out where the binaries are or would be: the version from e2e/kube/go.mod, the cache from FAIRLEAD_CACHE or
// the user's cache folder. It neither builds nor creates anything.
func Find() (*Binaries, error) {
	root, err := ModuleRoot()
	if err != nil {
		return nil, err
	}
	module := filepath.Join(root, "e2e", "kube")
	version, err := kubernetesVersion(filepath.Join(module, "go.mod"))
	if err != nil {
		return nil, err
	}
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	return &Binaries{
		Version: version,
		Dir:     filepath.Join(cache, "kube", version),
		Module:  module,
		Assets:  os.Getenv("KUBEBUILDER_ASSETS"),
	}, nil
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

// kubernetesVersion reads the version of k8s.io/kubernetes that a go.mod requires.
func kubernetesVersion(gomod string) (string, error) { return fieldAfter(gomod, "k8s.io/kubernetes") }

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
	if b.Assets != "" && (name == Etcd || name == APIServer || name == Kubectl) {
		if p := filepath.Join(b.Assets, name); executable(p) {
			return p
		}
	}
	return filepath.Join(b.Dir, name)
}

// Missing names the binaries that are nowhere yet, in build order.
func (b *Binaries) Missing() []string {
	var missing []string
	for _, r := range b.recipes() {
		if !executable(b.Path(r.name)) {
			missing = append(missing, r.name)
		}
	}
	return missing
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
