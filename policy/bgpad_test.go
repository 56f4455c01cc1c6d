package policy

import (
	"net/netip"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

type bgpAdSpec = v1beta1.BGPAdvertisementSpec

func bgpAd(name string, options ...func(*v1beta1.BGPAdvertisement)) v1beta1.BGPAdvertisement {
	a := v1beta1.BGPAdvertisement{ObjectMeta: meta(name)}
	for _, o := range options {
		o(&a)
	}
	return a
}

func saying(change func(*bgpAdSpec)) func(*v1beta1.BGPAdvertisement) {
	return func(a *v1beta1.BGPAdvertisement) { change(&a.Spec) }
}

func annotated(value string) func(*v1beta1.BGPAdvertisement) {
	return func(a *v1beta1.BGPAdvertisement) { a.Annotations = map[string]string{AnnotationWeight: value} }
}

func young(a *v1beta1.BGPAdvertisement) { a.CreationTimestamp = at(1) }

func bgpAds(ads ...v1beta1.BGPAdvertisement) Objects {
	return Objects{
		Pools:             []v1beta1.IPAddressPool{pool("a", "10.0.0.0/24,fd00::/112"), pool("b", "10.1.0.0/24")},
		BGPAdvertisements: ads,
	}
}

func aliases(name string, pairs ...string) v1beta1.Community {
	c := v1beta1.Community{ObjectMeta: meta(name)}
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		c.Spec.Communities = append(c.Spec.Communities, v1beta1.CommunityAlias{Name: key, Value: value})
	}
	return c
}

