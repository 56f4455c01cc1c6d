//go:build linux

package layer2

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// conn is what a responder needs of a packet socket that is bound to one link and one protocol.
type conn interface {
	ReadFrom(b []byte) (int, net.Addr, error)
	WriteTo(b []byte, to net.Addr) (int, error)
	SetBPF(filter []bpf.RawInstruction) error
	Close() error
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
	return c, nil
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

// send writes a whole Ethernet frame. That the link was down is told to whoever uses the socket next (packet(7),
// SO_ERROR), also after it came up again; therefore only the second such error is true.
func send(c conn, frame []byte) error {
	to := &packet.Addr{HardwareAddr: frame[:6]}
	_, err := c.WriteTo(frame, to)
	if errors.Is(err, unix.ENETDOWN) {
		_, err = c.WriteTo(frame, to)
	}
	return err
}
