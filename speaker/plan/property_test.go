package plan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/policy"
)

var (
	someRack = rapid.SampledFrom([]string{"1", "2"})
	someNode = rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	seldom   = rapid.Map(rapid.IntRange(0, 5), func(n int) bool { return n == 5 })
)

func rack(t *rapid.T, what string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"rack": someRack.Draw(t, what)}}
}

func drawAd(t *rapid.T) (spec v1beta1.L2AdvertisementSpec) {
	if rapid.Bool().Draw(t, "for nodes") {
		spec.NodeSelectors = []metav1.LabelSelector{rack(t, "nodes")}
	}
	if rapid.Bool().Draw(t, "for services") {
		spec.ServiceSelectors = []metav1.LabelSelector{rack(t, "services")}
	}
	if seldom.Draw(t, "prefers") {
		spec.PreferredNodeSelectors = []v1beta1.PreferredNodeSelector{{Weight: rapid.Int32Range(1, 3).Draw(t, "weight"), Preference: rack(t, "preferred")}}
	}
	return spec
}

func drawBGPAd(t *rapid.T) (spec v1beta1.BGPAdvertisementSpec) {
	spec.LocalPref = rapid.Uint32Range(0, 2).Draw(t, "localPref")
	spec.Communities = rapid.SliceOfN(rapid.SampledFrom([]string{"1:1", "1:2", "large:1:2:3"}), 0, 2).Draw(t, "communities")
	spec.Peers = rapid.SliceOfN(rapid.SampledFrom([]string{"four", "six", "both", "gone"}), 0, 2).Draw(t, "peers")
	if rapid.Bool().Draw(t, "for nodes") {
		spec.NodeSelectors = []metav1.LabelSelector{rack(t, "nodes")}
	}
	if rapid.Bool().Draw(t, "for services") {
		spec.ServiceSelectors = []metav1.LabelSelector{rack(t, "services")}
	} else if rapid.Bool().Draw(t, "aggregated") {
		n := int32(31)
		spec.AggregationLength = &n
	}
	return spec
}

// drawPolicy draws what is announced how.
func drawPolicy(t *rapid.T) *policy.Policy {
	c := cluster{Pools: map[string][]string{"p": {"10.0.0.0/24", "fd00::/112"}}, Ads: map[string]v1beta1.L2AdvertisementSpec{}, BGPAds: map[string]v1beta1.BGPAdvertisementSpec{}}
	for i := range rapid.IntRange(0, 3).Draw(t, "ads") {
		c.Ads[fmt.Sprint(i)] = drawAd(t)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "BGP ads") {
		c.BGPAds[fmt.Sprint(i)] = drawBGPAd(t)
		if rapid.Bool().Draw(t, "weighted") {
			c.Weighted = append(c.Weighted, fmt.Sprint(i))
		}
	}
	spec := v1beta2.BGPPeerSpec{MyASN: 64500, PeerASN: 64501, PeerAddress: "192.0.2.1"}
	six, both := spec, spec
	six.PeerAddress, both.PeerAddress, both.DualStackAddressFamily = "fd01::1", rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2"}).Draw(t, "address"), true
	both.NodeSelectors = []metav1.LabelSelector{rack(t, "nodes")}
	c.Peers = map[string]v1beta2.BGPPeerSpec{"four": spec, "six": six, "both": both}
	return c.policy()
}

