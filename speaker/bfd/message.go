//go:build linux

package bfd

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawAddress is a socket address as the kernel has it.
type rawAddress struct {
	bytes [unix.SizeofSockaddrInet6]byte
	size  uint32
}

// newRawAddress returns an address; the interface counts for link-local ones.
func newRawAddress(to netip.AddrPort, index int) (a rawAddress) {
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

// address returns the IP address, or the zero Addr.
func (a *rawAddress) address() netip.Addr {
	switch binary.NativeEndian.Uint16(a.bytes[:]) {
	case unix.AF_INET:
		return netip.AddrFrom4([4]byte(a.bytes[4:8]))
	case unix.AF_INET6:
		return netip.AddrFrom16([16]byte(a.bytes[8:24]))
	}
	return netip.Addr{}
}

// envelope is what the kernel wants to be told of a datagram. It is kept, so that nothing is allocated for each.
type envelope struct {
	header  unix.Msghdr
	vector  unix.Iovec
	address rawAddress
}

func (e *envelope) fill(payload, control []byte) {
	e.vector.Base = unsafe.SliceData(payload)
	e.vector.SetLen(len(payload))
	e.header = unix.Msghdr{Name: &e.address.bytes[0], Namelen: e.address.size, Iov: &e.vector, Control: unsafe.SliceData(control)}
	e.header.SetIovlen(1)
	e.header.SetControllen(len(control))
}

// receive reads a datagram; see poller for why the system call is a raw one. It returns the lengths of what was read.
func (e *envelope) receive(fd int, payload, control []byte) (n, c int, err error) {
	e.address = rawAddress{size: uint32(len(e.address.bytes))}
	e.fill(payload, control)
	r, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&e.header)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, 0, errno
	}
	return int(r), int(e.header.Controllen), nil
}

// send writes a datagram.
func (e *envelope) send(fd int, payload, control []byte, to rawAddress) error {
	e.address = to
	e.fill(payload, control)
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&e.header)), unix.MSG_DONTWAIT)
	return asError("sendmsg", errno)
}
