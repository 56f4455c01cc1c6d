//go:build e2e

package stories

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// TestPoliciesAndReservations: an address that a policy retains comes back to the Service of that name, one that is reserved
// waits for whom it is for, and without the policy nothing is left of it.
func TestPoliciesAndReservations(t *testing.T) {
	s := begin(t)
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := lab.Kubectl(s.ctx, "", append(args, "-n", cluster.FairleadNamespace)...)
		s.must(err)
		return out
	}
	s.Cleanup(func() {
		_, err := lab.Kubectl(context.Background(), "", "delete", "addresspolicies,addressreservations,nodeportranges", "--all", "-n", cluster.FairleadNamespace)
		s.must(err)
	})
	s.apply(onePool("first-pool", "172.25.254.50-172.25.254.59") + `---
apiVersion: fairlead.io/v1alpha1
kind: AddressPolicy
metadata: {name: keep, namespace: metallb-system}
spec: {poolNames: [first-pool], retain: 1h}
---
apiVersion: fairlead.io/v1alpha1
kind: AddressReservation
metadata: {name: held, namespace: metallb-system}
spec: {address: 172.25.254.51, service: {namespace: default, name: later}}
---
apiVersion: fairlead.io/v1alpha1
kind: NodePortRange
metadata: {name: ports, namespace: metallb-system}
spec: {ports: ["33000-33009"]}
`)
	kubectl("wait", "--for=condition=Ready", "nodeportrange/ports", "--timeout=20s")
	kubectl("wait", "--for=condition=Ready", "addresspolicy/keep", "--timeout=20s")
	kubectl("wait", "--for=jsonpath={.status.address}=172.25.254.51", "addressreservation/held", "--timeout=20s")
	s.apply(service("first", ""))
	s.hasAddresses("first", "172.25.254.50")
	s.must(lab.Client().Delete(s.ctx, s.service("first")))
	s.eventually("the address is retained", func() error {
		if kubectl("get", "addressclaims", "-o", "jsonpath={.items[*].spec.retainUntil}") == "" {
			return errors.New("it is not")
		}
		return nil
	})
	s.apply(service("second", ""))
	s.hasAddresses("second", "172.25.254.52")
	s.apply(service("later", ""))
	s.hasAddresses("later", "172.25.254.51")
	s.apply(service("first", ""))
	s.hasAddresses("first", "172.25.254.50")

	kubectl("delete", "addresspolicy", "keep")
	s.eventually("no claim is left", func() error {
		if left := kubectl("get", "addressclaims", "-o", "name"); left != "" {
			return fmt.Errorf("there are %s", left)
		}
		return nil
	})
	s.hasAddresses("first", "172.25.254.50")
}

// TestWhatADeadNodeLeftBehindGoes: the controller removes what a node that is gone told of its announcements.
func TestWhatADeadNodeLeftBehindGoes(t *testing.T) {
	s := begin(t)
	s.apply(`
apiVersion: metallb.io/v1beta1
kind: ServiceL2Status
metadata: {name: left, namespace: metallb-system, labels: {metallb.io/node: node-gone, metallb.io/service-name: web, metallb.io/service-namespace: default}}
`)
	s.eventually("it is removed", func() error {
		out, err := lab.Kubectl(s.ctx, "", "get", "servicel2status", "left", "-n", cluster.FairleadNamespace, "--ignore-not-found", "-o", "name")
		if err == nil && out != "" {
			err = errors.New("it is there")
		}
		return err
	})
}
