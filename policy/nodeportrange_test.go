package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// ports is a NodePortRange for TCP with these ports.
func ports(name string, list ...string) v1alpha1.NodePortRange {
	return v1alpha1.NodePortRange{ObjectMeta: meta(name), Spec: v1alpha1.NodePortRangeSpec{Ports: list, Protocols: []v1alpha1.PortProtocol{"TCP"}}}
}

// changed is the range with changes.
func changed(r v1alpha1.NodePortRange, change func(*v1alpha1.NodePortRange)) v1alpha1.NodePortRange {
	change(&r)
	return r
}

func TestNodePortRanges(t *testing.T) {
	type ranges = []v1alpha1.NodePortRange
	young := func(r *v1alpha1.NodePortRange) { r.CreationTimestamp = at(1) }
	all := func(r *v1alpha1.NodePortRange) { r.Spec.AllowReserved = true }
	forProtocols := func(list ...v1alpha1.PortProtocol) func(*v1alpha1.NodePortRange) {
		return func(r *v1alpha1.NodePortRange) { r.Spec.Protocols = list }
	}
	for _, c := range []struct {
		name     string
		objects  ranges
		gives    string // the ports, by name; a ! after it: nothing new
		problems []string
	}{
		{"ports and ranges", ranges{ports("a", "33000-33999", "20000")}, "a: 33000-33999/TCP 20000/TCP", nil},
		{"TCP and UDP", ranges{changed(ports("a", "20000"), forProtocols())}, "a: 20000/TCP 20000/UDP", nil},
		{"SCTP", ranges{changed(ports("a", "20000"), forProtocols("SCTP", "SCTP"))}, "a: 20000/SCTP", nil},
		{"the older one has the overlap", ranges{ports("b", "20000-20009"), changed(ports("a", "20005-20015"), young)}, "a: 20010-20015/TCP; b: 20000-20009/TCP", []string{
			`NodePortRange "a": 20005-20015/TCP overlaps the older NodePortRange "b", which keeps 20005-20009/TCP: remove that from one of the two (OverlappingPorts)`}},
		{"of the same age, the first by name", ranges{ports("b", "20000"), ports("a", "20000")}, "a: 20000/TCP; b:", []string{
			`NodePortRange "b": 20000/TCP overlaps the older NodePortRange "a", which keeps 20000/TCP: remove that from one of the two (OverlappingPorts)`}},
		{"no overlap for another protocol", ranges{ports("a", "20000"), changed(ports("b", "20000"), forProtocols("UDP"))}, "a: 20000/TCP; b: 20000/UDP", nil},
		{"one port twice", ranges{ports("a", "20000-20009", "20003")}, "a: 20000-20009/TCP", []string{
			`NodePortRange "a" lists 20003/TCP twice: remove it once (OverlappingPorts)`}},
		{"the API server's", ranges{ports("a", "29999-30001", "32767-33000")}, "a!: 29999/TCP 32768-33000/TCP", []string{
			`NodePortRange "a", spec.ports[0]: the API server gives 30000-30001 itself: leave them out, and ask for them by spec.ports[].nodePort of a Service (ReservedPorts)`,
			`NodePortRange "a", spec.ports[1]: the API server gives 32767 itself: leave them out, and ask for them by spec.ports[].nodePort of a Service (ReservedPorts)`}},
		{"what a cluster needs", ranges{ports("a", "20-60", "10250")}, "a!: 20-21/TCP 23-52/TCP 54-60/TCP", []string{
			`NodePortRange "a", spec.ports[0]: 22 usually belongs to SSH: leave it out, or set spec.allowReserved (ReservedPorts)`,
			`NodePortRange "a", spec.ports[0]: 53 usually belongs to DNS: leave it out, or set spec.allowReserved (ReservedPorts)`,
			`NodePortRange "a", spec.ports[1]: 10250 usually belongs to the kubelet, kube-proxy and the control plane: leave it out, or set spec.allowReserved (ReservedPorts)`}},
		{"what a cluster needs, allowed", ranges{changed(ports("a", "20-60", "10250"), all)}, "a: 20-60/TCP 10250/TCP", nil},
		{"the API server's, though reserved ones are allowed", ranges{changed(ports("a", "30000"), all)}, "a!:", []string{
			`NodePortRange "a", spec.ports[0]: the API server gives 30000 itself: leave them out, and ask for them by spec.ports[].nodePort of a Service (ReservedPorts)`}},
		{"bad ports", ranges{ports("a", "70000", "20010-20000", "x", "20000")}, "a!: 20000/TCP", []string{
			`NodePortRange "a", spec.ports[0]: "70000" is neither a port from 1 to 65535 nor a range of them such as 33000-33999 (InvalidPorts)`,
			`NodePortRange "a", spec.ports[1]: "20010-20000" ends before it starts (InvalidPorts)`,
			`NodePortRange "a", spec.ports[2]: "x" is neither a port from 1 to 65535 nor a range of them such as 33000-33999 (InvalidPorts)`}},
		{"none", ranges{ports("a")}, "a!:", []string{`NodePortRange "a" has no ports: list at least one port or range in spec.ports (InvalidPorts)`}},
		{"bad values", ranges{changed(ports("a", "20000"), func(r *v1alpha1.NodePortRange) {
			r.Spec.Protocols = append(r.Spec.Protocols, "ICMP")
			r.Spec.NodeSelector, r.Spec.Services = &bad, &v1alpha1.ServiceSelector{Labels: &bad}
			r.Spec.NodeAddresses = []string{"192.0.2.1"}
		})}, "a!: 20000/TCP", []string{
			`NodePortRange "a", spec.nodeAddresses[0]: "192.0.2.1" is not a CIDR such as 192.0.2.0/24 (InvalidValue)`,
			`NodePortRange "a", spec.nodeSelector: ` + badText + ` (InvalidSelector)`,
			`NodePortRange "a", spec.protocols[1]: "ICMP" is none of TCP, UDP and SCTP (InvalidValue)`,
			`NodePortRange "a", spec.services.labels: ` + badText + ` (InvalidSelector)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, problems := Compile(Objects{NodePortRanges: c.objects, ServiceNodePorts: DefaultServiceNodePorts()}, nil)
			expect(t, problems, c.problems...)
			if got := portsText(p); got != c.gives {
				t.Errorf("they give %s, want %s", got, c.gives)
			}
		})
	}
}

// portsText lists the ports of all ranges, by name.
func portsText(p *Policy) string {
	var texts []string
	for i := range p.NodePortRanges {
		r := &p.NodePortRanges[i]
		text := r.Name
		if r.Frozen() {
			text += "!"
		}
		text += ":"
		for _, x := range r.Ports {
			text += " " + x.String()
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

func TestServiceNodePortsMayBeUnknown(t *testing.T) {
	p, problems := Compile(Objects{NodePortRanges: []v1alpha1.NodePortRange{ports("a", "30000-40000")}}, nil)
	expect(t, problems)
	if got := portsText(p); got != "a: 30000-40000/TCP" {
		t.Error(got)
	}
}

func TestBadNodePortRangeKeepsItsLastValue(t *testing.T) {
	objects := func(list ...string) Objects {
		return Objects{NodePortRanges: []v1alpha1.NodePortRange{ports("a", list...)}}
	}
	p, _ := Compile(objects("20000"), nil)
	p, problems := Compile(objects("20001", "x"), p)
	expect(t, problems, `NodePortRange "a", spec.ports[1]: "x" is neither a port from 1 to 65535 nor a range of them such as 33000-33999 (InvalidPorts)`)
	if got := portsText(p); got != "a!: 20000/TCP" {
		t.Error(got)
	}
	p, problems = Compile(objects("20001"), p)
	expect(t, problems)
	if got := portsText(p); got != "a: 20001/TCP" {
		t.Error("once corrected: ", got)
	}
	anew := objects("x")
	anew.NodePortRanges[0].UID = "another"
	if p, _ = Compile(anew, p); portsText(p) != "a!:" {
		t.Error("a new object of the same name: ", portsText(p))
	}
}

func TestNodePortRangeConditions(t *testing.T) {
	p, _ := Compile(Objects{NodePortRanges: []v1alpha1.NodePortRange{ports("a", "20000"), ports("b", "20000"), ports("c", "x")}}, nil)
	var got []string
	for i := range p.NodePortRanges {
		for _, c := range p.NodePortRanges[i].Conditions() {
			got = append(got, fmt.Sprint(c.Type, " ", c.True, " ", c.Verdict.Reason))
		}
	}
	if want := fmt.Sprintf("[Ready true %s Ready false %s Ready false %s]", verdict.InForce, verdict.OverlappingPorts, verdict.InvalidPorts); fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestNodePortRangeIsServedOn(t *testing.T) {
	front := is("tier", "front")
	own := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fd00::1")}
	internal := append([]netip.Addr{netip.MustParseAddr("198.51.100.1")}, own[0], own[3]) // the first is of no interface
	for _, c := range []struct {
		name      string
		addresses []string
		node      labels.Set
		want      string
	}{
		{"the internal addresses", nil, labels.Set{"tier": "front"}, "[10.0.0.1 fd00::1]"},
		{"CIDRs", []string{"192.0.2.0/24", "2001:db8::/32"}, labels.Set{"tier": "front"}, "[192.0.2.1 2001:db8::1]"},
		{"CIDRs of other networks", []string{"203.0.113.0/24"}, labels.Set{"tier": "front"}, "[]"},
		{"a node that is not selected", nil, nil, "[]"},
	} {
		r := changed(ports("a", "20000"), func(r *v1alpha1.NodePortRange) { r.Spec.NodeSelector, r.Spec.NodeAddresses = &front, c.addresses })
		p, problems := Compile(Objects{NodePortRanges: []v1alpha1.NodePortRange{r}}, nil)
		expect(t, problems)
		if got := fmt.Sprint(p.NodePortRanges[0].ServedOn(c.node, own, internal)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestNodePortRangeOf(t *testing.T) {
	p, _ := Compile(Objects{NodePortRanges: []v1alpha1.NodePortRange{ports("a", "20000-20009"), ports("b", "20010")}}, nil)
	for port, want := range map[uint16]string{19999: "", 20000: "a", 20009: "a", 20010: "b", 20011: ""} {
		got := ""
		if r, ok := p.NodePortRangeOf(corev1.ProtocolTCP, port); ok {
			got = r.Name
		}
		if _, ok := p.NodePortRangeOf(corev1.ProtocolUDP, port); ok || got != want {
			t.Errorf("port %d is of %q, want %q; of UDP: %v", port, got, want, ok)
		}
	}
}

// TestReservedPorts: the list of the documents is the list of the code.
func TestReservedPorts(t *testing.T) {
	var got []string
	for port := 1; port <= 65535; port++ {
		if ReservedFor(uint16(port)) == "" {
			continue
		}
		if n := len(got); n > 0 && strings.HasSuffix(got[n-1], "-"+fmt.Sprint(port-1)) {
			got[n-1] = strings.TrimSuffix(got[n-1], fmt.Sprint(port-1)) + fmt.Sprint(port)
			continue
		}
		got = append(got, fmt.Sprintf("%d-%d", port, port))
	}
	want := "[22-22 53-53 179-179 2379-2380 3784-3785 4784-4784 6443-6443 7944-7945 7947-7952 10248-10259]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if r := DefaultServiceNodePorts(); r != (portrange.Range{First: 30000, Last: 32767}) {
		t.Error(r)
	}
}
