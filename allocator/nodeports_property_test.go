package allocator

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// drawPortful draws ranges and Services that fight for few ports: all are within 33000 to 33009.
func drawPortful(t *rapid.T) (*policy.Policy, []*corev1.Service) {
	span := rapid.SampledFrom([]string{"33000-33003", "33002-33006", "33009", "33005 33007", "33001 x"})
	var list []v1alpha1.NodePortRange
	for i := range rapid.IntRange(0, 3).Draw(t, "ranges") {
		list = append(list, openPorts(fmt.Sprint("r", i), span.Draw(t, "ports"), rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y"}), 0, 2).Draw(t, "namespaces")...))
	}
	port := rapid.Map(rapid.IntRange(33000, 33009), func(n int) string { return fmt.Sprint(n) })
	several := rapid.SampledFrom([]string{"33000/TCP", "33000-33002/TCP", "33002-33003/TCP", "33004-33009/TCP,33001/UDP", "33000-33003/UDP"})
	value := func(label string) string {
		return rapid.OneOf(port, rapid.Just("auto")).Draw(t, label)
	}
	var out []*corev1.Service
	for i := range rapid.IntRange(0, 8).Draw(t, "services") {
		words := []string{fmt.Sprint("age=", rapid.IntRange(0, 2).Draw(t, "age"))}
		switch rapid.IntRange(0, 6).Draw(t, "asks") {
		case 1:
			words = append(words, "asks=auto")
		case 2:
			words = append(words, "asks=http="+value("http"))
		case 3:
			words = append(words, "asks=http="+value("http")+",dns="+value("dns"))
		case 4:
			words = append(words, "asks=nonsense=1")
		case 5:
			words = append(words, "asks=ranges", "ranges="+several.Draw(t, "ranges"))
		case 6:
			words = append(words, "asks=ranges,http="+value("http"), "ranges="+several.Draw(t, "ranges"))
		}
		switch rapid.IntRange(0, 3).Draw(t, "has") {
		case 1:
			words = append(words, "has=http="+port.Draw(t, "held http")+",dns="+port.Draw(t, "held dns"))
		case 2:
			words = append(words, "has="+several.Draw(t, "held ranges"))
		case 3:
			words = append(words, "has=http="+port.Draw(t, "held http")+","+several.Draw(t, "held ranges"))
		}
		if rapid.IntRange(0, 5).Draw(t, "node port") == 0 {
			words = append(words, "nodePort="+port.Draw(t, "its node port"))
		}
		if rapid.IntRange(0, 9).Draw(t, "deleting") == 0 {
			words = append(words, "deleting")
		}
		out = append(out, portful(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "namespace")+"/"+fmt.Sprint("s", i), words...))
	}
	return list2policy(t, list), out
}

func list2policy(t *rapid.T, list []v1alpha1.NodePortRange) *policy.Policy {
	p, _ := policy.Compile(policy.Objects{NodePortRanges: list, ServiceNodePorts: policy.DefaultServiceNodePorts()}, nil)
	return p
}

func readPortful(services []*corev1.Service) (out []NodePortService) {
	for _, s := range services {
		out = append(out, NodePortServiceOf(s, nil))
	}
	return out
}

// naive decides in the dumbest way: it asks of every port in turn whether anybody has it, by looking at all Services.
func naive(p *policy.Policy, services []NodePortService) [][]NodePort {
	type owner struct {
		service int
		name    string
	}
	owners := map[string]owner{} // by port/protocol
	for i := range services {
		for _, r := range services[i].Given {
			owners[r.String()] = owner{-1, ""}
		}
	}
	ok := func(s *NodePortService, protocol corev1.Protocol, port uint16) bool {
		for i := range p.NodePortRanges {
			for _, x := range p.NodePortRanges[i].Ports {
				if x.Contains(protocol, port) {
					return p.NodePortRanges[i].Services.Match(s.Namespace, s.NamespaceLabels, s.Labels)
				}
			}
		}
		return false
	}
	out := make([][]NodePort, len(services))
	has := func(i int, name string) uint16 {
		for _, n := range out[i] {
			if n.Name == name && !n.isRange() {
				return n.Port
			}
		}
		return 0
	}
	set := func(i int, name string, port uint16) {
		out[i] = slices.DeleteFunc(out[i], func(n NodePort) bool { return n.Name == name && !n.isRange() })
		out[i] = append(out[i], NodePort{Name: name, Port: port})
	}
	// takeRange takes all ports of a range, if each may be had; one that the Service has in another range may.
	takeRange := func(i int, n NodePort, mayBeOwn bool) bool {
		const ofRange = " "
		var keys []string
		for port := int(n.Range.First); port <= int(n.Range.Last); port++ {
			key := fmt.Sprintf("%d/%s", port, n.Range.Protocol)
			who, taken := owners[key]
			if taken && !(mayBeOwn && who == owner{i, ofRange}) || !ok(&services[i], n.Range.Protocol, uint16(port)) {
				return false
			}
			if r, _ := p.NodePortRangeOf(n.Range.Protocol, uint16(port)); mayBeOwn && r.Frozen() {
				return false
			}
			keys = append(keys, key)
		}
		for _, key := range keys {
			owners[key] = owner{i, ofRange}
		}
		return true
	}
	order := make([]int, len(services))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(services[a].Since.Compare(services[b].Since), cmp.Compare(services[a].UID, services[b].UID))
	})
	for _, i := range order {
		for _, n := range services[i].Held {
			if n.isRange() {
				if takeRange(i, n, false) {
					out[i] = append(out[i], n)
				}
				continue
			}
			for _, x := range services[i].Ports {
				key := fmt.Sprintf("%d/%s", n.Port, x.Protocol)
				if _, taken := owners[key]; x.Name == n.Name && !taken && ok(&services[i], x.Protocol, n.Port) {
					owners[key] = owner{i, n.Name}
					set(i, n.Name, n.Port)
				}
			}
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(services[a].Created.Compare(services[b].Created), compareNames(&services[a], &services[b]))
	})
	for _, auto := range []bool{false, true} {
		for _, i := range order {
			s := &services[i]
			for _, n := range s.Asked {
				if n.isRange() {
					if !auto && !s.Deleting && !slices.Contains(out[i], n) && takeRange(i, n, true) {
						out[i] = append(out[i], n)
					}
					continue
				}
				if s.Deleting || (n.Port == 0) != auto || has(i, n.Name) != 0 && (auto || has(i, n.Name) == n.Port) {
					continue
				}
				x, _ := s.Port(n.Name)
			search:
				for k := range p.NodePortRanges {
					r := &p.NodePortRanges[k]
					for _, ports := range r.Ports {
						for port := int(ports.First); port <= int(ports.Last); port++ {
							key := fmt.Sprintf("%d/%s", port, x.Protocol)
							if _, taken := owners[key]; !r.Frozen() && ports.Protocol == x.Protocol && (auto || port == int(n.Port)) && !taken && ok(s, x.Protocol, uint16(port)) {
								owners[key] = owner{i, n.Name}
								set(i, n.Name, uint16(port))
								break search
							}
						}
					}
				}
			}
		}
	}
	for i := range services {
		s := &services[i]
		switch {
		case !s.Asks():
			out[i] = nil
		case s.Invalid == "":
			var asked []NodePort
			lacks := false
			for _, n := range s.Asked {
				switch port := has(i, n.Name); {
				case n.isRange() && slices.Contains(out[i], n):
					asked = append(asked, n)
				case n.isRange():
					lacks = true
				case port > 0:
					asked = append(asked, NodePort{Name: n.Name, Port: port})
				}
			}
			for _, n := range out[i] { // held
				if lacks && n.isRange() && !slices.ContainsFunc(asked, func(o NodePort) bool { return o.Range.Overlaps(n.Range) }) {
					asked = append(asked, n)
				}
			}
			out[i] = asked
		}
	}
	return out
}

