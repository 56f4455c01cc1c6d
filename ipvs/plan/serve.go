package plan

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// backend is what is worked out once for all fronts of a port, or of all ranges, in one family.
type backend struct {
	job    *job
	port   *Port // nil: ranges
	v6     bool
	pools  [2]pool // by scope
	marked [2]bool
	hashes bool // by mark, a client keeps its real server by its address's hash
	drain  bool // of the fronts seen so far one has a protocol whose connections are worth waiting for
}

// serve adds a Service to the plan: its ports, then its ranges, in both families.
func (b *builder) serve(j *job) {
	for start := 0; start < len(j.fronts); {
		end := start + 1
		for end < len(j.fronts) && j.together(&j.fronts[start], &j.fronts[end]) {
			end++
		}
		b.servePort(j, j.fronts[start:end], false)
		b.servePort(j, j.fronts[start:end], true)
		start = end
	}
}

// together says whether two fronts have their real servers in common, and, where they are served by a mark, the mark. A
// client keeps its pod over all ranges; without affinity UDP has a server of its own, whose flows do not drain.
func (j *job) together(a, b *front) bool {
	return a.port == b.port && (a.port != nil || j.settings.Affinity > 0 || isStream(a.Protocol) == isStream(b.Protocol))
}

// servePort serves those of a port's fronts that are of the family.
func (b *builder) servePort(j *job, fronts []front, v6 bool) {
	isOther := func(f front) bool { return f.Address.Is6() != v6 }
	if !slices.ContainsFunc(fronts, func(f front) bool { return !isOther(f) }) {
		return
	}
	port := fronts[0].port
	to := b.reach(j, port, v6)
	if len(to.all) == 0 && len(b.reach(j, port, !v6).all) > 0 {
		// A node has addresses of both families, whatever the Service has; another address was asked for.
		fronts = slices.DeleteFunc(slices.Clone(fronts), func(f front) bool { return f.kind >= nodePort && !isOther(f) })
		i := slices.IndexFunc(fronts, func(f front) bool { return !isOther(f) })
		if i < 0 {
			return
		}
		b.tell(j.Service, verdict.WrongFamily, "%s: the endpoints are all of the other family", fronts[i].Address)
	}
	b.now = backend{job: j, port: port, v6: v6, pools: to.pools}
	e := &b.now
	for _, f := range fronts {
		e.drain = e.drain || isStream(f.Protocol)
		e.hashes = e.hashes || j.settings.Affinity > 0 && b.byMark(f) && translates(f, to.all)
	}
	b.plan.Filter.Hairpin = append(b.plan.Filter.Hairpin, to.here...)
	for _, f := range fronts {
		if !isOther(f) {
			b.serveFront(e, f)
		}
	}
}

// byMark says whether packets to a front meet a firewall-mark server.
func (b *builder) byMark(f front) bool {
	return f.port == nil || f.kind == rangedNodePort || b.MarksOnly
}

// translates says whether a port is another one at one of the endpoints.
func translates(f front, all []candidate) bool {
	return f.port != nil && slices.ContainsFunc(all, func(c candidate) bool { return c.port != f.First })
}

// serveFront adds one front of a backend to the plan.
func (b *builder) serveFront(e *backend, f front) {
	filter := &b.plan.Filter
	if f.kind <= clusterIP && !b.own[f.Address] {
		b.plan.Addresses = append(b.plan.Addresses, f.Address)
		filter.Open = append(filter.Open, f.Ports)
	}
	if f.kind == rangedNodePort {
		b.plan.NodePorts = append(b.plan.NodePorts, Held{Namespace: e.job.Namespace, Name: e.job.Name, Ports: f.Ports})
	}
	where := everywhere
	if f.kind == clusterIP && e.job.InternalLocal {
		where = onThisNode
	}
	yields := e.job.Yields && f.kind == loadBalancer
	if b.byMark(f) {
		if mark := b.markServer(e, where); !yields {
			filter.Marks = append(filter.Marks, Marked{f.Ports, mark})
		}
	} else {
		b.addServer(e, Frontend{Address: netip.AddrPortFrom(f.Address, f.First), Protocol: f.Protocol}, e.job.settings, where, isStream(f.Protocol))
	}
	if f.kind == clusterIP {
		filter.ClusterIPs = append(filter.ClusterIPs, f.Ports)
		return
	}
	filter.Masquerade = append(filter.Masquerade, f.Ports)
	if e.job.ExternalLocal {
		switch {
		case len(e.pools[onThisNode].reals) == 0:
			filter.Closed = append(filter.Closed, f.Ports)
		case yields:
			b.markServer(e, onThisNode)
			filter.Preserve = append(filter.Preserve, f.Ports)
		default:
			filter.External = append(filter.External, Marked{f.Ports, b.markServer(e, onThisNode)})
			filter.Preserve = append(filter.Preserve, f.Ports)
		}
	}
	if f.kind == loadBalancer {
		b.guard(e, f)
	}
}

