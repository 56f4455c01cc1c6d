package plan

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/policy"
)

var update = flag.Bool("update", false, "rewrite the plans in testdata")

// cluster is a View as the files in testdata describe it: what is not said is well.
type cluster struct {
	Pools map[string][]string                    // name -> addresses
	Ads   map[string]v1beta1.L2AdvertisementSpec // by name; without any there is one that is for everything
	Nodes []struct {
		Name                                              string
		Labels                                            labels.Set
		Dead, NotReady, NoNetwork, Excluded, OutOfService bool
		Links                                             []string // names; without any there is eth0
	}
	Services []struct {
		Name      string // in namespace x
		Labels    labels.Set
		Addresses []netip.Addr
		From      string // the pool that its annotation names
		Local     bool
		Endpoints []string // nodes with a serving endpoint; without any there is one somewhere
		Idle      bool     // no endpoint is serving
	}
}

// view returns what the node sees.
func (c *cluster) view(node string) View {
	v := View{Node: node, Policy: c.policy()}
	for _, n := range c.Nodes {
		v.Nodes = append(v.Nodes, Node{
			Name: n.Name, Labels: n.Labels, Ready: !n.NotReady, NetworkUnavailable: n.NoNetwork, Excluded: n.Excluded, OutOfService: n.OutOfService,
		})
		if !n.Dead {
			v.Members = append(v.Members, n.Name)
		}
		if n.Name == node {
			v.Links = links(n.Links)
		}
	}
	for _, s := range c.Services {
		v.Services = append(v.Services, Service{
			Namespace: "x", Name: s.Name, Labels: s.Labels, Addresses: s.Addresses, Pool: s.From, Local: s.Local, Serving: !s.Idle, ServingNodes: s.Endpoints,
		})
	}
	return v
}

func links(names []string) (out []LinkState) {
	if len(names) == 0 {
		names = []string{"eth0"}
	}
	for i, name := range names {
		out = append(out, LinkState{Link: Link{Index: i + 2, Name: name}})
	}
	return out
}

func (c *cluster) policy() *policy.Policy {
	var o policy.Objects
	for name, addresses := range c.Pools {
		o.Pools = append(o.Pools, v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses}})
	}
	for name, spec := range c.Ads {
		o.L2Advertisements = append(o.L2Advertisements, v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec})
	}
	if c.Ads == nil {
		o.L2Advertisements = []v1beta1.L2Advertisement{{}}
	}
	p, _ := policy.Compile(o, nil)
	return p
}

// text renders a plan for people.
func text(p Plan) string {
	var b strings.Builder
	for _, a := range p.L2 {
		fmt.Fprintf(&b, "  announce %s\n", a)
	}
	for _, v := range p.Verdicts {
		fmt.Fprintf(&b, "  %s/%s: %s\n", v.Namespace, v.Name, v.Verdict)
	}
	return b.String()
}

// TestPlans builds, for each cluster in testdata/*.yaml, the plan of every node with a live speaker and compares it
// with the text beside it; -update rewrites the texts.
func TestPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no clusters in testdata: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
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
	var b strings.Builder
	for _, n := range c.Nodes {
		if !n.Dead {
			v := c.view(n.Name)
			fmt.Fprintf(&b, "node %s\n%s", n.Name, text(Build(&v)))
		}
	}
	return b.String()
}
