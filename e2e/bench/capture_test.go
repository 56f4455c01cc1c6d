//go:build bench

package bench

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// capture is a packet socket on a host's segment. It notes when ARP packets arrived, by the kernel's clock, which is
// the one that time.Now reads too.
type capture struct {
	host *cluster.Host
	fd   int
	link int // index of eth0
	done chan struct{}

	mu   sync.Mutex
	seen map[netip.Addr]arrivals
	err  error
}

// arrivals are the first packets about an address; the zero time stands for none.
type arrivals struct {
	gratuitous time.Time // sender and target are the address
	answer     time.Time // a reply to the host's question
}

// captureARP starts to listen.
func captureARP(host *cluster.Host) (*capture, error) {
	c := &capture{host: host, done: make(chan struct{}), seen: map[netip.Addr]arrivals{}}
	if err := host.Do(c.open); err != nil {
		return nil, fmt.Errorf("listening for ARP on %s: %w", host.Name, err)
	}
	go func() {
		defer close(c.done)
		c.listen()
	}()
	return c, nil
}

func (c *capture) open() (err error) {
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	c.link = eth0.Index
	// SOCK_DGRAM: without the Ethernet header.
	if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err == nil {
		// So that listen sees the end of the socket.
		err = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
	}
	if err == nil {
		err = unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: c.link})
	}
	if err != nil {
		unix.Close(c.fd)
	}
	return err
}

func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// stop ends the listening.
func (c *capture) stop() error {
	c.mu.Lock()
	if c.err == nil {
		c.err = net.ErrClosed
	}
	c.mu.Unlock()
	<-c.done
	return unix.Close(c.fd)
}

// arrivals returns what was seen of an address, or why nothing is seen any more.
func (c *capture) arrivals(address netip.Addr) (arrivals, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[address], c.err
}

// ask sends a question for an address to the whole segment (RFC 826).
func (c *capture) ask(address netip.Addr) error {
	p := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	p = append(append(p, c.host.MAC...), c.host.IPv4.AsSlice()...)
	p = append(append(p, make([]byte, 6)...), address.AsSlice()...)
	to := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: c.link, Halen: 6}
	copy(to.Addr[:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	return unix.Sendto(c.fd, p, 0, to)
}

func (c *capture) listen() {
	buf, control := make([]byte, 128), make([]byte, 128)
	for {
		n, controlled, _, _, err := unix.Recvmsg(c.fd, buf, control, 0)
		c.mu.Lock()
		switch {
		case c.err != nil:
		case err == unix.EAGAIN || err == unix.EINTR:
		case err != nil:
			c.err = err
		default:
			c.note(buf[:n], control[:controlled])
		}
		ended := c.err != nil
		c.mu.Unlock()
		if ended {
			return
		}
	}
}

// note remembers a packet if it is the first of its kind.
func (c *capture) note(packet, control []byte) {
	if len(packet) < 28 {
		return
	}
	at, ok := arrival(control)
	if !ok {
		return
	}
	reply := binary.BigEndian.Uint16(packet[6:]) == 2
	sender, target := netip.AddrFrom4([4]byte(packet[14:18])), netip.AddrFrom4([4]byte(packet[24:28]))
	a := c.seen[sender]
	switch {
	case sender == target && a.gratuitous.IsZero():
		a.gratuitous = at
	case reply && target == c.host.IPv4 && a.answer.IsZero():
		a.answer = at
	}
	c.seen[sender] = a
}

// arrival reads the kernel's time stamp.
func arrival(control []byte) (time.Time, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:]))), true
		}
	}
	return time.Time{}, false
}
