//go:build linux && netns

package netnstest

import (
	"net"
	"testing"
)

func TestNamespacesAreApartAndJoinedByVeth(t *testing.T) {
	t.Parallel()
	a, b := New(t), New(t)
	Veth(t, a, "left", b, "right")
	a.Command(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "left")
	b.Command(t, "ip", "addr", "add", "192.0.2.2/24", "dev", "right")
	a.Command(t, "ping", "-c1", "-W5", "192.0.2.2")
	var in, out error
	b.Do(func() { _, in = net.InterfaceByName("right") })
	_, out = net.InterfaceByName("right")
	if in != nil || out == nil {
		t.Fatalf("interface in its namespace: %v; outside: %v", in, out)
	}
}
