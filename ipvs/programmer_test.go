package ipvs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/kernel"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// world is a programmer on a node whose kernel is in memory. It lives in a synctest bubble; do changes what is around the
// programmer.
type world struct {
	programmer *Programmer
	dirty      chan struct{}
	changes    atomic.Int32

	mu     sync.Mutex
	kernel *kernel.Programmer
	fake   *kernel.Fake
	local  plan.Local
	err    error // of Look
	looks  int
	views  int // how often View was asked
	view   plan.View
	known  bool
	log    bytes.Buffer
}

func (w *world) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// Look, Apply, Check and Failed are the programmer's kernel.
func (w *world) Look(context.Context) (l plan.Local, err error) {
	w.do(func() { w.looks++; l, err = w.local, w.err })
	return l, err
}

func (w *world) Apply(ctx context.Context, p plan.Plan) (err error) {
	w.do(func() { err = w.kernel.Apply(ctx, p) })
	return err
}

func (w *world) Check(ctx context.Context) (err error) {
	w.do(func() { err = w.kernel.Check(ctx) })
	return err
}

func (w *world) Failed() (f plan.Failed) {
	w.do(func() { f = w.kernel.Failed() })
	return f
}

func (w *world) View(plan.Local) (v plan.View, known bool) {
	w.do(func() { w.views++; v, known = w.view, w.known; v.Services = slices.Clone(v.Services) })
	return v, known
}

// Write is the log.
func (w *world) Write(b []byte) (n int, err error) {
	w.do(func() { n, err = w.log.Write(b) })
	return n, err
}

func service(name, address string, reals ...string) plan.Service {
	s := plan.Service{Namespace: "x", Name: name, UID: name, LoadBalancer: []netip.Addr{netip.MustParseAddr(address)}}
	s.Ports = []plan.Port{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}}
	slice := &plan.Slice{Ports: []plan.Port{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 8080}}}
	for _, r := range reals {
		slice.Endpoints = append(slice.Endpoints, plan.Endpoint{Address: netip.MustParseAddr(r), Ready: true, Serving: true})
	}
	s.Slices = []*plan.Slice{slice}
	return s
}

// run starts a programmer in a bubble, calls f, and stops it.
func run(t *testing.T, f func(*testing.T, *world), changes ...func(*Programmer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{dirty: make(chan struct{}, 1), known: true}
		w.view = plan.View{Node: "a", Drain: time.Minute, Services: []plan.Service{service("web", "192.0.2.1", "10.244.0.5")}}
		w.fake = kernel.NewFake()
		w.kernel = &kernel.Programmer{Log: slog.New(slog.DiscardHandler), Servers: w.fake, Device: kernel.FakeDevice{Fake: w.fake}, Filter: kernel.FakeFilter{Fake: w.fake}}
		w.programmer = &Programmer{
			Log: slog.New(slog.NewTextHandler(w, nil)), Node: "a", Kernel: w, View: w.View, Dirty: w.dirty, Changed: func() { w.changes.Add(1) },
		}
		for _, change := range changes {
			change(w.programmer)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.programmer.Run(ctx) }()
		synctest.Wait()
		f(t, w)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// touch says that the view changed, and waits until the programmer rests.
func (w *world) touch() {
	w.dirty <- struct{}{}
	synctest.Wait()
}

func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) served() string {
	var out []string
	for _, a := range w.programmer.Report().Addresses {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func (w *world) expect(t *testing.T, ready bool, served string, reasons ...verdict.Reason) {
	t.Helper()
	r := w.programmer.Report()
	var got []verdict.Reason
	for _, v := range r.Problems {
		got = append(got, v.Reason)
	}
	if r.Ready != ready || w.served() != served || !slices.Equal(got, reasons) {
		t.Fatalf("ready %v, serves %q, problems %v; want %v, %q, %v", r.Ready, w.served(), r.Problems, ready, served, reasons)
	}
}

// TestServes: what changes is served and told once; a report is not made anew by time alone.
func TestServes(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.expect(t, true, "192.0.2.1")
		w.do(func() { w.view.Services = append(w.view.Services, service("mail", "192.0.2.2", "10.244.0.6")) })
		w.touch()
		w.expect(t, true, "192.0.2.1 192.0.2.2")
		if n := w.changes.Load(); n != 2 {
			t.Errorf("%d changes were told, want 2", n)
		}
		checked := w.programmer.Report().Checked
		w.pass(time.Minute)
		if n := w.changes.Load(); n != 2 {
			t.Errorf("time alone was told as a change")
		}
		if age := w.programmer.Report().Checked.Sub(checked); age < 59*time.Second {
			t.Errorf("in a minute the report became %s younger: nobody can see that the programmer lives", age)
		}
	})
}

// TestUnknown: before the view is known, the kernel keeps what it has; later too.
func TestUnknown(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.do(func() { w.known, w.view.Services = false, nil })
		w.touch()
		w.expect(t, true, "192.0.2.1")
		w.do(func() { w.known = true })
		w.touch()
		w.expect(t, true, "")
	})
}

