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

// routesFrom is what our routes say of their origin (rtm_protocol): nobody else's say that.
const routesFrom = 70

// Dummy is the interface: of the kind dummy, down, and without ARP, so that it sends and answers nothing. For addresses that
// no interface may have, there are routes of the kind local in its place.
type Dummy struct {
	conn   *rtnetlink.Conn
	routes *rtnetlink.Conn // whose answers the kernel filters
}

// OpenDummy opens sockets in the network namespace of the calling thread. It makes no interface.
func OpenDummy() (*Dummy, error) {
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	routes, err := rtnetlink.Dial(&netlink.Config{Strict: true})
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	return &Dummy{c, routes}, nil
}

// Close closes the sockets.
func (d *Dummy) Close() error { return errors.Join(d.conn.Close(), d.routes.Close()) }

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

// Addresses returns the addresses of the interface, and those of the routes.
func (d *Dummy) Addresses() ([]Bound, error) {
	out, err := d.routed()
	if err != nil {
		return nil, err
	}
	index, err := d.index()
	if err != nil || index == 0 {
		return out, err
	}
	list, err := d.conn.Address.List()
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if m.Index != index || m.Attributes == nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(m.Attributes.Address); ok && !a.Unmap().IsLinkLocalUnicast() {
			out = append(out, Bound{Addr: a.Unmap()})
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

// routed returns the addresses that have a route of ours.
func (d *Dummy) routed() (out []Bound, err error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := d.routes.Route.ListMatch(&rtnetlink.RouteMessage{
			Family: family, Table: unix.RT_TABLE_LOCAL, Protocol: routesFrom, Type: unix.RTN_LOCAL,
			Attributes: rtnetlink.RouteAttributes{Table: unix.RT_TABLE_LOCAL},
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // which is so where the kernel has no IPv6
			return nil, fmt.Errorf("listing routes: %w", err)
		}
		for i := range list {
			a, ok := netip.AddrFromSlice(list[i].Attributes.Dst)
			if ok && list[i].Family == family && list[i].Protocol == routesFrom && list[i].Type == unix.RTN_LOCAL {
				out = append(out, Bound{a.Unmap(), true})
			}
		}
	}
	return out, nil
}

// routeMessage describes the route of an address. It is the loopback interface's, which every network namespace has first.
func routeMessage(a netip.Addr) *rtnetlink.RouteMessage {
	const loopback = 1
	m := &rtnetlink.RouteMessage{
		Family: unix.AF_INET, DstLength: uint8(a.BitLen()), Table: unix.RT_TABLE_LOCAL, Protocol: routesFrom, Scope: unix.RT_SCOPE_HOST, Type: unix.RTN_LOCAL,
		Attributes: rtnetlink.RouteAttributes{Dst: a.AsSlice(), OutIface: loopback, Table: unix.RT_TABLE_LOCAL},
	}
	if a.Is6() {
		m.Family, m.Scope = unix.AF_INET6, unix.RT_SCOPE_UNIVERSE // it has no other there
	}
	return m
}

// Add makes the kernel take packets for an address. A route comes beside one that the kernel may have for another interface's
// address.
func (d *Dummy) Add(a Bound) error {
	if a.Routed {
		flags := netlink.Request | netlink.Create | netlink.Append | netlink.Acknowledge
		if _, err := d.routes.Execute(routeMessage(a.Addr), unix.RTM_NEWROUTE, flags); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}
	index, err := d.make()
	if err != nil {
		return err
	}
	flags := netlink.Request | netlink.Create | netlink.Acknowledge | netlink.Excl
	if _, err := d.conn.Execute(unpreferred{addressMessage(a.Addr, index)}, unix.RTM_NEWADDR, flags); err != nil && !errors.Is(err, fs.ErrExist) {
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

// Remove ends that.
func (d *Dummy) Remove(a Bound) error {
	if a.Routed {
		if err := d.routes.Route.Delete(routeMessage(a.Addr)); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	}
	index, err := d.index()
	if err != nil || index == 0 {
		return err
	}
	if err := d.conn.Address.Delete(addressMessage(a.Addr, index)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	return nil
}

// Delete removes the interface and the routes.
func (d *Dummy) Delete() error {
	routed, err := d.routed()
	if err != nil {
		return err
	}
	for _, a := range routed {
		if err := d.Remove(a); err != nil {
			return fmt.Errorf("removing the route of %s: %w", a, err)
		}
	}
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
