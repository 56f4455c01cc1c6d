package policy

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// AnnotationWeight on a BGPAdvertisement, with the value "endpoints", gives its routes a link-bandwidth extended community
// in proportion to the node's serving endpoints, so that routers weigh the nodes by them.
const AnnotationWeight = "fairlead.io/weight"

// weightEndpoints is the one value of AnnotationWeight.
const weightEndpoints = "endpoints"

// BGPAd is a BGPAdvertisement.
type BGPAd struct {
	Ref
	Scope
	Peers       []string // names, sorted; none means every peer
	Length4     int      // prefix length of IPv4 routes, 1 to 32
	Length6     int      // prefix length of IPv6 routes, 1 to 128
	LocalPref   uint32   // 0: none is given
	Communities Communities
	Weighted    bool // the routes tell how many endpoints are behind them
	// Age is the place of the advertisement among all, the oldest being 0: of two that contradict each other the older
	// one decides.
	Age int
	// Waiting is why nothing is announced for the advertisement: the object is bad or names an alias that is missing, and
	// there is no good value from before. Its reason is empty where that is not so.
	Waiting verdict.Verdict

	hosts []hostRoutes
}

// hostRoutes says that the addresses of a family in a pool are announced each by its own route, since the prefix that the
// advertisement asks for would reach beyond the pool.
type hostRoutes struct {
	pool   string
	family Family
}

// SelectsPeer says whether the advertisement is for the peer of that name.
func (a *BGPAd) SelectsPeer(name string) bool {
	_, ok := slices.BinarySearch(a.Peers, name)
	return ok || len(a.Peers) == 0
}

// InForce says whether the advertisement's routes are announced.
func (a *BGPAd) InForce() bool { return a.Waiting.Reason == "" }

// Prefix returns the prefix under which an address of the pool is announced.
func (a *BGPAd) Prefix(address netip.Addr, pool string) netip.Prefix {
	bits := a.Length4
	if address.Is6() {
		bits = a.Length6
	}
	if slices.Contains(a.hosts, hostRoutes{pool, FamilyOf(address)}) {
		bits = address.BitLen()
	}
	return netip.PrefixFrom(address, bits).Masked()
}

// Conflict is the problem that this advertisement and an older one give a route different values of localPref.
func (a *BGPAd) Conflict(older *BGPAd) Problem {
	return Problem{a.Ref, verdict.Verdict{Reason: verdict.ConflictingAdvertisements, Message: fmt.Sprintf(
		"%s gives localPref %d to routes to which the older %s gives %d, which counts: make them the same, or let the two differ in pools, peers or nodes",
		a.Ref, a.LocalPref, older.Ref, older.LocalPref)}}
}

func (a *BGPAd) ref() Ref { return a.Ref }

// bgpAds compiles the BGPAdvertisements.
func (c *compiler) bgpAds(o Objects, p *Policy, aliases map[string]Communities, pools []v1beta1.IPAddressPool, last *Policy) []BGPAd {
	objects := oldestFirst(o.BGPAdvertisements)
	var out []BGPAd
	for i := range objects {
		ad := c.bgpAd(&objects[i], aliases, pools, last)
		ad.Age = i
		c.fitAggregates(&ad, p)
		for j := range out {
			c.compareAds(&ad, &out[j], p)
			if reflect.DeepEqual(objects[i].Spec, objects[j].Spec) && weighs(&objects[i]) == weighs(&objects[j]) {
				c.report(ad.Ref, verdict.NoEffect, "%s says the same as the older %s: remove one of the two", ad.Ref, out[j].Ref)
			}
		}
		out = append(out, ad)
	}
	c.checkPeers(out, p)
	sortByName(out, (*BGPAd).ref)
	return out
}

// bgpAd compiles one advertisement. A bad one, or one that names an alias that is missing, keeps its last good value;
// without one it waits.
func (c *compiler) bgpAd(o *v1beta1.BGPAdvertisement, aliases map[string]Communities, pools []v1beta1.IPAddressPool, last *Policy) BGPAd {
	id, before := ref("BGPAdvertisement", o), len(c.problems)
	s := &o.Spec
	scope, _ := c.scope(id, scopeSpec{s.IPAddressPools, s.IPAddressPoolSelectors, s.NodeSelectors, s.ServiceSelectors}, pools)
	out := BGPAd{
		Ref:         id,
		Scope:       scope,
		Peers:       slices.Compact(slices.Sorted(slices.Values(s.Peers))),
		Length4:     c.length(id, "spec.aggregationLength", s.AggregationLength, 32),
		Length6:     c.length(id, "spec.aggregationLengthV6", s.AggregationLengthV6, 128),
		LocalPref:   s.LocalPref,
		Communities: c.communitiesOf(id, s.Communities, aliases),
		Weighted:    weighs(o),
	}
	if len(s.ServiceSelectors) > 0 && (out.Length4 != 32 || out.Length6 != 128) {
		c.report(id, verdict.InvalidValue, "%s: spec.serviceSelectors needs a route for each address: leave aggregationLength at 32 and aggregationLengthV6 at 128", id)
	}
	if len(c.problems) > before {
		out.Waiting = c.problems[before].Verdict
		out = lastBGPAd(last, out)
	}
	c.tellUnknownPools(id, s.IPAddressPools, pools)
	c.explainAd(id, o)
	return out
}

