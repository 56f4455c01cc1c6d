package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

const (
	// FairleadNamespace is where Fairlead is installed, as the guides' manifests name it.
	FairleadNamespace = "metallb-system"
	// MetricsPort and HealthPort are where Fairlead's processes listen, on their host's IPv4 address. A second
	// controller, a third and so on listen two ports higher each.
	MetricsPort = 7948
	HealthPort  = 7949
)

// establishTimeout bounds the API server's acceptance of new kinds.
const establishTimeout = 30 * time.Second

// configFolder is a folder of the repository's config.
func configFolder(name string) (string, error) {
	root, err := kubebin.ModuleRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "config", name), nil
}

// ApplySample applies a file of config/samples.
func (c *Cluster) ApplySample(ctx context.Context, name string) error {
	dir, err := configFolder("samples")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	return c.Apply(ctx, string(text))
}

// InstallCRDs applies config/crd and waits until the API server serves the kinds.
func (c *Cluster) InstallCRDs(ctx context.Context) error {
	dir, err := configFolder("crd")
	if err != nil {
		return err
	}
	if err := c.ApplyFolder(ctx, dir); err != nil {
		return fmt.Errorf("installing the kinds: %w", err)
	}
	return Eventually(ctx, establishTimeout, func() error { return c.established(ctx) })
}

// established is nil when every definition of a kind is in force.
func (c *Cluster) established(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return err
	}
	reader, err := client.New(c.RESTConfig(), client.Options{Scheme: scheme, Mapper: c.client.RESTMapper()})
	if err != nil {
		return err
	}
	var list apiextensionsv1.CustomResourceDefinitionList
	if err := reader.List(ctx, &list); err != nil {
		return err
	}
	var waiting []string
	for _, crd := range list.Items {
		if !isEstablished(crd) {
			waiting = append(waiting, crd.Name)
		}
	}
	if len(waiting) > 0 {
		return fmt.Errorf("not established: %s", strings.Join(waiting, ", "))
	}
	return nil
}

