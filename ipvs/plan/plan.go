// Package plan works out what the kernel of one node has to hold so that Services are served by IPVS: virtual servers
// with their real servers, the addresses that are bound, and the packet filter's lists. It is pure: a View goes in, a Plan
// comes out.
//
// A Service is served on up to four kinds of frontends: its load balancer's addresses; node ports from NodePortRanges;
// whole port ranges of either; and, where it is served whole, its ClusterIPs, externalIPs and nodePorts. A frontend with
// one port is a virtual server with that address and port. Port ranges and node ports from NodePortRanges are
// firewall-mark servers: the filter marks a connection's packets, and the mark has a virtual server.
package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// Plan is what one node's kernel is to hold. Its lists are sorted and have nothing twice.
type Plan struct {
	Addresses []netip.Addr // that the node takes packets for, beside its own
	// Routed: by routes, not by addresses of the programmer's own device. kube-proxy in IPVS mode does not take an address up
	// that an interface of the node has.
	Routed    bool
	Servers   []Server
	Filter    Filter
	NodePorts []Held
	Checks    []Check           // the health checks that are answered; sorted by port
	Reserved  []portrange.Range // see View
	// Verdicts say of Services what is not served as it was asked for, and why. A Service without one is served in full.
	Verdicts []Verdict
}

// Verdict is something that a Service does not get. It is comparable.
type Verdict struct {
	Namespace, Name string
	verdict.Verdict
}

// Build makes the plan of the view's node.
func Build(v *View) Plan { return new(Builder).Build(v) }

// Builder makes one plan after the other, each as Build does. Of the last one it remembers what the endpoints of Services came
// to, which is most of the work, in which order the Services were, and how long the lists were. The zero value is ready for
// use; it is not for concurrent use.
type Builder struct {
	reached map[name]*reached
	plans   int // how many it has made
	last    sizes
	jobs    []job // room for those of the next plan
}

// sizes are those of a plan's lists that are long.
type sizes struct{ addresses, open, masquerade, hairpin int }

// name is that of a Service.
type name struct{ namespace, name string }

// Build makes the plan of the view's node.
func (from *Builder) Build(v *View) Plan {
	b := builder{View: v, marks: map[uint32]markKey{}, own: map[netip.Addr]bool{}}
	for _, a := range v.Addresses {
		b.own[a] = true
	}
	b.plan.Filter.Internal = slices.Clone(v.Internal)
	b.plan.Filter.Ping = v.Ping
	b.plan.Routed = v.MarksOnly
	b.plan.Reserved = slices.Clone(v.Reserved)
	b.plan.Addresses = slices.Grow(b.plan.Addresses, from.last.addresses)
	b.plan.Filter.Open = slices.Grow(b.plan.Filter.Open, from.last.open)
	b.plan.Filter.Masquerade = slices.Grow(b.plan.Filter.Masquerade, from.last.masquerade)
	b.plan.Filter.Hairpin = slices.Grow(b.plan.Filter.Hairpin, from.last.hairpin)
	if len(from.jobs) < len(v.Services) {
		from.jobs = make([]job, len(v.Services))
	}
	clear(from.jobs[len(v.Services):])
	fronts := 0
	for i := range v.Services {
		j := &from.jobs[i]
		b.job(j, &v.Services[i])
		j.reached = from.recall(&b, j)
		fronts += len(j.fronts)
	}
	from.forget()
	jobs := arrange(from.jobs[:len(v.Services)])
	b.settle(jobs)
	b.plan.Servers = make([]Server, 0, fronts)
	for _, j := range jobs {
		b.serve(j)
		b.check(j.Service)
	}
	from.last = sizes{len(b.plan.Addresses), len(b.plan.Filter.Open), len(b.plan.Filter.Masquerade), len(b.plan.Filter.Hairpin)}
	return b.finish()
}

// builder collects the plan.
type builder struct {
	*View
	own   map[netip.Addr]bool // the node's addresses, which are not bound
	marks map[uint32]markKey
	plan  Plan
	now   backend // what is being served
}

func (b *builder) finish() Plan {
	p := &b.plan
	p.Addresses = unique(p.Addresses, netip.Addr.Compare)
	p.Filter.normalize()
	slices.SortFunc(p.Servers, func(x, y Server) int { return x.Frontend.Compare(y.Frontend) })
	p.NodePorts = unique(p.NodePorts, func(x, y Held) int {
		return cmp.Or(x.Ports.Compare(y.Ports), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	p.Checks = unique(p.Checks, Check.compare)
	slices.SortFunc(p.Verdicts, func(x, y Verdict) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name), cmp.Compare(x.Message, y.Message))
	})
	p.Verdicts = slices.Compact(p.Verdicts)
	return *p
}

func (b *builder) tell(s *Service, reason verdict.Reason, format string, args ...any) {
	b.plan.Verdicts = append(b.plan.Verdicts, Verdict{s.Namespace, s.Name, verdict.Verdict{Reason: reason, Message: fmt.Sprintf(format, args...)}})
}