// guard lets only the Service's source ranges through. A family in which it has none is open to all.
func (b *builder) guard(e *backend, f front) {
	filter := &b.plan.Filter
	for _, from := range e.job.SourceRanges {
		if from.Addr().Is6() == e.v6 {
			filter.Guarded = append(filter.Guarded, f.Ports)
			filter.Allowed = append(filter.Allowed, Allowed{f.Ports, from})
		}
	}
}

// markServer returns the mark of the backend's firewall-mark server, which it adds the first time.
func (b *builder) markServer(e *backend, where scope) uint32 {
	name := ranges
	var protocol corev1.Protocol
	if !e.drain {
		protocol = corev1.ProtocolUDP
	}
	if e.port != nil {
		name, protocol = e.port.Name, e.port.Protocol
	}
	mark := b.mark(markKey{e.job.Namespace, e.job.Name, name, protocol, where})
	if !e.marked[where] {
		e.marked[where] = true
		b.addServer(e, Frontend{Mark: mark, V6: e.v6}, b.markSettings(e), where, e.drain)
	}
	return mark
}

// markSettings are those of the backend's firewall-mark server. One that keeps clients for a time does not translate ports in the
// kernel (ip_vs_sched_persist), so where that is needed the scheduler keeps them: mh, by which few clients move when an endpoint
// comes or goes, or sh where the kernel lacks that.
func (b *builder) markSettings(e *backend) Settings {
	asked := e.job.settings.Scheduler
	if !e.hashes {
		return e.job.settings
	}
	if hashes(asked.Name) && !asked.HashPort {
		return Settings{Scheduler: asked}
	}
	for _, name := range []string{"mh", "sh"} {
		if slices.Contains(b.Lacking, name) {
			continue
		}
		s := Scheduler{Name: name, Fallback: true}
		if e.job.Service.Scheduler != "" {
			b.tell(e.job.Service, verdict.SchedulerUnavailable, "port %s is another one at the pods, so where a firewall mark serves it, sessionAffinity is the scheduler's to keep: %s, instead of %s", e.port.Name, s, asked)
		}
		return Settings{Scheduler: s}
	}
	b.tell(e.job.Service, verdict.SchedulerUnavailable, "port %s is another one at the pods, so where a firewall mark serves it, sessionAffinity needs ip_vs_mh or ip_vs_sh, and the kernel of node %s has neither", e.port.Name, b.Node)
	return Settings{Scheduler: asked}
}

func (b *builder) addServer(e *backend, at Frontend, settings Settings, where scope, drains bool) {
	s := Server{Frontend: at, Settings: settings, Reals: e.pools[where].reals}
	if drains {
		s.Leaving = e.pools[where].leaving
		if s.Drain = e.job.Drain; s.Drain == 0 {
			s.Drain = b.Drain
		}
	}
	b.plan.Servers = append(b.plan.Servers, s)
}

// ranges stands for the name of a port in the key of a mark. No port has it.
const ranges = "-"

// markKey is what a firewall mark is for. Both families have the same one.
type markKey struct {
	namespace, name, port string
	protocol              corev1.Protocol
	where                 scope
}

// foreignBits are those bits of a mark that kube-proxy reads, and the one for which ipvsadm shows a negative number.
const foreignBits = 0x4000 | 0x8000 | 1<<31

// mark returns the mark for a key: its hash (FNV-1a, 32 bits), so that a restart and another node come to the same one.
// Where two keys have the same hash, the later one in the order of jobs takes the next number.
func (b *builder) mark(k markKey) uint32 {
	h := uint32(2166136261)
	add := func(c byte) { h = (h ^ uint32(c)) * 16777619 }
	for _, text := range [...]string{k.namespace, k.name, k.port, string(k.protocol)} {
		for i := range len(text) {
			add(text[i])
		}
		add(0)
	}
	add(byte(k.where))
	for ; ; h++ {
		mark := h &^ foreignBits
		if mark == 0 {
			continue
		}
		if holder, taken := b.marks[mark]; !taken || holder == k {
			b.marks[mark] = k
			return mark
		}
	}
}
