// Package ipvs runs on every node that serves addresses by its kernel: it makes the node's plan from one view of everything,
// holds the kernel to it, repairs what others change, and says what is served.
package ipvs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/internal/watchdog"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

const (
	// checkEvery is how often the kernel is looked at, so that a foreign flush is repaired within 2 s.
	checkEvery = time.Second
	// idle is how long a programmer waits where the kernel lacks what it needs.
	idle = 30 * time.Second
	// retryMax bounds the time between two tries of what the kernel refused. They begin a second apart.
	retryMax = 30 * time.Second
)

// Kernel is what the programmer needs of ipvs/kernel.
type Kernel interface {
	// Look says what the node has, whatever is planned.
	Look(context.Context) (plan.Local, error)
	// Apply makes the kernel hold the plan. It goes on past what fails, and may be called again with the same plan.
	Apply(context.Context, plan.Plan) error
	// Check repairs what others changed since the last Apply, and takes away what has drained.
	Check(context.Context) error
	// Failed returns what of the last plan the kernel does not hold.
	Failed() plan.Failed
}

// Programmer holds one node's kernel to its plan. All fields but Changed, Answer, Synced and Watchdog are required.
type Programmer struct {
	Log    *slog.Logger
	Node   string
	Kernel Kernel
	// View returns the view, given what the node says of itself, and whether it is known yet. The programmer adds to it what
	// follows from that: Lacking, Taken, MarksOnly. A plan.Slice that was in a view is not changed any more.
	View func(plan.Local) (view plan.View, known bool)
	// Dirty holds a value when what View reads may have changed.
	Dirty <-chan struct{}
	// Changed is called after Report changed, by the goroutine of Run; nil: nobody wants to know.
	Changed func()
	// Answer answers these health checks, and no others; nil: nobody does.
	Answer func([]plan.Check) error
	// Synced is called after every try to have the kernel hold a plan, with what that took; nil: nobody wants to know.
	Synced func(took time.Duration, err error)
	// Watchdog follows the rounds; nil: nothing does.
	Watchdog *watchdog.Watchdog

	report atomic.Pointer[Report]
}

// Report is what a node serves, and what keeps it from serving more. It is not changed once it is made.
type Report struct {
	Node  string
	Ready bool // the whole last plan is in the kernel
	// Checked is when the kernel was last seen to hold what is reported. It is no part of what Changed tells.
	Checked   time.Time
	Addresses []netip.Addr      // that are served with all that is planned for them; sorted
	Servers   int               // virtual servers that the kernel holds
	Reals     int               // their real servers, but for those that get nothing new
	NodePorts []plan.Held       // of NodePortRanges: those that are served, and those refused; sorted
	Proxy     plan.Proxy        // kube-proxy's mode, or what there is instead
	Missing   []string          // kernel modules
	Problems  []verdict.Verdict // of the node
	Verdicts  []plan.Verdict    // of Services, that are not served as they ask for; sorted
}

// same says whether two reports differ in nothing but the time.
func (r *Report) same(o *Report) bool {
	return r.Node == o.Node && r.Ready == o.Ready && r.Proxy == o.Proxy && slices.Equal(r.Addresses, o.Addresses) &&
		r.Servers == o.Servers && r.Reals == o.Reals && slices.Equal(r.NodePorts, o.NodePorts) && slices.Equal(r.Missing, o.Missing) && slices.Equal(r.Problems, o.Problems) &&
		slices.Equal(r.Verdicts, o.Verdicts)
}

// Report returns what came of the last round. Before the first one nothing is served.
func (p *Programmer) Report() Report {
	if r := p.report.Load(); r != nil {
		return *r
	}
	return Report{Node: p.Node}
}

// Run programs until the context ends. The kernel then keeps what it has, so that a restart disturbs nobody.
func (p *Programmer) Run(ctx context.Context) error {
	r := round{Programmer: p, dirty: true}
	timer := time.NewTimer(0)
	defer timer.Stop()
	if p.Answer != nil {
		defer func() { _ = p.Answer(nil) }()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.Dirty:
			r.dirty = true
			if len(r.local.Missing) > 0 {
				continue // the timer tries again
			}
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return nil // select prefers no case, and no plan is to be begun any more
		}
		timer.Reset(r.run(ctx, time.Now()))
	}
}

// round carries out one plan after the other.
type round struct {
	*Programmer
	dirty   bool // what the plan is made of changed
	known   bool // there is a plan
	local   plan.Local
	builder plan.Builder
	plan    plan.Plan
	failed  []verdict.Verdict // what came of the last try to apply the plan
	retry   time.Duration     // after which that is tried again; 0: it did not fail
	retryAt time.Time
	logged  string // the last error, which is logged once
}

// run makes the plan where something changed, holds the kernel to it, and returns when to do so again at the latest.
func (r *round) run(ctx context.Context, now time.Time) time.Duration {
	defer r.Watchdog.Step()()
	local, err := r.Kernel.Look(ctx)
	if err != nil {
		r.tell(now, r.problem(verdict.ProgrammingFailed, fmt.Errorf("looking at the node: %w", err)))
		return checkEvery
	}
	if len(local.Missing) > 0 {
		r.local, r.known, r.dirty = local, false, true
		r.tell(now, r.problem(verdict.ModulesMissing, fmt.Errorf("the kernel of node %s lacks the modules %s; nothing is served there until they are loaded",
			r.Node, strings.Join(local.Missing, ", "))))
		return idle
	}
	if r.differs(&local) {
		r.dirty = true
	}
	r.local = local
	if r.dirty {
		r.build()
	}
	if !r.known {
		r.tell(now, nil)
		return checkEvery
	}
	r.hold(ctx, now)
	return checkEvery
}