func TestBGPAdvertisements(t *testing.T) {
	n := func(n int32) *int32 { return &n }
	const x = `BGPAdvertisement "x"`
	for _, c := range []struct {
		name  string
		ad    v1beta1.BGPAdvertisement
		want  string // prefixes of 10.0.0.7 and fd00::7, communities
		waits bool
		says  []string
	}{
		{"defaults", bgpAd("x"), "10.0.0.7/32 fd00::7/128 ", false, nil},
		{"aggregated", bgpAd("x", saying(func(s *bgpAdSpec) { s.AggregationLength, s.AggregationLengthV6 = n(24), n(120) })), "10.0.0.0/24 fd00::/120 ", false, nil},
		{"communities", bgpAd("x", saying(func(s *bgpAdSpec) { s.Communities = []string{"65000:2", "vip", "large:1:2:3", "65000:1"} })), "10.0.0.7/32 fd00::7/128 65000:1,65000:2,65535:666,large:1:2:3", false, nil},
		{"an alias comes before a community", bgpAd("x", saying(func(s *bgpAdSpec) { s.Communities = []string{"1:1"} })), "10.0.0.7/32 fd00::7/128 2:2", false, nil},
		{"length 0", bgpAd("x", saying(func(s *bgpAdSpec) { s.AggregationLength = n(0) })), "10.0.0.7/32 fd00::7/128 ", true, []string{x + ", spec.aggregationLength: 0 is not from 1 to 32 (InvalidValue)"}},
		{"length 129", bgpAd("x", saying(func(s *bgpAdSpec) { s.AggregationLengthV6 = n(129) })), "10.0.0.7/32 fd00::7/128 ", true, []string{x + ", spec.aggregationLengthV6: 129 is not from 1 to 128 (InvalidValue)"}},
		{"a prefix beyond the pool", bgpAd("x", saying(func(s *bgpAdSpec) {
			s.AggregationLength, s.AggregationLengthV6, s.IPAddressPools = n(23), n(112), []string{"a"}
		})), "10.0.0.7/32 fd00::/112 ", false, []string{
			x + `, spec.aggregationLength: a prefix of length 23 reaches beyond range 10.0.0.0-10.0.0.255 of pool "a", whose IPv4 addresses therefore have a route each: set it to 24 or more (InvalidValue)`}},
		{"selected Services and aggregates", bgpAd("x", saying(func(s *bgpAdSpec) {
			s.AggregationLength, s.ServiceSelectors = n(24), []metav1.LabelSelector{is("app", "web")}
		})), "10.0.0.0/24 fd00::7/128 ", true, []string{x + ": spec.serviceSelectors needs a route for each address: leave aggregationLength at 32 and aggregationLengthV6 at 128 (InvalidValue)"}},
		{"bad community", bgpAd("x", saying(func(s *bgpAdSpec) { s.Communities = []string{"65000:70000"} })), "10.0.0.7/32 fd00::7/128 ", true, []string{
			x + `, spec.communities[0]: "65000:70000" is not a community: want NUMBER:NUMBER, each from 0 to 65535, or large:NUMBER:NUMBER:NUMBER (InvalidValue)`}},
		{"unknown alias", bgpAd("x", saying(func(s *bgpAdSpec) { s.Communities = []string{"nobody"} })), "10.0.0.7/32 fd00::7/128 ", true, []string{
			x + ` names community "nobody", which no Community object defines: define it or correct the name (UnknownReference)`}},
		{"unknown pool and peer", bgpAd("x", saying(func(s *bgpAdSpec) { s.IPAddressPools, s.Peers = []string{"a", "lost"}, []string{"gone", "r"} })), "10.0.0.7/32 fd00::7/128 ", false, []string{
			x + ` names BGPPeer "gone", which does not exist: create it or correct spec.peers (UnknownReference)`,
			x + ` names pool "lost", which does not exist: create it or correct the name (UnknownReference)`}},
		{"bad selector", bgpAd("x", saying(func(s *bgpAdSpec) { s.NodeSelectors = []metav1.LabelSelector{bad} })), "10.0.0.7/32 fd00::7/128 ", true, []string{
			x + `, spec.nodeSelectors[0]: ` + badText + ` (InvalidSelector)`}},
		{"names that stand twice", bgpAd("x", saying(func(s *bgpAdSpec) {
			s.IPAddressPools, s.Peers, s.Communities = []string{"a", "a"}, []string{"r", "r"}, []string{"vip", "1:2", "vip"}
		})), "10.0.0.7/32 fd00::7/128 1:2,65535:666", false, []string{
			x + `, spec.communities: "vip" stands there twice: remove one of the two (NoEffect)`,
			x + `, spec.ipAddressPools: "a" stands there twice: remove one of the two (NoEffect)`,
			x + `, spec.peers: "r" stands there twice: remove one of the two (NoEffect)`}},
		{"weight", bgpAd("x", annotated("endpoints")), "10.0.0.7/32 fd00::7/128  weighted", false, nil},
		{"another weight", bgpAd("x", annotated("5")), "10.0.0.7/32 fd00::7/128 ", false, []string{
			x + `, annotation fairlead.io/weight: "5" has no effect, since the only value is "endpoints" (NoEffect)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := bgpAds(c.ad)
			o.BGPPeers = peers(peer("r")).BGPPeers
			o.Communities = []v1beta1.Community{aliases("c", "vip=65535:666", "1:1=2:2")}
			p, problems := Compile(o, nil)
			expect(t, problems, c.says...)
			ad := &p.BGPAds[0]
			got := ad.Prefix(addr("10.0.0.7"), "a").String() + " " + ad.Prefix(addr("fd00::7"), "a").String() + " " + ad.Communities.String()
			if ad.Weighted {
				got += " weighted"
			}
			if got != c.want || ad.InForce() == c.waits {
				t.Errorf("%s, waits: %q; want %s", got, ad.Waiting, c.want)
			}
		})
	}
}

func TestAggregatesFitRanges(t *testing.T) {
	for text, want := range map[string]int{
		"10.0.0.0/24": 24, "10.0.0.7/32": 32, "10.0.0.1-10.0.0.254": 26, "10.0.0.250-10.0.1.255": 24, "10.0.0.1-10.0.0.2": 32, "0.0.0.0/0": 0,
		"255.255.255.255/32": 32, "255.255.255.254-255.255.255.255": 31, "fd00::/64": 64, "fd00::1-fd00::ffff": 113, "::/0": 0,
	} {
		if got := span(text).widest(); got != want {
			t.Errorf("the widest prefix in %s has length %d, want %d", text, got, want)
		}
	}
}

func TestConflictingLocalPrefs(t *testing.T) {
	n := int32(24)
	prefer := func(pref uint32, options ...func(*bgpAdSpec)) func(*v1beta1.BGPAdvertisement) {
		return func(a *v1beta1.BGPAdvertisement) {
			a.Spec.LocalPref = pref
			for _, o := range options {
				o(&a.Spec)
			}
		}
	}
	inPools := func(names ...string) func(*bgpAdSpec) {
		return func(s *bgpAdSpec) { s.IPAddressPools = names }
	}
	toPeers := func(names ...string) func(*bgpAdSpec) { return func(s *bgpAdSpec) { s.Peers = names } }
	onRack := func(rack string) func(*bgpAdSpec) {
		return func(s *bgpAdSpec) { s.NodeSelectors = []metav1.LabelSelector{is("rack", rack)} }
	}
	forApp := func(app string) func(*bgpAdSpec) {
		return func(s *bgpAdSpec) { s.ServiceSelectors = []metav1.LabelSelector{is("app", app)} }
	}
	for _, c := range []struct {
		name     string
		old, new []func(*bgpAdSpec)
		conflict bool
	}{
		{"the same routes", nil, nil, true},
		{"a common pool", []func(*bgpAdSpec){inPools("a", "b")}, []func(*bgpAdSpec){inPools("b")}, true},
		{"other pools", []func(*bgpAdSpec){inPools("a")}, []func(*bgpAdSpec){inPools("b")}, false},
		{"a common peer", []func(*bgpAdSpec){toPeers("r", "s")}, []func(*bgpAdSpec){toPeers("s", "t")}, true},
		{"other peers", []func(*bgpAdSpec){toPeers("r")}, []func(*bgpAdSpec){toPeers("s")}, false},
		{"common nodes", []func(*bgpAdSpec){onRack("1")}, []func(*bgpAdSpec){onRack("1")}, true},
		{"perhaps common nodes: seen when a plan is made", []func(*bgpAdSpec){onRack("1")}, []func(*bgpAdSpec){onRack("2")}, false},
		{"perhaps common Services", []func(*bgpAdSpec){forApp("x")}, []func(*bgpAdSpec){forApp("y")}, false},
		{"other prefixes", []func(*bgpAdSpec){inPools("b")}, []func(*bgpAdSpec){inPools("b"), func(s *bgpAdSpec) { s.AggregationLength = &n }}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := bgpAds(bgpAd("z-old", prefer(100, c.old...)), bgpAd("a-new", young, prefer(200, c.new...)))
			o.BGPPeers = peers(peer("r"), peer("s", with(func(s *peerSpec) { s.PeerAddress = "10.0.0.2" })), peer("t", with(func(s *peerSpec) { s.PeerAddress = "10.0.0.3" }))).BGPPeers
			p, problems := Compile(o, nil)
			var says []string
			if c.conflict {
				says = []string{`BGPAdvertisement "a-new" gives localPref 200 to routes to which the older BGPAdvertisement "z-old" gives 100, which counts: make them the same, or let the two differ in pools, peers or nodes (ConflictingAdvertisements)`}
			}
			expect(t, problems, says...)
			if p.BGPAds[0].Age != 1 || p.BGPAds[1].Age != 0 {
				t.Error("ages")
			}
		})
	}
	none := bgpAds(bgpAd("old", prefer(100)), bgpAd("new", young))
	_, problems := Compile(none, nil)
	expect(t, problems) // 0 says nothing
	same := bgpAds(bgpAd("old", prefer(100)), bgpAd("new", young, prefer(100)))
	_, problems = Compile(same, nil)
	expect(t, problems, `BGPAdvertisement "new" says the same as the older BGPAdvertisement "old": remove one of the two (NoEffect)`)
}

func TestCommunityObjects(t *testing.T) {
	younger := func(c v1beta1.Community) v1beta1.Community { c.CreationTimestamp = at(1); return c }
	using := func(names ...string) v1beta1.BGPAdvertisement {
		return bgpAd("x", saying(func(s *bgpAdSpec) { s.Communities = names }))
	}
	const badValue = `spec.communities[1].value: "bad" is not a community: want NUMBER:NUMBER, each from 0 to 65535, or large:NUMBER:NUMBER:NUMBER (InvalidValue)`
	for _, c := range []struct {
		name          string
		last, objects []v1beta1.Community
		use           []string
		want          string
		says          []string
	}{
		{"several objects", nil, []v1beta1.Community{aliases("c", "one=1:1"), aliases("d", "two=2:2")}, []string{"one", "two"}, "1:1,2:2", nil},
		{"the older one defines", nil, []v1beta1.Community{younger(aliases("c", "one=1:1", "two=2:2")), aliases("d", "one=3:3")}, []string{"one", "two"}, "2:2,3:3",
			[]string{`Community "c" defines "one", which the older Community "d" defines as 3:3: remove one of the two (DuplicateName)`}},
		{"twice in one object", nil, []v1beta1.Community{aliases("c", "one=1:1", "one=2:2")}, []string{"one"}, "1:1",
			[]string{`Community "c", spec.communities[1]: it defines "one" again: remove one of the two (DuplicateName)`}},
		{"no name", nil, []v1beta1.Community{aliases("c", "one=1:1", "=2:2")}, []string{"one"}, "1:1", []string{`Community "c", spec.communities[1]: it has no name (InvalidValue)`}},
		{"what is good of a bad one", nil, []v1beta1.Community{aliases("c", "one=1:1", "two=bad")}, []string{"one"}, "1:1", []string{`Community "c", ` + badValue}},
		{"a bad one keeps its last value", []v1beta1.Community{aliases("c", "one=1:1", "two=2:2")}, []v1beta1.Community{aliases("c", "one=3:3", "two=bad")}, []string{"one", "two"}, "1:1,2:2",
			[]string{`Community "c", ` + badValue}},
		{"an alias that is gone: the advertisement keeps its last value", []v1beta1.Community{aliases("c", "one=1:1")}, nil, []string{"one"}, "1:1",
			[]string{`BGPAdvertisement "x" names community "one", which no Community object defines: define it or correct the name (UnknownReference)`}},
		{"an alias that changes", []v1beta1.Community{aliases("c", "one=1:1")}, []v1beta1.Community{aliases("c", "one=2:2")}, []string{"one"}, "2:2", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := bgpAds(using(c.use...))
			o.Communities = c.last
			last, _ := Compile(o, nil)
			o.Communities = c.objects
			for range 2 {
				p, problems := Compile(o, last)
				expect(t, problems, c.says...)
				if ad := p.BGPAds[0]; ad.Communities.String() != c.want || !ad.InForce() {
					t.Errorf("communities %s, want %s; waits: %q", ad.Communities, c.want, ad.Waiting)
				}
				last = p
			}
		})
	}
}

func TestBadBGPAdvertisementKeepsItsLastValue(t *testing.T) {
	objects := func(pref uint32, options ...func(*bgpAdSpec)) Objects {
		x := bgpAd("x", saying(func(s *bgpAdSpec) { s.LocalPref = pref }))
		for _, o := range options {
			o(&x.Spec)
		}
		return bgpAds(x)
	}
	spoil := func(s *bgpAdSpec) { s.Communities = []string{"1:bad"} }
	last := first(Compile(objects(1), nil))
	kept := first(Compile(objects(2, spoil), last))
	kept = first(Compile(objects(2, spoil), kept))
	if ad := kept.BGPAds[0]; ad.LocalPref != 1 || !ad.InForce() {
		t.Errorf("the bad advertisement is %+v", ad)
	}
	recreated := objects(2, spoil)
	recreated.BGPAdvertisements[0].UID = "another"
	if ad := first(Compile(recreated, kept)).BGPAds[0]; ad.InForce() {
		t.Errorf("re-created under its name, it is %+v", ad)
	}
}

func TestPrefixOfAPool(t *testing.T) {
	ad := BGPAd{Length4: 24, Length6: 64, hosts: []hostRoutes{{"small", IPv4}}}
	for pool, want := range map[string]string{"small": "10.0.0.1/32", "large": "10.0.0.0/24"} {
		if got := ad.Prefix(addr("10.0.0.1"), pool); got != netip.MustParsePrefix(want) {
			t.Errorf("pool %s: %s, want %s", pool, got, want)
		}
	}
}
