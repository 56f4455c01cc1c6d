//go:build linux

package bgp

import (
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"
)

// steadySource returns the address to connect from to a global IPv6 neighbor, where the kernel would take one that comes
// and goes (RFC 4862, RFC 8981) though the node has a permanent one in the neighbor's subnet: the neighbor's
// configuration can only name the latter. The zero value: the kernel's choice is good, or there is no better one.
func steadySource(remote netip.Addr, device string) netip.Addr {
	if !remote.Is6() || !remote.IsGlobalUnicast() {
		return netip.Addr{}
	}
	chosen := chosenSource(remote, device)
	if !chosen.IsValid() {
		return netip.Addr{}
	}
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	all, err := c.Address.List()
	if err != nil {
		return netip.Addr{}
	}
	return steadier(all, chosen, remote)
}

// chosenSource asks the kernel which address it would connect from. Nothing is sent.
func chosenSource(remote netip.Addr, device string) netip.Addr {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		if device == "" {
			return nil
		}
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) }); cerr != nil {
			return cerr
		}
		return err
	}}
	c, err := d.Dial("udp6", netip.AddrPortFrom(remote, defaultPort).String())
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
}

// steadier returns the lowest permanent address in the neighbor's subnet on the interface of the chosen one, unless that
// is permanent.
func steadier(all []rtnetlink.AddressMessage, chosen, remote netip.Addr) netip.Addr {
	type owned struct {
		address   netip.Prefix
		link      uint32
		permanent bool
	}
	var list []owned
	link := uint32(0)
	for _, m := range all {
		if m.Attributes == nil || m.Family != unix.AF_INET6 {
			continue
		}
		a, ok := netip.AddrFromSlice(m.Attributes.Address)
		if !ok {
			continue
		}
		permanent := (uint32(m.Flags)|m.Attributes.Flags)&unix.IFA_F_PERMANENT != 0
		if a == chosen {
			if permanent {
				return netip.Addr{}
			}
			link = m.Index
		}
		list = append(list, owned{netip.PrefixFrom(a, int(m.PrefixLength)), m.Index, permanent})
	}
	var out []netip.Addr
	for _, x := range list {
		if x.permanent && x.link == link && x.address.Contains(remote) && x.address.Addr().IsGlobalUnicast() {
			out = append(out, x.address.Addr())
		}
	}
	if len(out) == 0 {
		return netip.Addr{}
	}
	return slices.MinFunc(out, netip.Addr.Compare)
}
