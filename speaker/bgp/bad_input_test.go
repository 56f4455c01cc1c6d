//go:build linux

package bgp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// What a neighbor says when it refuses, in words.
func TestNotificationsAreToldInWords(t *testing.T) {
	for _, x := range []struct {
		say  message
		want string
	}{
		{newNotification(openError, badPeerAS, nil), "refuses this end's AS number"},
		{newNotification(openError, 6, nil), "OPEN Message Error, Unacceptable Hold Time"},
		{newNotification(cease, ceaseShutdown, communication("back at noon")), `Cease, Administrative Shutdown: "back at noon"`},
		{newNotification(cease, ceaseShutdown, []byte{200, 1}), "Cease, Administrative Shutdown"},
		{newNotification(cease, 1, []byte{0, 1, 1, 0, 0, 0, 5}), "Cease, Maximum Number of Prefixes Reached"},
		{newNotification(holdTimerExpired, 0, nil), "the peer's hold timer expired"},
		{newNotification(99, 98, nil), "NOTIFICATION 99/98"},
	} {
		t.Run(x.want, func(t *testing.T) {
			p := newFakePeer(t)
			r := run(t)
			r.apply([]plan.Session{p.session()})
			c, _ := p.accept()
			c.say(x.say)
			r.awaitError(x.want)
		})
	}
}

// What this end finds wrong, it says to the neighbor and shows.
func TestViolationsAreAnswered(t *testing.T) {
	noMarker := newMessage(typeKeepalive)
	noMarker[3] = 0
	badLength := newMessage(typeKeepalive)
	binary.BigEndian.PutUint16(badLength[16:], 5000)
	version := fakeOpen().forEngine(90)
	version[headerLength] = 3
	wrongAS := fakeOpen()
	wrongAS.asn = 4200000000
	noID := fakeOpen().forEngine(90)
	copy(noID[holdTimeOffset+2:], make([]byte, 4))
	for name, x := range map[string]struct {
		say           message
		code, subcode byte
		want          string
	}{
		"no marker":       {noMarker, 1, 1, "without the BGP marker"},
		"bad length":      {badLength, 1, 2, "with 5000 bytes"},
		"unknown type":    {newMessage(77), 1, 3, "unknown type 77"},
		"version":         {version, 2, 1, "version 3"},
		"AS number":       {wrongAS.forEngine(90), 2, 2, "the peer has AS 4200000000, and AS 65002 is expected"},
		"router ID":       {noID, 2, 3, "the router ID 0.0.0.0"},
		"hold time":       {fakeOpen().forEngine(1), 2, 6, "a hold time of 1 s"},
		"no OPEN":         {newMessage(typeKeepalive), 5, 0, "before its OPEN"},
		"broken OPEN":     {newMessage(typeOpen, 4, 0xfd, 0xea, 0, 90, 10, 0, 0, 2, 9, 2, 7, 65), 1, 2, "malformed OPEN"},
		"UPDATE too soon": {append(fakeOpen().forEngine(90), newMessage(typeUpdate, 0, 0, 0, 0)...), 5, 0, "where none may come"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePeer(t)
			r := run(t)
			r.apply([]plan.Session{p.session()})
			c, _ := p.accept()
			c.say(x.say)
			n := c.nextOf(typeNotification)
			if n.body()[0] != x.code || n.body()[1] != x.subcode {
				t.Errorf("NOTIFICATION is %d/%d, want %d/%d", n.body()[0], n.body()[1], x.code, x.subcode)
			}
			r.awaitError(x.want)
		})
	}
}

// A neighbor that accepts and says nothing, and one that is not there, are shown.
func TestSilentAndAbsentPeers(t *testing.T) {
	p := newFakePeer(t)
	r := run(t)
	r.apply([]plan.Session{p.session()})
	p.accept()
	if now := r.awaitState(OpenSent); now.Reason != "waiting for the peer's OPEN" {
		t.Errorf("reason is %q", now.Reason)
	}
	_ = p.l.Close()
	r.apply(nil)
	r.apply([]plan.Session{p.session()})
	r.awaitError("refuses TCP connections")
}

// A neighbor that opens and closes again and again is tried less and less often, and does no harm.
func TestOpenCloseLoop(t *testing.T) {
	p := newFakePeer(t)
	r := run(t)
	r.apply([]plan.Session{p.session(func(s *plan.Session) { s.ConnectTime = 2 * time.Second })})
	var at []time.Time
	for range 3 {
		c := p.establish()
		at = append(at, time.Now())
		_ = c.Close()
	}
	if d := at[2].Sub(at[1]); d < 1400*time.Millisecond {
		t.Errorf("the third connection came %v after the second", d)
	}
	r.awaitError("the peer closed the connection")
}

// update is an UPDATE with as many routes as fit, from n on.
func update(n int) (m message, routes int) {
	attributes := []byte{
		0x40, 1, 1, 0, // ORIGIN
		0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea, // AS_PATH
		0x40, 3, 4, 127, 0, 0, 1, // NEXT_HOP
	}
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attributes)))
	body = append(body, attributes...)
	for len(body)+5+headerLength <= maxLength {
		a := uint32(20<<24) + uint32(n+routes)
		body = append(body, 32, byte(a>>24), byte(a>>16), byte(a>>8), byte(a))
		routes++
	}
	return newMessage(typeUpdate, body...), routes
}

