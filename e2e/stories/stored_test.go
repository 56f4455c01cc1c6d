//go:build e2e

package stories

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// TestPeersThatWereStoredAsV1beta1ComeBack: the controller stores them anew, so that a speaker that starts while no
// controller runs, and nobody converts, finds its peers and holds its sessions.
func TestPeersThatWereStoredAsV1beta1ComeBack(t *testing.T) {
	s, _ := withRouter(t)
	s.serveWebhooks()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 3*time.Minute) // the controller waits half a minute
	t.Cleanup(cancel)
	s.ctx = ctx
	t.Cleanup(func() {
		s.kubectlPatch(`[{"op":"replace","path":"/spec/versions/0/served","value":false},{"op":"replace","path":"/spec/conversion","value":{"strategy":"None"}}]`)
	})
	storeAs := func(one, two bool) {
		t.Helper()
		s.kubectlPatch(fmt.Sprintf(`[{"op":"replace","path":"/spec/versions/0/storage","value":%t},{"op":"replace","path":"/spec/versions/1/storage","value":%t}]`, one, two))
	}
	stored := func() string {
		t.Helper()
		out, err := lab.Kubectl(s.ctx, "", "get", "crd", "bgppeers.metallb.io", "-o", "jsonpath={.status.storedVersions[*]}")
		s.must(err)
		return out
	}
	s.kubectlPatch(`[{"op":"replace","path":"/spec/versions/0/served","value":true},{"op":"add","path":"/spec/conversion","value":{"strategy":"Webhook","webhook":{
		"conversionReviewVersions":["v1"],"clientConfig":{"service":{"name":"fairlead-webhook","namespace":"metallb-system","path":"/convert","port":443}}}}}]`)
	s.eventually("BGPPeers are converted", func() error {
		_, err := lab.Kubectl(s.ctx, "", "-n", cluster.FairleadNamespace, "get", "bgppeers.v1beta1.metallb.io", "sample")
		return err
	})
	storeAs(true, false)
	s.eventually("the peer is stored as v1beta1", func() error {
		if _, err := lab.Kubectl(s.ctx, "", "-n", cluster.FairleadNamespace, "label", "--overwrite", "bgppeer", "sample", "touched="+time.Now().Format("150405.000")); err != nil {
			return err
		}
		if got := stored(); got != "v1beta2 v1beta1" {
			return fmt.Errorf("stored are %s", got)
		}
		return nil
	})
	storeAs(false, true)
	s.must(cluster.Eventually(s.ctx, 3*patience, func() error { // another API server may store by the old definition a little longer
		if got := stored(); got != "v1beta2" {
			return fmt.Errorf("stored are %s", got)
		}
		return nil
	}))
	hops := []string{"10.0.0.10", "10.0.0.11", "10.0.0.12"}
	s.routed(hops...)

	s.stopController()
	s.Cleanup(func() { s.restartController() })
	_, err := lab.speakers[1].Stop(s.ctx)
	s.must(err)
	s.routed(slices.Delete(slices.Clone(hops), 1, 2)...)
	s.restartSpeaker(1)
	s.routed(hops...)
}

// kubectlPatch changes the definition of BGPPeers.
func (s *story) kubectlPatch(patch string) {
	s.Helper()
	_, err := lab.Kubectl(s.ctx, "", "patch", "crd", "bgppeers.metallb.io", "--type=json", "-p", patch)
	s.must(err)
}
