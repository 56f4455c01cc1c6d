//go:build linux

package rawudp

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// open returns a socket of a family on the loopback interface.
func open(t *testing.T, at string) (conn *net.UDPConn, fd int) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(d uintptr) { fd = int(d) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn, fd
}

func TestPacketsGoBothWays(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(at, func(t *testing.T) {
			here, fd := open(t, at)
			there, other := open(t, at)
			from, to := here.LocalAddr().(*net.UDPAddr).AddrPort(), there.LocalAddr().(*net.UDPAddr).AddrPort()
			var e Envelope
			room := make([]byte, 4)
			if _, _, err := e.Receive(other, room, nil); !errors.Is(err, unix.EAGAIN) {
				t.Fatalf("receiving nothing: %v, want EAGAIN", err)
			}
			for _, payload := range []string{"four", "", "longer"} {
				if err := e.Send(fd, []byte(payload), nil, NewAddress(to, 0)); err != nil {
					t.Fatal(err)
				}
				n, _, err := e.Receive(other, room, nil) // on loopback it is there when it was sent
				if got, want := string(room[:n]), payload[:min(4, len(payload))]; err != nil || got != want || e.Source() != from {
					t.Errorf("received %q from %v (%v), want %q from %v", got, e.Source(), err, want, from)
				}
			}
		})
	}
}

func TestAddressIsThatOfItsFamily(t *testing.T) {
	for _, at := range []string{"192.0.2.1:7947", "[2001:db8::1]:179", "[fe80::1]:1"} {
		want := netip.MustParseAddrPort(at)
		if a := NewAddress(want, 7); a.AddrPort() != want {
			t.Errorf("address is %v, want %v", a.AddrPort(), want)
		}
	}
	var none Address
	if got := none.AddrPort(); got.IsValid() {
		t.Errorf("nobody's address is %v", got)
	}
}
