package plan

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/policy"
)

var update = flag.Bool("update", false, "rewrite the plans in testdata")

// cluster is a View as the files in testdata describe it: what is not said is well.
type cluster struct {
	Pools    map[string][]string                    // name -> addresses
	Ads      map[string]v1beta1.L2AdvertisementSpec // by name; without any, and any bgpAds, there is one that is for everything
	Peers    map[string]v1beta2.BGPPeerSpec         // by name
	BGPAds   map[string]v1beta1.BGPAdvertisementSpec
	Weighted []string // those of BGPAds that are annotated so
	Nodes    []struct {
		Name                                                                   string
		Labels                                                                 labels.Set
		Dead, NotReady, NoNetwork, Excluded, OutOfService, Unsettled, Draining bool
		Links                                                                  []string    // names; without any there is eth0
		Published                                                              []published // what others know of its links
	}
	Services []struct {
		Name      string // in namespace x
		Labels    labels.Set
		Addresses []netip.Addr
		Proxy     []netip.Addr
		Assigned  int64  // second
		From      string // the pool that its annotation names
		Local     bool
		Endpoints []string // nodes with a serving endpoint; without any there is one somewhere
		Idle      bool     // there is no endpoint
		Failing   bool     // there are endpoints, and none is serving
	}
	IgnoreExcludeLabel bool
	Held               map[netip.Addr]string
	Programmed         map[netip.Addr][]string
	Successors         bool // show them
}

type published struct {
	Name    string
	Down    bool
	Back    bool // a short time ago
	Subnets []netip.Prefix
}

// view returns what the node sees.
func (c *cluster) view(node string) View {
	v := View{Node: node, Policy: c.policy(), IgnoreExcludeLabel: c.IgnoreExcludeLabel, Held: c.Held, Programmed: c.Programmed}
	for _, n := range c.Nodes {
		x := Node{
			Name: n.Name, Labels: n.Labels, Ready: !n.NotReady, NetworkUnavailable: n.NoNetwork, Excluded: n.Excluded, OutOfService: n.OutOfService,
			Unsettled: n.Unsettled, Draining: n.Draining,
		}
		for _, l := range n.Published {
			x.Links = append(x.Links, NodeLink{l.Name, !l.Down, l.Subnets, l.Back})
		}
		v.Nodes = append(v.Nodes, x)
		if !n.Dead {
			v.Members = append(v.Members, n.Name)
		}
		if n.Name == node {
			v.Links = links(n.Links)
		}
	}
	for _, s := range c.Services {
		x := Service{
			Namespace: "x", Name: s.Name, Labels: s.Labels, Addresses: s.Addresses, Proxy: s.Proxy, Pool: s.From, Local: s.Local,
			Serving: !s.Idle && !s.Failing, ServingNodes: s.Endpoints, Endpoints: !s.Idle,
		}
		if s.Assigned > 0 {
			x.AssignedAt = time.Unix(s.Assigned, 0)
		}
		v.Services = append(v.Services, x)
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
	for name, spec := range c.Peers {
		o.BGPPeers = append(o.BGPPeers, v1beta2.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec})
	}
	for name, spec := range c.BGPAds {
		ad := v1beta1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
		if slices.Contains(c.Weighted, name) {
			ad.Annotations = map[string]string{policy.AnnotationWeight: "endpoints"}
		}
		o.BGPAdvertisements = append(o.BGPAdvertisements, ad)
	}
	if c.Ads == nil && c.BGPAds == nil {
		o.L2Advertisements = []v1beta1.L2Advertisement{{}}
	}
	p, _ := policy.Compile(o, nil)
	return p
}

// text renders a plan for people.
func text(p Plan, successors bool) string {
	var b strings.Builder
	for _, a := range p.L2 {
		fmt.Fprintf(&b, "  announce %s\n", a)
	}
	for _, s := range p.Sessions {
		with := "link " + s.Interface
		if s.Address.IsValid() {
			with = s.Address.String()
		}
		fmt.Fprintf(&b, "  session %s with %s, AS %d to %d%s\n", s.Peer, with, s.MyASN, s.PeerASN, s.ASN)
	}
	for _, r := range p.Routes {
		fmt.Fprintf(&b, "  route %s to %s%s\n", r.Prefix, r.Peer, attributes(r))
	}
	if p.Drain {
		b.WriteString("  drain\n")
	}
	for _, v := range p.Verdicts {
		fmt.Fprintf(&b, "  %s/%s: %s\n", v.Namespace, v.Name, v.Verdict)
		if successors {
			fmt.Fprintf(&b, "    %s, then %s\n", v.Owner, strings.TrimRight(strings.Join(v.Next[:], ", "), ", "))
		}
	}
	for _, v := range p.BGP {
		fmt.Fprintf(&b, "  %s/%s: %s\n", v.Namespace, v.Name, v.Verdict)
	}
	for _, x := range p.Problems {
		fmt.Fprintf(&b, "  problem: %s\n", x.Verdict)
	}
	return b.String()
}

func attributes(r Route) (text string) {
	if r.LocalPref > 0 {
		text += fmt.Sprintf(", localPref %d", r.LocalPref)
	}
	if !r.Communities.IsEmpty() {
		text += ", communities " + r.Communities.String()
	}
	if r.Weight > 0 {
		text += fmt.Sprintf(", weight %d", r.Weight)
	}
	return text
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
			fmt.Fprintf(&b, "node %s\n%s", n.Name, text(Build(&v), c.Successors))
		}
	}
	return b.String()
}
