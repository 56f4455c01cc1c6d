//go:build linux

package layer2

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	// receiveBuffer is how many bytes of frames a socket may hold, as the kernel accounts them (768 for a request). Without
	// CAP_NET_ADMIN it gets no more than net.core.rmem_max allows.
	receiveBuffer = 16 << 20
	batchSize     = 64 // frames that one system call receives or sends
)

// conn is what a responder needs of a packet socket that is bound to one link and one protocol.
type conn interface {
	// ReadBatch waits for frames, fills in as many elements of into as there are frames, and returns how many.
	ReadBatch(into []received) (int, error)
	// WriteBatch sends whole Ethernet frames. It returns how many were sent; with fewer than all, why the next was not.
	WriteBatch(frames [][]byte) (int, error)
	SetBPF(filter []bpf.RawInstruction) error
	Close() error
}

// received is room for one frame, and what the kernel says of it.
type received struct {
	buf   []byte
	n     int  // bytes of buf that are the frame
	other bool // PACKET_OTHERHOST: for another station, or with the tag of a VLAN that has no device here
}

func (r *received) frame() []byte { return r.buf[:r.n] }

// newBatch returns room for n frames.
func newBatch(n int) []received {
	room, out := make([]byte, n*maxFrame), make([]received, n)
	for i := range out {
		out[i].buf = room[i*maxFrame : (i+1)*maxFrame : (i+1)*maxFrame]
	}
	return out
}

// packetConn is a packet socket that receives and sends many frames by one system call, recvmmsg(2) and sendmmsg(2).
// One goroutine reads from it; any may write.
type packetConn struct {
	*packet.Conn
	raw   syscall.RawConn
	heads []messageHeader // of the reader, as are the others
	parts []unix.Iovec
	from  []unix.RawSockaddrLinklayer
}

// messageHeader is struct mmsghdr.
type messageHeader struct {
	unix.Msghdr
	length uint32
}

// listen opens a packet socket on link, whose filter is in force before the first frame arrives. It fails if the
// interface has another hardware address than the link says: answers would carry the wrong one.
func listen(link plan.Link, f family, filter []bpf.RawInstruction) (conn, error) {
	c, err := packet.Listen(&net.Interface{Index: link.Index}, packet.Raw, int(f.etherType()), &packet.Config{Filter: filter})
	if err != nil {
		return nil, err
	}
	if mac := c.LocalAddr().(*packet.Addr).HardwareAddr; !bytes.Equal(mac, link.MAC[:]) {
		_ = c.Close()
		return nil, changedError(link, mac)
	}
	raw, err := c.SyscallConn()
	if err == nil {
		err = setReceiveBuffer(raw)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &packetConn{
		Conn: c, raw: raw,
		heads: make([]messageHeader, batchSize),
		parts: make([]unix.Iovec, batchSize),
		from:  make([]unix.RawSockaddrLinklayer, batchSize),
	}, nil
}

// setReceiveBuffer asks for receiveBuffer bytes, of which the kernel counts twice as many as it is told (socket(7)).
func setReceiveBuffer(raw syscall.RawConn) error {
	var err error
	controlErr := raw.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer/2); err != nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer/2)
		}
	})
	return errors.Join(controlErr, os.NewSyscallError("setsockopt", err))
}

// ReadBatch implements conn.
func (c *packetConn) ReadBatch(into []received) (int, error) {
	into = into[:min(len(into), len(c.heads))]
	for i := range into {
		c.parts[i].Base = &into[i].buf[0]
		c.parts[i].SetLen(len(into[i].buf))
		h := &c.heads[i].Msghdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&c.from[i])), unix.SizeofSockaddrLinklayer
		h.Iov = &c.parts[i]
		h.SetIovlen(1)
	}
	n, err := transfer(c.raw.Read, unix.SYS_RECVMMSG, c.heads[:len(into)])
	for i := range n {
		into[i].n = int(c.heads[i].length)
		into[i].other = c.from[i].Pkttype == unix.PACKET_OTHERHOST
	}
	return n, err
}

// WriteBatch implements conn. A packet socket that is bound needs no address to send to (packet(7)).
func (c *packetConn) WriteBatch(frames [][]byte) (int, error) {
	heads, parts := make([]messageHeader, len(frames)), make([]unix.Iovec, len(frames))
	for i, f := range frames {
		parts[i].Base = &f[0]
		parts[i].SetLen(len(f))
		heads[i].Iov = &parts[i]
		heads[i].SetIovlen(1)
	}
	sent := 0
	for sent < len(frames) {
		n, err := transfer(c.raw.Write, unix.SYS_SENDMMSG, heads[sent:])
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// transfer makes one of the two system calls when the socket is ready for it, and returns how many messages it took. The
// call is a raw one since it never blocks: see internal/rawudp.
func transfer(when func(func(fd uintptr) bool) error, call uintptr, heads []messageHeader) (int, error) {
	var n uintptr
	var errno unix.Errno
	err := when(func(fd uintptr) bool {
		for {
			n, _, errno = unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&heads[0])), uintptr(len(heads)), unix.MSG_DONTWAIT, 0, 0)
			if errno != unix.EINTR {
				return errno != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, os.NewSyscallError("transferring frames", errno)
	}
	return int(n), nil
}

// checkLink says whether the kernel still has the interface that link names, with the same hardware address.
func checkLink(link plan.Link) error {
	i, err := net.InterfaceByIndex(link.Index)
	if err != nil {
		return fmt.Errorf("interface %d: %w", link.Index, err)
	}
	if !bytes.Equal(i.HardwareAddr, link.MAC[:]) {
		return changedError(link, i.HardwareAddr)
	}
	return nil
}

func changedError(link plan.Link, mac net.HardwareAddr) error {
	return fmt.Errorf("interface %d has the hardware address %s, not %s", link.Index, mac, link.HardwareAddr())
}

// send writes frames, goes on past one that cannot be sent, and tells done of each. That the link was down is told to
// whoever uses the socket next (packet(7), SO_ERROR), also after it came up again; therefore only the second such error
// is true.
func send(c conn, frames [][]byte, done func(i int, err error)) {
	told := false
	for i := 0; i < len(frames); {
		n, err := c.WriteBatch(frames[i:])
		for range n {
			done(i, nil)
			i++
		}
		switch {
		case err == nil:
		case errors.Is(err, unix.ENETDOWN) && !told:
			told = true
		default:
			done(i, err)
			i++
		}
	}
}
