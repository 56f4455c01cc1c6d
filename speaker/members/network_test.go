package members

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// How a network in memory treats what is sent: 0.2 to 1 ms on the way, and what TCP lost is sent again as Linux does.
const (
	shortestWay  = 200 * time.Microsecond
	longestWay   = time.Millisecond
	handshakeRTO = time.Second            // RFC 6298 section 2.1; it doubles each time
	dataRTO      = 200 * time.Millisecond // the least that Linux waits
)

// network joins transports in memory, where tests measure. It is meant for virtual time: see testing/synctest.
type network struct {
	packets, bytes atomic.Int64 // that were sent by UDP, lost or not
	dialed         atomic.Int64 // connections that were opened
	streamed       atomic.Int64 // bytes over them

	mu     sync.Mutex
	wires  map[string]*wire // who listens, by endpoint
	chance *rand.Rand
	loss   float64 // the share of packets that are lost
}

func newNetwork() *network {
	return &network{wires: map[string]*wire{}, chance: rand.New(rand.NewPCG(1, 2))}
}

// open lets a member listen.
func (n *network) open(at netip.AddrPort, _ *slog.Logger) (memberlist.NodeAwareTransport, error) {
	w := &wire{net: n, at: at, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), cut: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wires[at.String()] = w
	return w, nil
}

// lose sets the share of packets that are lost from now on.
func (n *network) lose(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// wire returns who listens at an endpoint, or nil.
func (n *network) wire(endpoint string) *wire {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wires[endpoint]
}

// way returns how long a packet is on its way, and whether it arrives.
func (n *network) way() (takes time.Duration, arrives bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return shortestWay + time.Duration(n.chance.Int64N(int64(longestWay-shortestWay))), n.chance.Float64() >= n.loss
}

// again returns how long it takes until something that is sent again and again has arrived.
func (n *network) again(rto time.Duration) (takes time.Duration) {
	for {
		way, arrives := n.way()
		if arrives {
			return takes + way
		}
		takes += rto
		rto *= 2
	}
}

// wire is one member's transport.
type wire struct {
	net     *network
	at      netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	once    sync.Once
	cut     chan struct{} // closed when nothing comes or goes any more
}

// FinalAdvertiseAddr returns what others are told: where it listens.
func (w *wire) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return w.at.Addr().AsSlice(), int(w.at.Port()), nil
}

// WriteTo sends a packet.
func (w *wire) WriteTo(b []byte, to string) (time.Time, error) {
	if w.isCut() {
		return time.Now(), nil
	}
	w.net.packets.Add(1)
	w.net.bytes.Add(int64(len(b)))
	if takes, arrives := w.net.way(); arrives {
		b = slices.Clone(b)
		time.AfterFunc(takes, func() {
			if peer := w.net.wire(to); peer != nil {
				peer.receive(b, w.at)
			}
		})
	}
	return time.Now(), nil
}

func (w *wire) receive(b []byte, from netip.AddrPort) {
	select {
	case w.packets <- &memberlist.Packet{Buf: b, From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now()}:
	case <-w.cut:
	}
}

// WriteToAddress is WriteTo: the address says it all.
func (w *wire) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	return w.WriteTo(b, to.Addr)
}

// DialTimeout opens a connection. Where nobody listens there is no answer either: it is a node without power.
func (w *wire) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	peer := w.net.wire(to)
	takes := w.net.again(handshakeRTO) + w.net.again(handshakeRTO)
	if peer == nil || w.isCut() || takes > timeout {
		time.Sleep(timeout)
		return nil, errors.New("no answer")
	}
	time.Sleep(takes)
	w.net.dialed.Add(1)
	here, there := net.Pipe()
	select {
	case peer.streams <- &stream{Conn: there, net: w.net}:
		return &stream{Conn: here, net: w.net}, nil
	case <-peer.cut:
		return nil, errors.New("no answer")
	}
}

// DialAddressTimeout is DialTimeout: the address says it all.
func (w *wire) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return w.DialTimeout(to.Addr, timeout)
}

// PacketCh is where packets come in.
func (w *wire) PacketCh() <-chan *memberlist.Packet { return w.packets }

// StreamCh is where connections come in.
func (w *wire) StreamCh() <-chan net.Conn { return w.streams }

// Shutdown cuts it off. It may be called again.
func (w *wire) Shutdown() error {
	w.once.Do(func() {
		close(w.cut)
		w.net.mu.Lock()
		defer w.net.mu.Unlock()
		if w.net.wires[w.at.String()] == w { // or another one came in its place
			delete(w.net.wires, w.at.String())
		}
	})
	return nil
}

func (w *wire) isCut() bool {
	select {
	case <-w.cut:
		return true
	default:
		return false
	}
}

// stream is one end of a connection.
type stream struct {
	net.Conn
	net   *network
	until time.Time // what SetDeadline said last; it is used by one goroutine at a time
}

// SetDeadline bounds what a loss may take.
func (s *stream) SetDeadline(t time.Time) error {
	s.until = t
	return s.Conn.SetDeadline(t)
}

// Write sends, and returns when it was read.
func (s *stream) Write(b []byte) (int, error) {
	s.net.streamed.Add(int64(len(b)))
	takes := s.net.again(dataRTO)
	if left := time.Until(s.until); !s.until.IsZero() && takes > left {
		takes = left // and then the deadline is over
	}
	time.Sleep(takes)
	return s.Conn.Write(b)
}
