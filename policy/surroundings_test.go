package policy

import (
	"fmt"
	"testing"
)

func TestOverlapsWithTheCluster(t *testing.T) {
	p, _ := Compile(pools(pool("a", "10.0.0.0/24,10.0.2.0-10.0.2.9"), pool("b", "10.0.1.0/24"), pool("six", "fd00::/64")), nil)
	network := func(text string, kind NetworkKind, of string) Network {
		r, err := ParseRange(text)
		if err != nil {
			t.Fatal(err)
		}
		return Network{r, kind, of}
	}
	for _, c := range []struct {
		name     string
		networks []Network
		want     []string
	}{
		{"none", nil, nil},
		{"beside", []Network{network("10.0.3.0/24", PodCIDR, "x"), network("10.0.2.10-10.0.2.255", PodCIDR, "x"), network("fd01::/64", ServiceCIDR, "x")}, nil},
		{"one pool", []Network{network("10.0.0.255/32", NodeAddress, "Node x")}, []string{
			`IPAddressPool "a" has addresses that are in use otherwise: 10.0.0.255 is the address of a node (Node x): take them out of spec.addresses (OverlapsCluster)`}},
		{"several pools, each once", []Network{network("10.0.0.0/8", PodCIDR, "x")}, []string{
			`IPAddressPool "a" has addresses that are in use otherwise: 10.0.0.0-10.255.255.255 is a node's pod CIDR (x): take them out of spec.addresses (OverlapsCluster)`,
			`IPAddressPool "b" has addresses that are in use otherwise: 10.0.0.0-10.255.255.255 is a node's pod CIDR (x): take them out of spec.addresses (OverlapsCluster)`}},
		{"only some are named", []Network{
			network("fd00::4/128", NodeAddress, "n4"), network("fd00::2/128", NodeAddress, "n2"), network("fd00::1/128", NodeAddress, "n1"), network("fd00::3/128", NodeAddress, "n3"),
			network("fd00::/48", ServiceCIDR, "s"),
		}, []string{
			`IPAddressPool "six" has addresses that are in use otherwise: fd00::-fd00::ffff:ffff:ffff:ffff:ffff is a Service CIDR (s): take them out of spec.addresses (OverlapsCluster)`,
			`IPAddressPool "six" has addresses that are in use otherwise: fd00::1 is the address of a node (n1), fd00::2 is the address of a node (n2), fd00::3 is the address of a node (n3), and others: take them out of spec.addresses (OverlapsCluster)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, x := range p.Overlaps(c.networks) {
				got = append(got, x.String())
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%q\nwant %q", got, c.want)
			}
		})
	}
}