// drawView draws a cluster with nodes that may fail and Services that may share addresses; nobody lacks an interface.
func drawView(t *rapid.T) View {
	v := View{Policy: drawPolicy(t), Links: links(nil), IgnoreExcludeLabel: seldom.Draw(t, "ignore the label"), Programmed: map[netip.Addr][]string{}}
	subnets := rapid.SliceOfN(rapid.SampledFrom([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/31"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/64")}), 0, 2)
	for _, name := range rapid.SliceOfNDistinct(someNode, 1, 5, rapid.ID).Draw(t, "nodes") {
		n := Node{
			Name: name, Labels: labels.Set{"rack": someRack.Draw(t, "rack")}, Ready: !seldom.Draw(t, "not ready"),
			NetworkUnavailable: seldom.Draw(t, "no network"), Excluded: seldom.Draw(t, "excluded"), OutOfService: seldom.Draw(t, "out of service"),
			Unsettled: seldom.Draw(t, "unsettled"), Draining: seldom.Draw(t, "draining"),
		}
		if rapid.Bool().Draw(t, "known links") {
			n.Links = []NodeLink{{"eth0", !seldom.Draw(t, "down"), subnets.Draw(t, "subnets"), seldom.Draw(t, "back")}}
		}
		v.Nodes = append(v.Nodes, n)
		if !seldom.Draw(t, "dead") {
			v.Members = append(v.Members, name)
		}
	}
	for i := range rapid.IntRange(1, 8).Draw(t, "services") {
		v.Services = append(v.Services, drawService(t, fmt.Sprint("s", i)))
	}
	for _, host := range []byte{0, 1, 2} {
		v.Programmed[netip.AddrFrom4([4]byte{10, 0, 0, host})] = rapid.SliceOfN(someNode, 0, 3).Draw(t, "programmed")
	}
	return v
}

func drawService(t *rapid.T, name string) Service {
	s := Service{Namespace: "x", Name: name, Labels: labels.Set{"rack": someRack.Draw(t, "rack")}, Pool: "p", Serving: !seldom.Draw(t, "idle"), Local: seldom.Draw(t, "local")}
	host := rapid.ByteRange(0, 2).Draw(t, "host")
	four, six := netip.AddrFrom4([4]byte{10, 0, 0, host}), netip.AddrFrom16([16]byte{0: 0xfd, 15: rapid.ByteRange(0, 2).Draw(t, "host 6")})
	s.Addresses = rapid.SampledFrom([][]netip.Addr{{four}, {six}, {four, six}}).Draw(t, "addresses")
	s.AssignedAt = time.Unix(rapid.Int64Range(0, 2).Draw(t, "assigned"), 0)
	s.Endpoints = s.Serving || rapid.Bool().Draw(t, "failing")
	if seldom.Draw(t, "proxy") {
		s.Proxy = []netip.Addr{four}
	}
	if s.Serving {
		s.ServingNodes = rapid.SliceOfN(someNode, 0, 3).Draw(t, "endpoints")
	}
	return s
}

// announcers builds every live node's plan and returns who announces each address.
func announcers(v View) map[netip.Addr][]string {
	out := map[netip.Addr][]string{}
	for _, v.Node = range v.Members {
		for _, x := range Build(&v).L2 {
			out[x.Address] = append(out[x.Address], v.Node)
		}
	}
	return out
}

// TestExactlyOneNodeAnnounces: every node names the same owner, it is the one that announces, and there is one
// wherever a Service could have one, by a scan of all nodes and advertisements.
func TestExactlyOneNodeAnnounces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		announced := announcers(v)
		for _, v.Node = range v.Members {
			for _, said := range Build(&v).Verdicts {
				if who := announced[said.Address]; said.Owner != "" && !slices.Equal(who, []string{said.Owner}) {
					t.Fatalf("node %s says: %s; announced by %v", v.Node, said.Verdict, who)
				}
			}
		}
		for i := range v.Services {
			s := &v.Services[i]
			for _, a := range s.Addresses {
				if could := able(&v, s, a); len(could) > 0 && len(announced[a]) != 1 {
					t.Fatalf("%s of %s is announced by %v and could be by %v", a, s, announced[a], could)
				}
			}
		}
		for a, who := range announced {
			if all := suitAll(&v, a); len(all) > 0 && !slices.Contains(all, who[0]) {
				t.Fatalf("%s is announced by %s, and %v suit every Service that shares it", a, who[0], all)
			}
			if !slices.ContainsFunc(v.Services, func(s Service) bool {
				return slices.Contains(s.Addresses, a) && slices.Contains(able(&v, &s, a), who[0])
			}) {
				t.Fatalf("%s is announced by %s, which may not for any Service", a, who[0])
			}
		}
	})
}

