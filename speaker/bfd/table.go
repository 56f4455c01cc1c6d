//go:build linux

package bfd

import (
	"container/heap"
	"net/netip"
	"time"
)

// session is a session that runs: a machine, and what tells whose packets are whose.
type session struct {
	Session
	*machine
	index int       // of the interface; 0 if the path names none
	at    int       // in the queue; -1 if it is not there
	when  time.Time // its place in the queue
	heard datagram  // the last packet, without its payload: the way it came

	// Owned by the edge.
	to    destination
	told  Status // that was logged last
	tally Packets
	fault string // why the last packet could not be sent

	echoFault string // why the last echo packet could not be sent
	mac       mac    // of the peer, for echo packets
	macUntil  time.Time
}

// datagram is a received UDP packet.
type datagram struct {
	source, destination netip.Addr // without zones
	port                uint16     // that it was sent to
	vrf                 string     // the VRF device of the socket
	index               int        // of the interface that it came in on
	ttl                 int        // or hop limit
	payload             []byte
}

// together is how many sessions send at the same time at most beside those that have to: fewer packets than the buffer of
// a neighbor's socket holds.
const together = 64

// table holds all sessions: it finds the one that a packet belongs to, and the ones that have something to do. Like the
// machines it is pure. It never grows by a packet.
type table struct {
	random  func() uint32
	jitter  float64 // in [0,1), of what is sent in this round
	byPath  map[Path]*session
	byMine  map[uint32]*session // by our discriminator
	byPeer  map[netip.Addr][]*session
	queue   queue
	touched []*session // those that may have something to send or to tell, since the last take
}

func newTable(random func() uint32) *table {
	return &table{
		random: random,
		byPath: map[Path]*session{}, byMine: map[uint32]*session{}, byPeer: map[netip.Addr][]*session{},
	}
}

// fraction is a random number in [0,1), the same until it is drawn anew: sessions that send together go on doing so. What
// jitter is for (RFC 5880 section 6.8.7) is that systems do not send in step with each other.
func (t *table) fraction() float64 { return t.jitter }

func (t *table) draw() { t.jitter = float64(t.random()) / (1 << 32) }

// add starts a session on an interface, 0 for any.
func (t *table) add(s Session, index int, now time.Time) *session {
	t.draw()
	one := &session{Session: s, index: index, at: -1}
	one.machine = newMachine(s, t.discriminator(), t.fraction, now)
	t.byPath[s.Path], t.byMine[one.mine] = one, one
	t.byPeer[s.Peer] = append(t.byPeer[s.Peer], one)
	t.touch(one)
	return one
}

// discriminator chooses one that no session has: section 6.8.1 wants it to be unique, not zero, and hard to guess.
func (t *table) discriminator() uint32 {
	for {
		d := t.random()
		if _, taken := t.byMine[d]; d != 0 && !taken {
			return d
		}
	}
}

// configure gives a session other parameters.
func (t *table) configure(one *session, p Parameters, now time.Time) {
	one.Parameters = p
	one.machine.configure(p, now)
	t.touch(one)
}

// remove takes a session down on purpose. It receives nothing any more, and says farewell on its own.
func (t *table) remove(one *session, now time.Time) {
	delete(t.byPath, one.Path)
	delete(t.byMine, one.mine)
	kept := t.byPeer[one.Peer][:0:0]
	for _, other := range t.byPeer[one.Peer] {
		if other != one {
			kept = append(kept, other)
		}
	}
	t.byPeer[one.Peer] = kept
	if len(kept) == 0 {
		delete(t.byPeer, one.Peer)
	}
	one.shut(now)
	t.touch(one)
}

// receive takes a control packet to its session, or says why it is dropped.
func (t *table) receive(d datagram, now time.Time) Drop {
	p, drop := parse(d.payload)
	if drop != "" {
		return drop
	}
	one := t.find(d, p.yours)
	if one == nil {
		return DropUnknown
	}
	if d.ttl < one.leastTTL() {
		return DropTTL
	}
	one.heard = d
	one.heard.payload = nil
	one.tally.Received++
	one.machine.receive(p, now)
	t.touch(one)
	return ""
}

