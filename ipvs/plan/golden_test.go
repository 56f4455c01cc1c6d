package plan

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/internal/portrange"
)

var update = flag.Bool("update", false, "rewrite the plans in testdata")

// cluster is a View as the files in testdata describe it.
type cluster struct {
	Nodes     []string // the plans of these are shown; none: node a
	Zones     map[string]string
	Addresses []netip.Addr // the node's
	Internal  []netip.Prefix
	MarksOnly bool
	Lacking   []string
	Taken     []string // address range
	Services  []service
}

type service struct {
	Name                       string // in namespace x
	Since                      int64
	LB, Cluster, External      []netip.Addr
	Ports                      []string // name=port[:nodePort]/protocol->target
	NodePorts                  map[string]uint16
	NodeRanges                 string // on every address of the node
	Local, InternalLocal       bool
	Yields                     bool
	Health                     uint16
	Affinity                   int // seconds
	From                       []netip.Prefix
	Scheduler, Ranges, Weights string
	Endpoints                  []string // address[@node] [ready|terminating|dead] [zone=..] [node=..]
}

func (c *cluster) view(t *testing.T, node string) View {
	t.Helper()
	v := View{Node: node, Zone: c.Zones[node], Addresses: c.Addresses, Internal: c.Internal, MarksOnly: c.MarksOnly, Lacking: c.Lacking, Drain: 30 * time.Second}
	for _, text := range c.Taken {
		address, ports, _ := strings.Cut(text, " ")
		r, err := portrange.Parse(ports)
		if err != nil {
			t.Fatal(err)
		}
		v.Taken = append(v.Taken, Ports{netip.MustParseAddr(address), r[0]})
	}
	for i := range c.Services {
		v.Services = append(v.Services, c.Services[i].read(t, c.Addresses))
	}
	return v
}

func (s *service) read(t *testing.T, node []netip.Addr) Service {
	t.Helper()
	out := Service{
		Namespace: "x", Name: s.Name, UID: s.Name, LoadBalancer: s.LB, ClusterIPs: s.Cluster, ExternalIPs: s.External, ExternalLocal: s.Local,
		HealthPort: s.Health, InternalLocal: s.InternalLocal, Yields: s.Yields, Affinity: time.Duration(s.Affinity) * time.Second, SourceRanges: s.From,
		Scheduler: s.Scheduler, Ranges: s.Ranges, Weights: s.Weights,
	}
	if s.Since > 0 {
		out.AssignedAt = time.Unix(s.Since, 0)
	}
	slice := &Slice{}
	for _, text := range s.Ports {
		p, target := readPort(t, text)
		out.Ports = append(out.Ports, p)
		slice.Ports = append(slice.Ports, Port{Name: p.Name, Protocol: p.Protocol, Port: target})
		if n, ok := s.NodePorts[p.Name]; ok {
			out.NodePorts = append(out.NodePorts, NodePort{p.Name, n, node})
		}
	}
	for _, text := range s.Endpoints {
		slice.Endpoints = append(slice.Endpoints, readEndpoint(t, text))
	}
	if s.NodeRanges != "" {
		ranges, err := portrange.Parse(s.NodeRanges)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range ranges {
			for _, a := range node {
				out.NodeRanges = append(out.NodeRanges, Ports{a, r})
			}
		}
	}
	out.Slices = []*Slice{slice}
	return out
}

func readPort(t *testing.T, text string) (p Port, target uint16) {
	t.Helper()
	name, rest, _ := strings.Cut(text, "=")
	rest, to, _ := strings.Cut(rest, "->")
	ports, protocol, _ := strings.Cut(rest, "/")
	p.Name, p.Protocol = name, corev1.ProtocolTCP
	if protocol != "" {
		p.Protocol = corev1.Protocol(protocol)
	}
	if n, _ := fmt.Sscanf(ports, "%d:%d", &p.Port, &p.NodePort); n == 0 {
		t.Fatalf("no port in %q", text)
	}
	if n, _ := fmt.Sscanf(to, "%d", &target); n == 0 {
		t.Fatalf("no target in %q", text)
	}
	return p, target
}

func readEndpoint(t *testing.T, text string) Endpoint {
	t.Helper()
	f := strings.Fields(text)
	address, node, _ := strings.Cut(f[0], "@")
	e := Endpoint{Address: netip.MustParseAddr(address), Node: node, Ready: true, Serving: true}
	for _, word := range f[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "terminating":
			e.Ready, e.Terminating = false, true
		case "unready":
			e.Ready, e.Serving = false, false
		case "zone":
			e.Zones = append(e.Zones, value)
		case "node":
			e.Nodes = append(e.Nodes, value)
		default:
			t.Fatalf("what is %q?", word)
		}
	}
	return e
}

// text renders a plan for people, servers as ipvsadm -Ln does.
func text(p Plan) string {
	var b strings.Builder
	for _, a := range p.Addresses {
		fmt.Fprintf(&b, "  address %s\n", a)
	}
	for _, s := range p.Servers {
		fmt.Fprintf(&b, "  %s %s", s.Frontend, s.Scheduler)
		if s.Affinity > 0 {
			fmt.Fprintf(&b, " persistent %d", s.Affinity)
		}
		if s.Drain > 0 {
			fmt.Fprintf(&b, " drain %s", s.Drain)
		}
		b.WriteString("\n")
		for _, r := range s.Reals {
			fmt.Fprintf(&b, "    -> %s %d\n", r.Address, r.Weight)
		}
		for _, l := range s.Leaving {
			fmt.Fprintf(&b, "    leaving %s, terminating %v\n", l.Address, l.Terminating)
		}
	}
	f := p.Filter
	lines(&b, "open", f.Open)
	lines(&b, "mark", f.Marks)
	lines(&b, "mark outsiders", f.External)
	lines(&b, "drop outsiders", f.Closed)
	lines(&b, "guard", f.Guarded)
	lines(&b, "allow", f.Allowed)
	lines(&b, "masquerade", f.Masquerade)
	lines(&b, "preserve outsiders", f.Preserve)
	lines(&b, "masquerade outsiders", f.ClusterIPs)
	lines(&b, "hairpin", f.Hairpin)
	for _, h := range p.NodePorts {
		fmt.Fprintf(&b, "  node port %s of %s/%s refused %v\n", h.Ports, h.Namespace, h.Name, h.Refused)
	}
	for _, c := range p.Checks {
		fmt.Fprintf(&b, "  health check of %s/%s on port %d: %d here\n", c.Namespace, c.Name, c.Port, c.Local)
	}
	for _, v := range p.Verdicts {
		fmt.Fprintf(&b, "  %s/%s: %s\n", v.Namespace, v.Name, v.Verdict)
	}
	return b.String()
}

func lines[T fmt.Stringer](b *strings.Builder, what string, list []T) {
	for _, x := range list {
		fmt.Fprintf(b, "  %s %s\n", what, x)
	}
}

// TestPlans builds, for each cluster in testdata/*.yaml, the plans of its nodes and compares them with the text beside it;
// -update rewrites the texts.
func TestPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no clusters in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := plans(t, file)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func plans(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c cluster
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Nodes) == 0 {
		c.Nodes = []string{"a"}
	}
	var b strings.Builder
	for _, n := range c.Nodes {
		v := c.view(t, n)
		fmt.Fprintf(&b, "node %s\n%s", n, text(Build(&v)))
	}
	return b.String()
}
