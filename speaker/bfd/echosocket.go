//go:build linux

package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/internal/rawudp"
)

// mac is an Ethernet hardware address.
type mac = [6]byte

const (
	ipv4Header = 20 // bytes, without options
	udpHeader  = 8
	// macLife is how long the hardware address of a peer is used before it is looked up again.
	macLife = time.Second
)

// echoSocket is a packet socket on one interface, for our own IPv4 echo packets: the kernel neither sends nor accepts
// packets from our address to our address on a wire.
type echoSocket struct{ fd, index int }

// openEcho opens one; that takes CAP_NET_RAW.
func openEcho(index int) (*echoSocket, error) {
	filter, err := bpf.Assemble(echoFilter())
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0) // 0: nothing before bind
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	if err = attach(fd, filter); err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: index})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("binding a packet socket: %w", err)
	}
	return &echoSocket{fd, index}, nil
}

// echoFilter lets pass what may be an echo packet of ours that came back: UDP to the echo port, whole, without IP
// options, and from the address that it is sent to.
func echoFilter() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x45, SkipTrue: 11},
		bpf.LoadAbsolute{Off: 9, Size: 1}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 9},
		bpf.LoadAbsolute{Off: 6, Size: 2}, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 7},
		bpf.LoadAbsolute{Off: ipv4Header + 2, Size: 2}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: portEcho, SkipTrue: 5},
		bpf.LoadAbsolute{Off: 16, Size: 4}, bpf.TAX{},
		bpf.LoadAbsolute{Off: 12, Size: 4}, bpf.JumpIfX{Cond: bpf.JumpNotEqual, SkipTrue: 1},
		bpf.RetConstant{Val: maxDatagram},
		bpf.RetConstant{Val: 0},
	}
}

func attach(fd int, filter []bpf.RawInstruction) error {
	program := make([]unix.SockFilter, 0, len(filter))
	for _, i := range filter {
		program = append(program, unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// bigEndian swaps a number to network byte order, as packet(7) wants protocols.
func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// appendSelfAddressed appends an IPv4 packet from an address to itself with an echo packet in it.
func appendSelfAddressed(b []byte, address netip.Addr, discriminator uint32) []byte {
	start, ip := len(b), address.As4()
	b = append(b, 0x45, trafficClass)
	b = binary.BigEndian.AppendUint16(b, ipv4Header+udpHeader+echoLength)
	b = append(b, 0, 0, 0x40, 0, 255, unix.IPPROTO_UDP, 0, 0) // not to be fragmented
	b = append(append(b, ip[:]...), ip[:]...)
	binary.BigEndian.PutUint16(b[start+10:], ^sum(0, b[start:]))
	udp := len(b)
	b = binary.BigEndian.AppendUint16(b, portEcho)
	b = binary.BigEndian.AppendUint16(b, portEcho)
	b = append(b, 0, udpHeader+echoLength, 0, 0)
	b = appendEcho(b, discriminator)
	check := ^sum(sum(unix.IPPROTO_UDP+udpHeader+echoLength, b[start+12:udp]), b[udp:])
	if check == 0 {
		check = 0xffff // 0 would mean that there is none
	}
	binary.BigEndian.PutUint16(b[udp+6:], check)
	return b
}

// sum adds the 16-bit words of b, of even length, to a ones' complement sum (RFC 1071).
func sum(start uint16, b []byte) uint16 {
	total := uint32(start)
	for ; len(b) >= 2; b = b[2:] {
		total += uint32(binary.BigEndian.Uint16(b))
	}
	total = total>>16 + total&0xffff
	return uint16(total>>16 + total)
}

// parseSelfAddressed reads what the filter let pass.
func parseSelfAddressed(b []byte) (d datagram, ok bool) {
	if len(b) < ipv4Header+udpHeader || b[0] != 0x45 {
		return datagram{}, false
	}
	return datagram{
		source: netip.AddrFrom4([4]byte(b[12:16])), destination: netip.AddrFrom4([4]byte(b[16:20])),
		port: portEcho, ttl: int(b[8]), payload: b[ipv4Header+udpHeader:],
	}, true
}

// lookUpMAC finds the hardware address of an IPv4 neighbor in the kernel's table.
func lookUpMAC(address netip.Addr, index int) (mac, error) {
	i, err := net.InterfaceByIndex(index)
	if err != nil {
		return mac{}, fmt.Errorf("interface %d: %w", index, err)
	}
	text, err := os.ReadFile("/proc/thread-self/net/arp")
	if err != nil {
		return mac{}, err
	}
	return findMAC(string(text), address, i.Name)
}

// findMAC reads proc_net(5), arp: address, hardware type, flags, hardware address, mask, device.
func findMAC(table string, address netip.Addr, device string) (mac, error) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) != 6 || f[0] != address.String() || f[5] != device {
			continue
		}
		if hw, err := net.ParseMAC(f[3]); err == nil && len(hw) == 6 && !slices.Equal(hw, make([]byte, 6)) {
			return mac(hw), nil
		}
	}
	return mac{}, fmt.Errorf("the hardware address of %s on %s is not known", address, device)
}

