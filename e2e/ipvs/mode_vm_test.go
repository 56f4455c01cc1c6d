//go:build vm

package ipvs

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// restartProxies starts kube-proxy on all nodes with these arguments.
func (s *story) restartProxies(args ...string) {
	s.Helper()
	s.proxies = make([]*cluster.Process, len(lab.Nodes()))
	var group errgroup.Group
	for i := range s.proxies {
		group.Go(func() (err error) {
			s.proxies[i], err = lab.RestartProxy(s.ctx, i, args...)
			return err
		})
	}
	s.must(group.Wait())
}

// syncs waits until every kube-proxy in IPVS mode has gone through two full syncs, in which it deletes every virtual server
// that it does not know: those with marks in vain, since it takes them for one of the address 0.0.0.0, which it logs.
func (s *story) syncs() {
	s.Helper()
	seen := func(p *cluster.Process) int { return strings.Count(p.Tail(1<<20), `virtualServer="0.0.0.0:0/"`) }
	before := map[*cluster.Process]int{}
	for _, p := range s.proxies {
		before[p] = seen(p)
	}
	for _, p := range s.proxies {
		s.eventually(p.Name+" goes through two full syncs", func() error {
			if now := seen(p); now < before[p]+2 { // there is one server with a mark
				return fmt.Errorf("%d syncs so far", now-before[p])
			}
			return nil
		})
	}
	s.page(netip.MustParseAddr(vip), port)
}

// pause stops a kube-proxy in IPVS mode where it holds no lock that others need: between two syncs.
func (s *story) pause(p *cluster.Process) {
	s.Helper()
	s.eventually(p.Name+" rests", func() error {
		s.must(p.Signal(unix.SIGSTOP))
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.PID()))
		s.must(err)
		for _, list := range lists {
			if text, err := os.ReadFile(list); err != nil || len(text) > 0 {
				s.must(p.Signal(unix.SIGCONT))
				return fmt.Errorf("it runs the processes %s(%v)", text, err)
			}
		}
		return nil
	})
	s.Cleanup(func() { _ = p.Signal(unix.SIGCONT) })
}
