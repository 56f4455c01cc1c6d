//go:build linux

package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// table is what a rib needs of an engine.
type table interface {
	add(*api.Path) error
	remove(*api.Path) error
}

// rib is what a session announces: wanted routes, and what of them stands in the engine's table. Routes wait until the
// next hops are known, that is, for the first connection.
type rib struct {
	table table

	mu     sync.Mutex
	routes []plan.Route
	drain  bool
	hops   hops
	asn    uint32                  // of this end, for the link bandwidth
	have   map[netip.Prefix]*attrs // most of a session's routes have the same
	paths  attributes
	v4, v6 int // number of routes by family
}

// entry is one path, as it is or should be in the table.
type entry struct {
	prefix netip.Prefix
	attrs
}

func newRIB(t table) *rib { return &rib{table: t, have: map[netip.Prefix]*attrs{}} }

// wants makes routes what is announced.
func (r *rib) wants(ctx context.Context, routes []plan.Route, drain bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes, r.drain = routes, drain
	r.v4, r.v6 = 0, 0
	for _, x := range routes {
		if x.Prefix.Addr().Is4() {
			r.v4++
		} else {
			r.v6++
		}
	}
	return r.sync(ctx)
}

// reach makes hops the next hops of what is announced.
func (r *rib) reach(ctx context.Context, h hops, asn uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hops, r.asn = h, asn
	return r.sync(ctx)
}

// replace calls start, which may replace the table by an empty one.
func (r *rib) replace(start func() (bool, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	started, err := start()
	if started {
		clear(r.have)
	}
	return err
}

// count returns the number of wanted routes, by family.
func (r *rib) count() (v4, v6 int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.v4, r.v6
}

func (r *rib) empty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.routes) == 0 && len(r.have) == 0
}

// sync makes the table what is wanted: what is new or has changed first, then what goes.
func (r *rib) sync(ctx context.Context) error {
	if !r.hops.v4.IsValid() && !r.hops.v6.IsValid() {
		return nil
	}
	var errs []error
	wanted := make(map[netip.Prefix]struct{}, len(r.routes))
	for _, x := range r.routes {
		e := r.entry(x)
		if _, twice := wanted[e.prefix]; twice {
			errs = append(errs, fmt.Errorf("announcing %s: it is wanted twice for the session with %s", e.prefix, x.Peer))
			continue
		}
		wanted[e.prefix] = struct{}{}
		if have := r.have[e.prefix]; have != nil && *have == e.attrs {
			continue
		}
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if err := r.put(e); err != nil {
			errs = append(errs, fmt.Errorf("announcing %s to %s: %w", e.prefix, x.Peer, err))
		}
	}
	for prefix, a := range r.have {
		if _, ok := wanted[prefix]; ok {
			continue
		}
		if err := r.drop(entry{prefix, *a}); err != nil {
			errs = append(errs, fmt.Errorf("withdrawing %s: %w", prefix, err))
		}
	}
	return errors.Join(errs...)
}

func (r *rib) put(e entry) error {
	p, err := r.paths.path(e)
	if err != nil {
		return err
	}
	if err := r.table.add(p); err != nil {
		return err
	}
	r.have[e.prefix] = r.paths.last
	return nil
}

func (r *rib) drop(e entry) error {
	p, err := r.paths.path(e)
	if err != nil {
		return err
	}
	if err := r.table.remove(p); err != nil {
		return err
	}
	delete(r.have, e.prefix)
	return nil
}

func (r *rib) entry(x plan.Route) entry {
	e := entry{x.Prefix.Masked(), attrs{localPref: x.LocalPref, communities: x.Communities, weight: x.Weight, asn: r.asn, drain: r.drain}}
	e.hop = r.hops.v6
	if e.prefix.Addr().Is4() {
		e.hop = r.hops.v4
	}
	return e
}
