package mode

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/addrset"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

func TestAsks(t *testing.T) {
	for setting, want := range map[Setting]string{
		Annotated: "ipvs ", "": "ipvs ", "nonsense": "ipvs ", All: "nothing ipvs ", None: "",
	} {
		got := ""
		for annotation, name := range []string{"", IPVS, KubeProxy} {
			if setting.Asks(name) {
				got += []string{"nothing ", "ipvs ", "kube-proxy "}[annotation]
			}
		}
		if got != want {
			t.Errorf("setting %q serves those that ask for %s, want %s", setting, got, want)
		}
	}
}

// compiled is one pool, which is announced from the nodes with the label lb=yes by ARP, and by BGP from node r.
func compiled(t *testing.T) *policy.Policy {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "m", Name: name, UID: "u" + "-"}
	}
	p, problems := policy.Compile(policy.Objects{
		Pools: []v1beta1.IPAddressPool{{ObjectMeta: meta("p"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.0/24", "2001:db8::/112"}}}},
		L2Advertisements: []v1beta1.L2Advertisement{{ObjectMeta: meta("l"), Spec: v1beta1.L2AdvertisementSpec{
			IPAddressPools: []string{"p"}, NodeSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"lb": "yes"}}},
		}}},
		BGPAdvertisements: []v1beta1.BGPAdvertisement{{ObjectMeta: meta("b"), Spec: v1beta1.BGPAdvertisementSpec{
			IPAddressPools: []string{"p"}, NodeSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"router": "yes"}}},
		}}},
	}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return p
}

// TestDecide: Proxy comes when all that may announce an address serve it, and goes when nobody reports, or none of them serves
// it, or it is not asked for.
func TestDecide(t *testing.T) {
	const one, two, six = "192.0.2.1", "192.0.2.2", "2001:db8::1"
	p := compiled(t)
	node := func(name string, able bool, serves ...string) Node {
		n := Node{Name: name, Able: able, Labels: labels.Set{"lb": "yes"}, Serves: addrset.Of(parse(serves)), Heard: true}
		switch name {
		case "other":
			n.Labels = nil
		case "router":
			n.Labels = labels.Set{"router": "yes"}
		}
		return n
	}
	a, b := node("a", true, one, six), node("b", true, one)
	silent := b // its programmer
	silent.Heard = false
	for name, c := range map[string]struct {
		annotation string
		setting    Setting
		silent     bool
		nodes      []Node
		addresses  []string
		before     []string
		want       string
	}{
		"does not ask":                     {"", Annotated, false, []Node{a, b}, list(one), nil, "[]  ()"},
		"asks for kube-proxy":              {KubeProxy, All, false, []Node{a, b}, list(one), list(one), "[]  ()"},
		"asks for nonsense":                {"cilium", All, false, []Node{a, b}, list(one), list(one), `[] annotation fairlead.io/dataplane: "cilium" is neither "ipvs" nor "kube-proxy" (InvalidRequest)`},
		"what serves it is about to go":    {IPVS, None, false, []Node{a, b}, list(one), list(one), "[]  ()"},
		"has no address":                   {IPVS, Annotated, false, []Node{a, b}, nil, nil, "[]  ()"},
		"all serve it":                     {IPVS, Annotated, false, []Node{a, b}, list(one), nil, "[192.0.2.1] every node that may announce the Service serves it by IPVS (Programmed)"},
		"all serve it, all Services":       {"", All, false, []Node{a, b}, list(one), nil, "[192.0.2.1] every node that may announce the Service serves it by IPVS (Programmed)"},
		"nobody reports":                   {IPVS, Annotated, true, []Node{a, b}, list(one), list(one), "[] no node's IPVS programmer reports, so kube-proxy serves the Service (NoProgrammer)"},
		"one does not serve it yet":        {IPVS, Annotated, false, []Node{a, node("b", true)}, list(one), nil, "[] node b, which may announce 192.0.2.1, does not serve it by IPVS yet, so kube-proxy does (NotProgrammed)"},
		"one served it and is silent":      {IPVS, Annotated, false, []Node{a, silent}, list(one), nil, "[] node b, which may announce 192.0.2.1, served it by IPVS, but its programmer is silent, so kube-proxy does (NotProgrammed)"},
		"one serves it and turns silent":   {IPVS, Annotated, false, []Node{a, silent}, list(one), list(one), "[192.0.2.1] every node that may announce the Service serves it by IPVS (Programmed)"},
		"one serves another":               {IPVS, Annotated, false, []Node{a, node("b", true, two)}, list(one), nil, "[] node b, which may announce 192.0.2.1, does not serve it by IPVS yet, so kube-proxy does (NotProgrammed)"},
		"one does not serve it any more":   {IPVS, Annotated, false, []Node{a, node("b", true)}, list(one), list(one), "[192.0.2.1] every node that may announce the Service serves it by IPVS (Programmed)"},
		"none serves it any more":          {IPVS, Annotated, false, []Node{node("a", true), node("b", true)}, list(one), list(one), "[] node a, which may announce 192.0.2.1, does not serve it by IPVS yet, so kube-proxy does (NotProgrammed)"},
		"one may not announce":             {IPVS, Annotated, false, []Node{a, node("b", false)}, list(one), nil, "[192.0.2.1] every node that may announce the Service serves it by IPVS (Programmed)"},
		"one is not selected":              {IPVS, Annotated, false, []Node{a, node("other", true)}, list(one), nil, "[192.0.2.1] every node that may announce the Service serves it by IPVS (Programmed)"},
		"one is selected for BGP":          {IPVS, Annotated, false, []Node{a, node("router", true)}, list(one), nil, "[] node router, which may announce 192.0.2.1, does not serve it by IPVS yet, so kube-proxy does (NotProgrammed)"},
		"none may announce":                {IPVS, Annotated, false, []Node{node("other", true, one)}, list(one), list(one), "[] no node may announce 192.0.2.1, so kube-proxy serves it (NoEligibleNode)"},
		"one family of two":                {IPVS, Annotated, false, []Node{a, b}, list(one, six), nil, "[192.0.2.1] node b, which may announce 2001:db8::1, does not serve it by IPVS yet, so kube-proxy does (NotProgrammed)"},
		"one family of two, the other one": {IPVS, Annotated, false, []Node{a}, list(six, two), nil, "[2001:db8::1] node a, which may announce 192.0.2.2, does not serve it by IPVS yet, so kube-proxy does (NotProgrammed)"},
	} {
		t.Run(name, func(t *testing.T) {
			d := NewDecider(&View{Now: now, Policy: p, Setting: c.setting, Heard: !c.silent, Nodes: c.nodes})
			for range 2 { // the second time by what is remembered
				got := d.Decide(&Service{Annotation: c.annotation, Addresses: parse(c.addresses), Pool: "p", Proxied: parse(c.before), Held: parse(c.addresses)})
				if text := fmt.Sprint(got.Proxied, " ", got.Verdict); text != c.want {
					t.Errorf("%s\nwant %s", text, c.want)
				}
			}
		})
	}
}

