package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
)

func drawAddress(t *rapid.T) netip.Addr {
	host := rapid.ByteRange(0, 15).Draw(t, "host")
	if rapid.Bool().Draw(t, "IPv4") {
		return netip.AddrFrom4([4]byte{10, 0, 0, host})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 15: host})
}

// drawObjects draws pools that overlap, some of them bad, and advertisements that may name them.
func drawObjects(t *rapid.T) (o Objects) {
	names := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	selectors := rapid.SliceOfN(rapid.SampledFrom([]metav1.LabelSelector{is("zone", "one"), is("zone", "two"), bad}), 0, 2)
	for _, name := range rapid.SliceOfNDistinct(names, 0, 5, rapid.ID).Draw(t, "pools") {
		ranges := rapid.SliceOfN(rapid.Custom(drawRange), 0, 4).Draw(t, "ranges")
		p := pool(name, strings.Join(ranges, ","), createdAt(rapid.IntRange(0, 2).Draw(t, "age")), labelled("zone", rapid.SampledFrom([]string{"one", "two"}).Draw(t, "zone")))
		if rapid.Bool().Draw(t, "tenants") {
			p.Spec.AllocateTo = &v1beta1.ServiceAllocation{NamespaceSelectors: selectors.Draw(t, "namespaces")}
		}
		o.Pools = append(o.Pools, p)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "ads") {
		a := ad(fmt.Sprint("ad-", i), forPools(rapid.SliceOfN(names, 0, 2).Draw(t, "named")...))
		a.Spec.IPAddressPoolSelectors = selectors.Draw(t, "selected")
		a.Spec.NodeSelectors = selectors.Draw(t, "nodes")
		o.L2Advertisements = append(o.L2Advertisements, a)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "policies") {
		a := rules(fmt.Sprint("p", i), of(rapid.SliceOfN(names, 0, 2).Draw(t, "named")...), where(selectors.Draw(t, "selected")...),
			priority(rapid.Int32Range(0, 1).Draw(t, "priority")), exclude(rapid.SliceOfN(rapid.Custom(drawRange), 0, 2).Draw(t, "exclude")...))
		o.AddressPolicies = append(o.AddressPolicies, a)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "reservations") {
		r := reserve(fmt.Sprint("r", i), age(rapid.IntRange(0, 1).Draw(t, "age")))
		if rapid.Bool().Draw(t, "named") {
			r.Spec.Address = drawAddress(t).String()
		} else {
			anyOf(names.Draw(t, "pool"), drawAddress(t).String())(&r)
		}
		o.AddressReservations = append(o.AddressReservations, r)
	}
	port := rapid.SampledFrom([]string{"20", "20-30", "25-40", "33", "0", "30000-40000", "30-20"})
	for i := range rapid.IntRange(0, 3).Draw(t, "node port ranges") {
		r := ports(fmt.Sprint("n", i), rapid.SliceOfN(port, 0, 3).Draw(t, "ports")...)
		r.CreationTimestamp = at(rapid.IntRange(0, 2).Draw(t, "age"))
		r.Spec.Protocols = rapid.SliceOfN(rapid.SampledFrom([]v1alpha1.PortProtocol{"TCP", "UDP", "x"}), 0, 2).Draw(t, "protocols")
		o.NodePortRanges = append(o.NodePortRanges, r)
	}
	o.ServiceNodePorts = rapid.SampledFrom([]portrange.Range{{}, DefaultServiceNodePorts()}).Draw(t, "API server's ports")
	drawBGP(t, &o, names)
	return o
}

