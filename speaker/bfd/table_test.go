//go:build linux

package bfd

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// tableOf makes a table with sessions; what they send at first is taken.
func tableOf(sessions ...Session) (*table, []*session) {
	t := newTable(rand.New(rand.NewPCG(3, 4)).Uint32)
	var all []*session
	for _, s := range sessions {
		index := 0
		if s.Interface != "" {
			index = 7
		}
		all = append(all, t.add(s, index, epoch()))
	}
	t.take()
	return t, all
}

func session4(f func(*Session)) Session {
	s := Session{Path{Peer: netip.MustParseAddr("192.0.2.2")}, Parameters{DesiredMinTx: 50 * ms, RequiredMinRx: 50 * ms, DetectMultiplier: 3}}
	if f != nil {
		f(&s)
	}
	return s
}

// arrival is a packet from the session's peer that came the way it should.
func arrival(payload []byte) datagram {
	return datagram{
		source: netip.MustParseAddr("192.0.2.2"), destination: netip.MustParseAddr("192.0.2.1"),
		port: portSingleHop, index: 7, ttl: 255, payload: payload,
	}
}

// TestDemultiplexing is RFC 5880 section 6.3, and the rules of RFC 5881 sections 3 and 5 and RFC 5883 sections 3 and 4.
func TestDemultiplexing(t *testing.T) {
	local := func(s *Session) { s.Local = netip.MustParseAddr("192.0.2.1") }
	multihop := func(s *Session) { local(s); s.Multihop, s.MinimumTTL = true, 250 }
	tests := map[string]struct {
		session func(*Session)
		way     func(*datagram)
		want    Drop
	}{
		"plain":                          {nil, func(*datagram) {}, ""},
		"our address":                    {local, func(*datagram) {}, ""},
		"another address of ours":        {local, func(d *datagram) { d.destination = netip.MustParseAddr("192.0.2.9") }, DropUnknown},
		"another source":                 {nil, func(d *datagram) { d.source = netip.MustParseAddr("192.0.2.3") }, DropUnknown},
		"through a router":               {nil, func(d *datagram) { d.ttl = 254 }, DropTTL},
		"a TTL that the kernel hid":      {nil, func(d *datagram) { d.ttl = -1 }, DropTTL},
		"its interface":                  {func(s *Session) { s.Interface = "eth0" }, func(*datagram) {}, ""},
		"another interface":              {func(s *Session) { s.Interface = "eth0" }, func(d *datagram) { d.index = 8 }, DropUnknown},
		"another VRF":                    {nil, func(d *datagram) { d.vrf = "red" }, DropUnknown},
		"its VRF":                        {func(s *Session) { s.VRF = "red" }, func(d *datagram) { d.vrf = "red" }, ""},
		"the other port":                 {nil, func(d *datagram) { d.port = portMultihop }, DropUnknown},
		"a port of its own":              {func(s *Session) { s.Port = 7948 }, func(d *datagram) { d.port = 7948 }, ""},
		"multihop":                       {multihop, func(d *datagram) { d.port, d.ttl = portMultihop, 250 }, ""},
		"multihop, too far":              {multihop, func(d *datagram) { d.port, d.ttl = portMultihop, 249 }, DropTTL},
		"multihop, on single-hop's port": {multihop, func(*datagram) {}, DropUnknown},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table, all := tableOf(session4(tt.session))
			hello := from(Down)
			for _, yours := range []uint32{0, all[0].mine} { // by the addresses, then by the discriminator
				hello.yours = yours
				d := arrival(hello.append(nil))
				tt.way(&d)
				if got := table.receive(d, epoch()); got != tt.want {
					t.Errorf("your discriminator %d: got %q, want %q", yours, got, tt.want)
				}
			}
			hello.yours = all[0].mine + 1
			d := arrival(hello.append(nil))
			tt.way(&d)
			if got := table.receive(d, epoch()); got != DropUnknown {
				t.Errorf("a discriminator that nobody has: %q", got)
			}
			if len(table.byMine) != 1 || len(table.byPeer) != 1 || len(table.byPath) != 1 {
				t.Error("a packet made a session")
			}
		})
	}
}

func TestTheMoreSpecificSessionIsFound(t *testing.T) {
	table, all := tableOf(session4(nil), session4(func(s *Session) { s.Local = netip.MustParseAddr("192.0.2.1") }))
	hello := from(Down)
	hello.yours = 0
	table.receive(arrival(hello.append(nil)), epoch())
	if all[0].local != Down || all[1].local != Init {
		t.Errorf("%v, %v", all[0].local, all[1].local)
	}
}

func TestRemovedSessionsLeaveNothing(t *testing.T) {
	table, all := tableOf(session4(nil), session4(func(s *Session) { s.Port = 99 }))
	hello := from(Down)
	hello.yours = all[0].mine
	table.receive(arrival(hello.append(nil)), epoch())
	for _, one := range all {
		table.remove(one, epoch())
	}
	now := epoch()
	for !table.next().IsZero() {
		now = table.next()
		table.advance(now)
	}
	if len(all[0].out) != 1+farewells || !all[0].done() || !all[1].done() { // Init
		t.Errorf("%d packets", len(all[0].out))
	}
	if len(table.byMine)+len(table.byPeer)+len(table.byPath)+len(table.queue) != 0 {
		t.Errorf("%+v", table)
	}
	if d := now.Sub(epoch()); d > (farewells-1)*farewellInterval {
		t.Errorf("the farewell took %v", d)
	}
}

func TestDiscriminators_6_8_1(t *testing.T) {
	values := []uint32{0, 9, 9, 0, 8}
	table := newTable(func() uint32 {
		v := values[0]
		if len(values) > 1 {
			values = values[1:]
		}
		return v
	})
	a := table.discriminator()
	table.byMine[a] = nil
	if b := table.discriminator(); a != 9 || b != 8 {
		t.Errorf("%d and %d, want 9 and 8: neither 0 nor one twice", a, b)
	}
}

func TestTheQueueIsInOrder(t *testing.T) {
	var sessions []Session
	for i := range 50 {
		sessions = append(sessions, session4(func(s *Session) { s.Port = uint16(i + 1) }))
	}
	table, _ := tableOf(sessions...)
	last := epoch()
	for range 500 {
		next := table.next()
		if next.Before(last) {
			t.Fatalf("%v after %v", next, last)
		}
		last = next
		table.advance(next)
	}
}