// TestFlush: what somebody else takes away is there again within 2 s, even while something else fails.
func TestFlush(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		before := w.fake.Dump()
		w.do(func() { clear(w.fake.Table) })
		w.pass(2 * time.Second)
		if got := w.fake.Dump(); got != before {
			t.Errorf("the kernel has\n%swant\n%s", got, before)
		}
		w.do(func() { w.fake.Lacks = []string{"lc"} })
		failing := service("failing", "192.0.2.2", "10.244.0.6")
		failing.Scheduler = "lc"
		w.do(func() { w.view.Services = append(w.view.Services, failing) })
		w.touch()
		w.expect(t, false, "192.0.2.1", verdict.ProgrammingFailed)
		w.pass(time.Minute)
		w.do(func() { clear(w.fake.Table) })
		w.pass(2 * time.Second)
		if !strings.Contains(w.fake.Dump(), "10.244.0.5:8080") {
			t.Errorf("the flush is not repaired: the kernel has\n%s", w.fake.Dump())
		}
		if n := strings.Count(w.log.String(), "not everything is served"); n != 1 {
			t.Errorf("the failure is logged %d times, want once:\n%s", n, w.log.String())
		}
		w.do(func() { w.fake.Lacks = nil })
		w.pass(retryMax + time.Second)
		w.expect(t, true, "192.0.2.1 192.0.2.2")
	})
}

// TestModulesMissing: it says which, serves nothing, looks again slowly, and serves when they are there.
func TestModulesMissing(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.do(func() { w.local.Missing = []string{"ip_vs", "dummy"} })
		w.pass(checkEvery)
		w.expect(t, false, "", verdict.ModulesMissing)
		if m := w.programmer.Report().Problems[0].Message; !strings.Contains(m, "ip_vs, dummy") {
			t.Errorf("the message is %q", m)
		}
		looks := w.looks
		for range 10 {
			w.touch()
		}
		w.pass(2 * idle)
		if n := w.looks - looks; n > 2 {
			t.Errorf("it looked %d times in %s", n, 2*idle)
		}
		w.do(func() { w.local.Missing = nil })
		w.pass(idle)
		w.expect(t, true, "192.0.2.1")
	})
}

// TestNodeChanges: what the node says of itself makes a new plan: a scheduler that is missing, kube-proxy in IPVS mode.
func TestNodeChanges(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.do(func() { w.view.Services[0].Scheduler = "wlc" })
		w.touch()
		w.do(func() { w.local.Lacking = []string{"wlc"} })
		w.pass(checkEvery)
		w.expect(t, true, "192.0.2.1")
		if v := w.programmer.Report().Verdicts; len(v) != 1 || v[0].Reason != verdict.SchedulerUnavailable {
			t.Errorf("verdicts %v", v)
		}
		w.do(func() { w.local.Proxy = plan.ProxyIPVS })
		w.pass(checkEvery)
		w.expect(t, true, "192.0.2.1", verdict.KubeProxyIPVS)
		if m := w.programmer.Report().Problems[0].Message; !strings.Contains(m, `ipvs.excludeCIDRs: ["0.0.0.0/32", "::/128"]`) {
			t.Errorf("the message is %q", m)
		}
		if dump := w.fake.Dump(); strings.Contains(dump, "TCP") || !strings.Contains(dump, "FWM") {
			t.Errorf("beside kube-proxy in IPVS mode the kernel has\n%s", dump)
		}
		w.do(func() { w.local.Proxy = plan.ProxyCilium })
		w.pass(checkEvery)
		w.expect(t, true, "192.0.2.1", verdict.KubeProxyReplaced)
		if m := w.programmer.Report().Problems[0].Message; !strings.HasPrefix(m, "Cilium serves Services by eBPF on node a") {
			t.Errorf("the message is %q", m)
		}
		if dump := w.fake.Dump(); !strings.Contains(dump, "TCP") {
			t.Errorf("beside Cilium the kernel has\n%s", dump)
		}
	})
}

