//go:build vm

package ipvs

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// fromNodeZero is the advertisement, of one node alone.
const fromNodeZero = `
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: first, namespace: metallb-system}
spec: {nodeSelectors: [{matchLabels: {kubernetes.io/hostname: node-0}}]}
`

// TestNodeWithoutProgrammer: a node that no advertisement selects needs no programmer. Its kube-proxy leaves the address alone,
// and what runs there, the node itself or a pod, reaches it over the network.
func TestNodeWithoutProgrammer(t *testing.T) {
	s := begin(t, "nftables")
	s.must(lab.Apply(s.ctx, fromNodeZero))
	s.annotate(map[string]string{"fairlead.io/dataplane": "ipvs"})
	s.startProgrammer(0)
	s.becomes(corev1.LoadBalancerIPModeProxy)
	s.onNodes("served by kube-proxy", s.kubeProxyServes, false)
	with, without := lab.Node(0), lab.Node(1)
	if owner := s.announcer(); owner != with {
		s.Errorf("%s announces the address", owner.Name)
	}

	address := netip.MustParseAddr(vip)
	s.pageFrom(without, address, port)
	s.pageFrom(s.pods[1].Host, address, port)
	if got := s.run(without, "ipvsadm", "-Ln"); strings.Contains(got, "TCP") {
		s.Errorf("%s has no programmer, but serves by IPVS:\n%s", without.Name, got)
	}
	if got := s.run(with, "ipvsadm", "-Lnc"); !strings.Contains(got, without.IPv4.String()+":") {
		s.Errorf("IPVS of %s knows no connection from %s:\n%s", with.Name, without.Name, got)
	}

	s.must(s.programmers[0].Kill())
	s.must(lab.CleanUp(s.ctx, 0))
	s.becomes(corev1.LoadBalancerIPModeVIP)
}
