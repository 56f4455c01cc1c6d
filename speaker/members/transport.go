//go:build linux

package members

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/internal/rawudp"
)

const (
	// packetSize is the largest UDP payload, in bytes.
	packetSize = 1 << 16
	// socketBuffer is how many bytes of packets the kernel is asked to keep for a process that is busy; it grants its maximum.
	socketBuffer = 2 << 20
	// faultPause is waited after a socket's fault that may pass, such as too many open files.
	faultPause = 100 * time.Millisecond
)

// transport carries the library's messages over UDP and TCP, on one address and port. The library has one, which reads each
// packet into 64 KiB of its own: most of the garbage of an idle speaker.
type transport struct {
	log     *slog.Logger
	at      netip.AddrPort
	udp     *net.UDPConn
	raw     syscall.RawConn // of udp
	tcp     *net.TCPListener
	packets chan *memberlist.Packet
	streams chan net.Conn
	closed  chan struct{}
	reading sync.WaitGroup
}

// newTransport listens at an address, until Shutdown.
func newTransport(at netip.AddrPort, log *slog.Logger) (memberlist.NodeAwareTransport, error) {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, fmt.Errorf("listening on TCP: %w", err)
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		_ = tcp.Close()
		return nil, fmt.Errorf("listening on UDP: %w", err)
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, tcp.Close(), udp.Close())
	}
	_ = udp.SetReadBuffer(socketBuffer) // as much as there is
	t := &transport{
		log: log, at: at, udp: udp, raw: raw, tcp: tcp,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), closed: make(chan struct{}),
	}
	t.reading.Go(t.receive)
	t.reading.Go(t.accept)
	return t, nil
}

// FinalAdvertiseAddr returns what others are told: where it listens.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.at.Addr().AsSlice(), int(t.at.Port()), nil
}

// WriteTo sends a packet, and returns when it was sent.
func (t *transport) WriteTo(b []byte, to string) (time.Time, error) {
	address, err := netip.ParseAddrPort(to)
	if err != nil {
		return time.Time{}, err
	}
	var envelope rawudp.Envelope
	over := t.raw.Write(func(fd uintptr) bool {
		err = envelope.Send(int(fd), b, nil, rawudp.NewAddress(address, 0))
		return !errors.Is(err, unix.EAGAIN)
	})
	return time.Now(), cmp.Or(over, err)
}

// WriteToAddress is WriteTo: the address says it all.
func (t *transport) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, to.Addr)
}

// DialTimeout opens a connection.
func (t *transport) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", to, timeout)
}

// DialAddressTimeout is DialTimeout: the address says it all.
func (t *transport) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(to.Addr, timeout)
}

// PacketCh is where packets come in.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh is where connections come in.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown closes the sockets and returns when nothing comes in any more.
func (t *transport) Shutdown() error {
	close(t.closed)
	err := errors.Join(t.tcp.Close(), t.udp.Close())
	t.reading.Wait()
	return err
}

// receive hands on packets, each in no more memory than it needs: the library may keep it.
func (t *transport) receive() {
	var envelope rawudp.Envelope
	b := make([]byte, packetSize)
	for {
		n, err := t.read(&envelope, b)
		now := time.Now()
		switch {
		case err != nil && t.over("receiving a packet", err):
			return
		case err != nil || n == 0:
			continue
		}
		select {
		case t.packets <- &memberlist.Packet{Buf: slices.Clone(b[:n]), From: net.UDPAddrFromAddrPort(envelope.Source()), Timestamp: now}:
		case <-t.closed:
			return
		}
	}
}

// read waits for a packet.
func (t *transport) read(envelope *rawudp.Envelope, into []byte) (n int, err error) {
	over := t.raw.Read(func(fd uintptr) bool {
		n, _, err = envelope.Receive(int(fd), into, nil)
		return !errors.Is(err, unix.EAGAIN)
	})
	return n, cmp.Or(over, err)
}

// accept hands on connections.
func (t *transport) accept() {
	for {
		c, err := t.tcp.Accept()
		switch {
		case err != nil && t.over("accepting a connection", err):
			return
		case err != nil:
			continue
		}
		select {
		case t.streams <- c:
		case <-t.closed:
			_ = c.Close()
			return
		}
	}
}

// over says whether this is the end of it. If a socket has another fault, it says so and waits a little.
func (t *transport) over(what string, err error) bool {
	if !errors.Is(err, net.ErrClosed) {
		t.log.Debug(what+" from another speaker fails", "error", err)
	}
	select {
	case <-t.closed:
		return true
	case <-time.After(faultPause):
		return false
	}
}
