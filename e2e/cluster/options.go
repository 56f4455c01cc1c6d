package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/fairlead-lb/fairlead/e2e/debian"
	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

// ErrNotRoot is what Start returns to an ordinary user.
var ErrNotRoot = errors.New("the cluster is made of network namespaces and needs root: use sudo (make does), or run only the tests that need none, make test-unit")

// Options say what Start brings up. The zero value is a cluster of three nodes.
type Options struct {
	// Name starts the name of everything that the cluster creates; lower-case letters, digits and dashes. Default:
	// "fl-" and four random digits.
	Name string
	// Nodes is the number of nodes, at most MaxNodes. Default 3.
	Nodes int
	// Log receives progress lines and unexpected ends of processes. Default: nowhere.
	Log io.Writer
	// Dir holds logs, keys and etcd's data; it must not exist yet, or be empty. Default: a new one in the temporary
	// folder. Close removes it unless KeepDir is set.
	Dir     string
	KeepDir bool
	// BinDir holds etcd, kube-apiserver, kube-controller-manager, kube-proxy and kubectl. Default: where kubebin builds
	// them.
	BinDir string
	// Fairlead is the product's binary. Default: $FAIRLEAD_BIN, else bin/fairlead in this repository. It is not needed
	// before the first StartController or StartSpeaker.
	Fairlead string
	// APIServerArgs are added to kube-apiserver's command line.
	APIServerArgs []string
	// Audit has kube-apiserver log every request of a ServiceAccount of Fairlead's namespace, and of the namespace default,
	// to the file AuditLog.
	Audit bool
	// Kubelets makes the nodes real ones: each runs containerd and a kubelet, so that Deployments and DaemonSets run as
	// pods from images. Kubernetes' own controllers and admission plug-ins all run then, and AddPod must not be used.
	Kubelets bool
	// ControlPlane has Start bring up the control plane alone, without nodes, for one whose nodes are elsewhere.
	ControlPlane bool
	// Kubeconfig is that of the administrator of a control plane that another cluster's Start brought up alone, and which
	// this process reaches. Start then brings up the rest. Default: this cluster has one of its own.
	Kubeconfig string
	// Images are archives of images (OCI or docker) that every node with a kubelet has from the start.
	Images []string
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// complete checks the options and fills in the defaults; it returns where each binary is.
func (o Options) complete() (Options, func(name string) string, error) {
	if o.Name == "" {
		o.Name = "fl-" + randomHex(2)
	}
	if !validName.MatchString(o.Name) {
		return o, nil, fmt.Errorf("cluster name %q: want up to 32 lower-case letters, digits and dashes", o.Name)
	}
	if o.Nodes == 0 && !o.ControlPlane {
		o.Nodes = 3
	}
	if o.Nodes < 0 || o.Nodes > MaxNodes || o.ControlPlane && o.Nodes > 0 {
		return o, nil, fmt.Errorf("%d nodes: want 1 to %d, and none beside a control plane alone", o.Nodes, MaxNodes)
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	commands := []string{"ip", "nsenter", "nft"}
	if o.Kubelets {
		commands = append(commands, "runc")
	}
	if missing := debian.Missing(commands...); len(missing) > 0 {
		return o, nil, fmt.Errorf("missing on this machine: %s", debian.Advice(missing))
	}
	path, err := o.binaries()
	return o, path, err
}

// Check says what Start, and later StartController and StartSpeaker, would miss on this machine: rights, Debian packages,
// binaries. It changes nothing.
func (o Options) Check() error {
	if os.Geteuid() != 0 {
		return ErrNotRoot
	}
	o, _, err := o.complete()
	if err != nil {
		return err
	}
	_, err = o.fairlead()
	return err
}

// binaries finds the Kubernetes binaries and refuses to start with one missing.
func (o Options) binaries() (func(name string) string, error) {
	if o.BinDir != "" {
		return func(name string) string { return filepath.Join(o.BinDir, name) }, nil
	}
	bins, err := kubebin.Find()
	if err != nil {
		return nil, err
	}
	bins.Kubelets = o.Kubelets
	if missing := bins.Missing(); len(missing) > 0 {
		return nil, fmt.Errorf("missing in %s: %s; build them first (6 to 11 minutes, once): go run ./e2e/cmd/lab binaries", bins.Dir, strings.Join(missing, ", "))
	}
	return bins.Path, nil
}

// fairlead is the path of the product's binary.
func (o Options) fairlead() (string, error) {
	path := o.Fairlead
	if path == "" {
		path = os.Getenv("FAIRLEAD_BIN")
	}
	if path == "" {
		root, err := kubebin.ModuleRoot()
		if err != nil {
			return "", err
		}
		path = filepath.Join(root, "bin", "fairlead")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no Fairlead binary, build it first (make build): %w", err)
	}
	return path, nil
}

// makeDir creates the cluster's folder.
func (o Options) makeDir() (string, error) {
	if o.Dir == "" {
		return os.MkdirTemp("", o.Name+"-")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("%s is not empty, and Close would remove it", dir)
	}
	return dir, nil
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