// kind is one of the reasons for which a Service is reached under an address.
type kind uint8

const (
	loadBalancer kind = iota
	external
	clusterIP
	nodePort
	rangedNodePort // from a NodePortRange
)

// front is one range of ports of one address under which a Service is to be reached.
type front struct {
	Ports
	kind
	port *Port // nil: the ports of the range are those of the pods
}

// job is one Service with its annotations read and its fronts listed, by port.
type job struct {
	*Service
	settings Settings
	weights  map[string]uint32
	fronts   []front
	reached  *reached
}

// compare orders jobs by their first fronts, then by name.
func (j *job) compare(o *job) int {
	var mine, other Ports
	if len(j.fronts) > 0 {
		mine = j.fronts[0].Ports
	}
	if len(o.fronts) > 0 {
		other = o.fronts[0].Ports
	}
	if c := mine.Compare(other); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(j.Namespace, o.Namespace), cmp.Compare(j.Name, o.Name))
}

// job reads a Service. What does not parse is told, and left out or replaced by the default. The job is one to be forgotten.
func (b *builder) job(j *job, s *Service) {
	*j = job{Service: s, settings: Settings{Scheduler: b.scheduler(s), Affinity: uint32(s.Affinity.Seconds())}, fronts: j.fronts[:0]}
	var err error
	if j.weights, err = parseWeights(s.Weights); err != nil {
		b.tell(s, verdict.InvalidRequest, "annotation %s: %v; all real servers have the same weight", AnnotationWeights, err)
	}
	var ranges []portrange.Range
	if s.Ranges != "" {
		if ranges, err = portrange.Parse(s.Ranges); err != nil {
			b.tell(s, verdict.InvalidRequest, "annotation %s: %v; the Service is served without port ranges", portrange.Annotation, err)
		}
	}
	for i := range s.Ports {
		j.port(&s.Ports[i], b.Addresses, ranges)
	}
	ofPorts := len(j.fronts)
	for _, r := range ranges {
		b.checkTargets(s, r)
		for _, a := range s.LoadBalancer {
			j.fronts = append(j.fronts, front{Ports{a, r}, loadBalancer, nil})
		}
	}
	for _, p := range s.NodeRanges {
		j.fronts = append(j.fronts, front{p, rangedNodePort, nil})
	}
	// Those of streams first, so that each kind is in one piece.
	slices.SortStableFunc(j.fronts[ofPorts:], func(x, y front) int { return compareBool(isStream(y.Protocol), isStream(x.Protocol)) })
}

// scheduler returns the Service's scheduler, or the default where it is unknown or the kernel lacks it.
func (b *builder) scheduler(s *Service) Scheduler {
	standard := b.Scheduler
	if standard.Name == "" {
		standard = DefaultScheduler()
	}
	if s.Scheduler == "" {
		return standard
	}
	wanted, err := ParseScheduler(s.Scheduler)
	switch {
	case err != nil:
		b.tell(s, verdict.InvalidRequest, "annotation %s: %v; %s is used", AnnotationScheduler, err, standard)
	case slices.Contains(b.Lacking, wanted.Name):
		b.tell(s, verdict.SchedulerUnavailable, "the kernel of node %s has no module ip_vs_%s; %s is used", b.Node, wanted.Name, standard)
	default:
		return wanted
	}
	return standard
}

// port lists the fronts of one port of the Service, but of its load balancer's addresses where a range covers it.
func (j *job) port(p *Port, node []netip.Addr, ranges []portrange.Range) {
	add := func(k kind, port uint16, addresses []netip.Addr) {
		for _, a := range addresses {
			j.fronts = append(j.fronts, front{Ports{a, portrange.Range{Protocol: p.Protocol, First: port, Last: port}}, k, p})
		}
	}
	if !slices.ContainsFunc(ranges, func(r portrange.Range) bool { return r.Contains(p.Protocol, p.Port) }) {
		add(loadBalancer, p.Port, j.LoadBalancer)
	}
	add(external, p.Port, j.ExternalIPs)
	add(clusterIP, p.Port, j.ClusterIPs)
	if p.NodePort > 0 {
		add(nodePort, p.NodePort, node)
	}
	for _, n := range j.NodePorts {
		if n.Name == p.Name {
			add(rangedNodePort, n.Port, n.Addresses)
		}
	}
}

// checkTargets tells of ports that a range covers and that reach another port of the pods elsewhere.
func (b *builder) checkTargets(s *Service, r portrange.Range) {
	for _, p := range s.Ports {
		for _, slice := range s.Slices {
			for _, t := range slice.Ports {
				if t.Name == p.Name && r.Contains(p.Protocol, p.Port) && t.Port != p.Port {
					b.tell(s, verdict.InvalidRequest, "port %d is in the range %s, so it reaches port %d of the pods, not %d", p.Port, r, p.Port, t.Port)
				}
			}
		}
	}
}