// TestTakenUp: when kube-proxy takes up an address that is served here, or lets it go, a new plan is made: it may be time to let
// go of it. Other addresses of kube-proxy's make none.
func TestTakenUp(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for _, c := range []struct {
			takenUp []string
			views   int
		}{
			{nil, 0}, {[]string{"10.96.0.1"}, 0}, {[]string{"10.96.0.1", "192.0.2.1"}, 1}, {[]string{"10.96.0.1", "10.96.0.2", "192.0.2.1"}, 0}, {[]string{"10.96.0.1"}, 1},
		} {
			before := w.views
			w.do(func() {
				w.local.TakenUp = nil
				for _, a := range c.takenUp {
					w.local.TakenUp = append(w.local.TakenUp, netip.MustParseAddr(a))
				}
			})
			w.pass(checkEvery)
			if got := w.views - before; got != c.views {
				t.Errorf("with %v on kube-proxy's device %d new plans were made, want %d", c.takenUp, got, c.views)
			}
		}
	})
}

// TestListeners: a port on which a process listens is no node port until it stops; who listens later changes nothing, and
// listeners on other ports make no new plan.
func TestListeners(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		own := netip.MustParseAddr("10.0.0.1")
		port := plan.Ports{Address: own, Range: portrange.Port(corev1.ProtocolTCP, 33333)}
		listener, other := port, port
		listener.Address = netip.IPv4Unspecified()
		other.First, other.Last = 22, 22
		listen := func(on ...plan.Ports) {
			w.do(func() { w.local.Listening = on })
			w.pass(checkEvery)
		}
		expect := func(refused bool) {
			t.Helper()
			want := []plan.Held{{Namespace: "x", Name: "web", Ports: port, Refused: refused}}
			if got := w.programmer.Report().NodePorts; !slices.Equal(got, want) {
				t.Fatalf("node ports %v, want %v", got, want)
			}
		}
		listen(listener)
		w.do(func() {
			w.view.Services[0].NodePorts = []plan.NodePort{{Name: "http", Port: 33333, Addresses: []netip.Addr{own}}}
		})
		w.touch()
		w.expect(t, true, "192.0.2.1")
		expect(true)
		views := w.views
		listen(listener, other)
		if w.views != views {
			t.Error("a listener on another port made a new plan")
		}
		listen(other)
		w.expect(t, true, "10.0.0.1 192.0.2.1")
		expect(false)
		listen(listener)
		w.touch()
		expect(false)
	})
}

// TestListenersOverARestart: who listens on a port that the process before this one served changes nothing either.
func TestListenersOverARestart(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		port := plan.Ports{Address: netip.MustParseAddr("10.0.0.1"), Range: portrange.Port(corev1.ProtocolTCP, 33333)}
		listener := plan.Ports{Address: netip.IPv4Unspecified(), Range: port.Range}
		taken := listener
		taken.First, taken.Last = 22, 22
		w.do(func() {
			w.local.Marked, w.local.Listening, w.known = []plan.Ports{port}, []plan.Ports{listener, taken}, true
			for _, p := range []uint16{22, 33333} {
				w.view.Services[0].NodePorts = append(w.view.Services[0].NodePorts, plan.NodePort{Name: "http", Port: p, Addresses: []netip.Addr{port.Address}})
			}
		})
		w.touch()
		w.do(func() { w.local.Marked = nil })
		w.touch()
		taken.Address = port.Address
		want := []plan.Held{{Namespace: "x", Name: "web", Ports: port}, {Namespace: "x", Name: "web", Ports: taken, Refused: true}}
		if got := w.programmer.Report().NodePorts; !slices.Equal(got, want) {
			t.Errorf("node ports %v, want %v", got, want)
		}
	}, func(p *Programmer) { p.Kernel.(*world).known = false })
}

