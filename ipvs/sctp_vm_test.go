//go:build vm

package ipvs

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"
)

// sctp: an association reaches a pod on a port and in a range of them, by both families, and outsiders' addresses are kept
// where that is asked for. Each end is bound to one address: SCTP tells the other end all that it has, which NAT cannot change.
func sctp(l *lab) {
	t := l.t
	if out, err := exec.Command("modprobe", "sctp").CombinedOutput(); err != nil {
		t.Fatalf("modprobe sctp: %v\n%s", err, out)
	}
	for _, p := range l.pods {
		for _, port := range []uint16{8080, 15000} {
			for _, a := range []netip.Addr{p.v4, p.v6} {
				p.listenSCTP(l, netip.AddrPortFrom(a, port))
			}
		}
	}
	s := l.service("pod1", "pod3")
	s.Ports[0].Protocol, s.Slices[0].Ports[0].Protocol = corev1.ProtocolSCTP, corev1.ProtocolSCTP
	s.Ranges = "10000-20000/SCTP"
	asks := func(port uint16, pods int, source map[bool]string) {
		t.Helper()
		for _, vip := range []string{vip4, vip6} {
			to, got := netip.AddrPortFrom(netip.MustParseAddr(vip), port), map[string]bool{}
			for range 4 {
				f := l.client.openSCTP(l, to)
				if want := source[to.Addr().Is6()]; f.source != want {
					t.Errorf("%s: %s sees %s, want %s", to, f.pod, f.source, want)
				}
				if pod, err := f.pod, f.send(patience); err != nil || f.pod != pod {
					t.Errorf("%s: the association to %s: %v, now %s", to, pod, err, f.pod)
				}
				got[f.pod] = true
				f.Close()
			}
			if len(got) != pods {
				t.Errorf("%s is answered by %v, want %d pods", to, got, pods)
			}
		}
	}
	node := l.nodes["a"]
	l.program(s)
	for _, port := range []uint16{80, 15000} {
		asks(port, 2, map[bool]string{false: node.v4.String(), true: node.v6.String()})
	}
	s.ExternalLocal = true
	l.program(s)
	asks(80, 1, map[bool]string{false: l.client.v4.String(), true: l.client.v6.String()})
}

// socketSCTP makes a socket for one association, or for many of them to listen for, bound to an address.
func (h *host) socketSCTP(l *lab, at netip.AddrPort) (fd int) {
	l.t.Helper()
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	var err error
	h.Do(func() { fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP) })
	if err == nil {
		err = unix.Bind(fd, socketAddress(at))
	}
	if err != nil {
		l.t.Fatalf("%s, SCTP at %s: %v", h.name, at, err)
	}
	return fd
}

func socketAddress(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

func (h *host) listenSCTP(l *lab, at netip.AddrPort) {
	l.t.Helper()
	fd := h.socketSCTP(l, at)
	if err := unix.Listen(fd, 16); err != nil {
		l.t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "sctp")
	listener, err := net.FileListener(file)
	file.Close()
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { listener.Close() })
	go h.answer(listener)
}

// openSCTP connects and reads the answer.
func (h *host) openSCTP(l *lab, to netip.AddrPort) *flow {
	l.t.Helper()
	from := h.v4
	if to.Addr().Is6() {
		from = h.v6
	}
	fd := h.socketSCTP(l, netip.AddrPortFrom(from, 0))
	limit := unix.NsecToTimeval(int64(patience / time.Nanosecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		l.t.Fatal(err)
	}
	if err := unix.Connect(fd, socketAddress(to)); err != nil {
		l.t.Fatalf("%s asks %s by SCTP: %v", h.name, to, err)
	}
	file := os.NewFile(uintptr(fd), "sctp")
	c, err := net.FileConn(file)
	file.Close()
	if err != nil {
		l.t.Fatal(err)
	}
	f := &flow{Conn: c, reader: bufio.NewReader(c)}
	if err := f.read(patience); err != nil {
		l.t.Fatalf("%s asks %s by SCTP: %v", h.name, to, err)
	}
	return f
}
