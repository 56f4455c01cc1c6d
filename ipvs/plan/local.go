package plan

import (
	"net/netip"
	"slices"
)

// Proxy is the mode in which kube-proxy runs on a node, or what does its work instead.
type Proxy string

// The modes. With nftables and iptables it leaves all of IPVS alone while it runs; in the mode ipvs it deletes the virtual
// servers with an address that it does not know. The eBPF programs of Cilium and Calico see packets before IPVS does, and
// leave alone what kube-proxy leaves alone: addresses with ipMode Proxy and Services with a label service-proxy-name.
const (
	ProxyNone     Proxy = "" // none runs, or it does not say
	ProxyIPTables Proxy = "iptables"
	ProxyNFTables Proxy = "nftables"
	ProxyIPVS     Proxy = "ipvs"
	ProxyCilium   Proxy = "Cilium"
	ProxyCalico   Proxy = "Calico"
)

// Replaces says whether it is no kube-proxy but does its work by eBPF.
func (p Proxy) Replaces() bool { return p == ProxyCilium || p == ProxyCalico }

// Local is what a node says of itself before anything is planned.
type Local struct {
	Missing   []string     // kernel modules without which nothing can be served
	Lacking   []string     // schedulers that its kernel has not
	Addresses []netip.Addr // of its interfaces, but of the programmer's own one and of kube-proxy's
	// Listening are the ports on which its processes listen. The unspecified address stands for all addresses of its family,
	// that of IPv6 for all of both.
	Listening []Ports
	Proxy     Proxy
	TakenUp   []netip.Addr // by kube-proxy in IPVS mode, those of Services of every kind; sorted
	Bound     []netip.Addr // by the programmer, on its own interface or by routes, by this process or one before it; sorted
	Marked    []Ports      // of the node's addresses, those that a process before this one served; none after the first plan
}

// Takes says whether kube-proxy is seen to have taken up all of these addresses, or can not be seen to: it shows that in IPVS
// mode alone.
func (l *Local) Takes(addresses []netip.Addr) bool {
	return l.Proxy != ProxyIPVS || !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !has(l.TakenUp, a) })
}

// Binds says whether the programmer has bound one of these addresses.
func (l *Local) Binds(addresses []netip.Addr) bool {
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool { return has(l.Bound, a) })
}

func has(sorted []netip.Addr, a netip.Addr) bool {
	_, found := slices.BinarySearchFunc(sorted, a, netip.Addr.Compare)
	return found
}

// Failed is what of a plan a kernel does not hold; nothing of it where it is zero.
type Failed struct {
	Filter    bool // packets do not meet the lists of the filter
	Addresses []netip.Addr
	Servers   []Frontend
}

// Held is a node port from a NodePortRange that a Service has on this node, or does not get there.
type Held struct {
	Namespace, Name string
	Ports
	Refused bool // somebody else has it; the plan's verdicts say who
}

// Served returns what of the plan a kernel serves that holds all but what failed: the addresses, those of the node among
// them, with everything that is planned for them; and the node ports that are not refused.
func (p *Plan) Served(failed *Failed) (addresses []netip.Addr, ports []Held) {
	if failed.Filter {
		return nil, nil
	}
	broken := map[netip.Addr]bool{}
	for _, a := range failed.Addresses {
		broken[a] = true
	}
	down := failed.servers()
	addresses = make([]netip.Addr, 0, len(p.Servers))
	for i := range p.Servers {
		if f := p.Servers[i].Frontend; f.Mark == 0 {
			addresses = append(addresses, f.Address.Addr())
			if down[f] {
				broken[f.Address.Addr()] = true
			}
		}
	}
	lost := map[Ports]bool{}
	for _, list := range [][]Marked{p.Filter.Marks, p.Filter.External} {
		for _, m := range list {
			addresses = append(addresses, m.Address)
			if down[Frontend{Mark: m.Mark, V6: m.Address.Is6()}] {
				broken[m.Address], lost[m.Ports] = true, true
			}
		}
	}
	addresses = slices.DeleteFunc(unique(addresses, netip.Addr.Compare), func(a netip.Addr) bool { return broken[a] })
	for _, h := range p.NodePorts {
		if !h.Refused && !lost[h.Ports] {
			ports = append(ports, h)
		}
	}
	return addresses, ports
}

// Count returns how many virtual and real servers of the plan a kernel holds that holds all but what failed.
func (p *Plan) Count(failed *Failed) (servers, reals int) {
	down := failed.servers()
	for i := range p.Servers {
		if !down[p.Servers[i].Frontend] {
			servers++
			reals += len(p.Servers[i].Reals)
		}
	}
	return servers, reals
}

// servers are those that are not as planned.
func (f *Failed) servers() map[Frontend]bool {
	down := make(map[Frontend]bool, len(f.Servers))
	for _, s := range f.Servers {
		down[s] = true
	}
	return down
}
