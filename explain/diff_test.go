package explain

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// diffed is a healthy cluster with a Service that has an address, one that waits, and the objects that they came from.
func diffed() *View {
	v := healthy()
	v.Objects = policy.Objects{
		Pools:            []v1beta1.IPAddressPool{pool("first-pool", "10.0.0.1-10.0.0.1"), pool("second-pool", "10.0.1.0/24")},
		L2Advertisements: []v1beta1.L2Advertisement{{ObjectMeta: metav1.ObjectMeta{Name: "everything"}}},
	}
	v.Objects.Pools[1].Spec.AutoAssign = new(bool)
	v.configure(v.Objects)
	v.service1("web").ServingNodes = []string{"n1", "n2"}
	v.add("late", "", 1, 1)
	v.publish()
	return v
}

func (v *View) service1(name string) *Service {
	s, _ := v.service(allocator.Key{Namespace: "default", Name: name})
	return s
}

// TestDiff: what each change comes to, as people read it.
func TestDiff(t *testing.T) {
	for name, c := range map[string]struct {
		objects  policy.Objects
		services []Service
		want     []string // "": nothing
	}{
		"nothing":                {want: nil},
		"the same again":         {objects: policy.Objects{Pools: []v1beta1.IPAddressPool{pool("first-pool", "10.0.0.1-10.0.0.1")}}},
		"a pool that is larger":  {objects: policy.Objects{Pools: []v1beta1.IPAddressPool{pool("first-pool", "10.0.0.1-10.0.0.4")}}, want: []string{`+ Service default/late: gets 10.0.0.2 from "first-pool", announced by "n`, `~ IPAddressPool "first-pool": 1 IPv4 addresses -> 4 IPv4 addresses`, "1 Service unchanged"}},
		"a pool that is new":     {objects: policy.Objects{Pools: []v1beta1.IPAddressPool{pool("third", "10.0.2.0/30")}}, want: []string{`+ Service default/late: gets 10.0.2.0 from "third"`, `"third": no addresses -> 4 IPv4 addresses`}},
		"a pool that moves":      {objects: policy.Objects{Pools: []v1beta1.IPAddressPool{pool("first-pool", "10.0.5.1-10.0.5.2")}}, want: []string{"~ Service default/web: moves from 10.0.0.1 to 10.0.5.", "+ Service default/late: gets 10.0.5."}},
		"a pool that turns bad":  {objects: policy.Objects{Pools: []v1beta1.IPAddressPool{pool("first-pool", "10.0.0.1/33")}}, want: []string{`"first-pool": 1 IPv4 addresses -> 1 IPv4 addresses, invalid`, "(InvalidAddresses)", "2 Services unchanged"}},
		"an advertisement":       {objects: policy.Objects{L2Advertisements: []v1beta1.L2Advertisement{{ObjectMeta: metav1.ObjectMeta{Name: "everything"}, Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"second-pool"}}}}}, want: []string{"~ Service default/web: keeps 10.0.0.1, and nobody would announce it: ", "(NoAdvertisement)"}},
		"a Service that is new":  {services: []Service{{Service: allocator.Service{Key: allocator.Key{Namespace: "default", Name: "new"}, Families: []policy.Family{policy.IPv4}, Pool: "second-pool"}, Type: "LoadBalancer", Ours: true}}, want: []string{`+ Service default/new: gets 10.0.1.0 from "second-pool", and nobody would announce it: `, "(NoEndpoints)", "2 Services unchanged"}},
		"a Service that asks":    {services: []Service{{Service: allocator.Service{Key: allocator.Key{Namespace: "default", Name: "web"}, Pool: "second-pool"}, Type: "LoadBalancer", Ours: true, FamiliesUnset: true}}, want: []string{`~ Service default/web: moves from 10.0.0.1 to 10.0.1.0 from "second-pool", `}},
		"a Service of no type":   {services: []Service{{Service: allocator.Service{Key: allocator.Key{Namespace: "default", Name: "web"}}, Type: "ClusterIP"}}, want: []string{"- Service default/web: loses 10.0.0.1: ", "+ Service default/late: gets 10.0.0.1"}},
		"a peer without a route": {objects: policy.Objects{BGPPeers: []v1beta2.BGPPeer{tor(64513)}}, want: []string{`+ BGPPeer "tor": sessions that begin: n1, n2`, "2 Services unchanged"}},
		"a peer with routes": {objects: policy.Objects{BGPPeers: []v1beta2.BGPPeer{tor(64513)}, BGPAdvertisements: []v1beta1.BGPAdvertisement{routes(0)}}, want: []string{
			`+ BGPPeer "tor": sessions that begin: n1, n2`, `+ Route 10.0.0.1/32 to "tor": announced by "n1", "n2"`, "2 Services unchanged"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := diffed()
			d := Compare(v, Applied(v, c.objects, c.services))
			var b strings.Builder
			if err := d.Write(&b, Style{}); err != nil {
				t.Fatal(err)
			}
			if d.Same() != (len(c.want) == 0) || d.Same() != (b.String() == "") {
				t.Errorf("same: %t\n%s", d.Same(), &b)
			}
			for _, w := range c.want {
				if !strings.Contains(b.String(), w) {
					t.Errorf("it does not say %q:\n%s", w, &b)
				}
			}
			if again := Compare(v, Applied(v, policy.Objects{}, nil)); !again.Same() {
				t.Errorf("the view was changed: %+v", again)
			}
		})
	}
}

