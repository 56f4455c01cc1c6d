//go:build linux

package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/internal/rawudp"
)

const (
	trafficClass = 0xc0    // CS6, network control
	priority     = 6       // SO_PRIORITY; more would need a capability
	buffer       = 1 << 20 // bytes asked for, so that a pause drops nothing; the kernel grants its maximum
	maxDatagram  = 64      // bytes of a datagram that are looked at: a control packet, and what shows that it is too long

	firstSource, lastSource = 49152, 65535 // source ports (RFC 5881 section 4)
)

// listener is what a receiving socket is bound to.
type listener struct {
	six  bool // IPv6
	port uint16
	vrf  string
}

// String names it for errors.
func (l listener) String() string {
	text := fmt.Sprintf("IPv4 UDP port %d", l.port)
	if l.six {
		text = fmt.Sprintf("IPv6 UDP port %d", l.port)
	}
	if l.vrf != "" {
		text += " in VRF " + l.vrf
	}
	return text
}

// open returns a socket that receives, with the addresses, the interface and the TTL of each packet.
func (l listener) open() (int, error) {
	fd, err := udp(l.six, l.vrf)
	if err != nil {
		return -1, fmt.Errorf("opening %s: %w", l, err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) // as much as there is
	switch err := bind(fd, l.six, l.port); {
	case errors.Is(err, unix.EADDRINUSE):
		err = fmt.Errorf("%w: does another BFD daemon run on this node?", err)
		fallthrough
	case err != nil:
		_ = unix.Close(fd)
		return -1, fmt.Errorf("binding to %s: %w", l, err)
	}
	return fd, nil
}

// sender is what a sending socket is bound to. Sessions share it: the interface and the local address go with each
// packet, so an interface that comes and goes is no matter to it. RFC 5881 section 4 would rather have a source port for
// each session; nothing here or in the peers that were tried tells sessions apart by it.
type sender struct {
	six bool
	vrf string
}

// open returns a socket that sends from a port of the range that the RFC wants.
func (s sender) open() (int, error) {
	fd, err := udp(s.six, s.vrf)
	if err != nil {
		return -1, fmt.Errorf("opening a socket to send from: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0) // nothing is read from it
	for try := 0; ; try++ {
		err := bind(fd, s.six, uint16(firstSource+rand.IntN(lastSource-firstSource+1)))
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) || try == 100 {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("binding to a port between %d and %d: %w", firstSource, lastSource, err)
		}
	}
}

// udp returns an unbound socket with the options that both directions use. None needs a capability.
func udp(six bool, vrf string) (int, error) {
	family := unix.AF_INET
	if six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := options(fd, six, vrf); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	return fd, nil
}

func options(fd int, six bool, vrf string) error {
	type option struct{ level, name, value int }
	wanted := []option{
		{unix.IPPROTO_IP, unix.IP_TTL, 255}, {unix.IPPROTO_IP, unix.IP_TOS, trafficClass},
		{unix.IPPROTO_IP, unix.IP_PKTINFO, 1}, {unix.IPPROTO_IP, unix.IP_RECVTTL, 1},
	}
	if six {
		wanted = []option{
			{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255}, {unix.IPPROTO_IPV6, unix.IPV6_TCLASS, trafficClass},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1}, {unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
		}
	}
	for _, o := range append(wanted, option{unix.SOL_SOCKET, unix.SO_PRIORITY, priority}) {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return err
		}
	}
	if vrf == "" {
		return nil
	}
	return unix.BindToDevice(fd, vrf)
}

func bind(fd int, six bool, port uint16) error {
	if six {
		return unix.Bind(fd, &unix.SockaddrInet6{Port: int(port)})
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Port: int(port)})
}

// destination is where a session's packets go, ready for the kernel.
type destination struct {
	sender
	address rawudp.Address
	control []byte // the local address and the interface, if the session names them
}

// newDestination returns the destination of a session's packets that leave by an interface, 0 for any.
func newDestination(p Path, index int) destination {
	d := destination{
		sender:  sender{p.Peer.Is6(), p.VRF},
		address: rawudp.NewAddress(netip.AddrPortFrom(p.Peer, p.port()), index),
	}
	if p.Local.IsValid() || index != 0 {
		d.control = packetInfo(d.six, p.Local, index)
	}
	return d
}

// packetInfo is the control message that chooses source and interface; the zero Addr and 0 choose nothing.
func packetInfo(six bool, source netip.Addr, index int) []byte {
	if six {
		info := unix.Inet6Pktinfo{Ifindex: uint32(index)}
		if source.IsValid() {
			info.Addr = source.As16()
		}
		return unix.PktInfo6(&info)
	}
	info := unix.Inet4Pktinfo{Ifindex: int32(index)}
	if source.IsValid() {
		info.Spec_dst = source.As4()
	}
	return unix.PktInfo4(&info)
}

// inbox is what a datagram is read into.
type inbox struct {
	payload  [maxDatagram]byte
	control  [128]byte
	envelope rawudp.Envelope
}

// read reads one datagram from a listener's socket; unix.EAGAIN says that there is none.
func (b *inbox) read(fd int, l listener) (datagram, error) {
	n, c, err := b.envelope.Receive(fd, b.payload[:], b.control[:])
	if err != nil {
		return datagram{}, err
	}
	d := datagram{port: l.port, vrf: l.vrf, source: b.envelope.Source().Addr(), payload: b.payload[:n], ttl: -1}
	if !b.envelope.ControlCut() {
		d.readControl(b.control[:c])
	}
	return d, nil
}

// readControl takes over what the kernel says about a packet. What it does not say stays a value that no session takes.
func (d *datagram) readControl(b []byte) {
	for len(b) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return
		}
		d.readMessage(h, data)
		b = rest
	}
}

func (d *datagram) readMessage(h unix.Cmsghdr, data []byte) {
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TTL && len(data) >= 4,
		h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
		d.ttl = int(binary.NativeEndian.Uint32(data))
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		d.index, d.destination = int(binary.NativeEndian.Uint32(data)), netip.AddrFrom4([4]byte(data[8:12]))
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		d.index, d.destination = int(binary.NativeEndian.Uint32(data[16:])), netip.AddrFrom16([16]byte(data[:16]))
	}
}