func echoListener(vrf string) listener { return listener{true, portEcho, vrf} }

// prepareEcho opens what echo packets of a session with an IPv6 neighbor come in on. The sockets for IPv4 are opened
// when the interface is known.
func (s *sockets) prepareEcho(wanted Session) error {
	if wanted.Peer.Is4() {
		return nil
	}
	return s.listen(echoListener(wanted.VRF))
}

// echoOn returns the socket for IPv4 echo packets on an interface.
func (s *sockets) echoOn(index int) (*echoSocket, error) {
	for _, e := range s.echoes {
		if e.index == index {
			return e, nil
		}
	}
	e, err := openEcho(index)
	if err != nil {
		return nil, err
	}
	if err := s.poller.add(e.fd); err != nil {
		_ = unix.Close(e.fd)
		return nil, err
	}
	s.echoes[e.fd] = e
	return e, nil
}

func (s *sockets) closeEcho(fd int) {
	_ = unix.Close(fd)
	delete(s.echoes, fd)
}

// sendEcho sends an echo packet of ours, on the way that control packets come from.
func (l *loop) sendEcho(one *session) {
	send := l.sendEcho6
	if one.Peer.Is4() {
		send = l.sendEcho4
	}
	text := ""
	if err := send(one); err != nil {
		l.counters.failed.Add(1)
		text = err.Error()
	} else {
		l.counters.echoSent.Add(1)
		one.tally.EchoSent++
	}
	if text != one.echoFault {
		one.echoFault, l.news = text, true
		l.log.Info("BFD echo", "session", one.Path.String(), "fault", text)
	}
}

// sendEcho4 sends from our address to our address, by way of the neighbor.
func (l *loop) sendEcho4(one *session) error {
	index := one.heard.index
	e, err := l.sockets.echoOn(index)
	if err != nil {
		return err
	}
	if now := time.Now(); now.After(one.macUntil) {
		if one.mac, err = lookUpMAC(one.Peer, index); err != nil {
			return err
		}
		one.macUntil = now.Add(macLife)
	}
	l.scratch = appendSelfAddressed(l.scratch[:0], one.heard.destination, one.mine)
	to := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: index, Halen: 6}
	copy(to.Addr[:], one.mac[:])
	return os.NewSyscallError("sendto", unix.Sendto(e.fd, l.scratch, unix.MSG_DONTWAIT, to))
}

// sendEcho6 sends to the neighbor's BFD daemon.
func (l *loop) sendEcho6(one *session) error {
	l.scratch = appendEcho(l.scratch[:0], one.mine)
	way := datagram{source: one.Peer, destination: one.heard.destination, index: one.heard.index, vrf: one.VRF, payload: l.scratch}
	return l.sockets.sendBack(way, 255)
}

// sendBack sends a datagram's payload to where it came from, on the echo port over IPv6.
func (s *sockets) sendBack(d datagram, hopLimit int) error {
	fd, ok := s.listeners[echoListener(d.vrf)]
	if !ok {
		return errors.New("the echo port is not open")
	}
	control := ipv6.ControlMessage{Src: d.destination.AsSlice(), IfIndex: d.index, HopLimit: hopLimit}
	return s.envelope.Send(fd, d.payload, control.Marshal(), rawudp.NewAddress(netip.AddrPortFrom(d.source, portEcho), d.index))
}

// readEcho takes what a packet socket has.
func (l *loop) readEcho(e *echoSocket, now time.Time) {
	for range atOnce {
		n, _, err := unix.Recvfrom(e.fd, l.inbox.payload[:], unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return // nothing is there; or the interface was down, of which control packets tell
		}
		d, ok := parseSelfAddressed(l.inbox.payload[:n])
		if !ok {
			l.counters.dropped[DropEcho].Add(1)
			continue
		}
		d.index = e.index
		l.takeEcho(d, now)
	}
}

// takeEcho takes an echo packet: one of ours that came back, or over IPv6 a neighbor's, which has to go back.
func (l *loop) takeEcho(d datagram, now time.Time) {
	discriminator, ok := parseEcho(d.payload)
	switch {
	case ok && d.ttl == 254:
		l.counters.drop(l.table.echoed(discriminator, d, now), &l.counters.echoReceived)
	case ok && d.ttl == 255 && d.source.Is6() && l.table.loops(d):
		if err := l.sockets.sendBack(d, 254); err != nil {
			l.counters.failed.Add(1)
			return
		}
		l.counters.echoLooped.Add(1)
	default:
		l.counters.drop(DropEcho, nil)
	}
}