func compareNames(a, b *NodePortService) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// TestNodePortsAreThoseOfTheNaiveModel: and no port is given twice, neither to two Services nor beside a nodePort.
func TestNodePortsAreThoseOfTheNaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, objects := drawPortful(t)
		services := readPortful(objects)
		outcome := DecideNodePorts(NodePortView{Policy: p, Services: services})
		decisions, usage := outcome.Decisions, outcome.Usage
		want := naive(p, services)
		used := map[string]string{}
		for i := range services {
			for _, r := range services[i].Given {
				used[r.String()] = "a nodePort"
			}
		}
		assigned := 0
		for i, d := range decisions {
			if NodePortsText(d.Ports) != NodePortsText(want[i]) {
				t.Fatalf("%s has %v, want %v (%s)", services[i].Key, d.Ports, want[i], d)
			}
			if services[i].Asks() != (d.Reason != "") || d.Complete && (len(d.Ports) != len(services[i].Asked) || d.Reason != verdict.NodePortsAssigned) {
				t.Fatalf("%s asks for %v and has %+v", services[i].Key, services[i].Asked, d)
			}
			for _, n := range d.Ports {
				ports, ok := services[i].Opens(n)
				for p := range each(ports) {
					if who, twice := used[p.String()]; !ok || twice {
						t.Fatalf("%s is given to %s, and is %s too", p, services[i].Key, who)
					}
					used[p.String()] = "that of " + services[i].Key.String()
					assigned++
				}
			}
		}
		for i, u := range usage {
			assigned -= u.Assigned
			if u.Free < 0 || u.Assigned+u.Free > p.NodePortRanges[i].Size() {
				t.Fatalf("range %d: %+v of %d", i, u, p.NodePortRanges[i].Size())
			}
		}
		if assigned != 0 {
			t.Fatalf("the ranges count %d ports less than are assigned", assigned)
		}
	})
}

