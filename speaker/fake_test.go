package speaker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/watchdog"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// world is everything around one Speaker, and what the Speaker did to it. It lives in a synctest bubble: its clock
// stands still while a test looks.
type world struct {
	t       *testing.T
	started time.Time

	watchdog *watchdog.Watchdog

	dirty   chan struct{}
	changed chan struct{} // links
	shrank  chan struct{} // layer2
	ready   chan struct{} // members
	log     bytes.Buffer  // read when nothing runs

	mu         sync.Mutex
	view       plan.View
	gatherErr  error
	alive      []string
	facts      map[string]plan.Facts // of the alive ones
	links      []plan.LinkState
	leaveFor   time.Duration // how long Leave takes
	left       []time.Duration
	announced  []plan.Announcement
	applies    []apply
	leaving    []plan.Announcement // of the last call of ApplyLeaving
	watched    []netip.Addr
	watches    int
	paused     time.Duration // when a pause was noticed; 0: there is none
	resumed    []time.Duration
	unheard    error // what Confirm returns
	published  []plan.Facts
	joining    []plan.Facts // what was published when Members began to run
	applying   func() error // what Apply does first; nil for nothing
	reports    []Report
	failback   time.Duration
	edges      map[string]*edge
	lost       map[string]bool
	heard      map[string]bool // by heartbeats
	companions [][]plan.Companion
	beats      chan struct{} // nil: there are no heartbeats
	bgp        *applier      // nil: there is no BGP
}

// apply is one call of Layer2.ApplyLeaving.
type apply struct {
	at            time.Duration // since the start
	want, leaving string        // addresses
}

// edge is the life of one of the Speaker's edges.
type edge struct {
	fail  chan error
	ended time.Duration // when its context ended
}

// link is the only link of the node.
var link = plan.Link{Index: 7, Name: "eth0", MAC: [6]byte{2, 0, 0, 0, 0, 1}}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, started: time.Now(), watchdog: watchdog.New("the speaker", time.Minute),
		dirty: make(chan struct{}, 1), changed: make(chan struct{}, 1), shrank: make(chan struct{}, 1), ready: make(chan struct{}),
		alive: []string{"n1", "n2"}, edges: map[string]*edge{}, links: []plan.LinkState{{Link: link}},
	}
	for _, name := range []string{"links", "members", "layer2"} {
		w.edges[name] = &edge{fail: make(chan error)}
	}
	compiled, problems := policy.Compile(policy.Objects{
		Pools: []v1beta1.IPAddressPool{{
			ObjectMeta: metav1.ObjectMeta{Name: "first-pool"},
			Spec:       v1beta1.IPAddressPoolSpec{Addresses: []string{"172.25.254.50-172.25.254.99"}},
		}},
		L2Advertisements: []v1beta1.L2Advertisement{{
			ObjectMeta: metav1.ObjectMeta{Name: "example"},
			Spec: v1beta1.L2AdvertisementSpec{NodeSelectors: []metav1.LabelSelector{{
				MatchLabels: map[string]string{"announces": "yes"},
			}}},
		}},
	}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.view = plan.View{Node: "n1", Policy: compiled}
	w.announcer("n1")
	return w
}

// announcer makes the node the one that the advertisement selects.
func (w *world) announcer(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view.Nodes = nil
	for _, name := range []string{"n1", "n2"} {
		n := plan.Node{Name: name, Ready: true, Labels: map[string]string{}}
		if name == node {
			n.Labels["announces"] = "yes"
		}
		w.view.Nodes = append(w.view.Nodes, n)
	}
}

// services makes the addresses those of one Service each.
func (w *world) services(addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view.Services = nil
	for _, a := range addresses {
		w.view.Services = append(w.view.Services, plan.Service{
			Namespace: "default", Name: "s" + a, Addresses: []netip.Addr{netip.MustParseAddr(a)}, Pool: "first-pool", Serving: true,
		})
	}
}

// run starts the Speaker. What it returns stops it and returns how long that took and Run's error.
func (w *world) run() (stop func() (time.Duration, error)) {
	s := &Speaker{
		Log: slog.New(slog.NewTextHandler(&w.log, nil)), Links: links{w}, Members: members{w}, Layer2: layer2{w},
		Gather: w.gather, Dirty: w.dirty, FailbackAfter: w.failback, Watchdog: w.watchdog,
		Report: func(_ context.Context, r Report) { w.mu.Lock(); w.reports = append(w.reports, r); w.mu.Unlock() },
	}
	if w.beats != nil {
		s.Heartbeats = heartbeats{w}
		w.edges["heartbeats"] = &edge{fail: make(chan error)}
	}
	if w.bgp != nil {
		s.BGP = w.bgp
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = s.Run(ctx)
	}()
	stop = func() (time.Duration, error) {
		before := time.Now()
		cancel()
		<-done
		return time.Since(before), err
	}
	w.t.Cleanup(func() { _, _ = stop() })
	return stop
}

// up starts the Speaker with links and members there, and waits for the first plan.
func (w *world) up() (stop func() (time.Duration, error)) {
	stop = w.run()
	close(w.ready)
	w.changed <- struct{}{}
	synctest.Wait()
	return stop
}

// mark says that something changed, and waits until the Speaker is idle again.
func (w *world) mark() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
	synctest.Wait()
}

// at sleeps until a time since the start, and waits until the Speaker is idle.
func (w *world) at(d time.Duration) {
	time.Sleep(time.Until(w.started.Add(d)))
	synctest.Wait()
}

