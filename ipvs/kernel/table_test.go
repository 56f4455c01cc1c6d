package kernel

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// world is a kernel, real or not, with a programmer that works on it.
type world struct {
	*Programmer
	now time.Time
	// restart is a programmer that knows nothing.
	restart func() *Programmer
	// flush empties the table of virtual servers, as kube-proxy does when it starts in another mode.
	flush func(*testing.T)
	// lose takes the packet filter's table away.
	lose func(*testing.T)
}

func fakeWorld() *world {
	f := NewFake()
	w := &world{now: time.Unix(1000, 0)}
	w.restart = func() *Programmer {
		return &Programmer{Log: slog.New(slog.DiscardHandler), Servers: f, Device: FakeDevice{f}, Filter: FakeFilter{f}, Now: func() time.Time { return w.now }}
	}
	w.flush = func(*testing.T) { clear(f.Table) }
	w.lose = func(*testing.T) { f.HasTable = false; clear(f.Sets) }
	w.Programmer = w.restart()
	return w
}

// state renders what the kernel holds: addresses, virtual servers and real servers.
func (w *world) state(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	addresses, err := w.Device.Addresses()
	must(t, err)
	slices.SortFunc(addresses, Bound.compare)
	for _, a := range addresses {
		b.WriteString("address " + a.String())
		if a.Routed {
			b.WriteString(" by a route")
		}
		b.WriteString("\n")
	}
	list, err := w.Servers.List()
	must(t, err)
	slices.SortFunc(list, func(a, b plan.Server) int { return a.Frontend.Compare(b.Frontend) })
	for _, s := range list {
		b.WriteString(s.Frontend.String() + " " + s.Scheduler.String())
		if s.Affinity > 0 {
			b.WriteString(" sticky")
		}
		b.WriteString("\n")
		reals, err := w.Servers.Reals(s.Frontend)
		must(t, err)
		slices.SortFunc(reals, func(a, b Real) int { return a.Address.Compare(b.Address) })
		for _, r := range reals {
			b.WriteString("  " + r.Address.String())
			if r.Weight != 1 {
				b.WriteString(" weight " + string(rune('0'+r.Weight)))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func web(reals ...string) plan.Server {
	s := plan.Server{
		Frontend: plan.Frontend{Address: netip.MustParseAddrPort("192.0.2.1:80"), Protocol: corev1.ProtocolTCP},
		Settings: plan.Settings{Scheduler: plan.Scheduler{Name: "rr"}}, Drain: time.Minute,
	}
	for _, r := range reals {
		s.Reals = append(s.Reals, plan.Real{Address: netip.MustParseAddrPort(r), Weight: 1})
	}
	return s
}

func with(p plan.Plan, servers ...plan.Server) plan.Plan {
	p.Servers = servers
	slices.SortFunc(p.Servers, func(a, b plan.Server) int { return a.Frontend.Compare(b.Frontend) })
	return p
}

func ports(address string, protocol corev1.Protocol, first, last uint16) plan.Ports {
	return plan.Ports{Address: netip.MustParseAddr(address), Range: portrange.Range{Protocol: protocol, First: first, Last: last}}
}

// everything is a plan with an element of each set in both families, as single ports and as ranges.
func everything() plan.Plan {
	var p plan.Plan
	for _, a := range []string{"192.0.2.1", "2001:db8::1"} {
		addr := netip.MustParseAddr(a)
		p.Addresses = append(p.Addresses, addr)
		for _, x := range []plan.Ports{ports(a, corev1.ProtocolTCP, 80, 80), ports(a, corev1.ProtocolUDP, 1000, 2000), ports(a, corev1.ProtocolSCTP, 1, 65535)} {
			f := &p.Filter
			f.Open, f.Closed, f.Guarded = append(f.Open, x), append(f.Closed, x), append(f.Guarded, x)
			f.Masquerade, f.Preserve, f.ClusterIPs = append(f.Masquerade, x), append(f.Preserve, x), append(f.ClusterIPs, x)
			f.Marks, f.External = append(f.Marks, plan.Marked{Ports: x, Mark: 7}), append(f.External, plan.Marked{Ports: x, Mark: 1 << 31})
			for _, from := range []string{"10.0.0.0/8", "10.1.0.0/16", "198.51.100.7/32", "0.0.0.0/0", "2001:db8::/32", "::/0"} {
				if prefix := netip.MustParsePrefix(from); prefix.Addr().Is6() == addr.Is6() && prefix.Bits() > 0 {
					f.Allowed = append(f.Allowed, plan.Allowed{Ports: x, From: prefix})
				}
			}
		}
		p.Filter.Hairpin = append(p.Filter.Hairpin, addr)
		p.Filter.Internal = append(p.Filter.Internal, netip.PrefixFrom(addr, 24), netip.PrefixFrom(addr, addr.BitLen()))
	}
	p.Filter.Ping = true
	mark := func(v6 bool, real string) plan.Server {
		return plan.Server{Frontend: plan.Frontend{Mark: 7, V6: v6}, Settings: plan.Settings{Scheduler: plan.Scheduler{Name: "mh", HashPort: true, Fallback: true}, Affinity: 60},
			Reals: []plan.Real{{Address: netip.MustParseAddrPort(real), Weight: 1}}}
	}
	return with(p, web("10.244.0.5:8080", "10.244.1.5:8080"), mark(false, "10.244.0.5:0"), mark(true, "[fd00::5]:0"))
}

// cases is the table that runs on the fake and, in a virtual machine, on the kernel.
func cases() map[string]func(*testing.T, *world) {
	ctx := context.Background()
	base := plan.Plan{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	base.Filter.Open = []plan.Ports{ports("192.0.2.1", corev1.ProtocolTCP, 80, 80)}
	base.Filter.Masquerade = base.Filter.Open
	check := func(t *testing.T, w *world, want string) {
		t.Helper()
		if got := w.state(t); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Fatalf("the kernel has\n%swant\n%s", got, want)
		}
	}
	const two = "address 192.0.2.1\nTCP  192.0.2.1:80 rr\n  10.244.0.5:8080\n  10.244.1.5:8080\n"
	return map[string]func(*testing.T, *world){
		"everything is as planned, and nothing is left to do": func(t *testing.T, w *world) {
			must(t, w.Apply(ctx, everything()))
			check(t, w, `
address 192.0.2.1
address 2001:db8::1
TCP  192.0.2.1:80 rr
  10.244.0.5:8080
  10.244.1.5:8080
FWM  7 mh,port sticky
  10.244.0.5:0
FWM  7 IPv6 mh,port sticky
  [fd00::5]:0`)
			w.checks = fullRounds
			servers, err := w.sameServers()
			must(t, err)
			w.checks = 6
			filter, err := w.sameFilter()
			must(t, err)
			reals, err := w.sameReals()
			must(t, err)
			if !servers || !filter || !reals {
				found, intact, _ := w.Filter.Read()
				t.Fatalf("the kernel differs from what was just programmed; intact %v, found %v\nwant %v", intact, sorted(found), w.elements)
			}
		},
		"a restart changes nothing": func(t *testing.T, w *world) {
			must(t, w.Apply(ctx, everything()))
			again := w.restart()
			must(t, again.observe())
			if again.elements == nil || !slices.Equal(sorted(again.elements), w.elements) {
				t.Fatalf("a new programmer finds %v, not %v", again.elements, w.elements)
			}
			must(t, again.Apply(ctx, everything()))
			if len(again.servers) != 3 || len(again.foreign) != 0 {
				t.Fatalf("%d servers are ours, %d foreign", len(again.servers), len(again.foreign))
			}
		},
		"servers come, change and go": func(t *testing.T, w *world) {
			must(t, w.Apply(ctx, with(base, web("10.244.0.5:8080"))))
			must(t, w.Apply(ctx, with(base, web("10.244.0.5:8080", "10.244.1.5:8080"))))
			check(t, w, two)
			s := web("10.244.0.5:8080", "10.244.1.5:8080")
			s.Scheduler, s.Affinity, s.Reals[0].Weight = plan.Scheduler{Name: "sh", Fallback: true}, 600, 3
			must(t, w.Apply(ctx, with(base, s)))
			check(t, w, "address 192.0.2.1\nTCP  192.0.2.1:80 sh sticky\n  10.244.0.5:8080 weight 3\n  10.244.1.5:8080\n")
			must(t, w.Apply(ctx, plan.Plan{}))
			check(t, w, "")
		},
		"a real server without connections goes at once": func(t *testing.T, w *world) {
			must(t, w.Apply(ctx, with(base, web("10.244.0.5:8080", "10.244.1.5:8080"))))
			must(t, w.Apply(ctx, with(base, web("10.244.1.5:8080"))))
			check(t, w, "address 192.0.2.1\nTCP  192.0.2.1:80 rr\n  10.244.1.5:8080\n")
		},
		"what is foreign is not touched": func(t *testing.T, w *world) {
			foreign := web("10.9.9.9:1")
			foreign.Address = netip.MustParseAddrPort("203.0.113.9:80")
			must(t, w.Servers.Do(Change{Verb: AddServer, Frontend: foreign.Frontend, Settings: foreign.Settings}))
			must(t, w.Servers.Do(Change{Verb: AddReal, Frontend: foreign.Frontend, Real: foreign.Reals[0]}))
			const theirs = "TCP  203.0.113.9:80 rr\n  10.9.9.9:1\n"
			must(t, w.Apply(ctx, with(base, web("10.244.0.5:8080", "10.244.1.5:8080"))))
			must(t, w.Check(ctx))
			check(t, w, two+theirs)
			if err := w.Apply(ctx, with(base, web("10.244.0.5:8080", "10.244.1.5:8080"), foreign)); !errors.Is(err, fs.ErrExist) {
				t.Fatalf("taking a foreign server gave %v, want that it exists", err)
			}
			must(t, w.restart().Cleanup())
			check(t, w, theirs)
		},
		"addresses by routes, and back": func(t *testing.T, w *world) {
			want := everything()
			must(t, w.Apply(ctx, want))
			direct := w.state(t)
			want.Routed = true
			must(t, w.Apply(ctx, want))
			routed := strings.NewReplacer("192.0.2.1\n", "192.0.2.1 by a route\n", "2001:db8::1\n", "2001:db8::1 by a route\n").Replace(direct)
			check(t, w, routed)
			w.Programmer = w.restart()
			must(t, w.Apply(ctx, want))
			check(t, w, routed)
			must(t, w.Device.Remove(bound(&want)[0]))
			must(t, w.Check(ctx))
			check(t, w, routed)
			want.Routed = false
			must(t, w.Apply(ctx, want))
			check(t, w, direct)
			want.Routed = true
			must(t, w.Apply(ctx, want))
			must(t, w.restart().Cleanup())
			check(t, w, "")
		},
		"a flush is repaired": func(t *testing.T, w *world) {
			want := with(base, web("10.244.0.5:8080", "10.244.1.5:8080"))
			must(t, w.Apply(ctx, want))
			w.flush(t)
			must(t, w.Check(ctx))
			check(t, w, two)
			w.lose(t)
			must(t, w.Check(ctx))
			check(t, w, two)
			must(t, w.Device.Remove(bound(&want)[0]))
			must(t, w.Check(ctx))
			check(t, w, two)
			for range checkRounds {
				must(t, w.Servers.Do(Change{Verb: SetReal, Frontend: want.Servers[0].Frontend, Real: plan.Real{Address: want.Servers[0].Reals[0].Address, Weight: 7}}))
				must(t, w.Check(ctx))
			}
			check(t, w, two)
			must(t, w.Apply(ctx, plan.Plan{}))
			check(t, w, "")
		},
		"cleanup leaves nothing": func(t *testing.T, w *world) {
			must(t, w.Apply(ctx, everything()))
			must(t, w.restart().Cleanup())
			check(t, w, "")
			if found, _, err := w.Filter.Read(); err != nil || len(found) > 0 {
				t.Fatalf("the packet filter still has %v (%v)", found, err)
			}
		},
		"a scheduler that the kernel lacks spoils nothing else": func(t *testing.T, w *world) {
			bad := web("10.244.0.6:8080")
			bad.Address, bad.Scheduler = netip.MustParseAddrPort("192.0.2.1:81"), plan.Scheduler{Name: "nonesuch"}
			if err := w.Apply(ctx, with(base, bad, web("10.244.0.5:8080", "10.244.1.5:8080"))); !errors.Is(err, ErrScheduler) {
				t.Fatalf("the error is %v", err)
			}
			if got := w.Lacking(); !slices.Equal(got, []string{"nonesuch"}) {
				t.Fatalf("lacking are %q", got)
			}
			check(t, w, two)
		},
	}
}

func TestFake(t *testing.T) {
	for name, f := range cases() {
		t.Run(name, func(t *testing.T) {
			w := fakeWorld()
			w.Servers.(*Fake).Lacks = []string{"nonesuch"}
			f(t, w)
		})
	}
}

// TestDrain: a real server with connections that is no longer wanted has weight 0 until they are gone. While its endpoint is
// there it waits as long as it takes; then for a pod that was being deleted not at all, for another one until its time is
// over. One whose connections are not worth waiting for goes at once; one that is wanted again is as before.
func TestDrain(t *testing.T) {
	ctx := context.Background()
	both, one := with(plan.Plan{}, web("10.244.0.5:8080", "10.244.1.5:8080")), with(plan.Plan{}, web("10.244.1.5:8080"))
	leaving := netip.MustParseAddrPort("10.244.0.5:8080")
	start := func(t *testing.T) (*world, *FakeServer) {
		w := fakeWorld()
		must(t, w.Apply(ctx, both))
		s := w.Servers.(*Fake).Table[both.Servers[0].Frontend]
		s.Connections[leaving] = 2
		must(t, w.Apply(ctx, one))
		return w, s
	}
	has := func(t *testing.T, s *FakeServer, weight int) {
		t.Helper()
		got, ok := s.Reals[leaving]
		if !ok && weight >= 0 || ok && int(got) != weight {
			t.Fatalf("the real server is there: %v, with weight %d; want %d", ok, got, weight)
		}
	}
	t.Run("until its connections are gone", func(t *testing.T) {
		w, s := start(t)
		has(t, s, 0)
		must(t, w.Check(ctx))
		has(t, s, 0)
		s.Connections[leaving] = 0
		must(t, w.Check(ctx))
		has(t, s, -1)
	})
	t.Run("while plan after plan changes something else", func(t *testing.T) {
		w, s := start(t)
		other := func(reals ...string) plan.Plan {
			x := web(reals...)
			x.Address = netip.MustParseAddrPort("192.0.2.2:80")
			return with(plan.Plan{}, one.Servers[0], x)
		}
		must(t, w.Apply(ctx, other("10.244.9.1:80")))
		must(t, w.Apply(ctx, other("10.244.9.1:80", "10.244.9.2:80")))
		has(t, s, 0)
		s.Connections[leaving] = 0
		must(t, w.Apply(ctx, other("10.244.9.1:80")))
		has(t, s, -1)
	})
	t.Run("until its time is over", func(t *testing.T) {
		w, s := start(t)
		w.now = w.now.Add(59 * time.Second)
		must(t, w.Check(ctx))
		has(t, s, 0)
		w.now = w.now.Add(time.Second)
		must(t, w.Check(ctx))
		has(t, s, -1)
	})
	t.Run("while its endpoint is there, then until its time is over", func(t *testing.T) {
		w, s := start(t)
		must(t, w.Apply(ctx, leaves(one, plan.Leaving{Address: leaving})))
		w.now = w.now.Add(time.Hour)
		must(t, w.Check(ctx))
		has(t, s, 0)
		must(t, w.Apply(ctx, one))
		w.now = w.now.Add(59 * time.Second)
		must(t, w.Check(ctx))
		has(t, s, 0)
		w.now = w.now.Add(time.Second)
		must(t, w.Check(ctx))
		has(t, s, -1)
	})
	t.Run("while its pod is being deleted, and no longer", func(t *testing.T) {
		w, s := start(t)
		must(t, w.Apply(ctx, leaves(one, plan.Leaving{Address: leaving, Terminating: true})))
		w.now = w.now.Add(time.Hour)
		must(t, w.Check(ctx))
		has(t, s, 0)
		must(t, w.Apply(ctx, one))
		has(t, s, -1)
	})
	t.Run("an endpoint that is not ready is no real server", func(t *testing.T) {
		w := fakeWorld()
		must(t, w.Apply(ctx, leaves(one, plan.Leaving{Address: leaving})))
		must(t, w.Check(ctx))
		if n := len(w.Servers.(*Fake).Table[one.Servers[0].Frontend].Reals); n != 1 {
			t.Errorf("there are %d real servers, want 1", n)
		}
	})
	t.Run("wanted again", func(t *testing.T) {
		w, s := start(t)
		must(t, w.Apply(ctx, both))
		has(t, s, 1)
		w.now = w.now.Add(time.Hour)
		must(t, w.Check(ctx))
		has(t, s, 1)
	})
	t.Run("not worth waiting for", func(t *testing.T) {
		w := fakeWorld()
		udp := both
		udp.Servers = slices.Clone(both.Servers)
		udp.Servers[0].Drain = 0
		must(t, w.Apply(ctx, udp))
		s := w.Servers.(*Fake).Table[udp.Servers[0].Frontend]
		s.Connections[leaving] = 2
		next := one
		next.Servers = slices.Clone(one.Servers)
		next.Servers[0].Drain = 0
		must(t, w.Apply(ctx, next))
		has(t, s, -1)
	})
	t.Run("a restart waits anew", func(t *testing.T) {
		w, s := start(t)
		w.Programmer = w.restart()
		w.now = w.now.Add(time.Hour)
		must(t, w.Apply(ctx, one))
		has(t, s, 0)
		w.now = w.now.Add(time.Minute)
		must(t, w.Check(ctx))
		has(t, s, -1)
	})
}

// leaves is the plan with an endpoint of its first server that gets nothing new.
func leaves(p plan.Plan, l plan.Leaving) plan.Plan {
	p.Servers = slices.Clone(p.Servers)
	p.Servers[0].Leaving = []plan.Leaving{l}
	return p
}

// TestOneChangeIsOneCall: an endpoint that comes is one call, whatever else there is; the same plan again is none.
func TestOneChangeIsOneCall(t *testing.T) {
	ctx := context.Background()
	w := fakeWorld()
	fake := w.Servers.(*Fake)
	must(t, w.Apply(ctx, with(everything(), web("10.244.0.5:8080"))))
	fake.Calls = nil
	must(t, w.Apply(ctx, with(everything(), web("10.244.0.5:8080"))))
	if len(fake.Calls) > 0 {
		t.Errorf("the same plan again made the calls %q", fake.Calls)
	}
	must(t, w.Apply(ctx, with(everything(), web("10.244.0.5:8080", "10.244.0.6:8080"))))
	if len(fake.Calls) != 1 {
		t.Errorf("one endpoint more made the calls %q", fake.Calls)
	}
}