func tor(asn uint32) v1beta2.BGPPeer {
	return v1beta2.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Spec: v1beta2.BGPPeerSpec{MyASN: 64512, PeerASN: asn, PeerAddress: "10.9.0.1"}}
}

// routes is an advertisement for all pools, from all nodes or from those that are named.
func routes(localPref uint32, nodes ...string) v1beta1.BGPAdvertisement {
	ad := v1beta1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: "routes"}, Spec: v1beta1.BGPAdvertisementSpec{LocalPref: localPref}}
	if len(nodes) > 0 {
		ad.Spec.NodeSelectors = []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "kubernetes.io/hostname", Operator: "In", Values: nodes}}}}
	}
	return ad
}

// TestDiffByBGP: which neighbors would see which prefixes come, go and change.
func TestDiffByBGP(t *testing.T) {
	for name, c := range map[string]struct {
		objects policy.Objects
		want    []string
	}{
		"a route withdrawn on one node": {policy.Objects{BGPAdvertisements: []v1beta1.BGPAdvertisement{routes(0, "n2")}}, []string{`~ Route 10.0.0.1/32 to "tor": announced by "n2" instead of "n1", "n2"`}},
		"a route withdrawn everywhere":  {policy.Objects{BGPAdvertisements: []v1beta1.BGPAdvertisement{routes(0, "n3")}}, []string{`- Route 10.0.0.1/32 to "tor": withdrawn by "n1", "n2"`}},
		"another preference":            {policy.Objects{BGPAdvertisements: []v1beta1.BGPAdvertisement{routes(200)}}, []string{`~ Route 10.0.0.1/32 to "tor": still announced by "n1", "n2", local preference 0 -> 200`}},
		"another neighbor's number":     {policy.Objects{BGPPeers: []v1beta2.BGPPeer{tor(64512)}}, []string{`~ BGPPeer "tor": sessions that change, or begin anew: n1, n2`}},
		"another address": {policy.Objects{Pools: []v1beta1.IPAddressPool{pool("first-pool", "10.0.5.1-10.0.5.2")}}, []string{
			`- Route 10.0.0.1/32 to "tor": withdrawn by "n1", "n2"`, `+ Route 10.0.5.1/32 to "tor": announced by "n1", "n2"`, `+ Route 10.0.5.2/32 to "tor": announced by`}},
		"the same again": {policy.Objects{BGPPeers: []v1beta2.BGPPeer{tor(64513)}, BGPAdvertisements: []v1beta1.BGPAdvertisement{routes(0)}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := diffed()
			for i := range v.Announcing.Nodes {
				v.Announcing.Nodes[i].Labels = map[string]string{"kubernetes.io/hostname": v.Announcing.Nodes[i].Name}
			}
			v.Objects.BGPPeers, v.Objects.BGPAdvertisements, v.Objects.L2Advertisements = []v1beta2.BGPPeer{tor(64513)}, []v1beta1.BGPAdvertisement{routes(0)}, nil
			v.configure(v.Objects)
			d := Compare(v, Applied(v, c.objects, nil))
			var b strings.Builder
			if err := d.Write(&b, Style{}); err != nil || d.Same() != (len(c.want) == 0) {
				t.Errorf("%v, same: %t\n%s", err, d.Same(), &b)
			}
			for _, w := range c.want {
				if !strings.Contains(b.String(), w) {
					t.Errorf("it does not say %q:\n%s", w, &b)
				}
			}
		})
	}
}

