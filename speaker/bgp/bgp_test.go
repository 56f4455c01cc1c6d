//go:build linux

package bgp

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func prefixN(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
}

// Every field of a Session is decided upon: it resets the session, or it does not.
func TestWhatResetsASession(t *testing.T) {
	live := map[string]bool{"Peer": true, "HoldTime": true, "KeepaliveTime": true, "ConnectTime": true, "BFD": true}
	for i := range reflect.TypeFor[plan.Session]().NumField() {
		f := reflect.TypeFor[plan.Session]().Field(i)
		var was, now plan.Session
		v := reflect.ValueOf(&now).Elem().Field(i)
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(true)
		case reflect.String:
			v.SetString("x")
		case reflect.Int64:
			v.SetInt(1)
		case reflect.Uint16, reflect.Uint32:
			v.SetUint(1)
		case reflect.Struct:
			if f.Name == "BFD" {
				now.BFD.Enabled = true
			} else {
				v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
			}
		default:
			t.Fatalf("field %s has kind %v", f.Name, v.Kind())
		}
		if got := len(Resets(was, now)) > 0; got == live[f.Name] {
			t.Errorf("a change of %s resets: %v (%v)", f.Name, got, Resets(was, now))
		}
	}
}

func TestSameNeighborKeepsRoutes(t *testing.T) {
	was := plan.Session{Peer: "a", Password: "one", GracefulRestart: true}
	now := was
	now.Password = "two"
	if !sameNeighbor(was, now) {
		t.Error("a changed password makes another neighbor")
	}
	now.Source = netip.MustParseAddr("192.0.2.1")
	if sameNeighbor(was, now) {
		t.Error("a changed source address leaves routes behind")
	}
}

// fakeTable records what a rib does.
type fakeTable struct {
	log  []string
	fail string // prefix that is refused
}

func (f *fakeTable) add(p *api.Path) error    { return f.do("+", p) }
func (f *fakeTable) remove(p *api.Path) error { return f.do("-", p) }

func (f *fakeTable) do(op string, p *api.Path) error {
	var n api.IPAddressPrefix
	if err := p.Nlri.UnmarshalTo(&n); err != nil {
		return err
	}
	if n.Prefix == f.fail {
		return errors.New("refused")
	}
	f.log = append(f.log, op+n.Prefix)
	return nil
}

func (f *fakeTable) took() string {
	slices.SortFunc(f.log, func(a, b string) int { return strings.Compare(a, b) }) // "+" sorts before "-"
	defer func() { f.log = nil }()
	return strings.Join(f.log, " ")
}

func TestRIBTouchesOnlyWhatDiffers(t *testing.T) {
	ctx, f := context.Background(), &fakeTable{}
	r := newRIB(f)
	r1, r2 := plan.Route{Peer: "p", Prefix: prefixN(1)}, plan.Route{Peer: "p", Prefix: prefixN(2)}
	r3 := plan.Route{Peer: "p", Prefix: netip.MustParsePrefix("2001:db8::1/128")}
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::9")
	r2b := r2
	r2b.Weight = 3
	step := func(name string, err error, want string) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := f.took(); got != want {
			t.Errorf("%s: did %q, want %q", name, got, want)
		}
	}
	step("before the next hops are known", r.wants(ctx, []plan.Route{r1, r2}, false), "")
	step("then", r.reach(ctx, hops{v4, v6}, 65001), "+10.0.0.1 +10.0.0.2")
	step("again", r.wants(ctx, []plan.Route{r2, r1}, false), "")
	step("one more, one less", r.wants(ctx, []plan.Route{r2, r3}, false), "+2001:db8::1 -10.0.0.1")
	step("an attribute", r.wants(ctx, []plan.Route{r2b, r3}, false), "+10.0.0.2")
	step("the IPv6 next hop", r.reach(ctx, hops{v4, v4}, 65001), "+2001:db8::1")
	step("drain", r.wants(ctx, []plan.Route{r2b, r3}, true), "+10.0.0.2 +2001:db8::1")
	f.fail = "10.0.0.1"
	if err := r.wants(ctx, []plan.Route{r1, r2b}, true); err == nil || !strings.Contains(err.Error(), "announcing 10.0.0.1/32 to p") {
		t.Errorf("error is %v", err)
	}
	step("past one that fails", nil, "-2001:db8::1")
	f.fail = ""
	step("which is tried again", r.wants(ctx, []plan.Route{r1, r2b}, true), "+10.0.0.1")
	_ = r.replace(func() (bool, error) { return true, nil })
	step("into another table", r.reach(ctx, hops{v4, v4}, 65001), "+10.0.0.1 +10.0.0.2")
}