// differs says whether a node says something that the plan depends on and that it did not say before.
func (r *round) differs(l *plan.Local) bool {
	was := &r.local
	return !slices.Equal(was.Lacking, l.Lacking) || !slices.Equal(was.Addresses, l.Addresses) || was.Proxy != l.Proxy ||
		!slices.Equal(r.waited(was.Listening), r.waited(l.Listening)) || !slices.Equal(r.shared(was), r.shared(l))
}

// shared returns the addresses served here that kube-proxy has taken up, too.
func (r *round) shared(l *plan.Local) (out []netip.Addr) {
	for _, a := range l.TakenUp {
		if _, served := slices.BinarySearchFunc(r.plan.Addresses, a, netip.Addr.Compare); served {
			out = append(out, a)
		}
	}
	return out
}

// waited returns the listeners that keep a Service from a node port.
func (r *round) waited(listening []plan.Ports) (out []plan.Ports) {
	for _, l := range listening {
		if slices.ContainsFunc(r.plan.NodePorts, func(h plan.Held) bool { return h.Refused && h.TakenBy(l) }) {
			out = append(out, l)
		}
	}
	return out
}

// taken returns the ports on which others listened before they were node ports here. What is served goes on, whoever
// listens later, and over a restart: any process may be given such a port for a while by the kernel.
func (r *round) taken() (out []plan.Ports) {
	served := slices.Clone(r.local.Marked)
	for _, h := range r.plan.NodePorts {
		if !h.Refused {
			served = append(served, h.Ports)
		}
	}
	for _, l := range r.local.Listening {
		if !slices.ContainsFunc(served, func(p plan.Ports) bool { return p.TakenBy(l) }) {
			out = append(out, l)
		}
	}
	return out
}

// build makes the plan, where the view is known.
func (r *round) build() {
	v, known := r.View(r.local)
	if !known {
		return // what was planned stays
	}
	v.Lacking, v.Taken, v.MarksOnly = r.local.Lacking, r.taken(), v.MarksOnly || r.local.Proxy == plan.ProxyIPVS
	r.plan, r.known, r.retry = r.builder.Build(&v), true, 0
}

// hold applies a new plan, and again one that failed when its time has come; else it checks what is held.
func (r *round) hold(ctx context.Context, now time.Time) {
	applies := r.dirty || r.retry > 0 && !now.Before(r.retryAt)
	var err error
	if applies {
		began := time.Now()
		err = r.Kernel.Apply(ctx, r.plan)
		if r.Answer != nil { // now that what they ask for is served
			err = errors.Join(err, r.Answer(r.plan.Checks))
		}
		if r.Synced != nil && ctx.Err() == nil {
			r.Synced(time.Since(began), err)
		}
	} else {
		err = r.Kernel.Check(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		r.retry = min(max(checkEvery, 2*r.retry), retryMax)
		r.retryAt = now.Add(r.retry)
		r.failed = r.problem(verdict.ProgrammingFailed, err)
	case applies:
		r.retry, r.failed, r.logged = 0, nil, ""
	}
	r.dirty = false
	r.tell(now, r.failed)
}

// problem logs an error, once, and returns it as people are told.
func (r *round) problem(reason verdict.Reason, err error) []verdict.Verdict {
	if err.Error() != r.logged {
		r.logged = err.Error()
		r.Log.Error("not everything is served", "node", r.Node, "error", err)
	}
	return []verdict.Verdict{{Reason: reason, Message: firstLines(err.Error())}}
}

// tell publishes the report.
func (r *round) tell(now time.Time, problems []verdict.Verdict) {
	next := &Report{Node: r.Node, Checked: now, Proxy: r.local.Proxy, Missing: r.local.Missing, Problems: problems}
	if r.known {
		next.Ready = len(problems) == 0
		failed := r.Kernel.Failed()
		next.Addresses, next.NodePorts = r.plan.Served(&failed)
		next.Servers, next.Reals = r.plan.Count(&failed)
		for _, h := range r.plan.NodePorts {
			if h.Refused {
				next.NodePorts = append(next.NodePorts, h)
			}
		}
		next.Verdicts = r.plan.Verdicts
	}
	switch proxy := r.local.Proxy; {
	case proxy == plan.ProxyIPVS:
		next.Problems = append(slices.Clone(problems), verdict.Verdict{Reason: verdict.KubeProxyIPVS,
			Message: fmt.Sprintf("kube-proxy runs in IPVS mode on node %s, so everything is served by firewall marks; "+
				"with ipvs.excludeCIDRs: [%q, %q] in its configuration it does not try in vain to delete them", r.Node, excludeCIDRs()[0], excludeCIDRs()[1])})
	case proxy.Replaces():
		next.Problems = append(slices.Clone(problems), verdict.Verdict{Reason: verdict.KubeProxyReplaced,
			Message: fmt.Sprintf("%s serves Services by eBPF on node %s, so IPVS serves only what that leaves alone", proxy, r.Node)})
	}
	last := r.report.Swap(next)
	if r.Changed != nil && (last == nil || !last.same(next)) {
		r.Changed()
	}
}

// excludeCIDRs are what kube-proxy in IPVS mode takes for the addresses of firewall-mark servers, as its configuration names
// what it leaves alone. What is served here has no place there: kube-proxy would not let go of its own servers of it either.
func excludeCIDRs() []string { return []string{"0.0.0.0/32", "::/128"} }

// shown is how many lines of an error people are told; the log has them all.
const shown = 5

// firstLines shortens what may have a line for each of many virtual servers.
func firstLines(text string) string {
	lines := strings.Split(text, "\n")
	if len(lines) > shown {
		lines = append(lines[:shown], fmt.Sprintf("and %d more", len(lines)-shown))
	}
	return strings.Join(lines, "; ")
}
