package plan

import (
	"fmt"
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/policy"
)

func BenchmarkBuild(b *testing.B) {
	for _, c := range []struct{ services, nodes, peers int }{{1_000, 3, 0}, {10_000, 3, 0}, {10_000, 100, 0}, {10_000, 100, 4}} {
		b.Run(fmt.Sprintf("%d services, %d nodes, %d peers", c.services, c.nodes, c.peers), func(b *testing.B) {
			v := large(c.services, c.nodes, c.peers)
			b.ReportAllocs()
			for b.Loop() {
				Build(&v)
			}
		})
	}
}

// large is a cluster where everything is announced, by BGP too if there are peers, and the links of all nodes are known.
func large(services, nodes, peers int) View {
	var o policy.Objects
	o.Pools = []v1beta1.IPAddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"10.0.0.0/16"}}}}
	o.L2Advertisements = []v1beta1.L2Advertisement{{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"a"}}}}
	for i := range peers {
		p := v1beta2.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("router-%d", i)}}
		p.Spec = v1beta2.BGPPeerSpec{MyASN: 64500, PeerASN: 64501, PeerAddress: fmt.Sprintf("192.0.2.%d", i+1)}
		o.BGPPeers = append(o.BGPPeers, p)
	}
	if peers > 0 {
		o.BGPAdvertisements = []v1beta1.BGPAdvertisement{{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1beta1.BGPAdvertisementSpec{Communities: []string{"64500:1"}}}}
	}
	v := View{Node: "node-000", Links: []LinkState{{Link: Link{Index: 2, Name: "eth0"}}}}
	v.Policy, _ = policy.Compile(o, nil)
	for i := range nodes {
		n := Node{Name: fmt.Sprintf("node-%03d", i), Ready: true, Labels: labels.Set{"rack": fmt.Sprint(i % 4)}}
		n.Links = []NodeLink{{Name: "eth0", Up: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/64")}}, {Name: "eth1"}}
		v.Nodes = append(v.Nodes, n)
		v.Members = append(v.Members, n.Name)
	}
	for i := range services {
		v.Services = append(v.Services, Service{
			Namespace: "x", Name: fmt.Sprintf("service-%05d", i), Pool: "a", Serving: true, ServingNodes: []string{v.Nodes[i%nodes].Name},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})},
		})
	}
	return v
}
