package allocator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// Annotations on a Service of any type.
const (
	// AnnotationNodePorts asks for ports of NodePortRanges, by the names of the Service's ports: "http=33333,https=33443".
	// "auto" instead of a number is any port; alone it is that for every port of the Service. One that has a single port need
	// not name it. "ranges" beside that, or alone, asks for all ports that the annotation portrange.Annotation lists: each
	// reaches the same port of the pods.
	AnnotationNodePorts = "fairlead.io/node-ports"
	// AnnotationNodePortsAssigned is written by the controller: the ports that the Service has, in the same form, and ranges as
	// portrange.Annotation has them.
	AnnotationNodePortsAssigned = "fairlead.io/node-ports-assigned"
	// AnnotationNodePortsOrphanedSince is written by the controller: since when the Service has kept a port that no
	// NodePortRange gives it any more.
	AnnotationNodePortsOrphanedSince = "fairlead.io/node-ports-orphaned-since"
	// AnnotationClass on a Service of another type than LoadBalancer says which installation gives it node ports, where there
	// are several: the one that serves load balancers of this class. Without it, it is the one for those without a class.
	AnnotationClass = "fairlead.io/class"
)

// ConditionNodePorts is the type of the condition of a Service that asks for ports of NodePortRanges: True where it has all
// of them, and nodes serve them. Its message begins with one of the words below and the ports, as the annotation has them.
const ConditionNodePorts = "fairlead.io/NodePorts"

const (
	saysAssigned = "assigned" // all that it asks for
	saysHas      = "has"      // some of it
	saysKeeps    = "keeps"    // what it asks for does not parse
)

// anyPort is what a Service asks for that leaves the number to us.
const anyPort = "auto"

// NodePort is a port of nodes for a port of a Service, or a range of ports of nodes that reach the same ports of its pods. It is
// comparable.
type NodePort struct {
	Name  string          // of the Service's port; "" where that has none
	Port  uint16          // 0: any
	Range portrange.Range // instead of these, where it is not the zero value
}

// String returns the port as the annotations have it.
func (n NodePort) String() string {
	if n.isRange() {
		return n.Range.String()
	}
	text := anyPort
	if n.Port > 0 {
		text = strconv.Itoa(int(n.Port))
	}
	if n.Name == "" {
		return text
	}
	return n.Name + "=" + text
}

// NodePortsText returns ports as the annotations have them.
func NodePortsText(list []NodePort) string {
	texts := make([]string, len(list))
	for i, n := range list {
		texts[i] = n.String()
	}
	return strings.Join(texts, ",")
}

// ParseNodePorts reads what one of the two annotations says.
func ParseNodePorts(text string) (out []NodePort, err error) {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if strings.Contains(part, "/") {
			r, err := portrange.Parse(part)
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(out, func(o NodePort) bool { return o.Range.Overlaps(r[0]) }) {
				return nil, fmt.Errorf("it has %s twice", r[0])
			}
			out = append(out, NodePort{Range: r[0]})
			continue
		}
		name, number, named := strings.Cut(part, "=")
		if !named {
			name, number = "", part
		}
		n := NodePort{Name: strings.TrimSpace(name)}
		if number = strings.TrimSpace(number); number != anyPort {
			span, err := portrange.ParseSpan(number)
			if err != nil || span.First != span.Last {
				return nil, fmt.Errorf("%q is neither of the form name=33333 nor name=%s", part, anyPort)
			}
			n.Port = span.First
		}
		if slices.ContainsFunc(out, func(o NodePort) bool { return o.Name == n.Name && !o.isRange() }) {
			return nil, fmt.Errorf("it asks twice for a port for %q", n.Name)
		}
		out = append(out, n)
	}
	return out, nil
}

// NodePortService is what the allocation of node ports reads of a Service. All Services are told, since their nodePorts are
// taken.
type NodePortService struct {
	Key
	UID     string
	Created time.Time
	// Since is when the Service got its address or, where that is not known, was created: of two that show one port the
	// earlier one has it.
	Since           time.Time
	Deleting        bool // waits for its finalizers: keeps what it has, gets nothing new
	Labels          labels.Set
	NamespaceLabels labels.Set
	Ports           []ServicePort
	Given           []portrange.Range // by the API server: its nodePorts and its healthCheckNodePort
	Asked           []NodePort        // by the names of its ports
	Invalid         string            // what is wrong with what it asks for, or ""
	Held            []NodePort        // what its annotation and its condition show
	// OrphanedSince is since when it has kept a port that no range gives it any more; zero where it has none.
	OrphanedSince time.Time
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name     string
	Protocol corev1.Protocol
}

