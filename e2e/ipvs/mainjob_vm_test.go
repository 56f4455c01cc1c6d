//go:build vm

package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
)

// TestMainJob: the way of a load balancer's address to IPVS and back, and of a node port outside the API server's range,
// beside kube-proxy as most clusters have it.
func TestMainJob(t *testing.T) { begin(t, "nftables").mainJob() }

// mainJob is the story, which ends with killed programmers only in its long form. A client asks all the time: see
// allAnswered.
func (s *story) mainJob() {
	s.becomes(corev1.LoadBalancerIPModeVIP)
	s.onNodes("served by kube-proxy", s.kubeProxyServes, true)
	found := s.found()
	s.page(netip.MustParseAddr(vip), port)
	probe := lab.Outside().Probe(cluster.URL(netip.MustParseAddr(vip), port), 200*time.Millisecond, 5*time.Second)

	s.comes()
	s.nodePort()
	s.goes()
	if long {
		s.comes()
		s.dies()
	}
	for _, p := range s.programmers {
		s.must(p.Kill())
	}
	for i := range lab.Nodes() {
		s.must(lab.CleanUp(s.ctx, i))
	}
	if d := cmp.Diff(found, s.found()); d != "" {
		s.Errorf("after --cleanup the nodes are not as they were found (-found +left):\n%s", d)
	}
	s.page(netip.MustParseAddr(vip), port)
	s.allAnswered(probe.Stop())
}

// allAnswered looks at what a client got. kube-proxy in IPVS mode refuses what is new for an address that is on its device, but
// for the ports in its ipsets, which it writes one after the other in any order: while it takes an address up or lets it go.
// Without strictARP the kernel of each node that has the address answers ARP for it: when one of them comes or goes the client's
// next packet may reach another node than the connection's first, which resets it.
func (s *story) allAnswered(r cluster.ProbeReport) {
	s.Helper()
	refused, reset := 0, 0
	for _, f := range r.Failed {
		if s.proxy == "ipvs" && errors.Is(f.Err, unix.ECONNREFUSED) && s.syncing(f.Asked) {
			refused++
			continue
		}
		if s.lax && errors.Is(f.Err, unix.ECONNRESET) && s.syncing(f.Asked) {
			reset++
			continue
		}
		s.Errorf("a request of %s was not answered: %v", f.Asked.Format(clock), f.Err)
	}
	s.Logf("%d of %d requests answered, %d refused by kube-proxy, %d reset, longest gap %s", r.Answered, r.Asked, refused, reset, r.Gap)
	if r.Asked < 20 {
		s.Errorf("only %d requests were asked", r.Asked)
	}
}

// changes has kube-proxy take the address up or let it go.
func (s *story) changes(mode corev1.LoadBalancerIPMode) (done func()) {
	s.Helper()
	s.changing = append(s.changing, [2]time.Time{time.Now()})
	s.becomes(mode)
	return func() { s.changing[len(s.changing)-1][1] = time.Now() }
}

// syncing says whether kube-proxy was taking the address up or letting it go.
func (s *story) syncing(at time.Time) bool {
	return slices.ContainsFunc(s.changing, func(c [2]time.Time) bool { return at.After(c[0]) && at.Before(c[1]) })
}

