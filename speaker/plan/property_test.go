package plan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
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

// drawView draws a cluster with nodes that may fail and Services that may share addresses; nobody lacks an interface.
func drawView(t *rapid.T) View {
	c := cluster{Pools: map[string][]string{"p": {"10.0.0.0/24", "fd00::/112"}}, Ads: map[string]v1beta1.L2AdvertisementSpec{}}
	for i := range rapid.IntRange(1, 3).Draw(t, "ads") {
		c.Ads[fmt.Sprint(i)] = drawAd(t)
	}
	v := View{Policy: c.policy(), Links: links(nil)}
	for _, name := range rapid.SliceOfNDistinct(someNode, 1, 5, rapid.ID).Draw(t, "nodes") {
		v.Nodes = append(v.Nodes, Node{
			Name: name, Labels: labels.Set{"rack": someRack.Draw(t, "rack")}, Ready: !seldom.Draw(t, "not ready"),
			NetworkUnavailable: seldom.Draw(t, "no network"), Excluded: seldom.Draw(t, "excluded"), OutOfService: seldom.Draw(t, "out of service"),
		})
		if !seldom.Draw(t, "dead") {
			v.Members = append(v.Members, name)
		}
	}
	for i := range rapid.IntRange(1, 8).Draw(t, "services") {
		s := Service{Namespace: "x", Name: fmt.Sprint("s", i), Labels: labels.Set{"rack": someRack.Draw(t, "rack")}, Pool: "p", Serving: !seldom.Draw(t, "idle"), Local: seldom.Draw(t, "local")}
		host := rapid.ByteRange(0, 2).Draw(t, "host")
		four, six := netip.AddrFrom4([4]byte{10, 0, 0, host}), netip.AddrFrom16([16]byte{0: 0xfd, 15: rapid.ByteRange(0, 2).Draw(t, "host 6")})
		s.Addresses = rapid.SampledFrom([][]netip.Addr{{four}, {six}, {four, six}}).Draw(t, "addresses")
		if s.Serving {
			s.ServingNodes = rapid.SliceOfN(someNode, 0, 3).Draw(t, "endpoints")
		}
		v.Services = append(v.Services, s)
	}
	return v
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
				if could := able(&v, s); len(could) > 0 && len(announced[a]) != 1 {
					t.Fatalf("%s of %s is announced by %v and could be by %v", a, s, announced[a], could)
				}
			}
		}
		for a, who := range announced {
			if all := suitAll(&v, a); len(all) > 0 && !slices.Contains(all, who[0]) {
				t.Fatalf("%s is announced by %s, and %v suit every Service that shares it", a, who[0], all)
			}
			if !slices.ContainsFunc(v.Services, func(s Service) bool {
				return slices.Contains(s.Addresses, a) && slices.Contains(able(&v, &s), who[0])
			}) {
				t.Fatalf("%s is announced by %s, which may not for any Service", a, who[0])
			}
		}
	})
}

// able returns the nodes that may announce the addresses of a Service.
func able(v *View, s *Service) (names []string) {
	for _, n := range v.Nodes {
		fit := s.Serving && slices.Contains(v.Members, n.Name) && !n.Excluded && !n.OutOfService && !n.NetworkUnavailable &&
			(!s.Local || slices.Contains(s.ServingNodes, n.Name))
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
			could := able(v, &s)
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
		if diff := cmp.Diff(Build(&v), Build(&w), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
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

func TestOneNodeAnnouncesBothFamilies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := unshared(drawView(t))
		announced := announcers(v)
		for _, s := range v.Services {
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
		var candidates []Candidate
		for i := range nodes {
			candidates = append(candidates, Candidate{Node: fmt.Sprintf("node-%d-%d", random.IntN(1000), i), Ready: true})
		}
		share := map[string]int{}
		a := netip.AddrFrom4([4]byte{10, byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))})
		for range addresses {
			share[Elect(a, candidates)]++
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

func TestElect(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		name       string
		candidates []Candidate
		want       string
	}{
		{"nobody", nil, ""},
		{"the only one, ready or not", []Candidate{{Node: "a"}}, "a"},
		{"ready comes before score", []Candidate{{"a", false, 100}, {"b", true, 0}}, "b"},
		{"score comes before hash", []Candidate{{"a", true, 1}, {"b", true, 2}, {"c", true, 1}}, "b"},
		{"not ready, score still counts", []Candidate{{"a", false, 1}, {"b", false, 2}}, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Elect(a, c.candidates); got != c.want {
				t.Errorf("elected %q, want %q", got, c.want)
			}
		})
	}
	if long := Elect(a, []Candidate{{Node: string(make([]byte, 253))}}); len(long) != 253 {
		t.Errorf("elected %q", long)
	}
}