// NodePortServiceOf reads a Service. What does not parse is told in Invalid.
func NodePortServiceOf(s *corev1.Service, namespaceLabels labels.Set) NodePortService {
	out := NodePortService{
		Key: Key{s.Namespace, s.Name}, UID: string(s.UID), Created: s.CreationTimestamp.Time, Since: NodePortsSince(s),
		Deleting: s.DeletionTimestamp != nil, Labels: s.Labels, NamespaceLabels: namespaceLabels,
	}
	for _, p := range s.Spec.Ports {
		protocol := cmp.Or(p.Protocol, corev1.ProtocolTCP)
		out.Ports = append(out.Ports, ServicePort{p.Name, protocol})
		if p.NodePort > 0 {
			out.Given = append(out.Given, portrange.Port(protocol, uint16(p.NodePort)))
		}
	}
	if s.Spec.HealthCheckNodePort > 0 {
		out.Given = append(out.Given, portrange.Port(corev1.ProtocolTCP, uint16(s.Spec.HealthCheckNodePort)))
	}
	text, asks := s.Annotations[AnnotationNodePorts]
	switch {
	case s.Spec.Type == corev1.ServiceTypeExternalName, s.Spec.ClusterIP == corev1.ClusterIPNone:
		if asks {
			out.Invalid = AnnotationNodePorts + ": a Service of type ExternalName or without a cluster IP has no ports of nodes"
		}
		return out
	case asks:
		out.ask(text, s.Annotations[portrange.Annotation])
	}
	out.Held = heldNodePorts(s)
	out.OrphanedSince, _ = time.Parse(time.RFC3339Nano, s.Annotations[AnnotationNodePortsOrphanedSince])
	return out
}

// heldNodePorts reads the ports that the annotation shows, if the condition says the same: whoever may change a Service may
// write the annotation, and take a port from somebody by that, but few may write its status.
func heldNodePorts(s *corev1.Service) []NodePort {
	text := s.Annotations[AnnotationNodePortsAssigned]
	told := meta.FindStatusCondition(s.Status.Conditions, ConditionNodePorts)
	if text == "" || told == nil {
		return nil
	}
	word, rest, _ := strings.Cut(told.Message, " ")
	list, _, _ := strings.Cut(rest, " ")
	if !slices.Contains([]string{saysAssigned, saysHas, saysKeeps}, word) || strings.TrimSuffix(list, ":") != text {
		return nil
	}
	held, _ := ParseNodePorts(text)
	return held
}

// NodePortsSince is when a Service got its address or, where that is not known, was created.
func NodePortsSince(s *corev1.Service) time.Time {
	if t := AssignedAt(s); !t.IsZero() {
		return t
	}
	return s.CreationTimestamp.Time
}

// ask reads what the Service asks for, given its ranges of ports.
func (out *NodePortService) ask(text, ranges string) {
	text, wanted := cutRanges(text)
	out.askPorts(text, wanted)
	if wanted && out.Invalid == "" {
		out.askRanges(ranges)
	}
	if out.Invalid != "" {
		out.Asked = nil
	}
}

// askPorts reads what the Service asks for but ranges; beside these, that may be nothing.
func (out *NodePortService) askPorts(text string, beside bool) {
	if text == "" && beside {
		return
	}
	list, err := ParseNodePorts(text)
	if err != nil {
		out.Invalid = fmt.Sprintf("%s: %v", AnnotationNodePorts, err)
		return
	}
	if len(list) == 1 && list[0] == (NodePort{}) {
		for _, p := range out.Ports {
			out.Asked = append(out.Asked, NodePort{Name: p.Name})
		}
		return
	}
	for _, n := range list {
		if n.isRange() {
			out.Invalid = fmt.Sprintf("%s: ranges such as %s belong into the annotation %s; here, ask for them by %q", AnnotationNodePorts, n, portrange.Annotation, allRanges)
			return
		}
		if n.Name == "" && len(out.Ports) == 1 {
			n.Name = out.Ports[0].Name
		}
		if _, ok := out.Port(n.Name); !ok {
			out.Invalid = fmt.Sprintf("%s: the Service has no port with the name %q", AnnotationNodePorts, n.Name)
			if n.Name == "" {
				out.Invalid = fmt.Sprintf("%s: say which of the Service's ports %q is for, as in %s", AnnotationNodePorts, n, NodePort{Name: out.nameOfFirst(), Port: n.Port})
			}
			return
		}
		out.Asked = append(out.Asked, n)
	}
}

