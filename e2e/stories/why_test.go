//go:build e2e

package stories

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/explain"
)

// TestItSaysWhy: somebody who may only read asks why a Service does not work, does what the answer says, and asks again.
func TestItSaysWhy(t *testing.T) {
	s := begin(t)
	s.settle(time.Second) // none of the answers changes while they are read
	viewer := s.user("viewer", "fairlead-viewer")
	s.sample("huazi.yaml")
	s.event("Service", "huazi", "NoPool", "there is no IPAddressPool")
	s.answers(viewer, 1, []string{"explain", "svc", "default/huazi"},
		"Service default/huazi: there is no IPAddressPool: create one (NoPool)", "no   address", "next:       kubectl -n metallb-system get ipaddresspools")

	s.apply(onePool("first-pool", "172.25.254.50-172.25.254.99"))
	s.hasAddresses("huazi", "172.25.254.50")
	s.answers(viewer, 1, []string{"explain", "svc", "default/huazi"},
		"yes  address", "yes  first-pool", "the Service has no endpoints: its selector matches no pod (NoEndpoints)", "no   layer 2")

	s.pod(0, "huazi")
	s.answers(viewer, 1, []string{"explain", "pool", "first-pool"}, "no L2Advertisement and no BGPAdvertisement is for pool")
	s.sample("first-pool.yaml") // the same pool, and its advertisement
	announcer := s.announcer("172.25.254.50").Name
	s.answers(viewer, 0, []string{"explain", "svc", "default/huazi"},
		fmt.Sprintf("172.25.254.50 is announced by node %q by layer 2 (nodeAssigned)", announcer), "yes  1. "+announcer, "yes  speakers", "says that it announces 172.25.254.50, for ")
	s.answers(viewer, 0, []string{"explain", "ip", "172.25.254.50"}, "172.25.254.50 belongs to Service default/huazi")
	s.answers(viewer, 0, []string{"explain", "ip", "172.25.254.51"}, "172.25.254.51 is free")
	s.answers(viewer, 0, []string{"explain", "pool", "first-pool"}, "1 of 50 of its addresses are in use, by 1 Service")
	s.answers(viewer, 0, []string{"explain", "node", announcer}, "it announces 1 address by layer 2")
	s.answers(viewer, 0, []string{"status"}, "1 Service, 1 with an address, 0 waiting, 0 not announced", "first-pool", "[#...................]", "announces 1")

	var e explain.Explanation
	if err := json.Unmarshal([]byte(s.ask(viewer, 0, "explain", "svc", "default/huazi", "-o", "json")), &e); err != nil || !e.OK || len(e.Steps) < 6 {
		t.Errorf("%v: %+v", err, e)
	}
	s.answers(viewer, 0, []string{"explain", "svc", "default/huazi", "-o", "yaml"}, "ok: true\n")

	// What a change would do, before it is made and after.
	change := filepath.Join(t.TempDir(), "pool.yaml")
	s.must(os.WriteFile(change, []byte(onePool("first-pool", "172.25.254.60-172.25.254.69")), 0o600))
	s.answers(viewer, 1, []string{"diff", change}, "~ Service default/huazi: moves from 172.25.254.50 to 172.25.254.6", `IPAddressPool "first-pool": 50 IPv4 addresses -> 10 IPv4 addresses`)
	s.must(os.WriteFile(change, []byte(onePool("first-pool", "172.25.254.50-172.25.254.99")), 0o600))
	s.answers(viewer, 0, []string{"diff", change})
	s.answers(viewer, 0, []string{"drain", announcer, "--dry-run"}, "announces 1 address by layer 2", "172.25.254.50  default/huazi  to ")
	s.answers(viewer, 1, []string{"drain", announcer + "0", "--dry-run"}, fmt.Sprintf("(did you mean %q?)", announcer))

	// Names that are not.
	s.answers(viewer, 1, []string{"explain", "svc", "default/huzai"}, `there is no load balancer "default/huzai" (did you mean "default/huazi"?)`)
	s.answers(viewer, 1, []string{"explain", "svc", "kube-system/huazi"}, `there is no Service "huazi" in namespace "kube-system", but there is one in "default"`)
	s.answers(viewer, 1, []string{"explain", "pool", "frist-pool"}, `there is no IPAddressPool "frist-pool" (did you mean "first-pool"?)`)

	// Rights that are lacking.
	nobody := s.user("nobody", "")
	s.answers(nobody, 1, []string{"status"}, "you may not read addressclaims.fairlead.io, ", "ask for the right, or for the ClusterRole fairlead-viewer")

	// As a plugin of kubectl.
	plugin := t.TempDir()
	s.must(os.Symlink(binary(t), filepath.Join(plugin, "kubectl-fairlead")))
	cmd := lab.ControlPlane().Command(s.ctx, lab.KubectlPath(), "fairlead", "explain", "svc", "default/huazi", "--kubeconfig", viewer)
	cmd.Env = append(os.Environ(), "PATH="+plugin+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "is announced by node") {
		t.Errorf("kubectl fairlead: %v\n%s", err, out)
	}
}

// user makes a ServiceAccount that stands for a person, bound to a ClusterRole (or none), and returns its kubeconfig.
func (s *story) user(name, role string) string {
	s.Helper()
	manifests := fmt.Sprintf("{apiVersion: v1, kind: ServiceAccount, metadata: {name: %s, namespace: default}}\n", name)
	if role != "" {
		manifests += fmt.Sprintf(`---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: e2e-%[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[2]s}
subjects: [{kind: ServiceAccount, name: %[1]s, namespace: default}]
`, name, role)
	}
	s.apply(manifests)
	path, err := lab.ServiceAccountKubeconfig(s.ctx, "default", name, "")
	s.must(err)
	return path
}

// binary is the product.
func binary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/fairlead")
	if from := os.Getenv("FAIRLEAD_BIN"); from != "" {
		path = from
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// ask runs fairlead as a user and returns all that it says.
func (s *story) ask(kubeconfig string, code int, args ...string) string {
	s.Helper()
	out, got := s.run(kubeconfig, args...)
	if got != code {
		s.Errorf("fairlead %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return out
}

func (s *story) run(kubeconfig string, args ...string) (string, int) {
	s.Helper()
	cmd := lab.ControlPlane().Command(s.ctx, append(append([]string{binary(s.T)}, args...), "--kubeconfig", kubeconfig, "--namespace", cluster.FairleadNamespace)...)
	out, err := cmd.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case err == nil:
		return string(out), 0
	case errors.As(err, &failed):
		return string(out), failed.ExitCode()
	}
	s.Fatal(err)
	return "", 0
}

// answers asks until the answer has all that is wanted: speakers say what they do with a delay of some seconds.
func (s *story) answers(kubeconfig string, code int, args []string, want ...string) {
	s.Helper()
	out := ""
	s.eventually("fairlead "+strings.Join(args, " "), func() error {
		got := 0
		out, got = s.run(kubeconfig, args...)
		for _, w := range want {
			if !strings.Contains(out, w) {
				return fmt.Errorf("it does not say %q:\n%s", w, out)
			}
		}
		if got != code {
			return fmt.Errorf("exit code %d, want %d:\n%s", got, code, out)
		}
		return nil
	})
	s.Logf("fairlead %s\n%s", strings.Join(args, " "), out)
}