// able returns the nodes that may announce an address of a Service by layer 2.
func able(v *View, s *Service, a netip.Addr) (names []string) {
	for _, n := range v.Nodes {
		fit := s.Serving && slices.Contains(v.Members, n.Name) && (!n.Excluded || v.IgnoreExcludeLabel) && !n.OutOfService && !n.NetworkUnavailable &&
			(!s.Local || slices.Contains(s.ServingNodes, n.Name)) && (!slices.Contains(s.Proxy, a) || slices.Contains(v.Programmed[a], n.Name)) &&
			(n.Links == nil || n.Links[0].Up)
		for i := range v.Policy.L2Ads {
			if ad := &v.Policy.L2Ads[i]; fit && ad.SelectsService(s.Labels) && ad.SelectsNode(n.Labels) {
				names = append(names, n.Name)
				break
			}
		}
	}
	return names
}

// suitAll returns the nodes that may announce a shared address for every Service for which any may.
func suitAll(v *View, a netip.Addr) (names []string) {
	for _, n := range v.Members {
		if !slices.ContainsFunc(v.Services, func(s Service) bool {
			could := able(v, &s, a)
			return slices.Contains(s.Addresses, a) && len(could) > 0 && !slices.Contains(could, n)
		}) {
			names = append(names, n)
		}
	}
	return names
}

func TestPlansDoNotDependOnTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		v.Node = v.Nodes[0].Name
		w := v
		w.Services = rapid.Permutation(v.Services).Draw(t, "services")
		w.Nodes = rapid.Permutation(v.Nodes).Draw(t, "nodes")
		w.Members = rapid.Permutation(v.Members).Draw(t, "members")
		if diff := cmp.Diff(Build(&v), Build(&w), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, policy.Communities{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

// without is the view after the speaker of one node died.
func without(v View, node string) View {
	v.Members = slices.DeleteFunc(slices.Clone(v.Members), func(m string) bool { return m == node })
	return v
}

// unshared drops Services until no two share an address.
func unshared(v View) View {
	seen := map[netip.Addr]bool{}
	v.Services = slices.DeleteFunc(slices.Clone(v.Services), func(s Service) bool {
		taken := slices.ContainsFunc(s.Addresses, func(a netip.Addr) bool { return seen[a] })
		for _, a := range s.Addresses {
			seen[a] = true
		}
		return taken
	})
	return v
}

func TestOnlyTheAddressesOfALostNodeMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		node := rapid.SampledFrom(v.Nodes).Draw(t, "lost").Name
		with, lost := announcers(v), announcers(without(v, node))
		for a, who := range with {
			if who[0] != node && !slices.Equal(lost[a], who) {
				t.Fatalf("%s moves from %v to %v when %s is lost", a, who, lost[a], node)
			}
		}
		// Read backwards it is a node that comes: what moves, moves to it.
		for a := range lost {
			if who := with[a]; !slices.Equal(who, lost[a]) && !slices.Equal(who, []string{node}) {
				t.Fatalf("%s moves from %v to %v when %s comes", a, lost[a], who, node)
			}
		}
	})
}

