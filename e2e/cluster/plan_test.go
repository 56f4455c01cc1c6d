package cluster

import (
	"net/netip"
	"testing"
)

func TestPlanKeepsClearOfThePools(t *testing.T) {
	segment4, segment6 := netip.PrefixFrom(segmentV4(0), segmentV4Bits), netip.PrefixFrom(segmentV6(0), segmentV6Bits)
	octets := []int{controlPlaneOctet, outsideOctet}
	for i := range MaxNodes {
		octets = append(octets, firstNodeOctet+i)
	}
	seen := map[netip.Addr]bool{}
	for _, octet := range octets {
		v4, v6 := segmentV4(octet), segmentV6(octet)
		if !segment4.Contains(v4) || !segment6.Contains(v6) {
			t.Errorf("%s and %s are not both on the segment", v4, v6)
		}
		if seen[v4] || seen[v6] {
			t.Errorf("%s or %s is used twice", v4, v6)
		}
		seen[v4], seen[v6] = true, true
		if octet >= 50 && octet <= 199 {
			t.Errorf("%s lies in a range that pools may use", v4)
		}
	}
}

func TestPlanOfPods(t *testing.T) {
	for _, c := range []struct {
		node, pod int
		v4, v6    string
	}{
		{0, 1, "10.244.0.1", "fd00:10:244::1"},
		{2, 10, "10.244.2.10", "fd00:10:244:2::10"},
		{39, maxPodsPerNode, "10.244.39.254", "fd00:10:244:39::254"},
	} {
		v4, v6 := podV4(c.node, c.pod), podV6(c.node, c.pod)
		if v4 != netip.MustParseAddr(c.v4) || v6 != netip.MustParseAddr(c.v6) {
			t.Errorf("pod %d-%d has %s and %s, want %s and %s", c.node, c.pod, v4, v6, c.v4, c.v6)
		}
		if !podRangeV4(c.node).Contains(v4) || !podRangeV6(c.node).Contains(v6) {
			t.Errorf("%s or %s is outside its node's range", v4, v6)
		}
	}
}

func TestMACCarriesTheAddress(t *testing.T) {
	if got := segmentMAC(segmentV4(10)).String(); got != "02:00:ac:19:fe:0a" {
		t.Error(got)
	}
}
