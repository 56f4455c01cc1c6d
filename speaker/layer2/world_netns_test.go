//go:build linux && (netns || bench || soak || vm)

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
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// limit is how long the tests wait for what takes milliseconds.
const limit = 10 * time.Second

// world is a segment: a client's namespace, where all interfaces are ports of the bridge lan, and speakers.
type world struct {
	t      testing.TB
	client *netnstest.NS
	lan    *net.Interface // the client's
	nodes  int
	config Config   // of the announcers
	peers  sync.Map // hardware address to node name
}

// speaker is a node with an announcer that runs on its interface eth0, which has no IPv4 address.
type speaker struct {
	*Announcer
	t        testing.TB
	ns       *netnstest.NS
	link     plan.Link
	registry *prometheus.Registry
}

// newWorld makes a segment with a client that has the address hostMAC, and one of each family.
func newWorld(t *testing.T) *world {
	t.Parallel()
	return newWorldOf(t)
}

// newWorldOf is newWorld for benchmarks.
func newWorldOf(t testing.TB) *world {
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
	return w.newSpeakerOn("eth0", setup)
}

// newSpeakerOn is newSpeaker for a link that setup makes.
func (w *world) newSpeakerOn(link, setup string) *speaker {
	w.t.Helper()
	w.nodes++
	port := fmt.Sprintf("port%d", w.nodes)
	s := &speaker{t: w.t, ns: netnstest.New(w.t), registry: prometheus.NewRegistry()}
	netnstest.Veth(w.t, s.ns, "eth0", w.client, port)
	w.client.Command(w.t, "ip", "link", "set", port, "master", "lan")
	s.ns.Lines(w.t, setup)
	s.link = linkOf(w.t, s.ns, link)
	w.config.Node = fmt.Sprintf("node%d", w.nodes)
	w.peers.Store(s.link.MAC, w.config.Node)
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
	w.awaitForwarding(port)
	awaitUp(w.t, s.ns, s.link.Name)
	awaitUp(w.t, w.client, "lan")
	return s
}

// awaitUp waits until an interface sends: until the kernel made its operational state up, it drops what it is given.
func awaitUp(t testing.TB, ns *netnstest.NS, name string) {
	t.Helper()
	netnstest.Eventually(t, limit, func() error {
		if out := ns.Command(t, "ip", "link", "show", "dev", name); !strings.Contains(out, "state UP") {
			return errors.New(out)
		}
		return nil
	})
}

// awaitForwarding waits until a port of the bridge forwards.
func (w *world) awaitForwarding(port string) {
	w.t.Helper()
	netnstest.Eventually(w.t, limit, func() error {
		if out := w.client.Command(w.t, "bridge", "link", "show", "dev", port); !strings.Contains(out, "state forwarding") {
			return errors.New(out)
		}
		return nil
	})
}

// node returns the name of the node that has a hardware address, as Config.Peer does.
func (w *world) node(mac [6]byte) (string, bool) {
	name, ok := w.peers.Load(mac)
	if !ok {
		return "", false
	}
	return name.(string), true
}

// metric returns the value of a series of the speaker, by its label values; 0 if there is none.
func (s *speaker) metric(name string, labels ...string) float64 {
	s.t.Helper()
	n, _ := (&bench{registry: s.registry}).metric(s.t, name, labels...)
	return n
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
	return linkOfInterface(interfaceOf(t, ns, name))
}

func linkOfInterface(i *net.Interface) plan.Link {
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

// socket is a packet socket of the client on the segment, without a filter.
func (w *world) socket(f family) *packetConn {
	w.t.Helper()
	var c conn
	var err error
	w.client.Do(func() { c, err = listen(linkOfInterface(w.lan), f, nil) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c.(*packetConn)
}

// sendAll sends frames from the client.
func sendAll(t testing.TB, c conn, frames ...[]byte) {
	t.Helper()
	if _, err := c.WriteBatch(frames); err != nil {
		t.Fatal(err)
	}
}

// capture yields the frames from one MAC that a socket receives, until the test ends.
func capture(c conn, from macAddr) <-chan []byte {
	frames := make(chan []byte, 100_000)
	go func() {
		for batch := newBatch(batchSize); ; {
			n, err := c.ReadBatch(batch)
			if err != nil {
				return
			}
			for i := range batch[:n] {
				if f := batch[i].frame(); len(f) >= ethernetHeader && macAddr(f[6:12]) == from {
					frames <- slices.Clone(f)
				}
			}
		}
	}()
	return frames
}

// receive returns the next captured frame.
func receive(t testing.TB, frames <-chan []byte) []byte {
	t.Helper()
	select {
	case f := <-frames:
		return f
	case <-time.After(limit):
		t.Fatal("no frame was received")
		return nil
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
