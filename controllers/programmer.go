package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/addrset"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/watchdog"
	"github.com/fairlead-lb/fairlead/ipvs"
	"github.com/fairlead-lb/fairlead/ipvs/health"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
	"github.com/fairlead-lb/fairlead/policy"
)

// Programming runs the IPVS programmer of one node: it gathers what the programmer's plan is made of, and tells what came of it.
type Programming struct {
	Client    client.Client
	Log       *slog.Logger
	Namespace string // of the configuration objects
	Class     string // of the load balancers served; "" for those without a class
	Node      string
	Kernel    ipvs.Kernel
	States    *ProgrammerStates
	Options   ProgrammingOptions
	Registry  prometheus.Registerer // for metrics; nil: none

	cache      cache.Cache
	watchdog   *watchdog.Watchdog
	upkeep     upkeep // it marks that the plan is to be made anew; the programmer has the loop
	programmer *ipvs.Programmer
	metrics    *programmingMetrics
	checks     health.Checks // of Services that are served whole
	goes       atomic.Bool   // the node is to be deleted
	started    time.Time
	balancers  map[netip.Addr]struct{}      // the load balancers' addresses of the last view; nil: there was none
	serving    map[allocator.Key]mode.Leave // what is served, whether or not it still asks; nil: no view was made yet
	spare      map[allocator.Key]mode.Leave // room for the next one
	kept       kept
	services   []plan.Service            // of the last view, and room for the next one's
	at         map[allocator.Key]int     // where in it each is
	ranges     *policy.Policy            // of NodePortRanges alone, last compiled
	ports      map[portHere][]netip.Addr // of NodePortRanges, by the last view
	portRanges map[string][]plan.Ports   // the same of whole ranges
}

// ProgrammingOptions are the choices of who runs the cluster.
type ProgrammingOptions struct {
	ClusterCIDRs []netip.Prefix // the pods' addresses; none: the Nodes' podCIDRs
	AllServices  bool           // stand in for kube-proxy
	Scheduler    plan.Scheduler // of Services that name none
	Drain        time.Duration  // the longest time that a removed endpoint keeps its connections
	Ping         bool           // addresses answer pings
}

// SetUp registers the programmer with the manager.
func (p *Programming) SetUp(m ctrl.Manager) error {
	p.cache, p.upkeep, p.started = m.GetCache(), newUpkeep(), time.Now()
	p.watchdog = watchdog.New("the programmer", roundLimit)
	p.metrics = newProgrammingMetrics()
	if p.Registry != nil {
		if err := p.Registry.Register(p.metrics); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	p.programmer = &ipvs.Programmer{
		Log: p.Log, Node: p.Node, Kernel: p.Kernel, View: p.view, Dirty: p.upkeep.dirty, Changed: p.report, Watchdog: p.watchdog,
		Answer: p.checks.Apply, Synced: p.metrics.synced,
	}
	p.States.Alive = p.alive
	err := errors.Join(m.AddHealthzCheck("programmer", p.watchdog.Check), m.Add(everywhere(p.run)))
	if p.Options.AllServices {
		proxy := &health.Proxy{Log: p.Log, Address: health.ProxyAddress, State: p.proxyState}
		err = errors.Join(err, m.Add(everywhere(proxy.Run)))
	}
	return err
}

// proxyState is what load balancers outside the cluster are told of the node; see health.Proxy.
func (p *Programming) proxyState() (serves bool, seen time.Time, stays bool) {
	return p.alive(), p.programmer.Report().Checked, !p.goes.Load()
}

// taintToBeDeleted is how the cluster autoscaler marks a node that it is about to delete; kube-proxy heeds it, too (KEP-3836).
const taintToBeDeleted = "ToBeDeletedByClusterAutoscaler"

// isToGo says whether a node is being deleted, or about to be. One that there is not (yet) stays.
func isToGo(n *corev1.Node) bool {
	return n != nil && (n.DeletionTimestamp != nil || slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == taintToBeDeleted }))
}

// Repaired notes that something which others changed in the kernel is put right.
func (p *Programming) Repaired() { p.metrics.repairs.Inc() }

// Ready returns nil when the kernel holds the whole last plan.
func (p *Programming) Ready(*http.Request) error {
	if r := p.programmer.Report(); !r.Ready {
		if len(r.Problems) > 0 {
			return errors.New(r.Problems[0].Message)
		}
		return errors.New("nothing has been programmed yet")
	}
	return nil
}

// aliveFor is how long the kernel counts as looked at: it is every second.
const aliveFor = 5 * time.Second

func (p *Programming) alive() bool {
	r := p.programmer.Report()
	return (r.Ready || len(r.Addresses) > 0) && time.Since(r.Checked) < aliveFor
}

// run programs until the context ends.
func (p *Programming) run(ctx context.Context) error {
	kinds := []client.Object{
		&corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.Node{}, &corev1.ConfigMap{}, &v1alpha1.NodePortRange{}, &corev1.Namespace{},
	}
	err := watch(ctx, p.cache, kinds, p.upkeep.mark)
	if err == nil {
		p.kept, err = keptBy(ctx, p.cache)
	}
	if err != nil {
		return err
	}
	if p.Options.AllServices {
		local, err := p.Kernel.Look(ctx)
		if err != nil {
			return fmt.Errorf("looking for a kube-proxy: %w", err)
		}
		if err := alone(p.Node, local.Proxy); err != nil {
			return err
		}
	}
	return p.programmer.Run(ctx)
}

