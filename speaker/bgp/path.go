//go:build linux

package bgp

import (
	"fmt"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairlead-lb/fairlead/policy"
)

const (
	gracefulShutdown = 0xffff0000 // the well-known community GRACEFUL_SHUTDOWN, 65535:0 (RFC 8326)
	transitionASN    = 23456      // stands for an AS number of four octets (RFC 6793)

	// bandwidthUnit is the link bandwidth of one endpoint, in bytes a second: 1 Mbit/s. Only the proportion counts.
	bandwidthUnit = 125_000
)

// attrs are the attributes of a path, as values: equal ones are the same on the wire.
type attrs struct {
	hop         netip.Addr
	localPref   uint32
	communities policy.Communities
	weight      uint32
	asn         uint32
	drain       bool
}

// attributes builds paths. It keeps the attributes that it built last, since most routes of a session have the same.
type attributes struct {
	last  *attrs // never changed
	built []*anypb.Any
}

// path builds what the engine's table takes.
func (b *attributes) path(e entry) (*api.Path, error) {
	nlri, err := anypb.New(&api.IPAddressPrefix{Prefix: e.prefix.Addr().String(), PrefixLen: uint32(e.prefix.Bits())})
	if err != nil {
		return nil, err
	}
	if b.last == nil || *b.last != e.attrs {
		built, err := pack(e.attrs.common())
		if err != nil {
			return nil, err
		}
		last := e.attrs
		b.last, b.built = &last, built
	}
	f := familyOf(e.prefix.Addr())
	hop, err := pack([]proto.Message{nextHop(f, e.hop, nlri)})
	if err != nil {
		return nil, err
	}
	return &api.Path{Family: apiFamily(f), Nlri: nlri, Pattrs: slices.Concat(b.built, hop)}, nil
}

// nextHop is the NEXT_HOP attribute, or MP_REACH_NLRI where the prefix or the next hop is not IPv4 (RFC 4760, 8950).
func nextHop(f family, hop netip.Addr, nlri *anypb.Any) proto.Message {
	if f == familyIPv4 && hop.Is4() {
		return &api.NextHopAttribute{NextHop: hop.String()}
	}
	return &api.MpReachNLRIAttribute{Family: apiFamily(f), NextHops: []string{hop.String()}, Nlris: []*anypb.Any{nlri}}
}

// common returns the attributes that do not depend on the prefix. The engine leaves LOCAL_PREF out where the neighbor is
// of another AS.
func (a attrs) common() []proto.Message {
	out := []proto.Message{&api.OriginAttribute{Origin: 0}} // IGP
	if a.localPref != 0 || a.drain {
		pref := a.localPref
		if a.drain {
			pref = 0
		}
		out = append(out, &api.LocalPrefAttribute{LocalPref: pref})
	}
	standard := a.communities.Standard()
	if a.drain && !slices.Contains(standard, gracefulShutdown) {
		standard = append(standard, gracefulShutdown)
	}
	if len(standard) > 0 {
		out = append(out, &api.CommunitiesAttribute{Communities: standard})
	}
	if large := a.communities.Large(); len(large) > 0 {
		x := &api.LargeCommunitiesAttribute{}
		for _, l := range large {
			x.Communities = append(x.Communities, &api.LargeCommunity{GlobalAdmin: l[0], LocalData1: l[1], LocalData2: l[2]})
		}
		out = append(out, x)
	}
	return append(out, a.bandwidth()...)
}

// bandwidth is the link bandwidth extended community (draft-ietf-idr-link-bandwidth), non-transitive: bytes a second as
// a floating point number, and the AS number of this end.
func (a attrs) bandwidth() []proto.Message {
	if a.weight == 0 {
		return nil
	}
	asn := a.asn
	if asn > 0xffff {
		asn = transitionASN
	}
	c, err := anypb.New(&api.LinkBandwidthExtended{Asn: asn, Bandwidth: float32(a.weight) * bandwidthUnit})
	if err != nil {
		return nil // a message of fixed shape is always encoded
	}
	return []proto.Message{&api.ExtendedCommunitiesAttribute{Communities: []*anypb.Any{c}}}
}

func pack(in []proto.Message) ([]*anypb.Any, error) {
	var out []*anypb.Any
	for _, m := range in {
		a, err := anypb.New(m)
		if err != nil {
			return nil, fmt.Errorf("encoding a path attribute: %w", err)
		}
		out = append(out, a)
	}
	return out, nil
}
