//go:build linux

// Package peering is BGP with BFD beside it, as one edge: it starts and ends both in the order that they need, and
// translates between them. Where that is asked for, a filter in the kernel comes with what BGP announces.
package peering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-lb/fairlead/speaker/bfd"
	"github.com/fairlead-lb/fairlead/speaker/bgp"
	"github.com/fairlead-lb/fairlead/speaker/plan"
	"github.com/fairlead-lb/fairlead/speaker/unserved"
)

// Config is what a Peering needs. Only Log is required.
type Config struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer // where metrics are registered; nil: nowhere
	Node       string                // the node's name: what a router ID is derived from where none is given
	RouterID   netip.Addr            // an IPv4 address, used where a session gives none; the zero value: derived from Node
	// DropUnserved has the kernel drop what comes in for an announced address and is served by nothing: see speaker/unserved.
	DropUnserved bool
	DrainTime    time.Duration // how long neighbors have to find other ways before a node that leaves withdraws its routes
}

// Peering holds BGP sessions and the BFD sessions that guard them.
type Peering struct {
	*bgp.Speaker
	monitor   *bfd.Monitor
	drainTime time.Duration
	filter    *unserved.Filter // nil: there is none

	// Of who calls Apply and HandOver, which is one after the other:
	want    bgp.Want
	leaves  bool
	drained time.Time // since when neighbors are asked to find other ways; the zero time: they are not
}

// New returns a Peering without sessions. It registers the metrics, and starts nothing before Run.
func New(c Config) *Peering {
	m := bfd.New(bfd.Config{Log: c.Log})
	g := &guards{Monitor: m}
	if c.Registerer != nil {
		c.Registerer.MustRegister(collector{g})
	}
	s := bgp.New(bgp.Config{Log: c.Log, Registerer: c.Registerer, Node: c.Node, RouterID: c.RouterID, BFD: g})
	p := &Peering{Speaker: s, monitor: m, drainTime: c.DrainTime}
	if c.DropUnserved {
		p.filter = &unserved.Filter{}
	}
	return p
}

// Run holds the sessions until ctx ends, then ends them for a restart of this process, as bgp.Speaker.Run does: where
// graceful restart is negotiated neither protocol says a word; elsewhere BGP sends Cease and BFD then AdminDown. See HandOver
// for the end of a node. It is called once. Sockets are opened in the network namespace of the calling thread.
func (p *Peering) Run(ctx context.Context) error {
	guarding, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	speaking, fail := context.WithCancel(ctx)
	defer fail()
	spoke := make(chan error, 1)
	go func() {
		spoke <- p.Speaker.Run(speaking)
		stop() // BFD ends last: it has to tell AdminDown after Cease
	}()
	err := p.monitor.Run(guarding)
	fail()
	if err != nil {
		err = fmt.Errorf("BFD: %w", err)
	}
	err = errors.Join(err, <-spoke)
	if p.filter != nil {
		err = errors.Join(err, p.filter.Remove())
	}
	return err
}

// Apply carries out the plan's part for BGP: see bgp.Speaker.Apply.
func (p *Peering) Apply(ctx context.Context, x plan.Plan) error {
	p.want, p.leaves = bgp.Want{Sessions: x.Sessions, Routes: x.Routes, Drain: x.Drain}, x.Leaves
	switch {
	case !x.Drain:
		p.drained = time.Time{}
	case p.drained.IsZero():
		p.drained = time.Now()
	}
	var err error
	if p.filter != nil { // before any router sends something
		err = p.filter.Apply(announced(x.BGP), time.Now())
	}
	return errors.Join(err, p.Speaker.Apply(ctx, p.want))
}

// announced returns the addresses that are announced to any neighbor.
func announced(verdicts []plan.BGPVerdict) []netip.Addr {
	var out []netip.Addr
	for i := range verdicts {
		if len(verdicts[i].Peers) > 0 {
			out = append(out, verdicts[i].Address)
		}
	}
	return out
}

// HandOver is called when this process is about to stop, before the end of Run's context and after the last Apply. If the
// plan says that the node leaves, it ends all sessions for good: their routes are marked for graceful shutdown (RFC 8326),
// so that the neighbors have found other ways when, DrainTime after that, Cease withdraws them; BFD is taken down on
// purpose (AdminDown) before Run ends. Where no route is announced nothing is waited for. If the node does not leave, it
// does nothing: see Run.
func (p *Peering) HandOver(ctx context.Context) error {
	if !p.leaves {
		return nil
	}
	var errs []error
	if len(p.want.Routes) > 0 && p.established() {
		if p.drained.IsZero() {
			p.want.Drain, p.drained = true, time.Now()
			errs = append(errs, p.Speaker.Apply(ctx, p.want))
		}
		select {
		case <-ctx.Done():
		case <-time.After(p.drainTime - time.Since(p.drained)):
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	return errors.Join(append(errs, p.Speaker.Apply(last, bgp.Want{}))...)
}

// lastWords bounds the sending of Cease.
const lastWords = 2 * time.Second

func (p *Peering) established() bool {
	for _, s := range p.Sessions() {
		if s.State == bgp.Established {
			return true
		}
	}
	return false
}