// TestAnUnsettledNodeTakesNothing: a node that comes unsettled, or whose link does, serves only what no other can; when it
// settles, what moves moves to it.
func TestAnUnsettledNodeTakesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		for i := range v.Nodes {
			v.Nodes[i].Unsettled, v.Nodes[i].Draining = false, false
			for j := range v.Nodes[i].Links {
				v.Nodes[i].Links[j].Unsettled = false
			}
		}
		at := rapid.IntRange(0, len(v.Nodes)-1).Draw(t, "node")
		node := v.Nodes[at].Name
		away := announcers(without(v, node))
		settled := announcers(v)
		if links := v.Nodes[at].Links; len(links) > 0 && rapid.Bool().Draw(t, "only its link") {
			links[0].Unsettled = true
		} else {
			v.Nodes[at].Unsettled = true
		}
		unsettled := announcers(v)
		for a, who := range away {
			if !slices.Equal(unsettled[a], who) {
				// It may be the one that suits all Services that share the address.
				if all := suitAll(&v, a); !slices.Equal(all, []string{node}) && len(sharersOf(&v, a)) == 1 {
					t.Fatalf("%s moves from %v to %v when %s comes unsettled", a, who, unsettled[a], node)
				}
			}
			if who := settled[a]; !slices.Equal(who, unsettled[a]) && !slices.Equal(who, []string{node}) {
				t.Fatalf("%s moves from %v to %v when %s settles", a, unsettled[a], who, node)
			}
		}
	})
}

func sharersOf(v *View, a netip.Addr) (out []*Service) {
	for i := range v.Services {
		if slices.Contains(v.Services[i].Addresses, a) {
			out = append(out, &v.Services[i])
		}
	}
	return out
}

// TestKeepers: an address that no node may announce stays with its owner if that is alive and chosen, and only then.
func TestKeepers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		before := announcers(v)
		v.Held = map[netip.Addr]string{}
		for _, host := range []byte{0, 1, 2} {
			v.Held[netip.AddrFrom4([4]byte{10, 0, 0, host})] = someNode.Draw(t, "holder")
		}
		after := announcers(v)
		for a, holder := range v.Held {
			may := false
			if at := slices.IndexFunc(v.Nodes, func(n Node) bool { return n.Name == holder }); at >= 0 {
				w := v // where nothing but what users chose counts
				w.Nodes = slices.Clone(v.Nodes)
				w.Nodes[at].NetworkUnavailable = false
				for _, s := range sharersOf(&v, a) {
					x := *s
					x.Serving, x.Local, x.Proxy = s.Serving || s.Endpoints, false, nil
					may = may || slices.Contains(able(&w, &x, a), holder)
				}
			}
			want := before[a]
			if len(want) == 0 && may {
				want = []string{holder}
			}
			if !slices.Equal(after[a], want) {
				t.Fatalf("%s is held by %s (may keep it: %v), announced by %v, without that knowledge by %v", a, holder, may, after[a], before[a])
			}
		}
	})
}

// TestSuccessorsTakeOver: when the owner is lost, the next one announces, as long as the address is not shared.
func TestSuccessorsTakeOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := unshared(drawView(t))
		v.Node = v.Nodes[0].Name
		for _, said := range Build(&v).Verdicts {
			if said.Owner == "" {
				continue
			}
			w := without(v, said.Owner)
			for _, next := range append(said.Next[:], "") {
				who := ""
				for _, x := range Build(&w).Verdicts {
					if x.Address == said.Address {
						who = x.Owner
					}
				}
				if who != next {
					t.Fatalf("%s: owner %s, next %v; without them %s announces", said.Address, said.Owner, said.Next, who)
				}
				if next == "" {
					break
				}
				w = without(w, next)
				if next == said.Next[len(said.Next)-1] {
					break // beyond those that are ranked
				}
			}
		}
	})
}

func TestOneNodeAnnouncesBothFamilies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := unshared(drawView(t))
		announced := announcers(v)
		for _, s := range v.Services {
			if len(s.Proxy) > 0 {
				continue // it may be programmed for one family only
			}
			if !slices.Equal(announced[s.Addresses[0]], announced[s.Addresses[len(s.Addresses)-1]]) {
				t.Fatalf("%s: %v", s.Addresses, announced)
			}
		}
	})
}