func TestNextHops(t *testing.T) {
	a := netip.MustParseAddr
	none := netip.Addr{}
	for name, x := range map[string]struct {
		local, other netip.Addr
		extended     bool
		want         hops
	}{
		"IPv4, both on the link":         {a("192.0.2.1"), a("2001:db8::1"), true, hops{a("192.0.2.1"), a("2001:db8::1")}},
		"IPv4 only":                      {a("192.0.2.1"), none, true, hops{a("192.0.2.1"), a("::ffff:192.0.2.1")}},
		"IPv6, RFC 8950":                 {a("2001:db8::1"), a("192.0.2.1"), true, hops{a("2001:db8::1"), a("2001:db8::1")}},
		"IPv6, a peer without it":        {a("2001:db8::1"), a("192.0.2.1"), false, hops{a("192.0.2.1"), a("2001:db8::1")}},
		"IPv6 only, a peer without it":   {a("2001:db8::1"), none, false, hops{a("2001:db8::1"), a("2001:db8::1")}},
		"unnumbered":                     {a("fe80::1%e1"), none, true, hops{a("fe80::1"), a("fe80::1")}},
		"unnumbered, but with addresses": {a("fe80::1%e1"), a("192.0.2.1"), true, hops{a("fe80::1"), a("fe80::1")}},
	} {
		if got := chooseHops(x.local, x.other, x.extended); got != x.want {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}

func TestSessionsThatCannotBeHeld(t *testing.T) {
	r := run(t)
	good := plan.Session{Peer: "good", Address: netip.MustParseAddr("127.0.0.1"), Port: 1, MyASN: 1, PeerASN: 2, IPv4: true}
	bad := func(peer string, change func(*plan.Session)) plan.Session {
		s := good
		s.Peer = peer
		change(&s)
		return s
	}
	err := r.Apply(context.Background(), Want{
		Sessions: []plan.Session{
			bad("nowhere", func(s *plan.Session) { s.Address = netip.Addr{} }),
			bad("hold", func(s *plan.Session) { s.HoldTime = 2 * time.Second }),
			bad("families", func(s *plan.Session) { s.IPv4 = false }),
			good, good,
		},
		Routes: []plan.Route{{Peer: "stranger", Prefix: prefixN(1)}},
	})
	for _, want := range []string{
		"session with nowhere: it has neither", "session with hold: its hold time 2s", "session with families: it carries no",
		"session with good: wanted twice", "1 routes for stranger: there is no session",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	if now := r.Sessions(); len(now) != 1 || now[0].Peer != "good" {
		t.Errorf("sessions are %+v", now)
	}
}

// All routes go out with the session, one that is new or changed alone, and metrics tell.
func TestAnnounceToOne(t *testing.T) {
	p, registry := newFakePeer(t), prometheus.NewRegistry()
	r := run(t, func(c *Config) { c.Registerer = registry })
	routes := []plan.Route{{Peer: "fake", Prefix: prefixN(1)}, {Peer: "fake", Prefix: prefixN(2)}}
	r.apply([]plan.Session{p.session()}, routes...)
	c := p.establish()
	if u := c.nextOf(typeUpdate); !strings.Contains(string(u), string([]byte{32, 10, 0, 0, 1})) && !strings.Contains(string(u), string([]byte{32, 10, 0, 0, 2})) {
		t.Errorf("UPDATE is %x", []byte(u))
	}
	now := r.awaitState(Established)
	if now.Prefixes4 != 2 || now.Prefixes6 != 0 || now.Pending != 0 || now.Reason != "" {
		t.Errorf("state is %+v", now)
	}
	r.apply([]plan.Session{p.session()}, append(routes, plan.Route{Peer: "fake", Prefix: prefixN(3)})...)
	if u := c.nextOf(typeUpdate); !strings.HasSuffix(string(u), string([]byte{32, 10, 0, 0, 3})) {
		t.Errorf("UPDATE is %x", []byte(u))
	}
	label := `{peer="` + p.l.Addr().String() + `",vrf=""}`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP metallb_bgp_announced_prefixes_total Prefixes that the neighbor was sent
# TYPE metallb_bgp_announced_prefixes_total gauge
metallb_bgp_announced_prefixes_total`+label+` 3
# HELP metallb_bgp_session_up Whether the BGP session is established, 1, or not, 0
# TYPE metallb_bgp_session_up gauge
metallb_bgp_session_up`+label+` 1
`), "metallb_bgp_session_up", "metallb_bgp_announced_prefixes_total"); err != nil {
		t.Error(err)
	}
	r.apply(nil)
	if n := c.nextOf(typeNotification); n.body()[0] != cease || n.body()[1] != ceaseDeconfigured {
		t.Errorf("NOTIFICATION is %v", n.body())
	}
}

// The end of Run is a Cease with a text, or no word at all where graceful restart is negotiated.
func TestEndOfLife(t *testing.T) {
	for _, graceful := range []bool{false, true} {
		p := newFakePeer(t)
		r := run(t)
		r.apply([]plan.Session{p.session(func(s *plan.Session) { s.GracefulRestart = graceful })})
		c, _ := p.accept()
		o := fakeOpen()
		o.graceful, o.restartTime = true, 120
		c.say(o.forEngine(90), newMessage(typeKeepalive))
		r.awaitState(Established)
		began := time.Now()
		r.stop()
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("graceful %v: Run took %v to end", graceful, d)
		}
		last := byte(0)
		for {
			m, err := readMessage(c, make([]byte, maxLength))
			if err != nil {
				break
			}
			if last = m.kind(); last == typeNotification && describeNotification(m.body()) != `Cease, Administrative Shutdown: "this speaker stops"` {
				t.Errorf("NOTIFICATION is %s", describeNotification(m.body()))
			}
		}
		if (last == typeNotification) == graceful {
			t.Errorf("graceful %v: the last message has type %d", graceful, last)
		}
		if err := r.Apply(context.Background(), Want{}); !errors.Is(err, ErrStopped) {
			t.Errorf("Apply after the end: %v", err)
		}
	}
}

// A hold time of 0 is proposed as such; neither end then needs KEEPALIVE messages.
func TestNoHoldTime(t *testing.T) {
	p := newFakePeer(t)
	r := run(t)
	r.apply([]plan.Session{p.session(func(s *plan.Session) { s.HoldTime, s.KeepaliveTime = 0, 0 })}, plan.Route{Peer: "fake", Prefix: prefixN(1)})
	c, hello := p.accept()
	if o, err := parseOpen(hello); err != nil || o.holdTime != 0 {
		t.Errorf("the hold time is %d (%v), want 0", o.holdTime, err)
	}
	c.say(fakeOpen().forEngine(90), newMessage(typeKeepalive))
	c.nextOf(typeUpdate)
	if now := r.awaitState(Established); now.HoldTime != 0 || now.Keepalive != 0 {
		t.Errorf("timers are %v, %v", now.HoldTime, now.Keepalive)
	}
}

func TestHoldTimer(t *testing.T) {
	p := newFakePeer(t)
	r := run(t)
	r.apply([]plan.Session{p.session(func(s *plan.Session) { s.HoldTime, s.KeepaliveTime = 3*time.Second, time.Second })})
	c := p.establish()
	if n := c.nextOf(typeNotification); n.body()[0] != holdTimerExpired {
		t.Errorf("NOTIFICATION is %v", n.body())
	}
	r.awaitError("hold timer expired: nothing was heard from the peer for 3s")
}

// UPDATE messages alone keep a session alive: they count as KEEPALIVE.
func TestUpdatesKeepASessionAlive(t *testing.T) {
	p := newFakePeer(t)
	r := run(t)
	r.apply([]plan.Session{p.session(func(s *plan.Session) { s.HoldTime, s.KeepaliveTime = 3*time.Second, time.Second })})
	c := p.establish()
	u, _ := update(0)
	for end := time.Now().Add(4500 * time.Millisecond); time.Now().Before(end); {
		c.say(u)
		c.nextOf(typeKeepalive) // one a second
	}
	if now := r.Sessions()[0]; now.State != Established {
		t.Errorf("the session is %+v", now)
	}
}

func TestReset(t *testing.T) {
	p := newFakePeer(t)
	r := run(t)
	r.apply([]plan.Session{p.session()})
	c := p.establish()
	r.awaitState(Established)
	if err := r.Reset("fake", "an operator wants it"); err != nil {
		t.Fatal(err)
	}
	if n := c.nextOf(typeNotification); describeNotification(n.body()) != `Cease, Administrative Reset: "an operator wants it"` {
		t.Errorf("NOTIFICATION is %s", describeNotification(n.body()))
	}
	_ = c.Close()
	p.establish()
	r.awaitState(Established)
	if r.Reset("stranger", "") == nil {
		t.Error("a session that is not there was reset")
	}
}

// A change that needs no reset does none.
func TestLiveChange(t *testing.T) {
	p := newFakePeer(t)
	r := run(t)
	r.apply([]plan.Session{p.session()})
	p.establish()
	before := r.awaitState(Established)
	r.apply([]plan.Session{p.session(func(s *plan.Session) { s.ConnectTime, s.HoldTime = time.Minute, time.Minute })})
	if now := r.Sessions()[0]; now.State != Established || now.Since != before.Since {
		t.Errorf("the session was reset: %+v", now)
	}
}

func TestRouterIDFromName(t *testing.T) {
	if a, b := routerID("node-1"), routerID("node-2"); a == b || a.IsUnspecified() || a != routerID("node-1") {
		t.Errorf("router IDs are %s, %s", a, b)
	}
}

func TestNegotiation(t *testing.T) {
	sec := time.Second
	for _, x := range []struct {
		theirs                       uint16
		hold, keep, wantHold, wantKA time.Duration
	}{
		{90, 90 * sec, 30 * sec, 90 * sec, 30 * sec},
		{9, 90 * sec, 30 * sec, 9 * sec, 3 * sec},
		{180, 9 * sec, 2 * sec, 9 * sec, 2 * sec},
		{3, 90 * sec, 30 * sec, 3 * sec, sec},
		{0, 90 * sec, 30 * sec, 0, 0},
		{90, 0, 0, 0, 0},
	} {
		h, k := open{holdTime: x.theirs}.negotiated(plan.Session{HoldTime: x.hold, KeepaliveTime: x.keep})
		if h != x.wantHold || k != x.wantKA {
			t.Errorf("%+v: %v, %v", x, h, k)
		}
	}
}

func TestInternalAndTTL(t *testing.T) {
	for _, x := range []struct {
		s    plan.Session
		want int
	}{
		{plan.Session{MyASN: 1, PeerASN: 1}, 0},
		{plan.Session{MyASN: 1, LocalASN: 2, PeerASN: 2}, 0},
		{plan.Session{MyASN: 1, ASN: policy.ASNInternal}, 0},
		{plan.Session{MyASN: 1, PeerASN: 2}, 1},
		{plan.Session{MyASN: 1, ASN: policy.ASNExternal}, 1},
		{plan.Session{MyASN: 1, PeerASN: 2, MultiHop: true}, 255},
	} {
		if got := ttl(x.s); got != x.want {
			t.Errorf("TTL of %+v is %d, want %d", x.s, got, x.want)
		}
	}
}
