package plan

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// TestStandingsAgreeWithThePlan: what is said of the nodes follows from the same decision: the first is the owner, those
// after it are those that take over, in that order, and every node is told of once.
func TestStandingsAgreeWithThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		verdicts := map[Verdict]bool{}
		for _, x := range Build(&v).Verdicts {
			verdicts[x] = true
		}
		for _, s := range v.Services {
			for _, c := range Explain(&v, s.Namespace, s.Name) {
				if len(c.Ads) > 0 && !verdicts[c.Verdict] {
					t.Fatalf("the plan does not say %+v", c.Verdict)
				}
				if len(c.Nodes) != len(v.Nodes) {
					t.Fatalf("%d nodes, want %d", len(c.Nodes), len(v.Nodes))
				}
				checkRanks(t, c)
			}
		}
	})
}

func checkRanks(t *rapid.T, c Case) {
	t.Helper()
	want := append([]string{c.Owner}, c.Next[:]...)
	if c.Reason == verdict.SharedElsewhere { // the owner may not announce it for this Service
		want[0] = ""
	}
	for i, n := range c.Nodes {
		switch {
		case n.Rank == 0 && n.Reason == "", n.Rank > 0 && n.Rank != i+1 && c.Reason != verdict.SharedElsewhere:
			t.Fatalf("%+v", c)
		case c.Reason == verdict.SharedElsewhere || c.Owner == "":
		case i < len(want) && want[i] != "" && (n.Node != want[i] || n.Rank != i+1):
			t.Fatalf("place %d is that of %q, want %q: %+v", i+1, n.Node, want[i], c)
		case i < len(want) && want[i] == "" && n.Rank != 0:
			t.Fatalf("place %d is that of %q, want nobody: %+v", i+1, n.Node, c)
		}
		if c.Owner == "" && n.Rank == 1 {
			t.Fatalf("%q is to announce it, but nobody is: %+v", n.Node, c)
		}
	}
}

func TestExplainOrder(t *testing.T) {
	c := cluster{Pools: map[string][]string{"p": {"10.0.0.0/24"}}}
	v := c.view("")
	v.Nodes = []Node{
		{Name: "drains", Ready: true, Draining: true}, {Name: "fresh", Ready: true, Unsettled: true}, {Name: "sick"}, {Name: "good", Ready: true},
		{Name: "dead", Ready: true}, {Name: "labelled", Ready: true, Excluded: true}, {Name: "cut", Ready: true, NetworkUnavailable: true},
		{Name: "linkless", Ready: true, Links: []NodeLink{{Name: "eth0"}}}, {Name: "off", OutOfService: true},
	}
	v.Members = []string{"drains", "fresh", "sick", "good", "labelled", "cut", "linkless", "off"}
	v.Services = []Service{{Namespace: "x", Name: "s", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Serving: true}}
	got := ""
	for _, n := range Explain(&v, "x", "s")[0].Nodes {
		got += n.Node + ": " + n.String() + "\n"
	}
	if d := cmp.Diff(`good: is to announce it (nodeAssigned)
sick: takes over if those before it are lost: it is not Ready (Candidate)
fresh: takes over if those before it are lost: its speaker or interface came up a short time ago (Candidate)
drains: takes over if those before it are lost: it is draining (Candidate)
cut: its condition NetworkUnavailable is True (NodeExcluded)
dead: no speaker is alive there (NoSpeaker)
labelled: it is labelled node.kubernetes.io/exclude-from-external-load-balancers (NodeExcluded)
linkless: it has no interface that is up and that the advertisements allow (NoInterface)
off: it is tainted node.kubernetes.io/out-of-service (NodeExcluded)
`, got); d != "" {
		t.Error(d)
	}
	if len(Explain(&v, "x", "other")) != 0 {
		t.Error("a Service that is not there has addresses")
	}
}