// nameOfFirst returns the name of the Service's first port, for an example.
func (out *NodePortService) nameOfFirst() string {
	if len(out.Ports) == 0 {
		return "http"
	}
	return out.Ports[0].Name
}

// Port returns the Service's port of that name.
func (out *NodePortService) Port(name string) (ServicePort, bool) {
	i := slices.IndexFunc(out.Ports, func(p ServicePort) bool { return p.Name == name })
	if i < 0 {
		return ServicePort{}, false
	}
	return out.Ports[i], true
}

// Asks says whether the Service asks for ports, be it in vain.
func (out *NodePortService) Asks() bool { return len(out.Asked) > 0 || out.Invalid != "" }

// NodePortDecision is which ports a Service is to have, and why.
type NodePortDecision struct {
	Ports           []NodePort // in the order in which it asks
	Complete        bool       // it has what it asks for
	verdict.Verdict            // of a Service that asks; else the zero value
	// OrphanedSince is what the annotation AnnotationNodePortsOrphanedSince is to say; zero: it is to go.
	OrphanedSince time.Time
}

// NodePortUsage is how many ports of a NodePortRange Services have, and how many may be given, each protocol counted.
type NodePortUsage struct{ Assigned, Free int }

// NodePortView is everything that a decision on node ports depends on.
type NodePortView struct {
	Policy   *policy.Policy
	Services []NodePortService
	Now      time.Time
	// OrphanGrace is how long a Service keeps a port that no range gives it any more; 0: not at all.
	OrphanGrace time.Duration
}

// NodePortOutcome is what is decided for the Services of a view, in their order, and what is left of each of the policy's
// NodePortRanges.
type NodePortOutcome struct {
	Decisions []NodePortDecision
	Usage     []NodePortUsage
	RecheckAt time.Time // when time alone changes something; zero: never
}

// DecideNodePorts decides for all Services. A port in use stays with its Service while a range has it that admits the Service,
// and for a time of grace after that; and it is given to no other one in the same pass, even where its Service does not ask
// for it any more. The result depends on the set of Services, not on their order.
func DecideNodePorts(v NodePortView) NodePortOutcome {
	st := nodePorts{NodePortView: v, holders: map[protocolPort]portHolder{}, next: map[portSpan]int{}}
	kept := st.keep()
	got, refused := st.give(kept)
	out := NodePortOutcome{Decisions: make([]NodePortDecision, len(v.Services))}
	for i := range v.Services {
		if s := &v.Services[i]; s.Asks() {
			out.Decisions[i] = st.orphaned(s, st.tell(s, got[i], kept[i], refused[i]))
		}
	}
	out.Usage, out.RecheckAt = st.usage(out.Decisions), st.recheckAt
	return out
}

// protocolPort is one port. It is comparable.
type protocolPort struct {
	corev1.Protocol
	port uint16
}

// String returns the port and the protocol.
func (p protocolPort) String() string { return portrange.Port(p.Protocol, p.port).String() }

// portHolder is who has a port.
type portHolder struct {
	*NodePortService
	given  bool // by the API server
	ranged bool // as one of a range
}

// portSpan is one of the lists of ports of a range.
type portSpan struct{ rangeAt, portsAt int }

// nodePorts is who has which port during one pass.
type nodePorts struct {
	NodePortView
	holders   map[protocolPort]portHolder
	next      map[portSpan]int // the first port of the list that may be free
	recheckAt time.Time
}

