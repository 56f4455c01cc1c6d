//go:build linux

// Package rawudp sends and receives UDP packets by raw system calls that never block. Go's runtime is not told of them:
// where a process is idle between packets, being told is what costs most, since each time it wakes a thread that watches
// for calls which take long.
package rawudp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Address is a socket address as the kernel has it.
type Address struct {
	bytes [unix.SizeofSockaddrInet6]byte
	size  uint32
}

// NewAddress returns an address; the index of an interface counts for link-local ones.
func NewAddress(to netip.AddrPort, index int) (a Address) {
	family, ip := uint16(unix.AF_INET), to.Addr().AsSlice()
	at := 4
	a.size = unix.SizeofSockaddrInet4
	if to.Addr().Is6() {
		family, at, a.size = unix.AF_INET6, 8, unix.SizeofSockaddrInet6
		if to.Addr().IsLinkLocalUnicast() {
			binary.NativeEndian.PutUint32(a.bytes[24:], uint32(index))
		}
	}
	binary.NativeEndian.PutUint16(a.bytes[:], family)
	binary.BigEndian.PutUint16(a.bytes[2:], to.Port())
	copy(a.bytes[at:], ip)
	return a
}

// AddrPort returns the address without its zone, or the zero AddrPort if it is not one of IP.
func (a *Address) AddrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16(a.bytes[2:])
	switch binary.NativeEndian.Uint16(a.bytes[:]) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a.bytes[4:8])), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(a.bytes[8:24])), port)
	}
	return netip.AddrPort{}
}

// Envelope is what the kernel wants to be told of a packet, and what it says of one. One that is kept spares allocating
// another for each packet. Its zero value is ready.
type Envelope struct {
	header  unix.Msghdr
	vector  unix.Iovec
	address Address
}

func (e *Envelope) fill(payload, control []byte) {
	e.vector.Base = unsafe.SliceData(payload)
	e.vector.SetLen(len(payload))
	e.header = unix.Msghdr{Name: &e.address.bytes[0], Namelen: e.address.size, Iov: &e.vector, Control: unsafe.SliceData(control)}
	e.header.SetIovlen(1)
	e.header.SetControllen(len(control))
}

// Receive reads a packet, and returns the lengths of what was read (recvmsg(2)). The error is a unix.Errno: EAGAIN if
// there is no packet.
func (e *Envelope) Receive(fd int, payload, control []byte) (n, c int, err error) {
	e.address = Address{size: uint32(len(e.address.bytes))}
	e.fill(payload, control)
	r, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&e.header)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, 0, errno
	}
	return int(r), int(e.header.Controllen), nil
}

// Source is where the packet came from that was received last, without a zone.
func (e *Envelope) Source() netip.AddrPort { return e.address.AddrPort() }

// ControlCut says whether the control messages of the packet that was received last are not whole.
func (e *Envelope) ControlCut() bool { return e.header.Flags&unix.MSG_CTRUNC != 0 }

// Send writes a packet (sendmsg(2)). The error is, or wraps, a unix.Errno: EAGAIN if there is no room for it now.
func (e *Envelope) Send(fd int, payload, control []byte, to Address) error {
	e.address = to
	e.fill(payload, control)
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&e.header)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return os.NewSyscallError("sendmsg", errno)
	}
	return nil
}