// alone returns nil where a programmer may stand in for kube-proxy.
func alone(node string, proxy plan.Proxy) error {
	switch {
	case proxy.Replaces():
		return fmt.Errorf("--all-services stands in for kube-proxy, but %s does so already on node %s: have it leave that, or remove the flag", proxy, node)
	case proxy == plan.ProxyIPVS:
		return fmt.Errorf("--all-services stands in for kube-proxy, but one runs on node %s in IPVS mode, or has left its device there: remove it and run kube-proxy --cleanup, or remove the flag", node)
	case proxy != plan.ProxyNone:
		return fmt.Errorf("--all-services stands in for kube-proxy, but one runs on node %s (mode %s): remove it, or the flag", node, proxy)
	}
	return nil
}

// view gathers the view; it is for the programmer.
func (p *Programming) view(local plan.Local) (plan.View, bool) {
	v, err := p.gather(context.Background(), local, time.Now()) // from the cache
	if err != nil {
		p.Log.Error("the view is not known", "error", err)
		return v, false
	}
	if p.balancers == nil {
		p.balancers = make(map[netip.Addr]struct{}, len(v.Services))
	}
	clear(p.balancers)
	for i := range v.Services {
		for _, a := range v.Services[i].LoadBalancer {
			p.balancers[a] = struct{}{}
		}
	}
	return v, true
}

// report tells what came of a round. Until a view was carried out nothing is known, and what was reported before stays.
func (p *Programming) report() {
	r := p.programmer.Report()
	p.metrics.show(&r)
	if !r.Ready && len(r.Problems) == 0 || p.balancers == nil && len(r.Missing) == 0 {
		return
	}
	p.States.tell(stateOfProgrammer(&r, p.balancers, p.started))
}

// stateOfProgrammer words a report as a status; of the addresses it has those of load balancers.
func stateOfProgrammer(r *ipvs.Report, balancers map[netip.Addr]struct{}, started time.Time) v1alpha1.ProgrammerStateStatus {
	s := v1alpha1.ProgrammerStateStatus{
		StartedAt: metav1.Time{Time: started.Truncate(time.Second)}, Ready: r.Ready, KubeProxy: string(r.Proxy), Missing: r.Missing,
	}
	addresses := make([]netip.Addr, 0, len(r.Addresses))
	for _, a := range r.Addresses {
		if _, ok := balancers[a]; ok {
			addresses = append(addresses, a)
		}
	}
	s.Counts.Addresses = int32(len(addresses))
	s.Addresses = addrset.Of(addresses).Texts()
	if len(s.Addresses) > v1alpha1.MaxProgrammerRanges {
		s.Addresses, s.Truncated = s.Addresses[:v1alpha1.MaxProgrammerRanges], true
	}
	for _, h := range r.NodePorts {
		if h.Refused {
			s.Counts.Refused++
		} else {
			s.Counts.NodePorts++
		}
		s.NodePorts = append(s.NodePorts, v1alpha1.ProgrammerNodePort{
			Service: h.Namespace + "/" + h.Name, Port: h.Range.String(), Address: h.Address.String(), Refused: h.Refused,
		})
	}
	slices.SortStableFunc(s.NodePorts, func(a, b v1alpha1.ProgrammerNodePort) int { return last(a.Refused) - last(b.Refused) })
	if len(s.NodePorts) > v1alpha1.MaxProgrammerNodePorts {
		s.MorePorts = morePorts(s.NodePorts[v1alpha1.MaxProgrammerNodePorts:])
		s.NodePorts = s.NodePorts[:v1alpha1.MaxProgrammerNodePorts]
	}
	if len(s.MorePorts) > v1alpha1.MaxProgrammerRanges {
		s.MorePorts, s.Truncated = s.MorePorts[:v1alpha1.MaxProgrammerRanges], true
	}
	for _, x := range r.Problems {
		s.Problems = append(s.Problems, v1alpha1.SpeakerProblem{Reason: string(x.Reason), Message: cut(x.Message, maxProblemMessage)})
	}
	for _, x := range r.Verdicts {
		s.Problems = append(s.Problems, v1alpha1.SpeakerProblem{
			Kind: "Service", Name: x.Namespace + "/" + x.Name, Reason: string(x.Reason), Message: cut(x.Message, maxProblemMessage),
		})
	}
	s.Counts.Problems = int32(len(s.Problems))
	s.Problems = s.Problems[:min(len(s.Problems), maxProgrammerProblems)]
	return s
}

// morePorts are those of a list that are served, as ranges.
func morePorts(list []v1alpha1.ProgrammerNodePort) (out []string) {
	var ports []portrange.Range
	for _, n := range list {
		if r, err := portrange.Parse(n.Port); err == nil && !n.Refused {
			ports = append(ports, r...)
		}
	}
	for _, r := range portrange.Merge(ports) {
		out = append(out, r.String())
	}
	return out
}

// maxProgrammerProblems is how many problems a ProgrammerState lists at most.
const maxProgrammerProblems = 200

// last is what comes after what is true.
func last(first bool) int {
	if first {
		return 0
	}
	return 1
}