// TestElectionsSpreadEvenly: of 300 addresses no node of seven has more than 1.5 times the mean, in 99 of 100 random
// sets. Half of the sets are consecutive addresses, as pools give them.
func TestElectionsSpreadEvenly(t *testing.T) {
	const sets, addresses, nodes = 1000, 300, 7
	random := rand.New(rand.NewPCG(1, 2))
	uneven, tops := 0, make([]float64, 0, sets)
	for set := range sets {
		var candidates []candidate
		for i := range nodes {
			candidates = append(candidates, named(fmt.Sprintf("node-%d-%d", random.IntN(1000), i)))
		}
		share := map[string]int{}
		a := netip.AddrFrom4([4]byte{10, byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))})
		for range addresses {
			share[rank(a, candidates)[0]]++
			if a = a.Next(); set%2 == 1 {
				a = netip.AddrFrom4([4]byte{10, byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))})
			}
		}
		top := float64(slices.Max(slices.Collect(maps.Values(share)))) * nodes / addresses
		tops = append(tops, top)
		if top > 1.5 {
			uneven++
		}
	}
	slices.Sort(tops)
	t.Logf("the most loaded of %d nodes, as a multiple of the mean of %d addresses, over %d sets: median %.2f, 90%% %.2f, 99%% %.2f, worst %.2f; %d sets above 1.5",
		nodes, addresses, sets, tops[sets/2], tops[sets*9/10], tops[sets*99/100], tops[sets-1], uneven)
	if uneven > sets/100 {
		t.Errorf("%d of %d sets put more than 1.5 times the mean on one node", uneven, sets)
	}
}

// named is a candidate that is ready.
func named(name string, change ...func(*candidate)) candidate {
	c := candidate{node: name, hash: hashNode(name), ready: true}
	for _, f := range change {
		f(&c)
	}
	return c
}

func TestRank(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.1")
	draining := func(c *candidate) { c.draining = true }
	unsettled := func(c *candidate) { c.unsettled = true }
	unready := func(c *candidate) { c.ready = false }
	near := func(c *candidate) { c.near = true }
	score := func(n int64) func(*candidate) { return func(c *candidate) { c.score = n } }
	for _, c := range []struct {
		name       string
		candidates []candidate
		want       [Ranks]string
	}{
		{"nobody", nil, [Ranks]string{}},
		{"the only one, whatever it is", []candidate{named("a", unready, draining, unsettled)}, [Ranks]string{"a"}},
		{"draining is the worst", []candidate{named("a", draining, near, score(100)), named("b", unsettled, unready)}, [Ranks]string{"b", "a"}},
		{"settled comes before ready", []candidate{named("a", unsettled, score(100)), named("b", unready)}, [Ranks]string{"b", "a"}},
		{"ready comes before score", []candidate{named("a", unready, score(100), near), named("b")}, [Ranks]string{"b", "a"}},
		{"score comes before subnet", []candidate{named("a", near), named("b", score(1))}, [Ranks]string{"b", "a"}},
		{"score comes before hash", []candidate{named("a", score(1)), named("b", score(2)), named("c", score(3)), named("d", score(4))}, [Ranks]string{"d", "c", "b"}},
		{"subnet comes before hash", []candidate{named("a", near), named("b")}, [Ranks]string{"a", "b"}},
		{"subnet comes before hash, the other way", []candidate{named("a"), named("b", near)}, [Ranks]string{"b", "a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := rank(a, c.candidates); got != c.want {
				t.Errorf("ranked %q, want %q", got, c.want)
			}
		})
	}
}

// TestOutranks: the rule for a split agrees with the election among equals, and one of two nodes wins.
func TestOutranks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "host")})
		nodes := rapid.SliceOfNDistinct(rapid.StringMatching("[a-z]{1,3}"), 2, 2, rapid.ID).Draw(t, "nodes")
		wins := Outranks(a, nodes[0], nodes[1])
		if wins == Outranks(a, nodes[1], nodes[0]) || Outranks(a, nodes[0], nodes[0]) {
			t.Fatal("not exactly one wins")
		}
		if first := rank(a, []candidate{named(nodes[0]), named(nodes[1])})[0]; wins != (first == nodes[0]) {
			t.Fatalf("%s of %v is ranked first, and the first one outranks: %v", first, nodes, wins)
		}
	})
}
