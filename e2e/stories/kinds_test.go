//go:build e2e

package stories

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// TestAKindThatIsDeletedClearsNothing: somebody deletes the definition of IPAddressPools, and with it every pool. Services
// keep their addresses for the time of grace, and go on as if nothing had been when the pools are back.
func TestAKindThatIsDeletedClearsNothing(t *testing.T) {
	s := begin(t)
	a, b := s.pod(0, "huazi"), s.pod(1, "huazi")
	s.sample("first-pool.yaml")
	s.sample("huazi.yaml")
	s.hasAddresses("huazi", "172.25.254.50")
	s.page("172.25.254.50", 8080, a, b)

	_, err := lab.Kubectl(s.ctx, "", "delete", "crd", "ipaddresspools.metallb.io")
	s.must(err)
	t.Cleanup(func() { s.must(lab.InstallCRDs(s.ctx)) })
	s.assigned("huazi", "AddressOrphaned")
	s.hasAddresses("huazi", "172.25.254.50")
	s.page("172.25.254.50", 8080, a, b)

	s.must(lab.InstallCRDs(s.ctx))
	s.sample("first-pool.yaml")
	s.must(cluster.Eventually(s.ctx, 2*patience, func() error { return s.condition("huazi", "IPAllocated") })) // watches are tried again after a while
	s.hasAddresses("huazi", "172.25.254.50")
	s.page("172.25.254.50", 8080, a, b)
}

// assigned waits until the Service's condition has a reason.
func (s *story) assigned(name, reason string) {
	s.Helper()
	s.eventually(name+" says "+reason, func() error { return s.condition(name, reason) })
}

func (s *story) condition(name, reason string) error {
	if c := meta.FindStatusCondition(s.service(name).Status.Conditions, "fairlead.io/Assigned"); c == nil || c.Reason != reason {
		return fmt.Errorf("its condition is %+v, want %s", c, reason)
	}
	return nil
}