// comes has the Service ask for IPVS: the address keeps its mode until the programmers of both nodes report it.
func (s *story) comes() {
	s.Helper()
	s.annotate(map[string]string{"fairlead.io/dataplane": "ipvs"})
	if len(s.programmers) == 0 {
		s.startProgrammer(0)
		s.eventually("the programmer of node-0 reports the address", func() error {
			if !s.reports(lab.Node(0)) {
				return fmt.Errorf("it does not")
			}
			return nil
		})
		if long {
			s.explains("node node-1, which may announce "+vip+", does not serve it by IPVS yet, so kube-proxy does", "no IPVS programmer reports from there")
		}
		if now := s.ipMode(); now != corev1.LoadBalancerIPModeVIP {
			s.Errorf("the ipMode is %s, though node-1 has no programmer", now)
		}
		s.startProgrammer(1)
	}
	done := s.changes(corev1.LoadBalancerIPModeProxy)
	for _, n := range lab.Nodes() {
		if !s.reports(n) || !s.programmed(n) {
			s.Errorf("the ipMode is Proxy, though %s does not serve the address:\n%s", n.Name, s.run(n, "ipvsadm", "-Ln"))
		}
	}
	s.onNodes("served by kube-proxy", s.kubeProxyServes, false)
	owner := s.announcer()
	s.page(netip.MustParseAddr(vip), port)
	if got := s.run(owner, "ipvsadm", "-Lnc"); !strings.Contains(got, vip+":") {
		s.Errorf("IPVS of %s, which announces the address, knows no connection to it:\n%s", owner.Name, got)
	}
	if s.proxy == "ipvs" {
		s.syncs()
	}
	done()
	s.explains("every node that may announce the Service serves it by IPVS", "its programmer reports "+vip, "it is Proxy for "+vip)
}

// nodePort has the Service ask for a port that the API server would refuse.
func (s *story) nodePort() {
	s.Helper()
	marked := func(n *cluster.Host) int { return strings.Count(s.run(n, "ipvsadm", "-Ln"), "FWM  ") }
	before := marked(lab.Node(0))
	s.annotate(map[string]string{"fairlead.io/node-ports": fmt.Sprintf("http=%d", nodePort)})
	s.eventually("the Service has the port", func() error {
		if is := s.service().Status.Conditions; !meta.IsStatusConditionTrue(is, "fairlead.io/NodePorts") {
			return fmt.Errorf("conditions: %v", is)
		}
		return nil
	})
	for _, n := range lab.Nodes() {
		s.page(n.IPv4, nodePort)
	}
	s.annotate(map[string]string{"fairlead.io/node-ports": ""})
	s.onNodes("served at the node port", func(n *cluster.Host) bool { return marked(n) != before }, false)
}

// goes has the Service ask no more: kube-proxy serves it before the programmers let go. In IPVS mode it can be seen that one
// kube-proxy does not get on, and its programmer, though restarted, goes on for as long.
func (s *story) goes() {
	s.Helper()
	if s.proxy == "ipvs" {
		s.pause(s.proxies[1])
	}
	s.annotate(map[string]string{"fairlead.io/dataplane": ""})
	done := s.changes(corev1.LoadBalancerIPModeVIP)
	for _, n := range lab.Nodes() {
		if !s.programmed(n) {
			s.Errorf("%s let the address go before kube-proxy could serve it", n.Name)
		}
	}
	if s.proxy == "ipvs" {
		s.restartProgrammer(1)
		time.Sleep(2 * mode.Lingering)
		if late := lab.Node(1); !s.programmed(late) || s.kubeProxyServes(late) {
			s.Errorf("%s let the address go though its kube-proxy, which is paused, does not serve it:\n%s", late.Name, s.run(late, "ipvsadm", "-Ln"))
		}
		s.must(s.proxies[1].Signal(unix.SIGCONT))
	}
	s.onNodes("served by kube-proxy", s.kubeProxyServes, true)
	done()
	s.onNodes("served by IPVS", s.programmed, false)
}

// dies kills all programmers: kube-proxy serves again after 10 s, counted from their last sign of life, which they give every 3 s.
func (s *story) dies() {
	s.Helper()
	killed := time.Now()
	for _, p := range s.programmers {
		s.must(p.Kill())
	}
	done := s.changes(corev1.LoadBalancerIPModeVIP)
	if took := time.Since(killed); took > 20*time.Second {
		s.Errorf("after the programmers were killed it took %s until the ipMode was VIP again", took)
	}
	s.onNodes("served by kube-proxy", s.kubeProxyServes, true)
	done()
}