// lastBGPAd returns the last good value of a bad advertisement, or else the advertisement, which waits.
func lastBGPAd(last *Policy, bad BGPAd) BGPAd {
	if last != nil {
		if good, ok := find(last.BGPAds, bad.Ref, (*BGPAd).ref); ok && good.InForce() {
			return *good
		}
	}
	return bad
}

// weighs says whether the advertisement asks for weights.
func weighs(o *v1beta1.BGPAdvertisement) bool {
	return o.Annotations[AnnotationWeight] == weightEndpoints
}

// explainAd tells what an advertisement says in vain.
func (c *compiler) explainAd(id Ref, o *v1beta1.BGPAdvertisement) {
	if value, ok := o.Annotations[AnnotationWeight]; ok && !weighs(o) {
		c.report(id, verdict.NoEffect, "%s, annotation %s: %q has no effect, since the only value is %q", id, AnnotationWeight, value, weightEndpoints)
	}
	for _, x := range []struct {
		field string
		names []string
	}{{"ipAddressPools", o.Spec.IPAddressPools}, {"communities", o.Spec.Communities}, {"peers", o.Spec.Peers}} {
		names := slices.Sorted(slices.Values(x.names))
		for i, name := range names {
			if i > 0 && names[i-1] == name {
				c.report(id, verdict.NoEffect, "%s, spec.%s: %q stands there twice: remove one of the two", id, x.field, name)
			}
		}
	}
}

func (c *compiler) length(id Ref, field string, n *int32, longest int32) int {
	switch {
	case n == nil:
		return int(longest)
	case *n < 1 || *n > longest:
		c.report(id, verdict.InvalidValue, "%s, %s: %d is not from 1 to %d", id, field, *n, longest)
		return int(longest)
	}
	return int(*n)
}

// communitiesOf reads what an advertisement lists: aliases, or else communities themselves.
func (c *compiler) communitiesOf(id Ref, texts []string, aliases map[string]Communities) Communities {
	var all Communities
	for i, text := range texts {
		x, ok := aliases[text]
		var err error
		if !ok {
			x, err = ParseCommunity(text)
		}
		switch {
		case err == nil:
			all = all.Union(x)
		case strings.Contains(text, ":"):
			c.report(id, verdict.InvalidValue, "%s, spec.communities[%d]: %v", id, i, err)
		default:
			c.report(id, verdict.UnknownReference, "%s names community %q, which no Community object defines: define it or correct the name", id, text)
		}
	}
	return all
}

// checkPeers tells the peers that advertisements name and that do not exist. The advertisement goes on with the others.
func (c *compiler) checkPeers(ads []BGPAd, p *Policy) {
	for i := range ads {
		for _, name := range ads[i].Peers {
			if _, ok := p.Peer(name); !ok {
				c.report(ads[i].Ref, verdict.UnknownReference, "%s names BGPPeer %q, which does not exist: create it or correct spec.peers", ads[i].Ref, name)
			}
		}
	}
}

// fitAggregates finds the pools beyond which the advertisement's prefixes would reach: those with a range of which no
// part is as large as such a prefix. Their addresses are announced one by one.
func (c *compiler) fitAggregates(ad *BGPAd, p *Policy) {
	ad.hosts = nil
	for i := range p.Pools {
		pool := &p.Pools[i]
		if !ad.SelectsPool(pool.Name) {
			continue
		}
		for _, r := range pool.declared {
			field, bits := "aggregationLength", ad.Length4
			if r.Family() == IPv6 {
				field, bits = "aggregationLengthV6", ad.Length6
			}
			if bits >= r.widest() {
				continue
			}
			c.report(ad.Ref, verdict.InvalidValue, "%s, spec.%s: a prefix of length %d reaches beyond range %s of pool %q, whose %s addresses therefore have a route each: set it to %d or more",
				ad.Ref, field, bits, r, pool.Name, r.Family(), r.widest())
			if h := (hostRoutes{pool.Name, r.Family()}); !slices.Contains(ad.hosts, h) {
				ad.hosts = append(ad.hosts, h)
			}
		}
	}
}

// compareAds tells where two advertisements are sure to give one route different values of localPref. What depends on
// nodes and Services shows when a plan is made.
func (c *compiler) compareAds(ad, older *BGPAd, p *Policy) {
	if ad.LocalPref == 0 || older.LocalPref == 0 || ad.LocalPref == older.LocalPref || !ad.InForce() || !older.InForce() ||
		!meet(ad.Nodes, older.Nodes) || !meet(ad.Services, older.Services) || !ad.sharesPeer(older) {
		return
	}
	for i := range p.Pools {
		pool := &p.Pools[i]
		if !ad.SelectsPool(pool.Name) || !older.SelectsPool(pool.Name) {
			continue
		}
		for _, r := range pool.declared {
			if ad.Prefix(r.From, pool.Name) == older.Prefix(r.From, pool.Name) {
				c.problems = append(c.problems, ad.Conflict(older))
				return
			}
		}
	}
}

func (a *BGPAd) sharesPeer(b *BGPAd) bool {
	return len(a.Peers) == 0 || len(b.Peers) == 0 || slices.ContainsFunc(a.Peers, func(name string) bool { return b.SelectsPeer(name) })
}