// now is when the tests decide.
var now = time.Unix(1_700_000_000, 0)

// TestSettle: an address is left to kube-proxy for two seconds from when the Service got it; one that IPVS serves already is
// not given back for that.
func TestSettle(t *testing.T) {
	const one = "192.0.2.1"
	nodes := []Node{{Name: "a", Able: true, Labels: labels.Set{"lb": "yes"}, Serves: addrset.Of(parse(list(one))), Heard: true}}
	d := NewDecider(&View{Now: now, Policy: compiled(t), Heard: true, Nodes: nodes})
	for name, c := range map[string]struct {
		held, before []string
		assigned     time.Time
		settles      time.Time
	}{
		"has it for long":               {list(one), nil, now.Add(-Settling), time.Time{}},
		"since an unknown time":         {list(one), nil, time.Time{}, time.Time{}},
		"for a second":                  {list(one), nil, now.Add(-time.Second), now.Add(time.Second)},
		"is about to get it":            {nil, nil, now.Add(-time.Hour), now.Add(Settling)},
		"for a second, but IPVS has it": {list(one), list(one), now.Add(-time.Second), time.Time{}},
	} {
		got := d.Decide(&Service{Annotation: IPVS, Addresses: parse(list(one)), Pool: "p", Proxied: parse(c.before), Held: parse(c.held), AssignedAt: c.assigned})
		waits := len(got.Proxied) == 0 && got.Reason == verdict.NotProgrammed
		if waits == c.settles.IsZero() || !got.Settles.Equal(c.settles) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func list(addresses ...string) []string { return addresses }

func parse(addresses []string) []netip.Addr {
	var out []netip.Addr
	for _, a := range addresses {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}