// drawBGP draws peers, advertisements and what they name, some of them bad.
func drawBGP(t *rapid.T, o *Objects, pools *rapid.Generator[string]) {
	few := rapid.SampledFrom([]string{"a", "b", "c"})
	selectors := rapid.SliceOfN(rapid.SampledFrom([]metav1.LabelSelector{is("zone", "one"), is("zone", "two"), bad}), 0, 1)
	age := rapid.IntRange(0, 2)
	interval := rapid.Ptr(rapid.SampledFrom([]uint32{5, 10, 300}), true)
	duration := rapid.Ptr(rapid.Map(rapid.Int64Range(-1, 200), func(n int64) metav1.Duration {
		return metav1.Duration{Duration: time.Duration(n) * 700 * time.Millisecond}
	}), true)
	for _, name := range rapid.SliceOfNDistinct(few, 0, 3, rapid.ID).Draw(t, "peers") {
		p := peer(name, with(func(s *peerSpec) {
			s.MyASN, s.PeerASN = rapid.Uint32Range(0, 2).Draw(t, "my AS"), rapid.Uint32Range(0, 2).Draw(t, "peer's AS")
			s.DynamicASN = v1beta2.DynamicASN(rapid.SampledFrom([]string{"", "internal", "x"}).Draw(t, "dynamic"))
			s.PeerAddress = rapid.SampledFrom([]string{"", "10.0.0.1", "10.0.0.2", "fd00::1", "x"}).Draw(t, "address")
			s.Interface = rapid.SampledFrom([]string{"", "eth0"}).Draw(t, "interface")
			s.SourceAddress = rapid.SampledFrom([]string{"", "10.0.0.9", "fd00::9"}).Draw(t, "source")
			s.BFDProfile = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "profile")
			s.PasswordSecret.Name = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "secret")
			s.HoldTime, s.KeepaliveTime, s.ConnectTime = duration.Draw(t, "hold"), duration.Draw(t, "keepalive"), duration.Draw(t, "connect")
			s.EBGPMultiHop = rapid.Bool().Draw(t, "multihop")
			s.NodeSelectors = selectors.Draw(t, "nodes")
		}))
		p.CreationTimestamp = at(age.Draw(t, "age"))
		o.BGPPeers = append(o.BGPPeers, p)
	}
	for _, name := range rapid.SliceOfNDistinct(few, 0, 3, rapid.ID).Draw(t, "BGP ads") {
		a := bgpAd(name, saying(func(s *bgpAdSpec) {
			s.LocalPref = rapid.Uint32Range(0, 2).Draw(t, "localPref")
			s.AggregationLength = rapid.Ptr(rapid.Int32Range(0, 33), true).Draw(t, "length")
			s.IPAddressPools = rapid.SliceOfN(pools, 0, 2).Draw(t, "named")
			s.Communities = rapid.SliceOfN(rapid.SampledFrom([]string{"1:1", "one", "two", "1:x"}), 0, 2).Draw(t, "communities")
			s.Peers = rapid.SliceOfN(few, 0, 2).Draw(t, "to")
			s.NodeSelectors, s.ServiceSelectors = selectors.Draw(t, "nodes"), selectors.Draw(t, "services")
		}))
		a.CreationTimestamp = at(age.Draw(t, "age"))
		o.BGPAdvertisements = append(o.BGPAdvertisements, a)
	}
	for _, name := range rapid.SliceOfNDistinct(few, 0, 2, rapid.ID).Draw(t, "communities") {
		x := aliases(name, rapid.SliceOfN(rapid.SampledFrom([]string{"one=1:1", "one=2:2", "two=3:3", "two=x", "=1:1"}), 0, 3).Draw(t, "aliases")...)
		x.CreationTimestamp = at(age.Draw(t, "age"))
		o.Communities = append(o.Communities, x)
	}
	for _, name := range rapid.SliceOfNDistinct(few, 0, 2, rapid.ID).Draw(t, "profiles") {
		o.BFDProfiles = append(o.BFDProfiles, v1beta1.BFDProfile{ObjectMeta: meta(name), Spec: v1beta1.BFDProfileSpec{TransmitInterval: interval.Draw(t, "interval")}})
	}
	if rapid.Bool().Draw(t, "secrets") {
		o.Secrets = map[SecretKey]Secret{{"metallb-system", "a"}: {corev1.SecretTypeBasicAuth, "x"}}
	}
}

func drawRange(t *rapid.T) string {
	from, to := drawAddress(t), drawAddress(t)
	if rapid.IntRange(0, 3).Draw(t, "CIDR") == 0 {
		return netip.PrefixFrom(from, from.BitLen()-rapid.IntRange(0, 3).Draw(t, "host bits")).String()
	}
	return from.String() + "-" + to.String() // at times it mixes families or ends before it starts
}

