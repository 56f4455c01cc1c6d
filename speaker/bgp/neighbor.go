//go:build linux

package bgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	linkInterval      = time.Second      // between two looks at an interface
	advertiseInterval = 10 * time.Second // between two router advertisements
	advertiseFirst    = 3                // of them are a linkInterval apart
)

// finder finds the neighbor of an unnumbered session: both ends send router advertisements, and learn the other's
// link-local address from them.
type finder struct {
	node node
	name string           // of the interface
	lost func(why string) // the interface is gone, or another neighbor is on it

	mu      sync.Mutex
	found   netip.Addr
	problem string
	changed chan struct{}
}

func newFinder(n node, name string, lost func(why string)) *finder {
	return &finder{
		node: n, name: name, lost: lost, changed: make(chan struct{}, 1),
		problem: fmt.Sprintf("no router advertisement was heard on %s yet", name),
	}
}

// run looks for the neighbor until ctx ends. The interface may come, go and come again.
func (f *finder) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := f.attend(ctx); err != nil && ctx.Err() == nil {
			f.tell(netip.Addr{}, err.Error())
		}
		pause(ctx, linkInterval)
	}
}

// neighbor returns the neighbor's address, without a zone, or why there is none.
func (f *finder) neighbor() (netip.Addr, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.found, f.problem
}

// tell notes a neighbor, or why there is none.
func (f *finder) tell(a netip.Addr, problem string) {
	f.mu.Lock()
	was := f.found
	f.found, f.problem = a, problem
	f.mu.Unlock()
	if was.IsValid() && was != a {
		if problem == "" {
			problem = fmt.Sprintf("the neighbor on %s is now %s", f.name, a)
		}
		f.lost(problem)
	}
	if was != a || problem != "" {
		signal(f.changed)
	}
}

// attend sends and hears advertisements on the interface as long as it is the same.
func (f *finder) attend(ctx context.Context) error {
	l, err := f.node.link(f.name)
	if err != nil {
		return err
	}
	c, err := f.node.discover(l)
	if err != nil {
		return fmt.Errorf("opening a socket for neighbor discovery on %s: %w", f.name, err)
	}
	f.tell(netip.Addr{}, fmt.Sprintf("no router advertisement was heard on %s yet", f.name))
	asked, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		f.hear(c, asked)
	}()
	defer func() {
		_ = c.Close()
		<-ended
	}()
	return f.advertise(ctx, c, l, asked, ended)
}

// advertise sends until the interface has gone.
func (f *finder) advertise(ctx context.Context, c advertising, l *net.Interface, asked, ended <-chan struct{}) error {
	tick := time.NewTicker(linkInterval)
	defer tick.Stop()
	var last time.Time
	for n := 0; ; {
		if n < advertiseFirst || time.Since(last) >= advertiseInterval {
			if err := c.send(); err != nil {
				return fmt.Errorf("sending a router advertisement on %s: %w", f.name, err)
			}
			n, last = n+1, time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			return fmt.Errorf("the socket for neighbor discovery on %s was closed", f.name)
		case <-asked:
			last = time.Time{}
		case <-tick.C:
		}
		if now, err := f.node.link(f.name); err != nil {
			return err
		} else if now.Index != l.Index {
			return fmt.Errorf("interface %s is another one now", f.name)
		}
	}
}

// hear notes who advertises, until the socket is closed.
func (f *finder) hear(c advertising, asked chan<- struct{}) {
	for {
		from, advertises, err := c.receive()
		switch {
		case err != nil:
			return
		case !advertises:
			signal(asked)
		default:
			f.tell(from, "")
		}
	}
}
