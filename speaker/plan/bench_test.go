package plan

import (
	"fmt"
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/policy"
)

func BenchmarkBuild(b *testing.B) {
	for _, c := range []struct{ services, nodes int }{{1_000, 3}, {10_000, 3}, {10_000, 100}} {
		b.Run(fmt.Sprintf("%d services, %d nodes", c.services, c.nodes), func(b *testing.B) {
			pool := v1beta1.IPAddressPool{Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"10.0.0.0/16"}}}
			pool.Name = "a"
			ad := v1beta1.L2Advertisement{}
			ad.Name, ad.Spec.IPAddressPools = "a", []string{"a"}
			v := View{Node: "node-000"}
			v.Policy, _ = policy.Compile(policy.Objects{Pools: []v1beta1.IPAddressPool{pool}, L2Advertisements: []v1beta1.L2Advertisement{ad}}, nil)
			for i := range c.nodes {
				n := fmt.Sprintf("node-%03d", i)
				v.Nodes = append(v.Nodes, Node{Name: n, Ready: true, Labels: labels.Set{"rack": fmt.Sprint(i % 4)}})
				v.Members = append(v.Members, n)
			}
			for i := range c.services {
				v.Services = append(v.Services, Service{
					Namespace: "x", Name: fmt.Sprintf("service-%05d", i), Pool: "a", Serving: true,
					Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})},
				})
			}
			v.Links = []LinkState{{Link: Link{Index: 2, Name: "eth0"}}}
			b.ReportAllocs()
			for b.Loop() {
				Build(&v)
			}
		})
	}
}