// TestNodePortsStay: what was decided is decided again, in any order of the Services, and nobody loses anything for whoever
// comes later.
func TestNodePortsStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, objects := drawPortful(t)
		decisions := DecideNodePorts(NodePortView{Policy: p, Services: readPortful(objects)}).Decisions
		has := map[string]string{}
		for i, s := range objects {
			shows(s, NodePortsText(decisions[i].Ports))
			has[s.Name] = NodePortsText(decisions[i].Ports)
		}
		late := portful("x/late", "asks=http="+rapid.SampledFrom([]string{"33000", "33002", "auto"}).Draw(t, "late"))
		again := rapid.Permutation(append(objects, late)).Draw(t, "order")
		decisions = DecideNodePorts(NodePortView{Policy: p, Services: readPortful(again)}).Decisions
		for i, s := range again {
			if s == late {
				continue
			}
			got, before := decisions[i].Ports, has[s.Name]
			for _, n := range got { // what was given up a pass before may be given now
				if old, err := ParseNodePorts(before); err == nil && portOf(old, n.Name) != 0 && portOf(old, n.Name) != n.Port && portOf(NodePortServiceOf(s, nil).Asked, n.Name) != n.Port {
					t.Fatalf("%s had %s and has %v", s.Name, before, got)
				}
			}
			old, _ := ParseNodePorts(before)
			for _, asked := range NodePortServiceOf(s, nil).Asked {
				fulfils := func(n NodePort) bool { return n.Name == asked.Name && n.fulfils(asked) }
				if slices.ContainsFunc(old, fulfils) && !slices.ContainsFunc(got, fulfils) {
					t.Fatalf("%s had %s and has %v", s.Name, before, got)
				}
			}
			if len(got) < len(old) && s.Annotations[portrange.Annotation] == "" {
				t.Fatalf("%s had %s and has %v", s.Name, before, got)
			}
		}
	})
}

// TestNodePortsInTheirGrace: in any world, ports that are kept for a time of grace are nobody else's, no order of the Services
// changes who has what, and whoever keeps a port without that time keeps it with it.
func TestNodePortsInTheirGrace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, objects := drawPortful(t)
		decide := func(objects []*corev1.Service, grace time.Duration) map[string]NodePortDecision {
			out := map[string]NodePortDecision{}
			for i, d := range DecideNodePorts(NodePortView{Policy: p, Services: readPortful(objects), Now: time.Unix(2000, 0), OrphanGrace: grace}).Decisions {
				out[objects[i].Namespace+"/"+objects[i].Name] = d
			}
			return out
		}
		got, without := decide(objects, time.Minute), decide(objects, 0)
		shuffled := decide(rapid.Permutation(objects).Draw(t, "order"), time.Minute)
		used := map[string]string{}
		for _, s := range readPortful(objects) {
			for _, r := range s.Given {
				used[r.String()] = "a nodePort"
			}
		}
		for _, s := range readPortful(objects) {
			name := s.Key.String()
			d := got[name]
			if NodePortsText(d.Ports) != NodePortsText(shuffled[name].Ports) || d.Verdict != shuffled[name].Verdict {
				t.Fatalf("%s: %+v, and in another order %+v", name, d, shuffled[name])
			}
			for _, n := range d.Ports {
				ports, ok := s.Opens(n)
				for p := range each(ports) {
					if who, twice := used[p.String()]; !ok || twice {
						t.Fatalf("%s is given to %s, and is %s too", p, name, who)
					}
					used[p.String()] = "that of " + name
				}
			}
			for _, n := range s.Held {
				if n.isRange() && slices.Contains(without[name].Ports, n) && !slices.Contains(d.Ports, n) {
					t.Fatalf("%s had %s, and would keep it without a time of grace: %+v", name, n, d)
				}
				if !n.isRange() && portOf(without[name].Ports, n.Name) == n.Port && portOf(d.Ports, n.Name) != n.Port {
					t.Fatalf("%s had %s, and would keep it without a time of grace: %+v", name, n, d)
				}
			}
		}
	})
}
