// Package plan decides, from one consistent view of the cluster, which addresses this node announces on which link,
// and says why for every address. It is pure: no clock, no sockets, no Kubernetes client; every node computes the
// same owner for an address from the same view.
package plan

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
)

// Link names a network interface that can carry announcements. It is comparable: an interface that was deleted and
// made anew, or that changed its hardware address, is another Link, so that what was announced on it is announced anew.
type Link struct {
	Index int     // kernel interface index, unique in the network namespace
	Name  string  // interface name, for selectors, logs and verdicts
	MAC   [6]byte // hardware address that answers carry
}

// HardwareAddr returns the link's MAC as the net package's type.
func (l Link) HardwareAddr() net.HardwareAddr { return net.HardwareAddr(l.MAC[:]) }

// String returns the interface's name and hardware address.
func (l Link) String() string { return fmt.Sprintf("%s (%s)", l.Name, l.HardwareAddr()) }

// LinkState is what the kernel says of one link at one time.
type LinkState struct {
	Link
	Prefixes []netip.Prefix // addresses with their on-link prefix lengths, sorted; may be empty
	// Unsettled: it came back a short time ago. That is not the kernel's word but the speaker's.
	Unsettled bool
}

// Announcement is one address that this node answers for on one link: ARP for IPv4 (RFC 826), neighbor discovery for
// IPv6 (RFC 4861). It is comparable, and the unit of the wanted set that speaker/layer2 applies.
type Announcement struct {
	Address netip.Addr // without a zone, never IPv4-mapped
	Link    Link
}

// String returns the address and the interface's name.
func (a Announcement) String() string { return fmt.Sprintf("%s on %s", a.Address, a.Link.Name) }

// Compare orders announcements by address, then by link index.
func (a Announcement) Compare(b Announcement) int {
	return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Link.Index, b.Link.Index))
}
