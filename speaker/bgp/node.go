//go:build linux

package bgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// node is what a session needs of the node's network.
type node interface {
	// dial opens a TCP connection.
	dial(context.Context, target) (net.Conn, error)
	// companion returns an address of the other family on the interface that has a local one, or the zero value.
	companion(local netip.Addr) netip.Addr
	// link returns the interface of a name; an error if there is none that is up.
	link(name string) (*net.Interface, error)
	// discover opens a socket for router advertisements on an interface.
	discover(*net.Interface) (advertising, error)
}

// kernel is the node's network, in the network namespace of the calling thread.
type kernel struct{}

const (
	// dialLimit is how long a neighbor has to answer: the kernel sends a SYN after 0, 1, 3 s.
	dialLimit = 5 * time.Second
	// maxPassword is the length of TCP_MD5SIG_MAXKEYLEN.
	maxPassword = 80
	// classSelector6 is the traffic class of routing protocols (RFC 4594), as a TOS byte.
	classSelector6 = 0xc0
)

// target is where a connection goes, and how.
type target struct {
	remote   netip.AddrPort // the zone is the index of the interface
	device   string         // to bind to: a VRF, or the link of an unnumbered neighbor; or ""
	source   netip.Addr     // or the zero value
	ttl      int            // of the packets; 0: the kernel's default
	password string
}

func (t target) String() string {
	a := t.remote.Addr()
	if a.Zone() != "" {
		a = a.WithZone(t.device)
	}
	return netip.AddrPortFrom(a, t.remote.Port()).String()
}

func (kernel) dial(ctx context.Context, t target) (net.Conn, error) {
	d := net.Dialer{
		Timeout:   dialLimit,
		KeepAlive: -1, // the hold timer does that
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			if cerr := c.Control(func(fd uintptr) { err = t.prepare(int(fd)) }); cerr != nil {
				return cerr
			}
			return err
		},
	}
	source := t.source
	if !source.IsValid() {
		source = steadySource(t.remote.Addr(), t.device)
	}
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return d.DialContext(ctx, "tcp", t.remote.String())
}

// prepare sets the options of a socket that is not connected yet.
func (t target) prepare(fd int) error {
	v4 := t.remote.Addr().Is4()
	level, hops, class := unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_TCLASS
	if v4 {
		level, hops, class = unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
	}
	_ = unix.SetsockoptInt(fd, level, class, classSelector6) // of no consequence if refused
	if t.ttl != 0 {
		if err := unix.SetsockoptInt(fd, level, hops, t.ttl); err != nil {
			return fmt.Errorf("setting the TTL: %w", err)
		}
	}
	if t.device != "" {
		if err := unix.BindToDevice(fd, t.device); err != nil {
			return fmt.Errorf("binding to %s: %w", t.device, err)
		}
	}
	if t.password != "" {
		if err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, signature(t.remote.Addr(), t.password)); err != nil {
			return fmt.Errorf("setting the password: %w", err)
		}
	}
	return nil
}

// signature is the key of the TCP MD5 signature option for a neighbor (RFC 2385), in the kernel's form.
func signature(neighbor netip.Addr, password string) *unix.TCPMD5Sig {
	s := &unix.TCPMD5Sig{Keylen: uint16(len(password))}
	copy(s.Key[:], password)
	if neighbor.Is4() {
		a := neighbor.As4()
		s.Addr.Family = unix.AF_INET
		copy(s.Addr.Data[2:], a[:]) // after the port
	} else {
		a := neighbor.As16()
		s.Addr.Family = unix.AF_INET6
		copy(s.Addr.Data[6:], a[:]) // after port and flow label
	}
	return s
}

func (kernel) companion(local netip.Addr) netip.Addr {
	links, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}
	}
	for _, l := range links {
		addrs, err := l.Addrs()
		if err != nil {
			continue
		}
		has, other := false, netip.Addr{}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			has = has || p.Addr() == local.WithZone("")
			if p.Addr().Is4() != local.Is4() && p.Addr().IsGlobalUnicast() && !other.IsValid() {
				other = p.Addr()
			}
		}
		if has {
			return other
		}
	}
	return netip.Addr{}
}

func (kernel) link(name string) (*net.Interface, error) {
	l, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("there is no interface %s", name)
	}
	if l.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("interface %s is down", name)
	}
	return l, nil
}

// advertising is a socket for router advertisements on one interface.
type advertising interface {
	// receive waits for a router advertisement or solicitation and returns who sent it.
	receive() (from netip.Addr, advertises bool, err error)
	// send sends an advertisement to all nodes.
	send() error
	Close() error
}

// discovery is a socket for neighbor discovery (RFC 4861).
type discovery struct {
	*ndp.Conn
	link *net.Interface
	own  netip.Addr
}

func (kernel) discover(l *net.Interface) (advertising, error) {
	// The index as the zone: package net remembers the index of a name for a minute, and the link may be a new one.
	numbered := *l
	numbered.Name = strconv.Itoa(l.Index)
	c, own, err := ndp.Listen(&numbered, ndp.LinkLocal)
	if err != nil {
		return nil, err
	}
	var f ipv6.ICMPFilter
	f.SetAll(true)
	f.Accept(ipv6.ICMPTypeRouterAdvertisement)
	f.Accept(ipv6.ICMPTypeRouterSolicitation)
	for _, step := range []func() error{
		func() error { return c.SetICMPFilter(&f) },
		func() error { return c.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true) },
		func() error { return c.JoinGroup(netip.IPv6LinkLocalAllNodes()) },
		func() error { return c.JoinGroup(netip.IPv6LinkLocalAllRouters()) },
	} {
		if err := step(); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	return discovery{c, l, own.WithZone("")}, nil
}

// receive reads the type of a message only: nothing else in it matters.
func (d discovery) receive() (netip.Addr, bool, error) {
	b := make([]byte, d.link.MTU)
	for {
		n, cm, from, err := d.ReadRaw(b)
		if err != nil {
			return netip.Addr{}, false, err
		}
		if n == 0 || cm == nil || cm.HopLimit != 255 || cm.IfIndex != d.link.Index { // RFC 4861, sections 6.1.1 and 6.1.2
			continue
		}
		from = from.WithZone("")
		advertises := ipv6.ICMPType(b[0]) == ipv6.ICMPTypeRouterAdvertisement
		if from != d.own && (!advertises || from.IsLinkLocalUnicast()) {
			return from, advertises, nil
		}
	}
}

// send sends an advertisement with a lifetime of 0: this node is no default router (RFC 4861, section 6.2.3).
func (d discovery) send() error {
	return d.WriteTo(&ndp.RouterAdvertisement{
		CurrentHopLimit: 64,
		Options:         []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: d.link.HardwareAddr}},
	}, nil, netip.IPv6LinkLocalAllNodes())
}
