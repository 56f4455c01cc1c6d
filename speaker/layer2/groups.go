//go:build linux

package layer2

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// membership is one solicited-node multicast group on one link.
type membership struct {
	index int // of the interface
	group netip.Addr
}

// groups holds the solicited-node groups of the announced IPv6 addresses (RFC 4861, 7.2.1). The kernel joins them, on
// plain UDP sockets that nothing is received on: that opens the NIC's filter like a PACKET_ADD_MEMBERSHIP on our own
// socket would, and besides makes the kernel report the group by MLD (RFC 4861 requires it, snooping switches need it)
// and report it again after the link was down. One goroutine uses it.
type groups struct {
	sockets []int // the last one takes new groups; the earlier ones are full
	joined  map[membership]*joinedGroup
}

// joinedGroup is a group that was joined once for all addresses that share it.
type joinedGroup struct{ socket, users int }

func newGroups() *groups { return &groups{joined: map[membership]*joinedGroup{}} }

// join makes the link receive solicitations for address.
func (g *groups) join(index int, address netip.Addr) error {
	m := membership{index, solicitedNode(address)}
	if j, ok := g.joined[m]; ok {
		j.users++
		return nil
	}
	socket, err := g.joinKernel(m)
	if err != nil {
		return fmt.Errorf("joining %s: %w", m.group, err)
	}
	g.joined[m] = &joinedGroup{socket: socket, users: 1}
	return nil
}

// joinKernel joins on the newest socket, or on another one if that is full: the kernel charges groups to
// net.core.optmem_max of the socket, which is enough for some hundred to thousand of them.
func (g *groups) joinKernel(m membership) (int, error) {
	if n := len(g.sockets); n > 0 {
		err := setMembership(g.sockets[n-1], unix.IPV6_JOIN_GROUP, m)
		if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.ENOBUFS) {
			return g.sockets[n-1], err
		}
	}
	socket, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err := setMembership(socket, unix.IPV6_JOIN_GROUP, m); err != nil {
		return 0, errors.Join(err, unix.Close(socket))
	}
	g.sockets = append(g.sockets, socket)
	return socket, nil
}

// leave ends what one join of address began. An error needs no handling: the interface is gone, and the group with it.
func (g *groups) leave(index int, address netip.Addr) {
	m := membership{index, solicitedNode(address)}
	j, ok := g.joined[m]
	if !ok {
		return
	}
	if j.users--; j.users > 0 {
		return
	}
	delete(g.joined, m)
	_ = setMembership(j.socket, unix.IPV6_LEAVE_GROUP, m)
	if len(g.joined) == 0 {
		g.close()
	}
}

// close leaves all groups.
func (g *groups) close() {
	for _, s := range g.sockets {
		_ = unix.Close(s)
	}
	g.sockets = nil
	clear(g.joined)
}

func setMembership(socket, option int, m membership) error {
	mreq := unix.IPv6Mreq{Multiaddr: m.group.As16(), Interface: uint32(m.index)}
	return os.NewSyscallError("setsockopt", unix.SetsockoptIPv6Mreq(socket, unix.IPPROTO_IPV6, option, &mreq))
}
