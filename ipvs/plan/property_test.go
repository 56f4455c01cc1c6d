package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	corev1 "k8s.io/api/core/v1"
)

// drawView makes a view in which Services share few addresses and ports, so that many collide.
func drawView(t *rapid.T) View {
	v := View{
		Node: "a", MarksOnly: rapid.Bool().Draw(t, "marksOnly"), Drain: time.Minute,
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		Internal:  []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "services") {
		v.Services = append(v.Services, drawService(t, i))
	}
	return v
}

func drawService(t *rapid.T, i int) Service {
	vip := rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "2001:db8::1"})
	s := Service{
		Namespace: "x", Name: fmt.Sprint("s", i), UID: fmt.Sprint(i), AssignedAt: time.Unix(rapid.Int64Range(0, 2).Draw(t, "since"), 0),
		Yields: rapid.SampledFrom([]bool{false, false, false, true}).Draw(t, "yields"), ExternalLocal: rapid.Bool().Draw(t, "local"), InternalLocal: rapid.Bool().Draw(t, "internal"),
		Ranges: rapid.SampledFrom([]string{"", "", "79-81", "80/UDP,100-200", "5-1", "x"}).Draw(t, "ranges"),
	}
	for _, a := range rapid.SliceOfNDistinct(vip, 0, 2, rapid.ID[string]).Draw(t, "vips") {
		s.LoadBalancer = append(s.LoadBalancer, netip.MustParseAddr(a))
	}
	if rapid.Bool().Draw(t, "whole") {
		s.ClusterIPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(i)})}
		s.ExternalIPs = []netip.Addr{netip.MustParseAddr(rapid.SampledFrom([]string{"192.0.2.1", "10.0.0.1"}).Draw(t, "external"))}
	}
	slice := &Slice{}
	for k := range rapid.IntRange(1, 3).Draw(t, "ports") {
		p := Port{
			Name: fmt.Sprint("p", k), Protocol: rapid.SampledFrom([]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}).Draw(t, "protocol"),
			Port: uint16(80 + k), NodePort: rapid.SampledFrom([]uint16{0, 30000, 30001}).Draw(t, "nodePort"),
		}
		s.Ports = append(s.Ports, p)
		slice.Ports = append(slice.Ports, Port{Name: p.Name, Protocol: p.Protocol, Port: 8080})
		if rapid.Bool().Draw(t, "ranged") {
			s.NodePorts = append(s.NodePorts, NodePort{p.Name, rapid.Uint16Range(30000, 30002).Draw(t, "port"), []netip.Addr{netip.MustParseAddr("10.0.0.1")}})
		}
	}
	for k := range rapid.IntRange(0, 3).Draw(t, "endpoints") {
		ready := rapid.Bool().Draw(t, "ready")
		slice.Endpoints = append(slice.Endpoints, Endpoint{
			Address: netip.AddrFrom4([4]byte{10, 244, byte(i), byte(k)}), Node: rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "node"),
			Ready: ready, Serving: ready || rapid.Bool().Draw(t, "serving"), Terminating: !ready,
			Zones: rapid.SampledFrom([][]string{nil, {"y"}, {"y", "z"}}).Draw(t, "zones"),
		})
	}
	s.Slices = []*Slice{slice}
	return s
}

// TestPlanDependsOnNoOrder: the order of Services, slices and endpoints changes nothing.
func TestPlanDependsOnNoOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		want := Build(&v)
		v.Services = rapid.Permutation(v.Services).Draw(t, "order")
		for i := range v.Services {
			slices.Reverse(v.Services[i].Slices[0].Endpoints)
		}
		got := Build(&v)
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestWhatIsRememberedChangesNothing: plan after plan, of views that have most of the Services and EndpointSlices in common, is
// what it would be without the ones before.
func TestWhatIsRememberedChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Builder
		v := drawView(t)
		for range rapid.IntRange(1, 6).Draw(t, "plans") {
			if diff := cmp.Diff(Build(&v), b.Build(&v), cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); diff != "" {
				t.Fatalf("(-fresh +remembered):\n%s", diff)
			}
			if len(b.reached) != len(v.Services) {
				t.Fatalf("%d Services are remembered of %d", len(b.reached), len(v.Services))
			}
			v.Services = slices.Clone(v.Services)
			if len(v.Services) == 0 {
				v.Services = append(v.Services, drawService(t, 0))
			}
			at := rapid.IntRange(0, len(v.Services)-1).Draw(t, "which")
			s := &v.Services[at]
			another := func() Service {
				n, _ := strconv.Atoi(s.UID)
				return drawService(t, n)
			}
			switch rapid.SampledFrom([]string{"endpoints", "more endpoints", "service", "policy", "weights", "ports", "gone", "node", "zone", "order"}).Draw(t, "change") {
			case "endpoints":
				s.Slices = another().Slices
			case "more endpoints":
				s.Slices = append(slices.Clone(s.Slices), another().Slices...)
			case "service":
				same := s.Slices
				*s = another()
				s.Slices = same
			case "policy":
				s.ExternalLocal, s.InternalLocal = rapid.Bool().Draw(t, "local"), rapid.Bool().Draw(t, "internal")
			case "weights":
				s.Weights = rapid.SampledFrom([]string{"", "a=2", "a=0,b=3", "x"}).Draw(t, "weights")
			case "ports":
				s.Ports = slices.Clone(s.Ports)
				s.Ports[0].Name = rapid.SampledFrom([]string{"p0", "p1", "p9"}).Draw(t, "name")
			case "gone":
				v.Services = slices.Delete(v.Services, at, at+1)
			case "node":
				v.Node = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "node")
			case "zone":
				v.Zone = rapid.SampledFrom([]string{"", "y", "z"}).Draw(t, "zone")
			case "order":
				v.Services = rapid.Permutation(v.Services).Draw(t, "order")
				slices.Reverse(v.Services[0].Slices)
			}
		}
	})
}