// keep notes what is taken and returns what each Service keeps of what it shows: what its range still has and gives it, or did
// a short time ago, and nobody had earlier.
func (st *nodePorts) keep() [][]NodePort {
	order := make([]int, len(st.Services))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int {
		a, b := &st.Services[x], &st.Services[y]
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, i := range order {
		for _, r := range st.Services[i].Given {
			st.holders[protocolPort{r.Protocol, r.First}] = portHolder{NodePortService: &st.Services[i], given: true}
		}
	}
	kept := make([][]NodePort, len(st.Services))
	for _, graced := range []bool{false, true} { // who is admitted comes before who is no more
		for _, i := range order {
			s := &st.Services[i]
			for _, n := range s.Held {
				if n.Name == "" && len(s.Ports) == 1 && !n.isRange() {
					n.Name = s.Ports[0].Name
				}
				r, ok := s.Opens(n)
				if _, taken := st.taken(r); !ok || taken || st.admits(s, r) == graced || graced && !st.graced(s) {
					continue
				}
				st.take(s, n)
				kept[i] = append(kept[i], n)
			}
		}
	}
	return kept
}

// admits says whether NodePortRanges that are for the Service have all of these ports.
func (st *nodePorts) admits(s *NodePortService, ports portrange.Range) bool {
	return len(st.outside(s, ports)) == 0
}

// outside returns those of the ports that no NodePortRange has that is for the Service.
func (st *nodePorts) outside(s *NodePortService, ports portrange.Range) []portrange.Range {
	return st.Policy.OutsideNodePortRanges(ports, func(r *policy.NodePortRange) bool {
		return r.Services.Match(s.Namespace, s.NamespaceLabels, s.Labels)
	})
}

// portRequest is one port that a Service asks for and has not.
type portRequest struct {
	service, asked int
	NodePort
}

// give gives what is asked for and not there yet: those who ask for a number first, then the older ones. It returns, by
// Service and in the order in which it asks, what each has then, with port 0 for what it has not, and why not.
func (st *nodePorts) give(kept [][]NodePort) (got [][]NodePort, refused [][]verdict.Verdict) {
	got, refused = make([][]NodePort, len(st.Services)), make([][]verdict.Verdict, len(st.Services))
	var requests []portRequest
	for i := range st.Services {
		s := &st.Services[i]
		for k, n := range s.Asked {
			has := NodePort{Name: n.Name, Port: portOf(kept[i], n.Name)}
			if n.isRange() {
				has = NodePort{}
				if slices.Contains(kept[i], n) {
					has = n
				}
			}
			got[i] = append(got[i], has)
			if !has.fulfils(n) {
				requests = append(requests, portRequest{i, k, n})
			}
		}
	}
	slices.SortFunc(requests, func(x, y portRequest) int {
		a, b := &st.Services[x.service], &st.Services[y.service]
		return cmp.Or(openness(x.NodePort)-openness(y.NodePort), a.Created.Compare(b.Created), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), x.asked-y.asked)
	})
	for _, r := range requests {
		s := &st.Services[r.service]
		n, why := st.request(s, r.NodePort)
		if n == (NodePort{}) {
			refused[r.service] = append(refused[r.service], why)
			continue
		}
		st.take(s, n)
		got[r.service][r.asked] = n
	}
	for i := range got {
		got[i] = settleRanges(st.Services[i].Asked, got[i], kept[i])
	}
	return got, refused
}

// openness orders requests: those for a number come before those that any port will do for.
func openness(n NodePort) int {
	if n.Port == 0 && !n.isRange() {
		return 1
	}
	return 0
}

// portOf returns the port of that name in the list, or 0.
func portOf(list []NodePort, name string) uint16 {
	i := slices.IndexFunc(list, func(n NodePort) bool { return n.Name == name && !n.isRange() })
	if i < 0 {
		return 0
	}
	return list[i].Port
}

// request looks for what a Service asks for, one port or one range; where it returns the zero value, it says why.
func (st *nodePorts) request(s *NodePortService, n NodePort) (NodePort, verdict.Verdict) {
	switch {
	case s.Deleting:
		return NodePort{}, no(verdict.Deleting, "the Service is being deleted and gets no new port")
	case n.isRange():
		return st.requestRange(s, n)
	case n.Port == 0:
		return st.anyFree(s, n.Name)
	}
	p, _ := s.Port(n.Name)
	if why := st.refusal(s, protocolPort{p.Protocol, n.Port}); why.Reason != "" {
		return NodePort{}, why
	}
	return n, verdict.Verdict{}
}

// refusal says why a Service cannot have a port; the zero value: it can.
func (st *nodePorts) refusal(s *NodePortService, key protocolPort) verdict.Verdict {
	r, ok := st.Policy.NodePortRangeOf(key.Protocol, key.port)
	holder, taken := st.holders[key]
	switch own := st.Policy.ServiceNodePorts; {
	case taken && holder.NodePortService == s:
		return no(verdict.NodePortTaken, "the Service has %s already, for another one of its ports", key)
	case taken && holder.given:
		return no(verdict.NodePortTaken, "%s is a nodePort of Service %s", key, holder.Key)
	case taken:
		return no(verdict.NodePortTaken, "%s belongs to Service %s", key, holder.Key)
	case !ok && own.First <= key.port && key.port <= own.Last:
		return no(verdict.NodePortOutside, "%s is the API server's to give, which has %s: ask for it by spec.ports[].nodePort", key, own.Span())
	case !ok && policy.ReservedFor(key.port) != "":
		return no(verdict.NodePortOutside, "%s usually belongs to %s, and no NodePortRange has it by spec.allowReserved", key, policy.ReservedFor(key.port))
	case !ok:
		return no(verdict.NodePortOutside, "%s is in no NodePortRange", key)
	case !r.Services.Match(s.Namespace, s.NamespaceLabels, s.Labels):
		return no(verdict.NodePortNotAllowed, "NodePortRange %q, which has %s, does not admit the Service", r.Name, key)
	case r.Frozen():
		return no(verdict.NodePortRangeInvalid, "NodePortRange %q, which has %s, gives nothing new, since it is bad: %s", r.Name, key, r.Problem.Message)
	}
	return verdict.Verdict{}
}

