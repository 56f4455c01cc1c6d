package plan

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// reached is what the endpoints of one Service come to, and what that depends on. With its ports, what they came to goes.
type reached struct {
	basis
	ports  []Port
	slices []*Slice
	list   []*reach
	plan   int // the last one that it was for
	rank   int // the Service's among those of that plan
}

// basis is what it depends on beside ports and endpoints. It is comparable.
type basis struct {
	node, zone, weights string
	scoped              bool // the endpoints of this node matter apart from the others
}

// reach is what they come to for one port, or for ranges, in one family. It is not changed once it is made.
type reach struct {
	reachKey
	all   []candidate
	pools [2]pool      // by scope
	here  []netip.Addr // of those on this node
}

// reachKey is comparable.
type reachKey struct {
	port     string // its name, or ranges
	protocol corev1.Protocol
	v6       bool
}

// recall returns what the last plan worked out of a Service, where it depends on nothing that changed; else there is nothing
// yet. The order of EndpointSlices does not matter.
func (from *Builder) recall(b *builder, j *job) *reached {
	on, of := basis{b.Node, b.Zone, j.Weights, j.ExternalLocal || j.InternalLocal}, name{j.Namespace, j.Name}
	r := from.reached[of]
	if r == nil || r.basis != on || !slices.Equal(r.ports, j.Ports) || len(r.slices) != len(j.Slices) ||
		slices.ContainsFunc(j.Slices, func(s *Slice) bool { return !slices.Contains(r.slices, s) }) {
		rank := 0
		if r != nil {
			rank = r.rank
		}
		r = &reached{basis: on, ports: j.Ports, slices: slices.Clone(j.Slices), rank: rank}
		if from.reached == nil {
			from.reached = map[name]*reached{}
		}
		from.reached[of] = r
	}
	r.plan = from.plans
	return r
}

// forget forgets the Services that the plan has no more.
func (from *Builder) forget() {
	maps.DeleteFunc(from.reached, func(_ name, r *reached) bool { return r.plan != from.plans })
	from.plans++
}

// arrange sorts the jobs by what they are reached under, so that most of the plan comes out in the order that it is to have.
// They begin in the order of the last plan, which most still have, so that there is next to nothing to sort.
func arrange(jobs []job) []*job {
	order := make([]*job, len(jobs))
	var rest []*job
	for i := range jobs {
		if j := &jobs[i]; j.reached.rank < len(order) && order[j.reached.rank] == nil {
			order[j.reached.rank] = j
		} else {
			rest = append(rest, j)
		}
	}
	for i := range order {
		if order[i] == nil {
			order[i], rest = rest[0], rest[1:]
		}
	}
	slices.SortFunc(order, (*job).compare)
	for i, j := range order {
		j.reached.rank = i
	}
	return order
}

// reach returns what a Service's endpoints of a family come to for a port, or, without one, for ranges.
func (b *builder) reach(j *job, port *Port, v6 bool) *reach {
	key := reachKey{port: ranges, v6: v6}
	if port != nil {
		key.port, key.protocol = port.Name, port.Protocol
	}
	for _, r := range j.reached.list {
		if r.reachKey == key {
			return r
		}
	}
	r := &reach{reachKey: key, all: j.candidates(port, v6)}
	r.pools[everywhere] = b.pool(r.all, everywhere, j.weights)
	if j.reached.scoped {
		r.pools[onThisNode] = b.pool(r.all, onThisNode, j.weights)
	}
	for _, c := range r.all {
		if c.Node == b.Node {
			r.here = append(r.here, c.Address)
		}
	}
	j.reached.list = append(j.reached.list, r)
	return r
}
