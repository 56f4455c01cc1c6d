//go:build linux

package bgp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// apply makes want what is held. It is called by the goroutine of Run.
func (s *Speaker) apply(ctx context.Context, want Want) error {
	sessions, errs := valid(want.Sessions)
	routes, err := byPeer(want.Routes, sessions)
	errs = append(errs, err)
	var added []*session
	for _, peer := range slices.Sorted(maps.Keys(sessions)) {
		if x := s.session(peer); x != nil {
			x.change(sessions[peer])
			continue
		}
		x, err := s.add(sessions[peer])
		errs = append(errs, err)
		if err == nil {
			added = append(added, x)
		}
	}
	// All engines run before the first of these has a route; see servers.
	errs = append(errs, s.load(ctx, routes, want.Drain))
	for _, x := range added {
		go x.run()
	}
	s.remove(sessions)
	s.notify()
	return errors.Join(errs...)
}

// valid returns the sessions that can be held, by peer, and why the others cannot.
func valid(want []plan.Session) (map[string]plan.Session, []error) {
	out, errs := map[string]plan.Session{}, []error(nil)
	for _, x := range want {
		if _, twice := out[x.Peer]; twice {
			errs = append(errs, fmt.Errorf("session with %s: wanted twice", x.Peer))
		} else if err := check(x); err != nil {
			errs = append(errs, fmt.Errorf("session with %s: %w", x.Peer, err))
		} else {
			out[x.Peer] = x
		}
	}
	return out, errs
}

// check says what is wrong with a session that no connection could be opened for.
func check(x plan.Session) error {
	switch {
	case !x.Address.IsValid() && x.Interface == "":
		return errors.New("it has neither an address nor an interface")
	case !x.IPv4 && !x.IPv6:
		return errors.New("it carries no address family")
	case x.MyASN == 0:
		return errors.New("it has no AS number of this end")
	case x.HoldTime != 0 && x.HoldTime < minHoldTime:
		return fmt.Errorf("its hold time %v is below %v", x.HoldTime, minHoldTime)
	case len(x.Password) > maxPassword:
		return fmt.Errorf("its password is longer than %d bytes", maxPassword)
	case x.RouterID.IsValid() && !x.RouterID.Is4():
		return fmt.Errorf("its router ID %s is no IPv4 address", x.RouterID)
	}
	return nil
}

// byPeer sorts routes out by session. Those of one that stand together are shared with routes. A prefix that stands twice for
// a session, or a route of no session, is an error.
func byPeer(routes []plan.Route, sessions map[string]plan.Session) (map[string][]plan.Route, error) {
	out := make(map[string][]plan.Route, len(sessions))
	stray := map[string]int{}
	for begin, end := 0, 0; begin < len(routes); begin = end {
		peer := routes[begin].Peer
		for end < len(routes) && routes[end].Peer == peer {
			end++
		}
		if _, ok := sessions[peer]; !ok {
			stray[peer] += end - begin
		} else if before := out[peer]; before == nil {
			out[peer] = routes[begin:end:end]
		} else {
			out[peer] = append(before, routes[begin:end]...)
		}
	}
	var errs []error
	for _, peer := range slices.Sorted(maps.Keys(stray)) {
		errs = append(errs, fmt.Errorf("%d routes for %s: there is no session with it", stray[peer], peer))
	}
	return out, errors.Join(errs...)
}

// add makes a session and starts its engine, but not the session.
func (s *Speaker) add(want plan.Session) (*session, error) {
	x := newSession(s, want)
	if _, err := x.engine.ensure(x.identity(want)); err != nil {
		return nil, fmt.Errorf("session with %s: %w", want.Peer, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[want.Peer] = x
	return x, nil
}

// load gives each session its routes, all at a time.
func (s *Speaker) load(ctx context.Context, routes map[string][]plan.Route, drain bool) error {
	sessions := s.all()
	errs := make([]error, len(sessions))
	var work sync.WaitGroup
	for i, x := range sessions {
		if _, some := routes[x.peer]; !some && x.rib.empty() {
			continue
		}
		work.Go(func() { errs[i] = x.announce(ctx, routes[x.peer], drain) })
	}
	work.Wait()
	return errors.Join(errs...)
}

// remove ends the sessions that are not wanted.
func (s *Speaker) remove(want map[string]plan.Session) {
	var work sync.WaitGroup
	for _, x := range s.all() {
		if _, ok := want[x.peer]; ok {
			continue
		}
		work.Go(func() { x.end(ending{why: "the session is no longer wanted", code: cease, subcode: ceaseDeconfigured}) })
		s.mu.Lock()
		delete(s.sessions, x.peer)
		delete(s.guarded, x.peer)
		s.mu.Unlock()
	}
	work.Wait()
}