func TestRangesAreDisjointAndPoolOfFindsThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last, _ := Compile(drawObjects(t), nil)
		p, _ := Compile(drawObjects(t), last)
		a := drawAddress(t)
		var owners []string
		for i := range p.Pools {
			for _, r := range p.Pools[i].Ranges {
				if r.Contains(a) {
					owners = append(owners, p.Pools[i].Name)
				}
			}
		}
		got, ok := p.PoolOf(a)
		if len(owners) > 1 || ok != (len(owners) == 1) || ok && got.Name != owners[0] {
			t.Fatalf("PoolOf(%s) is %v; the ranges of %v hold it (%s)", a, got, owners, text(p))
		}
	})
}

func TestNothingIsLostWherePoolsOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := Compile(drawObjects(t), nil)
		a := drawAddress(t)
		declared := false
		for i := range p.Pools {
			for _, r := range p.Pools[i].declared {
				declared = declared || r.Contains(a)
			}
		}
		if _, ok := p.PoolOf(a); ok != declared {
			t.Fatalf("%s is declared: %v, owned: %v (%s)", a, declared, ok, text(p))
		}
	})
}

func TestCompileDoesNotDependOnTheOrder(t *testing.T) {
	equal := cmp.Options{
		cmp.AllowUnexported(Policy{}, Pool{}, owner{}, Space{}, AddressPolicy{}, Quota{}, Reservation{}, Services{}, NodePortRange{}, BGPAd{}, hostRoutes{}, bfdProfile{}, communitySet{}, alias{}),
		cmpopts.EquateComparable(netip.Addr{}, Communities{}),
		cmp.Comparer(func(a, b labels.Selector) bool { return fmt.Sprint(a) == fmt.Sprint(b) }),
	}
	rapid.Check(t, func(t *rapid.T) {
		last, _ := Compile(drawObjects(t), nil)
		objects := drawObjects(t)
		p, problems := Compile(objects, last)
		shuffled := Objects{
			Pools:               rapid.Permutation(objects.Pools).Draw(t, "pools"),
			L2Advertisements:    rapid.Permutation(objects.L2Advertisements).Draw(t, "ads"),
			AddressPolicies:     rapid.Permutation(objects.AddressPolicies).Draw(t, "policies"),
			AddressReservations: rapid.Permutation(objects.AddressReservations).Draw(t, "reservations"),
			NodePortRanges:      rapid.Permutation(objects.NodePortRanges).Draw(t, "node port ranges"),
			ServiceNodePorts:    objects.ServiceNodePorts,
			BGPPeers:            rapid.Permutation(objects.BGPPeers).Draw(t, "peers"),
			BGPAdvertisements:   rapid.Permutation(objects.BGPAdvertisements).Draw(t, "BGP ads"),
			BFDProfiles:         rapid.Permutation(objects.BFDProfiles).Draw(t, "profiles"),
			Communities:         rapid.Permutation(objects.Communities).Draw(t, "communities"),
			Secrets:             objects.Secrets,
		}
		p2, problems2 := Compile(shuffled, last)
		if diff := cmp.Diff(p, p2, equal) + cmp.Diff(problems, problems2); diff != "" {
			t.Fatal(diff)
		}
		seen := map[Problem]bool{}
		for i, x := range problems {
			if seen[x] || i > 0 && problems[i-1].Object.Kind > x.Object.Kind || strings.Contains(x.Message, "\n") {
				t.Fatalf("problem %d is told twice, out of order or on two lines: %v", i, problems)
			}
			seen[x] = true
		}
	})
}

func TestTheSpaceIsWhatThePoolGives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := Compile(drawObjects(t), nil)
		a := drawAddress(t)
		for i := range p.Pools {
			pool := &p.Pools[i]
			in := slices.ContainsFunc(pool.Space(FamilyOf(a)).Ranges, func(r Range) bool { return r.Contains(a) })
			if !pool.Stalled() && pool.Gives(a) != in {
				t.Fatalf("pool %q gives %s: %v, and in its space is: %v", pool.Name, a, pool.Gives(a), in)
			}
		}
	})
}