// find returns the session of a packet: by our discriminator or, where the sender does not know it yet, by the
// addresses (RFC 5880 section 6.3, RFC 5881 section 3, RFC 5883 section 3); nil if there is none. Of several, one that
// names the local address goes before one that takes any.
func (t *table) find(d datagram, yours uint32) (found *session) {
	if yours != 0 {
		if one := t.byMine[yours]; one != nil && one.takes(d) {
			return one
		}
		return nil
	}
	for _, one := range t.byPeer[d.source] {
		if one.takes(d) && (found == nil || one.Local.IsValid() && !found.Local.IsValid()) {
			found = one
		}
	}
	return found
}

// takes says whether a packet came the session's way. A discriminator alone is not enough: it could be guessed.
func (s *session) takes(d datagram) bool {
	return s.Peer == d.source && s.port() == d.port && s.VRF == d.vrf &&
		(!s.Local.IsValid() || s.Local == d.destination) && (s.index == 0 || s.index == d.index)
}

// leastTTL is the lowest TTL that packets may arrive with (RFC 5881 section 5, RFC 5883 section 4).
func (s *session) leastTTL() int {
	if s.Multihop {
		return int(s.MinimumTTL)
	}
	return 255
}

// echoed takes an echo packet of ours that came back, by the discriminator in it, to our address and on the interface
// that control packets come in on.
func (t *table) echoed(discriminator uint32, d datagram, now time.Time) Drop {
	one := t.byMine[discriminator]
	if one == nil || one.heard.index != d.index || one.heard.destination != d.destination {
		return DropEcho
	}
	one.echoReturned(now)
	one.tally.EchoReceived++
	t.touch(one)
	return ""
}

// loops says whether a neighbor's echo packet is to be sent back, since a session with it offers that.
func (t *table) loops(d datagram) bool {
	for _, one := range t.byPeer[d.source] {
		if one.echoWanted() && one.local == Up && one.VRF == d.vrf && (one.index == 0 || one.index == d.index) {
			return true
		}
	}
	return false
}

// steady says whether all sessions are Up and have nothing to agree on.
func (t *table) steady() bool {
	for _, one := range t.byPath {
		if one.local != Up || one.polling {
			return false
		}
	}
	return true
}

// next is when advance has something to do; the zero time: not before something comes in.
func (t *table) next() time.Time {
	if len(t.queue) == 0 {
		return time.Time{}
	}
	return t.queue[0].when
}

// advance does what is due at now. Where a packet goes out, others that may go out by now join it, some at a time: that
// spares them waking this process, and its neighbors, a little later.
func (t *table) advance(now time.Time) {
	t.draw()
	sent := false
	for len(t.queue) > 0 && due(t.queue[0].when, now) {
		one := t.queue[0]
		one.advance(now)
		sent = sent || len(one.out) > 0
		t.touch(one)
	}
	if !sent {
		return
	}
	joined := 0
	for _, one := range t.byPath {
		if one.mayJoin(now) && joined < together {
			joined++
			one.transmit(now)
			t.touch(one)
		}
	}
}

// touch takes note that a session may have something to send, and queues it anew.
func (t *table) touch(one *session) {
	t.touched = append(t.touched, one)
	one.when = one.next()
	switch gone := one.when.IsZero() || one.done(); {
	case gone && one.at >= 0:
		heap.Remove(&t.queue, one.at)
	case gone:
	case one.at >= 0:
		heap.Fix(&t.queue, one.at)
	default:
		heap.Push(&t.queue, one)
	}
}

// take returns the sessions that were touched since the last time; one may stand there more than once.
func (t *table) take() []*session {
	touched := t.touched
	t.touched = t.touched[:0]
	return touched
}

// queue is a heap of sessions by the time when they have something to do.
type queue []*session

// Len is for container/heap.
func (q queue) Len() int { return len(q) }

// Less is for container/heap.
func (q queue) Less(i, j int) bool { return q[i].when.Before(q[j].when) }

// Swap is for container/heap.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push is for container/heap.
func (q *queue) Push(x any) {
	one := x.(*session)
	one.at = len(*q)
	*q = append(*q, one)
}

// Pop is for container/heap.
func (q *queue) Pop() any {
	old := *q
	one := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	one.at = -1
	return one
}
