package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

// Shell runs a line for a shell on a host as a user types it in the root of the repository, as the cluster's administrator,
// with helm, kubectl, fairlead and the plugin kubectl-fairlead at hand. It returns all that is printed, warnings too.
func (c *Cluster) Shell(ctx context.Context, host *Host, line string, env ...string) (string, error) {
	root, err := kubebin.ModuleRoot()
	if err != nil {
		return "", err
	}
	tools, err := c.tools()
	if err != nil {
		return "", err
	}
	cmd := host.Command(ctx, "sh", "-ec", line)
	cmd.Dir = root
	cmd.Env = append(cmd.Env, "PATH="+tools+":"+os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin", "KUBECONFIG="+c.Kubeconfig(), "HOME="+tools)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// tools is a folder with what users have in their PATH, and the home of who types there.
func (c *Cluster) tools() (string, error) {
	dir := filepath.Join(c.dir, "tools")
	fairlead, err := c.options.fairlead()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, path := range map[string]string{
		"helm": c.bin(kubebin.Helm), "kubectl": c.bin(kubebin.Kubectl), "fairlead": fairlead, "kubectl-fairlead": fairlead,
	} {
		if path, err = filepath.Abs(path); err != nil {
			return "", err
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return dir, nil
}
