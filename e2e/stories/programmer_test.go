//go:build e2e

package stories

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// TestTheProgrammerTellsWithItsOwnRights: an IPVS programmer with the rights of config/rbac/ipvs says what its node can serve,
// again after a restart, and --release sets the ConfigMap. What it programs is tested in a virtual machine: kernels of nodes
// here may have no IPVS.
func TestTheProgrammerTellsWithItsOwnRights(t *testing.T) {
	s := begin(t)
	s.must(lab.ApplyFolder(s.ctx, "../../config/rbac/ipvs"))
	setting := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.FairleadNamespace, Name: "fairlead-ipvs"}, Data: map[string]string{"dataplane": "annotated"}}
	s.must(lab.Client().Create(s.ctx, setting))
	s.Cleanup(func() { s.must(lab.Client().Delete(context.Background(), setting)) })
	field := func(name string) string {
		out, err := lab.Kubectl(s.ctx, "", "get", "programmerstate", "-n", cluster.FairleadNamespace, lab.Node(0).Name, "-o", "jsonpath={."+name+"}")
		if err != nil {
			return ""
		}
		return out
	}
	s.Cleanup(func() {
		_, err := lab.Kubectl(context.Background(), "", "delete", "programmerstate", "-n", cluster.FairleadNamespace, "--all")
		s.must(err)
	})
	before := ""
	for range 2 {
		p, err := lab.StartProgrammer(s.ctx, 0)
		s.must(err)
		s.eventually("the programmer tells", func() error {
			if now := field("status.startedAt"); now == "" || now == before {
				return fmt.Errorf("it has told nothing since %q", before)
			}
			return nil
		})
		before = field("status.startedAt")
		if field("status.ready") != "true" && field("status.missing") == "" {
			t.Errorf("it is neither ready nor says why not: %s", field("status"))
		}
		_, err = p.Stop(s.ctx)
		s.must(err)
		started, err := time.Parse(time.RFC3339, before)
		s.must(err)
		time.Sleep(time.Until(started.Add(time.Second))) // so that the next one's start differs, which is told in seconds
	}
	kubeconfig, err := lab.ServiceAccountKubeconfig(s.ctx, cluster.FairleadNamespace, "fairlead-ipvs", "")
	s.must(err)
	s.ask(kubeconfig, 0, "ipvs", "--release")
	s.must(lab.Client().Get(s.ctx, client.ObjectKeyFromObject(setting), setting))
	if setting.Data["dataplane"] != "none" {
		t.Errorf("after --release the setting is %q", setting.Data["dataplane"])
	}
	_, err = lab.Node(0).Run(s.ctx, binary(t), "ipvs", "--cleanup", "--state-dir", t.TempDir()) // for a kernel that has IPVS
	s.must(err)
}
