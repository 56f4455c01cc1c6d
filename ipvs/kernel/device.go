//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// DeviceName is the interface that addresses are bound on. Its beginning is one that other software knows to leave alone.
const DeviceName = "dummy-fairlead"

// Dummy is the interface: of the kind dummy, down, and without ARP, so that it sends and answers nothing.
type Dummy struct{ conn *rtnetlink.Conn }

// OpenDummy opens a socket in the network namespace of the calling thread. It makes no interface.
func OpenDummy() (*Dummy, error) {
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	return &Dummy{c}, nil
}

// Close closes the socket.
func (d *Dummy) Close() error { return d.conn.Close() }

// index returns the interface's number, 0 where there is none.
func (d *Dummy) index() (uint32, error) {
	list, err := d.conn.Link.ListByKind("dummy")
	if err != nil {
		return 0, fmt.Errorf("listing interfaces: %w", err)
	}
	for i := range list {
		if list[i].Attributes != nil && list[i].Attributes.Name == DeviceName {
			return list[i].Index, nil
		}
	}
	return 0, nil
}

func (d *Dummy) make() (uint32, error) {
	index, err := d.index()
	if err != nil || index != 0 {
		return index, err
	}
	err = d.conn.Link.New(&rtnetlink.LinkMessage{
		Family: unix.AF_UNSPEC, Flags: unix.IFF_NOARP, Change: unix.IFF_NOARP,
		Attributes: &rtnetlink.LinkAttributes{Name: DeviceName, Info: &rtnetlink.LinkInfo{Kind: "dummy"}},
	})
	if err != nil {
		return 0, fmt.Errorf("making the interface %s: %w", DeviceName, err)
	}
	return d.index()
}

// Addresses returns the addresses of the interface.
func (d *Dummy) Addresses() ([]netip.Addr, error) {
	index, err := d.index()
	if err != nil || index == 0 {
		return nil, err
	}
	list, err := d.conn.Address.List()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, m := range list {
		if m.Index != index || m.Attributes == nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(m.Attributes.Address); ok && !a.Unmap().IsLinkLocalUnicast() {
			out = append(out, a.Unmap())
		}
	}
	return out, nil
}

// addressMessage describes an address whose scope is this host: the kernel does not choose it for the packets that it sends
// or masquerades, but for those to the address itself.
func addressMessage(a netip.Addr, index uint32) *rtnetlink.AddressMessage {
	ip := net.IP(a.AsSlice())
	m := &rtnetlink.AddressMessage{
		Family: unix.AF_INET, PrefixLength: uint8(a.BitLen()), Scope: unix.RT_SCOPE_HOST, Index: index,
		Attributes: &rtnetlink.AddressAttributes{Address: ip, Local: ip, Flags: unix.IFA_F_PERMANENT},
	}
	if a.Is6() {
		// No duplicate address detection: other nodes have the address too.
		m.Family, m.Attributes.Flags = unix.AF_INET6, unix.IFA_F_PERMANENT|unix.IFA_F_NODAD
	}
	return m
}

// Add binds an address.
func (d *Dummy) Add(a netip.Addr) error {
	index, err := d.make()
	if err != nil {
		return err
	}
	flags := netlink.Request | netlink.Create | netlink.Acknowledge | netlink.Excl
	if _, err := d.conn.Execute(unpreferred{addressMessage(a, index)}, unix.RTM_NEWADDR, flags); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// unpreferred gives an IPv6 address, which has no scope of this host, a preferred lifetime of 0, to the same end
// (RFC 4862, section 5.5.4). The library reads lifetimes and does not write them.
type unpreferred struct{ *rtnetlink.AddressMessage }

// MarshalBinary adds struct ifa_cacheinfo: preferred and valid lifetime, and two times that do not count.
func (u unpreferred) MarshalBinary() ([]byte, error) {
	b, err := u.AddressMessage.MarshalBinary()
	if err != nil || u.Family != unix.AF_INET6 {
		return b, err
	}
	const forever = 0xffffffff
	info := make([]byte, 16)
	binary.NativeEndian.PutUint32(info[4:], forever)
	lifetimes, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.IFA_CACHEINFO, Data: info}})
	return append(b, lifetimes...), err
}

// Remove takes an address off.
func (d *Dummy) Remove(a netip.Addr) error {
	index, err := d.index()
	if err != nil || index == 0 {
		return err
	}
	if err := d.conn.Address.Delete(addressMessage(a, index)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	return nil
}

// Delete removes the interface.
func (d *Dummy) Delete() error {
	index, err := d.index()
	if err != nil || index == 0 {
		return err
	}
	return d.conn.Link.Delete(index)
}

// classify makes errors of netlink wrap those of io/fs.
func classify(err error) error {
	switch {
	case errors.Is(err, unix.ESRCH):
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	default:
		return err
	}
}