// TestAPortHasOneRange: and of a range that has it at all, each port that it lists has one.
func TestAPortHasOneRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := Compile(drawObjects(t), nil)
		for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
			port := rapid.Uint16Range(19, 41).Draw(t, "port")
			owners, declared := 0, false
			for i := range p.NodePortRanges {
				r := &p.NodePortRanges[i]
				for _, x := range r.Ports {
					if x.Contains(protocol, port) {
						owners++
					}
				}
				declared = declared || slices.ContainsFunc(r.declared, func(x portrange.Range) bool { return x.Contains(protocol, port) })
			}
			r, ok := p.NodePortRangeOf(protocol, port)
			if want := declared; owners > 1 || ok != want || ok != (owners == 1) || ok && r.Size() == 0 {
				t.Fatalf("%d/%s stands in ranges: %v, and %d have it", port, protocol, declared, owners)
			}
		}
	})
}

func TestAnAddressHasOneReservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := Compile(drawObjects(t), nil)
		seen := map[netip.Addr]bool{}
		for _, r := range p.Reservations {
			if r.Address.IsValid() && seen[r.Address] {
				t.Fatalf("two hold %s", r.Address)
			}
			seen[r.Address] = true
		}
	})
}

func TestCompileLeavesItsInputsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		objects := drawObjects(t)
		last, _ := Compile(objects, nil)
		before := text(last)
		Compile(drawObjects(t), last)
		if text(last) != before {
			t.Fatalf("the last Policy was %s and is %s", before, text(last))
		}
	})
}

// TestPeersAreValidOrWait: what is in force can be carried out as it stands, whatever the objects say.
func TestPeersAreValidOrWait(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last, _ := Compile(drawObjects(t), nil)
		p, problems := Compile(drawObjects(t), last)
		for _, x := range p.Peers {
			told := slices.ContainsFunc(problems, func(y Problem) bool { return y.Object == x.Ref && y.Verdict == x.Waiting })
			good := x.MyASN > 0 && (x.PeerASN > 0) == (x.ASN == ASNGiven) && x.Address.IsValid() == (x.Interface == "") && x.Port > 0 &&
				(x.HoldTime == 0 || x.HoldTime >= 3*time.Second) && x.KeepaliveTime <= x.HoldTime && x.HoldTime%time.Second == 0 &&
				x.KeepaliveTime%time.Second == 0 && (x.KeepaliveTime > 0) == (x.HoldTime > 0) && x.ConnectTime >= time.Second && (x.IPv4 || x.IPv6)
			if x.InForce() && !good || !x.InForce() && !told {
				t.Fatalf("%+v (%v)", x, problems)
			}
		}
		for _, a := range p.BGPAds {
			told := slices.ContainsFunc(problems, func(y Problem) bool { return y.Object == a.Ref && y.Verdict == a.Waiting })
			if a.InForce() && (a.Length4 < 1 || a.Length4 > 32 || a.Length6 < 1 || a.Length6 > 128) || !a.InForce() && !told {
				t.Fatalf("%+v (%v)", a, problems)
			}
		}
	})
}

// TestWhatIsGoodStaysInForce: an object that is in force stays so while it is there, whatever becomes of it.
func TestWhatIsGoodStaysInForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last, _ := Compile(drawObjects(t), nil)
		p, _ := Compile(drawObjects(t), last)
		for _, was := range last.Peers {
			if now, ok := p.Peer(was.Name); ok && was.InForce() && !now.InForce() {
				t.Fatalf("%s was in force and waits: %s", was.Ref, now.Waiting)
			}
		}
		for i := range last.BGPAds {
			was := &last.BGPAds[i]
			if now, ok := find(p.BGPAds, was.Ref, (*BGPAd).ref); ok && was.InForce() && !now.InForce() {
				t.Fatalf("%s was in force and waits: %s", was.Ref, now.Waiting)
			}
		}
	})
}
