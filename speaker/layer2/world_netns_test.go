//go:build linux && netns

package layer2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// limit is how long the tests wait for what takes milliseconds.
const limit = 10 * time.Second

// world is a segment: a client's namespace, where all interfaces are ports of the bridge lan, and speakers.
type world struct {
	t      *testing.T
	client *netnstest.NS
	lan    *net.Interface // the client's
	nodes  int
	config Config // of the announcers
}

// speaker is a node with an announcer that runs on its interface eth0, which has no IPv4 address.
type speaker struct {
	*Announcer
	t        *testing.T
	ns       *netnstest.NS
	link     plan.Link
	registry *prometheus.Registry
}

// newWorld makes a segment with a client that has the address hostMAC, and one of each family.
func newWorld(t *testing.T) *world {
	t.Parallel()
	w := &world{t: t, client: netnstest.New(t)}
	w.client.Lines(t, `
		ip link add lan address 02:00:00:00:00:99 type bridge mcast_snooping 0
		sysctl -qw net.ipv6.conf.lan.accept_dad=0
		ip link set lan up
		ip addr add 172.25.254.9/24 dev lan
		ip addr add fd00:25::9/64 dev lan nodad`)
	w.lan = interfaceOf(t, w.client, "lan")
	return w
}

// newSpeaker adds a node to the segment; setup are commands that run in it before the announcer starts.
func (w *world) newSpeaker(setup string) *speaker {
	w.t.Helper()
	w.nodes++
	port := fmt.Sprintf("port%d", w.nodes)
	s := &speaker{t: w.t, ns: netnstest.New(w.t), registry: prometheus.NewRegistry()}
	netnstest.Veth(w.t, s.ns, "eth0", w.client, port)
	w.client.Command(w.t, "ip", "link", "set", port, "master", "lan")
	s.ns.Lines(w.t, setup)
	s.link = linkOf(w.t, s.ns, "eth0")
	w.config.Log, w.config.Registerer = slog.New(slog.NewTextHandler(w.t.Output(), nil)), s.registry
	s.Announcer = New(w.config)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go s.ns.Do(func() { ended <- s.Run(ctx) })
	w.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.t.Errorf("Run returned %v", err)
		}
	})
	netnstest.Eventually(w.t, limit, func() error { // the port forwards
		if out := w.client.Command(w.t, "bridge", "link", "show", "dev", port); !strings.Contains(out, "state forwarding") {
			return errors.New(out)
		}
		return nil
	})
	return s
}

func interfaceOf(t testing.TB, ns *netnstest.NS, name string) *net.Interface {
	t.Helper()
	var i *net.Interface
	var err error
	ns.Do(func() { i, err = net.InterfaceByName(name) })
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func linkOf(t testing.TB, ns *netnstest.NS, name string) plan.Link {
	t.Helper()
	i := interfaceOf(t, ns, name)
	return plan.Link{Index: i.Index, Name: i.Name, MAC: macAddr(i.HardwareAddr)}
}

// apply announces exactly addresses on the speaker's eth0.
func (s *speaker) apply(addresses ...netip.Addr) {
	s.t.Helper()
	if err := s.try(addresses...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *speaker) try(addresses ...netip.Addr) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*limit)
	defer cancel()
	var want []plan.Announcement
	for _, a := range addresses {
		want = append(want, plan.Announcement{Address: a, Link: s.link})
	}
	return s.Apply(ctx, want)
}

// neighbor returns the client's neighbor entry for an address, as `ip neigh` prints it.
func (w *world) neighbor(a netip.Addr) string {
	return w.client.Command(w.t, "ip", "neigh", "show", "to", a.String(), "dev", "lan")
}

// resolve makes the client's kernel resolve an address anew, and waits until it has the speaker's MAC.
func (w *world) resolve(a netip.Addr, s *speaker) {
	w.t.Helper()
	_, _ = w.client.Try("ip", "neigh", "del", a.String(), "dev", "lan") // fails if there is none
	netnstest.Eventually(w.t, limit, func() error {
		w.client.Do(func() {
			if c, err := net.Dial("udp", netip.AddrPortFrom(a, 9).String()); err == nil { // fails while lan has no carrier
				_, _ = c.Write([]byte("x"))
				_ = c.Close()
			}
		})
		return w.checkNeighbor(a, s, "REACHABLE")
	})
}

// checkNeighbor says unless the client's entry has the speaker's MAC and one of some states.
func (w *world) checkNeighbor(a netip.Addr, s *speaker, states ...string) error {
	f := strings.Fields(w.neighbor(a))
	if len(f) >= 4 && f[2] == s.link.HardwareAddr().String() && slices.Contains(states, f[len(f)-1]) {
		return nil
	}
	return fmt.Errorf("neighbor entry of %v is %q, want %s %v", a, f, s.link.HardwareAddr(), states)
}

// awaitNeighbor waits until the client's entry has the speaker's MAC and one of some states.
func (w *world) awaitNeighbor(a netip.Addr, s *speaker, states ...string) {
	w.t.Helper()
	netnstest.Eventually(w.t, limit, func() error { return w.checkNeighbor(a, s, states...) })
}

// socket is a packet socket of the client on the segment.
func (w *world) socket(etherType int) *packet.Conn {
	w.t.Helper()
	var c *packet.Conn
	var err error
	w.client.Do(func() { c, err = packet.Listen(w.lan, packet.Raw, etherType, nil) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// capture yields the frames from one MAC that a socket receives, until the test ends.
func capture(t *testing.T, c *packet.Conn, from macAddr) <-chan []byte {
	frames := make(chan []byte, 100_000)
	go func() {
		for {
			b := make([]byte, maxFrame)
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if n >= 14 && macAddr(b[6:12]) == from {
				frames <- b[:n]
			}
		}
	}()
	return frames
}

// receive returns the next captured frame.
func receive(t *testing.T, frames <-chan []byte) []byte {
	t.Helper()
	select {
	case f := <-frames:
		return f
	case <-time.After(limit):
		t.Fatal("no frame was received")
		return nil
	}
}