func isEstablished(crd apiextensionsv1.CustomResourceDefinition) bool {
	for _, condition := range crd.Status.Conditions {
		if condition.Type == apiextensionsv1.Established {
			return condition.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// InstallProgrammers applies config/ipvs as a user does: their permissions, the setting of which Services they serve, and the
// DaemonSet, of which no pods come where there are no kubelets.
func (c *Cluster) InstallProgrammers(ctx context.Context) error {
	dir, err := configFolder("ipvs")
	if err != nil {
		return err
	}
	if err := c.ApplyFolder(ctx, dir); err != nil {
		return fmt.Errorf("installing the programmers: %w", err)
	}
	return nil
}

// InstallFairlead creates Fairlead's namespace, kinds, ServiceAccounts and permissions. It starts nothing.
func (c *Cluster) InstallFairlead(ctx context.Context) error {
	if err := c.Apply(ctx, "{apiVersion: v1, kind: Namespace, metadata: {name: "+FairleadNamespace+"}}"); err != nil {
		return err
	}
	if err := c.InstallCRDs(ctx); err != nil {
		return err
	}
	dir, err := configFolder("rbac")
	if err != nil {
		return err
	}
	if err := c.ApplyFolder(ctx, dir); err != nil {
		return fmt.Errorf("installing the permissions: %w", err)
	}
	return nil
}

// StartController starts Fairlead's controller beside the API server, as the ServiceAccount
// fairlead-controller. While another
// one runs, the process's name and ports are the next ones. It returns before the controller is ready.
func (c *Cluster) StartController(ctx context.Context, args ...string) (*Process, error) {
	number := 0
	for ; c.running(controllerName(number)); number++ {
	}
	return c.startFairlead(ctx, c.controlPlane, "controller", controllerName(number), number, args)
}

func controllerName(number int) string {
	if number == 0 {
		return "controller"
	}
	return fmt.Sprintf("controller-%d", number)
}

// StartSpeaker starts Fairlead's speaker on a node, as the ServiceAccount fairlead-speaker. It returns before the speaker is
// ready.
func (c *Cluster) StartSpeaker(ctx context.Context, node int, args ...string) (*Process, error) {
	args = append([]string{"--node-name", nodeName(node)}, args...)
	return c.startFairlead(ctx, c.nodes[node], "speaker", fmt.Sprintf("speaker-%d", node), 0, args)
}

// StartProgrammer starts Fairlead's IPVS programmer on a node, as the ServiceAccount fairlead-ipvs of config/rbac/ipvs, which is
// not installed by itself. Where the kernel has no IPVS it says so and serves nothing.
func (c *Cluster) StartProgrammer(ctx context.Context, node int, args ...string) (*Process, error) {
	args = append([]string{"--node-name", nodeName(node), "--state-dir", c.programmerDir(node)}, args...)
	return c.startFairlead(ctx, c.nodes[node], "ipvs", fmt.Sprintf("ipvs-%d", node), 1, args)
}

// CleanUp runs `fairlead ipvs --cleanup` on a node, where no programmer runs any more.
func (c *Cluster) CleanUp(ctx context.Context, node int) error {
	binary, err := c.options.fairlead()
	if err != nil {
		return err
	}
	_, err = c.nodes[node].Run(ctx, binary, "ipvs", "--cleanup", "--state-dir", c.programmerDir(node))
	return err
}

// programmerDir is where a node's programmer keeps how it found the node.
func (c *Cluster) programmerDir(node int) string { return filepath.Join(c.nodeDir(node), "ipvs") }

// startFairlead starts one of Fairlead's roles under its own ServiceAccount. Later flags win over those set here.
func (c *Cluster) startFairlead(ctx context.Context, host *Host, role, name string, number int, args []string) (*Process, error) {
	node := ""
	if slices.Contains(c.nodes, host) {
		node = host.Name
	}
	binary, err := c.options.fairlead()
	if err != nil {
		return nil, err
	}
	kubeconfig, err := c.ServiceAccountKubeconfig(ctx, FairleadNamespace, "fairlead-"+role, node)
	if err != nil {
		return nil, err
	}
	argv := []string{
		binary, role, "--kubeconfig", kubeconfig, "--namespace", FairleadNamespace,
		"--metrics-bind-address", netip.AddrPortFrom(host.IPv4, uint16(MetricsPort+2*number)).String(),
		"--health-probe-bind-address", netip.AddrPortFrom(host.IPv4, uint16(HealthPort+2*number)).String(),
	}
	return c.StartProcess(ctx, host, name, append(argv, args...))
}

// StartFairlead installs Fairlead and starts one controller and a speaker per node, in this order in the result; the
// speakers get the flags. It returns when all of them are ready.
func (c *Cluster) StartFairlead(ctx context.Context, speakerArgs ...string) ([]*Process, error) {
	if err := c.InstallFairlead(ctx); err != nil {
		return nil, err
	}
	controller, err := c.StartController(ctx)
	if err != nil {
		return nil, err
	}
	processes := []*Process{controller}
	for i := range c.nodes {
		speaker, err := c.StartSpeaker(ctx, i, speakerArgs...)
		if err != nil {
			return nil, err
		}
		processes = append(processes, speaker)
	}
	for _, p := range processes {
		if err := c.WaitReady(ctx, p); err != nil {
			return nil, err
		}
	}
	return processes, nil
}

// WaitReady waits until the readiness probe of one of Fairlead's processes succeeds, the first controller's or a
// speaker's, and gives up at once when the process ends.
func (c *Cluster) WaitReady(ctx context.Context, p *Process) error {
	return waitAlive(ctx, p, time.Minute, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := p.Host.HTTPGet(ctx, URL(p.Host.IPv4, HealthPort)+"readyz")
		return err
	})
}

// Metrics reads the metrics of one of Fairlead's processes, the first controller's or a speaker's.
func (c *Cluster) Metrics(ctx context.Context, p *Process) (string, error) {
	return p.Host.HTTPGet(ctx, URL(p.Host.IPv4, MetricsPort)+"metrics")
}
