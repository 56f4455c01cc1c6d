package cluster

import (
	"fmt"
	"net"
	"net/netip"
)

// The address plan. Addresses .50 to .199 of the segment are free for pools and for hosts that a test adds.
const (
	segmentV4Bits = 24
	segmentV6Bits = 64

	controlPlaneOctet = 1
	firstNodeOctet    = 10
	outsideOctet      = 250

	// MaxNodes is how many nodes fit below the addresses that the guides' manifests give to a pool.
	MaxNodes = 40
	// maxPodsPerNode is how many pods a node's range holds; a number is never used twice.
	maxPodsPerNode = 254

	serviceRange = "10.96.0.0/16,fd00:10:96::/112"
	podRange     = "10.244.0.0/16,fd00:10:244::/48"

	// apiPort is where kube-apiserver listens in the control plane's namespace.
	apiPort = 6443

	// podGatewayV4 and podGatewayV6 are the next hop of every pod: its node's side of the link.
	podGatewayV4 = "169.254.1.1"
	podGatewayV6 = "fe80::1"
)

// segmentV4 is the address of the segment with that last octet.
func segmentV4(octet int) netip.Addr { return netip.AddrFrom4([4]byte{172, 25, 254, byte(octet)}) }

// segmentV6 is the address whose last group reads like the octet: .250 is ::250.
func segmentV6(octet int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:172:25:254::%d", octet))
}

// segmentMAC is a locally administered address that carries the IPv4 address, so that a packet dump can be read.
func segmentMAC(v4 netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x00}, v4.AsSlice()...)
}

// nodeName is the name of node i, as a host and as a Kubernetes object.
func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

// podRangeV4 and podRangeV6 are the pod ranges of node i.
func podRangeV4(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24)
}

func podRangeV6(i int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", i))
}

// podV4 and podV6 are the addresses of pod j, counted from 1, on node i.
func podV4(i, j int) netip.Addr { return netip.AddrFrom4([4]byte{10, 244, byte(i), byte(j)}) }

func podV6(i, j int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:10:244:%d::%d", i, j))
}