// A flood of routes takes no memory and does not end the session.
func TestFloodOfRoutes(t *testing.T) {
	p := newFakePeer(t)
	r := run(t)
	r.apply([]plan.Session{p.session()})
	c := p.establish()
	r.awaitState(Established)
	heap, resident := memory(t)
	sent := 0
	for sent < 400_000 {
		m, n := update(sent)
		c.say(m)
		sent += n
	}
	c.say(newMessage(typeRefresh, 0, 1, 0, 1)) // is answered when all before it is read
	for r.session("fake").counters.in[typeRefresh].Load() == 0 {
		runtime.Gosched()
	}
	heapNow, residentNow := memory(t)
	t.Logf("%d routes: heap %d -> %d kB, resident %d -> %d kB", sent, heap>>10, heapNow>>10, resident>>10, residentNow>>10)
	if heapNow > heap+(4<<20) {
		t.Errorf("the heap grew from %d to %d bytes", heap, heapNow)
	}
	if now := r.Sessions()[0]; now.State != Established {
		t.Errorf("the session is %+v", now)
	}
}

func memory(t *testing.T) (heap, resident uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var pages uint64
	if _, err := fmt.Sscanf(string(b), "%d %d", new(uint64), &pages); err != nil {
		t.Fatal(err)
	}
	return m.HeapAlloc, pages * uint64(os.Getpagesize())
}

// corpus are messages as a neighbor may send them, whole.
func corpus() []message {
	long := fakeOpen()
	long.graceful, long.restartTime = true, 120
	u, _ := update(0)
	return []message{
		fakeOpen().forEngine(90), long.forEngine(90),
		newMessage(typeKeepalive), u, newMessage(typeUpdate, 0, 0, 0, 0),
		newNotification(cease, ceaseShutdown, communication("text")),
		newMessage(typeRefresh, 0, 1, 0, 1),
	}
}

// mutate cuts a message or changes bytes of it, most often those behind the header.
func mutate(r *rand.Rand, m message) []byte {
	b := bytes.Clone(m)
	for range 1 + r.IntN(4) {
		from := 0
		if len(b) > headerLength && r.IntN(8) > 0 {
			from = headerLength
		}
		b[from+r.IntN(len(b)-from)] = byte(r.Uint32())
	}
	switch r.IntN(4) {
	case 0:
		b = b[:r.IntN(len(b))]
	case 1: // shorter, with a length that says so
		if len(b) > headerLength {
			b = b[:headerLength+r.IntN(len(b)-headerLength)]
			binary.BigEndian.PutUint16(b[16:], uint16(len(b)))
		}
	}
	return b
}

// Cut and mutated messages, in every state, through a real socket: the session may end each time; the speaker lives, and
// the next good handshake is answered.
func TestMalformedMessages(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	p := newFakePeer(t)
	r := run(t, func(c *Config) { c.Log = discard() })
	seed := rand.New(rand.NewPCG(1, 2))
	for i := range rounds {
		r.apply([]plan.Session{p.session()})
		c, _ := p.accept()
		if i%3 > 0 {
			c.say(fakeOpen().forEngine(90))
		}
		if i%3 > 1 {
			c.say(newMessage(typeKeepalive))
		}
		all := corpus()
		for range 20 {
			if _, err := c.Write(mutate(seed, all[seed.IntN(len(all))])); err != nil {
				break
			}
		}
		_ = c.Close()
		r.apply(nil)
	}
	r.apply([]plan.Session{p.session()})
	p.establish()
	r.awaitState(Established)
}

// A neighbor that asks for all routes again and again gets them a second later at most once.
func TestRefreshFlood(t *testing.T) {
	p := newFakePeer(t)
	r := run(t)
	var routes []plan.Route
	for i := range 500 {
		routes = append(routes, plan.Route{Peer: "fake", Prefix: prefixN(i)})
	}
	r.apply([]plan.Session{p.session()}, routes...)
	c := p.establish()
	r.awaitState(Established)
	c.nextOf(typeUpdate)
	for range 1000 {
		c.say(newMessage(typeRefresh, 0, 1, 0, 1))
	}
	c.nextOf(typeUpdate) // the answer
	if n := r.session("fake").counters.out[typeUpdate].Load(); n > 8 {
		t.Errorf("%d UPDATE messages answer", n)
	}
}

// FuzzOpen: whatever an OPEN holds, it is refused or understood, and what is understood can be told to the engine.
func FuzzOpen(f *testing.F) {
	for _, m := range corpus()[:2] {
		f.Add([]byte(m.body()))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) < 10 || len(body) > maxLength-headerLength {
			return
		}
		o, err := parseOpen(newMessage(typeOpen, body...))
		if err != nil || !o.id.IsValid() {
			return
		}
		again, err := parseOpen(o.forEngine(90))
		if err != nil {
			t.Fatalf("%+v is told the engine as what it cannot read: %v", o, err)
		}
		if again.ipv4 != o.ipv4 && o.ipv6 || again.ipv6 != o.ipv6 || again.graceful != o.graceful || again.id != o.id {
			t.Fatalf("%+v became %+v", o, again)
		}
	})
}

// FuzzMessage: framing never panics, and yields only whole messages of a known type.
func FuzzMessage(f *testing.F) {
	for _, m := range corpus() {
		f.Add([]byte(m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		for {
			m, err := readMessage(in, make([]byte, maxLength))
			if err != nil {
				if m == nil && errors.Is(err, io.EOF) && in.Len() > 0 {
					t.Fatal("the end came too soon")
				}
				return
			}
			if m.kind() == typeNotification {
				if text := describeReceived(m); text == "" || strings.ContainsAny(text, "\n\x00\x1b") {
					t.Fatalf("a NOTIFICATION is told as %q", text)
				}
			}
		}
	})
}
