package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"
)

// switchHost names the namespace of the switch.
const switchHost = "sw"

// hostSettings are the settings of every host; those of default hold for each interface that comes later.
func hostSettings(forward bool) []sysctl {
	settings := []sysctl{
		{"ipv6/conf/all/accept_dad", "0"}, // addresses are usable at once
		{"ipv6/conf/default/accept_dad", "0"},
		{"ipv6/conf/default/accept_ra", "0"},
		{"ipv4/conf/all/rp_filter", "0"},
		{"ipv4/conf/default/rp_filter", "0"},
	}
	if forward {
		settings = append(settings,
			sysctl{"ipv4/ip_forward", "1"},
			sysctl{"ipv6/conf/all/forwarding", "1"},
			// Traffic to a service comes in and goes out on eth0; nobody shall be told to take a shorter way.
			sysctl{"ipv4/conf/all/send_redirects", "0"},
			sysctl{"ipv4/conf/default/send_redirects", "0"})
	}
	return settings
}

// addSwitch creates the switch: a bridge that floods like a plain one and speaks no protocol itself.
func (c *Cluster) addSwitch(ctx context.Context) error {
	settings := []sysctl{
		{"ipv6/conf/all/disable_ipv6", "1"},
		{"ipv6/conf/default/disable_ipv6", "1"},
	}
	ns := c.namespace(switchHost)
	if err := addNamespace(ctx, ns, settings...); err != nil {
		return fmt.Errorf("creating the switch: %w", err)
	}
	if err := c.switchPastNetfilter(ns); err != nil {
		return err
	}
	return ip(ctx, ns, "link add br0 type bridge mcast_snooping 0 stp_state 0", "link set br0 up")
}

// switchPastNetfilter keeps bridged frames from passing through netfilter, where the kernel can do that at all.
func (c *Cluster) switchPastNetfilter(ns string) error {
	return inNamespace(ns, func() error {
		for _, name := range []string{"iptables", "ip6tables", "arptables"} {
			err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+name, []byte("0"), 0)
			if err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		return nil
	})
}

// addHost creates a host on the segment; octet is the end of its addresses.
func (c *Cluster) addHost(ctx context.Context, name string, octet int, forward bool) (*Host, error) {
	v4, v6 := segmentV4(octet), segmentV6(octet)
	h := &Host{Name: name, Namespace: c.namespace(name), IPv4: v4, IPv6: v6, MAC: segmentMAC(v4)}
	if err := addNamespace(ctx, h.Namespace, hostSettings(forward)...); err != nil {
		return nil, fmt.Errorf("creating host %s: %w", name, err)
	}
	port := portOf(name)
	err := ip(ctx, c.namespace(switchHost),
		fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s", port, h.MAC, h.Namespace),
		fmt.Sprintf("link set %s master br0 up", port))
	if err != nil {
		return nil, fmt.Errorf("plugging host %s: %w", name, err)
	}
	err = ip(ctx, h.Namespace,
		"link set eth0 up",
		fmt.Sprintf("addr add %s/%d dev eth0", v4, segmentV4Bits),
		fmt.Sprintf("addr add %s/%d dev eth0 nodad", v6, segmentV6Bits))
	if err != nil {
		return nil, fmt.Errorf("addressing host %s: %w", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts = append(c.hosts, h)
	return h, nil
}

// portOf names a host's port on the switch, within the kernel's 15 characters.
func portOf(host string) string {
	port := "p-" + host
	return port[:min(len(port), 15)]
}

// AddHost plugs another host outside the cluster into the segment, such as a router. The octet, 50 to 249, is the end of
// its addresses; the name has up to 13 characters. It forwards between its interfaces.
func (c *Cluster) AddHost(ctx context.Context, name string, octet int) (*Host, error) {
	if len(name) > 13 || octet < 50 || octet > 249 {
		return nil, fmt.Errorf("host %q with octet %d: want up to 13 characters and 50 to 249", name, octet)
	}
	return c.addHost(ctx, name, octet, true)
}

// addHosts creates the nodes and the client outside, and the routes between the nodes' pod ranges.
func (c *Cluster) addHosts(ctx context.Context, nodes int) error {
	group, ctx := errgroup.WithContext(ctx)
	c.nodes = make([]*Host, nodes)
	for i := range c.nodes {
		group.Go(func() (err error) {
			if c.nodes[i], err = c.addHost(ctx, nodeName(i), firstNodeOctet+i, true); err != nil {
				return err
			}
			// The way out of the segment, as every machine has one; services' cluster addresses need a route too.
			return ip(ctx, c.nodes[i].Namespace, append(podRoutes(i, nodes),
				fmt.Sprintf("route add default via %s", segmentV4(controlPlaneOctet)),
				fmt.Sprintf("route add default via %s", segmentV6(controlPlaneOctet)))...)
		})
	}
	group.Go(func() (err error) {
		c.outside, err = c.addHost(ctx, "client", outsideOctet, false)
		return err
	})
	group.Go(func() error { // the API server calls webhooks at their pods' addresses
		return ip(ctx, c.controlPlane.Namespace, podRoutes(-1, nodes)...)
	})
	return group.Wait()
}

// podRoutes are the routes to the pod ranges of all nodes but self.
func podRoutes(self, nodes int) []string {
	var lines []string
	for i := range nodes {
		if i != self {
			lines = append(lines,
				fmt.Sprintf("route add %s via %s", podRangeV4(i), segmentV4(firstNodeOctet+i)),
				fmt.Sprintf("route add %s via %s", podRangeV6(i), segmentV6(firstNodeOctet+i)))
		}
	}
	return lines
}

// Cut takes away the link of a node at the switch, as a pulled cable does: its eth0 loses the carrier.
func (c *Cluster) Cut(ctx context.Context, node int) error {
	return ip(ctx, c.namespace(switchHost), fmt.Sprintf("link set %s down", portOf(nodeName(node))))
}

// Mute stops the switch from passing a node's frames in either direction while the node's link stays up, as a fault
// behind its first switch does. Heal ends it.
func (c *Cluster) Mute(ctx context.Context, node int) error {
	_, err := c.switchRun(ctx, "bridge", "link", "set", "dev", portOf(nodeName(node)), "state", "0")
	return err
}

// Heal gives a node its link back after Cut or Mute.
func (c *Cluster) Heal(ctx context.Context, node int) error {
	port := portOf(nodeName(node))
	if err := ip(ctx, c.namespace(switchHost), fmt.Sprintf("link set %s up", port)); err != nil {
		return err
	}
	_, err := c.switchRun(ctx, "bridge", "link", "set", "dev", port, "state", "3")
	return err
}

func (c *Cluster) switchRun(ctx context.Context, argv ...string) (string, error) {
	sw := &Host{Name: switchHost, Namespace: c.namespace(switchHost)}
	return sw.Run(ctx, argv...)
}

// HostOf finds the host of the segment whose MAC address this is, nil if none has it.
func (c *Cluster) HostOf(mac net.HardwareAddr) *Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		if slices.Equal(h.MAC, mac) {
			return h
		}
	}
	return nil
}