// anyFree looks for a free port: the first one of the first range by name that has one and admits the Service.
func (st *nodePorts) anyFree(s *NodePortService, name string) (NodePort, verdict.Verdict) {
	p, _ := s.Port(name)
	protocol := p.Protocol
	var full []string
	var bad *policy.NodePortRange
	for i := range st.Policy.NodePortRanges {
		r := &st.Policy.NodePortRanges[i]
		if !r.Services.Match(s.Namespace, s.NamespaceLabels, s.Labels) {
			continue
		}
		if r.Frozen() {
			bad = r
			continue
		}
		for k, ports := range r.Ports {
			if ports.Protocol != protocol {
				continue
			}
			at := portSpan{i, k}
			for ; st.next[at] < ports.Size(); st.next[at]++ {
				port := ports.First + uint16(st.next[at])
				if _, taken := st.holders[protocolPort{protocol, port}]; !taken {
					return NodePort{Name: name, Port: port}, verdict.Verdict{}
				}
			}
			full = addOnce(full, r.Name)
		}
	}
	switch {
	case len(full) == 0 && bad != nil:
		return NodePort{}, no(verdict.NodePortRangeInvalid, "NodePortRange %q gives nothing new, since it is bad: %s", bad.Name, bad.Problem.Message)
	case len(full) == 0:
		return NodePort{}, no(verdict.NodePortNotAllowed, "no NodePortRange with %s ports admits the Service", protocol)
	}
	return NodePort{}, no(verdict.NodePortsExhausted, "no %s port is free in %s", protocol, rangeList(full))
}

// rangeList lists NodePortRanges in a sentence.
func rangeList(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	if len(quoted) == 1 {
		return "NodePortRange " + quoted[0]
	}
	return "NodePortRanges " + strings.Join(quoted, ", ")
}

// tell words what a Service has.
func (st *nodePorts) tell(s *NodePortService, got, kept []NodePort, refused []verdict.Verdict) NodePortDecision {
	if s.Invalid != "" {
		d := NodePortDecision{Ports: kept, Verdict: no(verdict.InvalidRequest, "%s", s.Invalid)}
		if len(kept) > 0 {
			d.Message = saysKeeps + " " + NodePortsText(kept) + ": " + d.Message
		}
		return d
	}
	d := NodePortDecision{Ports: slices.DeleteFunc(got, func(n NodePort) bool { return n.Port == 0 && !n.isRange() }), Complete: len(refused) == 0}
	if d.Complete {
		var from []string
		for _, n := range d.Ports {
			ports, _ := s.Opens(n)
			for i := range st.Policy.NodePortRanges {
				if r := &st.Policy.NodePortRanges[i]; slices.ContainsFunc(r.Ports, ports.Overlaps) {
					from = addOnce(from, r.Name)
				}
			}
		}
		d.Verdict = no(verdict.NodePortsAssigned, saysAssigned+" %s from %s", NodePortsText(d.Ports), rangeList(from))
		return d
	}
	texts := make([]string, len(refused))
	for i, v := range refused {
		texts[i] = v.Message
	}
	d.Verdict = no(refused[0].Reason, "%s", strings.Join(texts, "; "))
	if len(d.Ports) > 0 {
		d.Message = saysHas + " " + NodePortsText(d.Ports) + " only: " + d.Message
	}
	return d
}

// usage counts what Services have and what is left, by range.
func (st *nodePorts) usage(decisions []NodePortDecision) []NodePortUsage {
	ranges := st.Policy.NodePortRanges
	out := make([]NodePortUsage, len(ranges))
	at := make(map[string]int, len(ranges))
	for i := range ranges {
		at[ranges[i].Name], out[i].Free = i, ranges[i].Size()
	}
	for key := range st.holders {
		if r, ok := st.Policy.NodePortRangeOf(key.Protocol, key.port); ok {
			out[at[r.Name]].Free--
		}
	}
	for i, d := range decisions {
		for _, n := range d.Ports {
			ports, _ := st.Services[i].Opens(n)
			for k := range ranges {
				for _, has := range ranges[k].Ports {
					if has.Overlaps(ports) {
						out[k].Assigned += has.Overlap(ports).Size()
					}
				}
			}
		}
	}
	return out
}