// TestAnEndpointListedTwice: of an address that two EndpointSlices list, on nodes of two weights, the larger one counts, whichever
// comes first.
func TestAnEndpointListedTwice(t *testing.T) {
	s := large(1).Services[0]
	s.Weights = "a=2,b=3"
	on := func(node string) *Slice {
		return &Slice{Ports: s.Slices[0].Ports, Endpoints: []Endpoint{{Address: netip.MustParseAddr("10.244.0.5"), Node: node, Ready: true, Serving: true}}}
	}
	for _, list := range [][]*Slice{{on("a"), on("b")}, {on("b"), on("a")}} {
		s.Slices = list
		p := Build(&View{Node: "a", Services: []Service{s}})
		if want := []Real{{netip.MustParseAddrPort("10.244.0.5:8080"), 3}}; len(p.Servers) != 1 || !slices.Equal(p.Servers[0].Reals, want) {
			t.Errorf("%+v, want one server with %v", p.Servers, want)
		}
	}
}

// TestPlanIsSound: no packet can meet two servers or none that the plan promises.
func TestPlanIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		p := Build(&v)
		yields := slices.ContainsFunc(v.Services, func(s Service) bool { return s.Yields })
		servers := map[Frontend]Server{}
		for _, s := range p.Servers {
			if _, twice := servers[s.Frontend]; twice {
				t.Fatalf("two servers %s", s.Frontend)
			}
			if v.MarksOnly && s.Mark == 0 {
				t.Fatalf("server %s has an address", s.Frontend)
			}
			if s.Mark&foreignBits != 0 {
				t.Fatalf("server %s has a bit of kube-proxy's", s.Frontend)
			}
			servers[s.Frontend] = s
			if !slices.IsSortedFunc(s.Reals, func(a, b Real) int { return a.Address.Compare(b.Address) }) {
				t.Fatalf("server %s: real servers are not sorted", s.Frontend)
			}
		}
		meant := map[Frontend]bool{}
		for _, list := range [][]Marked{p.Filter.Marks, p.Filter.External} {
			for i, m := range list {
				f := Frontend{Mark: m.Mark, V6: m.Address.Is6()}
				if _, ok := servers[f]; !ok {
					t.Fatalf("no server for %s", m)
				}
				meant[f] = true
				if slices.ContainsFunc(list[:i], func(o Marked) bool { return o.Ports.Overlaps(m.Ports) }) {
					t.Fatalf("%s overlaps another one", m)
				}
			}
		}
		for f := range servers {
			if f.Mark != 0 && !meant[f] && !yields {
				t.Fatalf("nothing gets the mark of %s", f)
			}
		}
		for _, o := range p.Filter.Open {
			if !slices.Contains(p.Addresses, o.Address) {
				t.Fatalf("%s is open and not bound", o)
			}
			at := Frontend{Address: netip.AddrPortFrom(o.Address, o.First), Protocol: o.Protocol}
			_, served := servers[at]
			if !served && !yields && !slices.ContainsFunc(p.Filter.Marks, func(m Marked) bool { return m.Ports == o }) {
				t.Fatalf("%s is open and nothing serves it", o)
			}
		}
		for _, x := range p.Filter.External {
			if slices.ContainsFunc(p.Filter.Closed, x.Ports.Overlaps) {
				t.Fatalf("%s is marked and dropped", x)
			}
		}
	})
}

// TestMarksAreApart: keys with the same hash get different marks, the same ones every time.
func TestMarksAreApart(t *testing.T) {
	b := builder{marks: map[uint32]markKey{}}
	k := markKey{namespace: "x", name: "a"}
	first := b.mark(k)
	other := builder{marks: map[uint32]markKey{first: {namespace: "x", name: "collides"}}}
	if second := other.mark(k); second == first || other.mark(k) != second {
		t.Errorf("got %d beside %d", second, first)
	}
	if b.mark(k) != first {
		t.Error("the mark of a key has changed")
	}
}

// large makes n Services with ten endpoints each.
func large(n int) View {
	v := View{Node: "a", Drain: 30 * time.Second}
	for i := range n {
		s := Service{
			Namespace: "x", Name: fmt.Sprint("s", i), LoadBalancer: []netip.Addr{netip.AddrFrom4([4]byte{10, 50, byte(i >> 8), byte(i)})},
			Ports:  []Port{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
			Slices: []*Slice{{Ports: []Port{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 8080}}}},
		}
		for k := range 10 {
			s.Slices[0].Endpoints = append(s.Slices[0].Endpoints, Endpoint{Address: netip.AddrFrom4([4]byte{10, byte(100 + k), byte(i >> 8), byte(i)}), Node: "b", Ready: true, Serving: true})
		}
		v.Services = append(v.Services, s)
	}
	return v
}

// BenchmarkBuild is one plan for 5,000 Services with 50,000 real servers.
func BenchmarkBuild(b *testing.B) {
	v := large(5000)
	for b.Loop() {
		if p := Build(&v); len(p.Servers) != 5000 {
			b.Fatal(len(p.Servers))
		}
	}
}