// TestListenersInARange: of a range of node ports all are served but the one on which a process listens, until that stops; who
// listens later changes nothing.
func TestListenersInARange(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		own := netip.MustParseAddr("10.0.0.1")
		ports := func(first, last uint16) plan.Ports {
			return plan.Ports{Address: own, Range: portrange.Range{Protocol: corev1.ProtocolUDP, First: first, Last: last}}
		}
		listen := func(on ...plan.Ports) {
			w.do(func() { w.local.Listening = on })
			w.pass(checkEvery)
		}
		expect := func(want ...string) {
			t.Helper()
			var got []string
			for _, h := range w.programmer.Report().NodePorts {
				got = append(got, fmt.Sprint(h.Range, " refused ", h.Refused))
			}
			if !slices.Equal(got, want) {
				t.Fatalf("node ports %q, want %q", got, want)
			}
		}
		listen(ports(33050, 33050))
		w.do(func() { w.view.Services[0].NodeRanges = []plan.Ports{ports(33000, 33099)} })
		w.touch()
		expect("33000-33049/UDP refused false", "33051-33099/UDP refused false", "33050/UDP refused true")
		listen(ports(33051, 33051))
		expect("33000-33099/UDP refused false")
		w.touch()
		expect("33000-33099/UDP refused false")
	})
}

// TestHealthChecks: they are answered when what they ask for is served, and not after the end; a port that cannot be had is
// told and tried again.
func TestHealthChecks(t *testing.T) {
	var mu sync.Mutex
	var answered []plan.Check
	var refuse error
	answer := func(c []plan.Check) error {
		mu.Lock()
		defer mu.Unlock()
		answered = c
		return refuse
	}
	expect := func(t *testing.T, want ...plan.Check) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(answered, want) {
			t.Errorf("answered are %v, want %v", answered, want)
		}
	}
	run(t, func(t *testing.T, w *world) {
		w.do(func() {
			s := &w.view.Services[0]
			s.ExternalLocal, s.HealthPort = true, 32001
			here := service("web", "192.0.2.1", "10.244.0.5").Slices
			here[0].Endpoints[0].Node = "a"
			s.Slices = here
		})
		mu.Lock()
		refuse = errors.New("somebody listens there")
		mu.Unlock()
		w.touch()
		w.expect(t, false, "192.0.2.1", verdict.ProgrammingFailed)
		mu.Lock()
		refuse = nil
		mu.Unlock()
		w.pass(checkEvery)
		w.expect(t, true, "192.0.2.1")
		expect(t, plan.Check{Namespace: "x", Name: "web", Port: 32001, Local: 1})
	}, func(p *Programmer) { p.Answer = answer })
	expect(t)
}

// TestSynced: each plan that the kernel was to take is told, with what came of it, and no check is.
func TestSynced(t *testing.T) {
	var syncs, failures int
	run(t, func(t *testing.T, w *world) {
		w.pass(time.Minute)
		w.do(func() { w.fake.Lacks, w.view.Services[0].Scheduler = []string{"lc"}, "lc" })
		w.touch()
	}, func(p *Programmer) {
		p.Synced = func(_ time.Duration, err error) {
			if syncs++; err != nil {
				failures++
			}
		}
	})
	if syncs != 2 || failures != 1 {
		t.Errorf("%d plans were told, %d of them failed, want 2 and 1", syncs, failures)
	}
}

// TestLookFails: the node is served on as it was, and the error is told.
func TestLookFails(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.do(func() { w.err = errors.New("out of sockets") })
		w.pass(checkEvery)
		w.expect(t, false, "192.0.2.1", verdict.ProgrammingFailed)
		w.do(func() { w.err = nil })
		w.pass(checkEvery)
		w.expect(t, true, "192.0.2.1")
	})
}

// TestStop: what is in the kernel stays.
func TestStop(t *testing.T) {
	var fake *kernel.Fake
	run(t, func(t *testing.T, w *world) { fake = w.fake })
	if !strings.Contains(fake.Dump(), "10.244.0.5:8080") {
		t.Errorf("after the end the kernel has\n%s", fake.Dump())
	}
}
