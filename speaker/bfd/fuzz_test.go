//go:build linux

package bfd

import (
	"testing"
	"time"
)

// FuzzPacket hits a table with two packets from the wire, one after the other, as they come and with a discriminator
// that the fuzzer would hardly find. No packet makes a session, and each leaves the session in a state that it can be in.
func FuzzPacket(f *testing.F) {
	f.Add(valid(), patched(1, 1<<6), uint8(255))
	f.Add(patched(8, 0, 0, 0, 0), valid()[:23], uint8(254))
	f.Add(patched(1, 3<<6|flagDemand), patched(1, 0), uint8(255))
	f.Add(patched(12, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255), patched(12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), uint8(255))
	f.Fuzz(func(t *testing.T, first, second []byte, ttl uint8) {
		table, all := tableOf(session4(func(s *Session) { s.Echo, s.EchoInterval = true, 10*ms }))
		now := epoch()
		for _, b := range [][]byte{first, second, addressed(first, all[0].mine), addressed(second, all[0].mine)} {
			d := arrival(b)
			d.ttl = int(ttl)
			_, drop := parse(b)
			if got := table.receive(d, now); drop != "" && got != drop || got == "" && ttl != 255 {
				t.Fatalf("%x, TTL %d: got %q, and parse says %q", b, ttl, got, drop)
			}
			table.echoed(uint32(ttl), d, now)
			now = now.Add(100 * ms)
			table.advance(now)
		}
		check(t, table, all[0], now)
	})
}

// addressed returns a packet with our discriminator.
func addressed(b []byte, discriminator uint32) []byte {
	if len(b) < packetLength {
		return b
	}
	p, _ := parse(append([]byte{}, b...))
	p.yours, p.mine, p.multiplier = discriminator, max(p.mine, 1), max(p.multiplier, 1)
	return p.append(nil)
}

func check(t *testing.T, table *table, one *session, now time.Time) {
	t.Helper()
	if len(table.byPath) != 1 || len(table.byMine) != 1 || len(table.queue) > 1 {
		t.Fatalf("packets made sessions: %+v", table)
	}
	if len(one.out) > 100 {
		t.Fatalf("%d packets were sent in answer to four", len(one.out))
	}
	for _, p := range one.out {
		if _, drop := parse(p.append(nil)); drop != "" {
			t.Fatalf("sent %+v, which is dropped for its %s", p, drop)
		}
	}
	if s := one.state(); s.Local == AdminDown || s.DetectionTime < 0 || s.TransmitInterval < 0 {
		t.Fatalf("%+v", s)
	}
	if next := table.next(); !next.IsZero() && !next.After(now) {
		t.Fatalf("would spin: %v is due at %v", next, now)
	}
}

// FuzzEcho hits what is read from the packet socket and from the echo port.
func FuzzEcho(f *testing.F) {
	f.Add(appendEcho(nil, 7))
	f.Add(appendSelfAddressed(nil, session4(nil).Peer, 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, ok := parseSelfAddressed(b); ok {
			b = d.payload
		}
		if discriminator, ok := parseEcho(b); ok && discriminator != uint32(b[4])<<24|uint32(b[5])<<16|uint32(b[6])<<8|uint32(b[7]) {
			t.Errorf("%x in %x", discriminator, b)
		}
	})
}
