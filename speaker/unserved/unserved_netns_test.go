//go:build linux && netns

package unserved

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

// Addresses that the node announces, and one that it does not.
const vip4, vip6, other = "203.0.113.1", "2001:db8:f::1", "203.0.113.2"

// world is a client behind a router that sends the addresses to a node, whose default route points back.
type world struct {
	t                    *testing.T
	client, router, node *netnstest.NS
	filter               Filter
	now                  time.Time
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	w := &world{t: t, client: netnstest.New(t), router: netnstest.New(t), node: netnstest.New(t), now: time.Unix(1000, 0)}
	netnstest.Veth(t, w.router, "e1", w.node, "e1")
	for i, ns := range []*netnstest.NS{w.router, w.node} {
		ns.Lines(t, fmt.Sprintf(`
			sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.e1.rp_filter=0 net.ipv4.conf.e1.send_redirects=0 net.ipv4.conf.all.send_redirects=0
			ip addr add 192.0.2.%d/24 dev e1
			ip addr add 2001:db8::%[1]d/64 dev e1 nodad`, i+1))
	}
	netnstest.Veth(t, w.client, "c", w.router, "c")
	w.client.Lines(t, `
		ip addr add 198.51.100.2/24 dev c
		ip addr add 2001:db8:c::2/64 dev c nodad
		ip route add default via 198.51.100.1
		ip route add default via 2001:db8:c::1`)
	w.router.Lines(t, `
		ip addr add 198.51.100.1/24 dev c
		ip addr add 2001:db8:c::1/64 dev c nodad
		sysctl -qw net.ipv6.conf.all.forwarding=1
		ip route add 203.0.113.0/24 via 192.0.2.2
		ip route add 2001:db8:f::/64 via 2001:db8::2`)
	w.node.Lines(t, `
		ip route add default via 192.0.2.1
		ip route add default via 2001:db8::1`)
	return w
}

func (w *world) apply(want ...string) {
	w.t.Helper()
	var list []netip.Addr
	for _, a := range want {
		list = append(list, netip.MustParseAddr(a))
	}
	var err error
	w.node.Do(func() { err = w.filter.Apply(list, w.now) })
	if err != nil {
		w.t.Fatal(err)
	}
}

// crossings sends one packet to a port that nothing serves, and returns how often it comes to the node.
func (w *world) crossings(address string) int {
	w.t.Helper()
	before := w.received()
	var err error
	w.client.Do(func() {
		var c net.Conn
		if c, err = net.Dial("udp", net.JoinHostPort(address, "9")); err == nil {
			_, err = c.Write([]byte("x"))
			_ = c.Close()
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	return w.received() - before
}

func (w *world) received() int {
	text := w.node.Command(w.t, "cat", "/proc/net/dev")
	for line := range strings.Lines(text) {
		if name, counters, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == "e1" {
			n, err := strconv.Atoi(strings.Fields(counters)[1])
			if err != nil {
				w.t.Fatal(err)
			}
			return n
		}
	}
	w.t.Fatalf("no e1 in %s", text)
	return 0
}

// A packet to a port that no Service has goes round until its TTL is used up; with the filter it comes once. What is not
// announced is forwarded as before, and without the filter all is as it was.
func TestPacketsDoNotCircle(t *testing.T) {
	w := newWorld(t)
	const few, round = 6, 20 // neighbor discovery sends a few packets of its own
	if n := w.crossings(vip4); n < round {
		t.Fatalf("without the filter it comes %d times: the test shows nothing", n)
	}
	if n := w.crossings(vip6); n < round {
		t.Fatalf("without the filter it comes %d times: the test shows nothing", n)
	}
	w.apply(vip4, vip6)
	for _, a := range []string{vip4, vip6} {
		if n := w.crossings(a); n > few {
			t.Errorf("%s: with the filter it comes %d times", a, n)
		}
	}
	if n := w.crossings(other); n < round {
		t.Errorf("%s is not announced, and comes %d times", other, n)
	}
	w.apply(vip6)
	if n := w.crossings(vip4); n < round {
		t.Errorf("%s is announced no more, and comes %d times", vip4, n)
	}
	var err error
	w.node.Do(func() { err = w.filter.Remove() })
	if err != nil {
		t.Fatal(err)
	}
	if out := w.node.Command(t, "nft", "list", "tables"); strings.Contains(out, tableName) {
		t.Errorf("the filter is left: %s", out)
	}
}

// What is translated to an endpoint passes, as kube-proxy does it.
func TestServedPacketsPass(t *testing.T) {
	w := newWorld(t)
	pod := netnstest.New(t)
	netnstest.Veth(t, w.node, "pod", pod, "eth0")
	w.node.Command(t, "ip", "addr", "add", "10.244.0.1/24", "dev", "pod")
	pod.Lines(t, "ip addr add 10.244.0.2/24 dev eth0\nip route add default via 10.244.0.1")
	w.node.Lines(t, `
		nft add table ip proxy
		nft add chain ip proxy pre { type nat hook prerouting priority dstnat ; }
		nft add rule ip proxy pre ip daddr 203.0.113.1 tcp dport 80 dnat to 10.244.0.2:80`)
	w.apply(vip4)
	var l net.Listener
	var err error
	pod.Do(func() { l, err = net.Listen("tcp4", ":80") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.client.Do(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", vip4+":80", 5*time.Second); err == nil {
			_ = c.Close()
		}
	})
	if err != nil {
		t.Errorf("a served port: %v", err)
	}
}

// Ten thousand addresses fit; a filter that somebody removed or changed comes back within a look.
func TestTheFilterIsKept(t *testing.T) {
	w := newWorld(t)
	var many []string
	for i := range 10_000 {
		many = append(many, netip.AddrFrom4([4]byte{203, 1, byte(i >> 8), byte(i)}).String())
	}
	began := time.Now()
	w.apply(many...)
	t.Logf("10,000 addresses took %v", time.Since(began))
	has := func(want int) {
		t.Helper()
		if n := strings.Count(w.node.Command(t, "nft", "list", "set", "inet", tableName, "ipv4"), "203.1."); n != want {
			t.Errorf("the kernel has %d addresses, want %d", n, want)
		}
	}
	has(10_000)
	w.apply(vip4, vip6)
	has(0)
	w.node.Command(t, "nft", "delete", "table", "inet", tableName)
	w.now = w.now.Add(lookEvery)
	w.apply(vip6, vip4)
	w.node.Command(t, "nft", "list", "set", "inet", tableName, "ipv6")
	w.node.Command(t, "nft", "flush", "set", "inet", tableName, "ipv4")
	w.now = w.now.Add(lookEvery)
	w.apply(vip4, vip6)
	if out := w.node.Command(t, "nft", "list", "set", "inet", tableName, "ipv4"); !strings.Contains(out, vip4) {
		t.Errorf("the address is not back: %s", out)
	}
}