// TestDrain: what moves where, what goes on, and what has nowhere to go.
func TestDrain(t *testing.T) {
	routed := policy.Objects{
		Pools:             []v1beta1.IPAddressPool{pool("first-pool", "10.0.0.1-10.0.0.4")},
		BGPAdvertisements: []v1beta1.BGPAdvertisement{routes(0)},
		BGPPeers:          []v1beta2.BGPPeer{tor(64513)},
	}
	for name, c := range map[string]struct {
		change func(*View)
		ok     bool
		want   []string
	}{
		"an address moves": {func(*View) {}, true, []string{"announces 1 address by layer 2 and holds 0 BGP sessions", "10.0.0.1  default/web  to n"}},
		"it has nowhere to go": {func(v *View) {
			v.Announcing.Members = v.Announcing.Members[:1]
		}, false,
			[]string{"to nobody: ", "(NoEligibleNode)"}},
		"its only pods are there": {func(v *View) {
			s := &v.Announcing.Services[0]
			s.Local, s.ServingNodes = true, []string{"n1"}
		}, false, []string{"to nobody: externalTrafficPolicy is Local", "(NoEligibleNode)"}},
		"routes that others have": {func(v *View) {
			v.configure(routed)
			v.Speakers[0].State.Sessions = []v1alpha1.BGPSession{{Peer: "tor", State: "established"}}
		}, true, []string{"holds 1 BGP session\n", "tor  established", "10.0.0.1/32  tor  goes on from n2"}},
		"routes that nobody else has": {func(v *View) {
			v.configure(routed)
			v.Announcing.Members = v.Announcing.Members[:1]
			v.Announcing.Nodes = v.Announcing.Nodes[:1]
		}, false,
			[]string{"10.0.0.1/32  tor  no other node announces it"}},
		"not everything is read": {func(v *View) { v.Gaps = []Gap{{Speakers, "speakerstates.fairlead.io", false}} }, false, []string{"not read: you may not read speakerstates.fairlead.io"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := healthy()
			c.change(v)
			node := "n1"
			if o := owner(v); o != "" {
				node = o
			}
			d, err := OfDrain(v, node)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			if err := d.Write(&b, Style{}); err != nil || d.OK() != c.ok {
				t.Errorf("%v, OK %t\n%s", err, d.OK(), &b)
			}
			for _, w := range c.want {
				if !strings.Contains(b.String(), w) {
					t.Errorf("it does not say %q:\n%s", w, &b)
				}
			}
		})
	}
	if _, err := OfDrain(healthy(), "n22"); err == nil || err.Error() != `there is no Node "n22" (did you mean "n2"?)` {
		t.Error(err)
	}
}

// owner returns who announces the first address by layer 2.
func owner(v *View) string {
	if d := Table(v)[0]; len(d.Nodes) > 0 && d.Reason != verdict.NoEndpoints {
		return d.Nodes[0]
	}
	return ""
}