// wantApplies checks every call of Apply since the last check: time and addresses.
func (w *world) wantApplies(want ...apply) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	ok := len(want) == len(w.applies)
	for i := 0; ok && i < len(want); i++ {
		ok = want[i] == w.applies[i]
	}
	if !ok {
		w.t.Fatalf("applied %v\nwant    %v", w.applies, want)
	}
	w.applies = nil
}

func (w *world) answeredFor() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return addresses(w.announced)
}

// gather adds to the view what the speaker sees by itself, as controllers does.
func (w *world) gather(_ context.Context, local Local) (plan.View, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.view
	v.Links = local.Links
	for _, m := range local.Members {
		v.Members = append(v.Members, m.Node)
	}
	return v, w.gatherErr
}

// live is an edge's Run: it ends with its context or with the error that the test gives.
func (w *world) live(ctx context.Context, name string) error {
	e := w.edges[name]
	select {
	case <-ctx.Done():
		w.mu.Lock()
		e.ended = time.Since(w.started)
		w.mu.Unlock()
		return nil
	case err := <-e.fail:
		return err
	}
}

// applier is BGP.
type applier struct {
	*world
	changed chan struct{}
	plans   int
	drain   time.Duration // how long HandOver takes
	failed  error         // what Apply and HandOver return
}

func (a *applier) Run(ctx context.Context) error { return a.live(ctx, "bgp") }
func (a *applier) Changed() <-chan struct{}      { return a.changed }

func (a *applier) Apply(context.Context, plan.Plan) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.plans++
	return a.failed
}

func (a *applier) HandOver(context.Context) error {
	time.Sleep(a.drain)
	return a.failed
}

type links struct{ *world }

func (l links) Run(ctx context.Context) error { return l.live(ctx, "links") }
func (l links) Changed() <-chan struct{}      { return l.changed }

func (l links) Snapshot() []plan.LinkState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.world.links
}

type members struct{ *world }

func (m members) Run(ctx context.Context) error {
	m.mu.Lock()
	m.joining = slices.Clone(m.published)
	m.mu.Unlock()
	return m.live(ctx, "members")
}

func (m members) Ready() <-chan struct{} { return m.ready }

func (m members) Alive() []plan.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []plan.Member
	for _, node := range m.alive {
		if node == m.view.Node && len(m.published) > 0 {
			out = append(out, plan.Member{Node: node, Address: netip.MustParseAddr("192.0.2.1"), Facts: m.published[len(m.published)-1]})
			continue
		}
		out = append(out, plan.Member{Node: node, Address: netip.MustParseAddr("192.0.2.1"), Facts: m.facts[node]})
	}
	return out
}

func (m members) Confirm(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unheard
}

func (m members) Publish(f plan.Facts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.published); n == 0 || m.published[n-1] != f {
		m.published = append(m.published, f)
	}
}

func (m members) Leave(timeout time.Duration) error {
	m.mu.Lock()
	m.left = append(m.left, time.Since(m.started))
	m.mu.Unlock()
	time.Sleep(min(m.leaveFor, timeout))
	if m.leaveFor > timeout {
		return errors.New("nobody heard it")
	}
	return nil
}

type layer2 struct{ *world }

func (l layer2) Run(ctx context.Context) error { return l.live(ctx, "layer2") }

func (l layer2) Changed() <-chan struct{} { return l.shrank }

func (l layer2) Announced() []plan.Announcement {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.announced
}

func (l layer2) Contested() time.Time { return time.Time{} }

func (l layer2) ApplyLeaving(_ context.Context, want, leaving []plan.Announcement) error {
	l.mu.Lock()
	l.applies = append(l.applies, apply{time.Since(l.started), addresses(want), addresses(leaving)})
	first := l.applying
	l.mu.Unlock()
	if first != nil {
		if err := first(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.announced, l.world.leaving = slices.Concat(want, leaving), leaving
	return nil
}

// hear makes another speaker announce what is leaving.
func (w *world) hear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.announced = slices.DeleteFunc(slices.Clone(w.announced), func(x plan.Announcement) bool { return slices.Contains(w.leaving, x) })
	w.shrank <- struct{}{}
}

func (l layer2) Watch(_ context.Context, addresses []netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watched, l.watches = addresses, l.watches+1
	return nil
}

func (l layer2) Paused() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.paused, l.paused != 0
}

func (l layer2) Resume(_ context.Context, noticed time.Duration, want []plan.Announcement) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resumed = append(l.resumed, noticed)
	l.announced = want
	if l.paused == noticed {
		l.paused = 0
	}
	return nil
}

type heartbeats struct{ *world }

func (h heartbeats) Run(ctx context.Context) error { return h.live(ctx, "heartbeats") }
func (h heartbeats) Changed() <-chan struct{}      { return h.beats }

func (h heartbeats) Apply(_ context.Context, all []plan.Companion) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.companions = append(h.companions, all)
	return nil
}

func (h heartbeats) Hears() map[string]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.heard
}

func (h heartbeats) Lost() map[string]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

// loses makes a node lost, or none.
func (w *world) loses(nodes ...string) {
	w.mu.Lock()
	w.lost = map[string]bool{}
	for _, n := range nodes {
		w.lost[n] = true
	}
	w.mu.Unlock()
	w.beats <- struct{}{}
	synctest.Wait()
}

// addresses renders the last byte of each announced address.
func addresses(in []plan.Announcement) string {
	var out []string
	for _, x := range in {
		text := x.Address.String()
		out = append(out, text[strings.LastIndexAny(text, ".:"):])
	}
	return strings.Join(out, " ")
}
