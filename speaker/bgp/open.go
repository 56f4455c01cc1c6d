//go:build linux

package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// family is an address family, unicast.
type family uint16

// Address family numbers.
const (
	familyIPv4 family = 1
	familyIPv6 family = 2
)

// capExtendedMessage is a capability that GoBGP has no name for (RFC 8654).
const capExtendedMessage bgp.BGPCapabilityCode = 6

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return familyIPv4
	}
	return familyIPv6
}

// open is what an OPEN says.
type open struct {
	asn          uint32
	id           netip.Addr
	holdTime     uint16 // seconds
	ipv4, ipv6   bool
	refresh      bool
	extendedHop  bool // IPv4 routes may have an IPv6 next hop (RFC 8950)
	graceful     bool
	restartTime  uint16
	fourOctetASN bool
	codes        []bgp.BGPCapabilityCode
}

// parseOpen reads an OPEN with GoBGP's decoder. It does so here, and not in the engine, since here a panic of the decoder
// on bytes from outside ends one session, and there the process.
func parseOpen(m message) (o open, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &violation{openError, 0, nil, fmt.Sprintf("the peer sent an OPEN that cannot be read: %v", r)}
		}
	}()
	parsed, err := bgp.ParseBGPMessage(m)
	if err != nil {
		return open{}, openViolation(err)
	}
	body, ok := parsed.Body.(*bgp.BGPOpen)
	if !ok {
		return open{}, errors.New("no OPEN")
	}
	if body.Version != 4 {
		return open{}, &violation{openError, 1, []byte{0, 4}, fmt.Sprintf("the peer speaks version %d of BGP", body.Version)}
	}
	id, _ := netip.AddrFromSlice(body.ID.To4())
	o = open{asn: uint32(body.MyAS), id: id, holdTime: body.HoldTime}
	multiprotocol := false
	for _, p := range body.OptParams {
		if caps, ok := p.(*bgp.OptionParameterCapability); ok {
			for _, c := range caps.Capability {
				_, mp := c.(*bgp.CapMultiProtocol)
				multiprotocol = multiprotocol || mp
				o.take(c)
			}
		}
	}
	o.ipv4 = o.ipv4 || !multiprotocol // RFC 4760 came later
	return o, nil
}

func openViolation(err error) error {
	v := &violation{openError, 0, nil, "the peer sent a malformed OPEN: " + err.Error()}
	var e *bgp.MessageError
	if errors.As(err, &e) {
		v.code, v.subcode, v.data = e.TypeCode, e.SubTypeCode, e.Data
	}
	return v
}

// take notes a capability (RFC 5492).
func (o *open) take(c bgp.ParameterCapabilityInterface) {
	o.codes = append(o.codes, c.Code())
	switch c := c.(type) {
	case *bgp.CapMultiProtocol:
		o.ipv4 = o.ipv4 || c.CapValue == bgp.RF_IPv4_UC
		o.ipv6 = o.ipv6 || c.CapValue == bgp.RF_IPv6_UC
	case *bgp.CapRouteRefresh:
		o.refresh = true
	case *bgp.CapFourOctetASNumber:
		o.fourOctetASN = true
		if c.CapValue != 0 {
			o.asn = c.CapValue
		}
	case *bgp.CapExtendedNexthop:
		for _, t := range c.Tuples {
			o.extendedHop = o.extendedHop || t.NLRIAFI == bgp.AFI_IP && t.NLRISAFI == bgp.SAFI_UNICAST && t.NexthopAFI == bgp.AFI_IP6
		}
	case *bgp.CapGracefulRestart:
		o.graceful, o.restartTime = true, c.Time
	}
}

// accept says what is wrong with the OPEN for a session, or nil (RFC 4271, section 6.2). The AS number decides first.
func (o open) accept(want plan.Session, ownID netip.Addr) error {
	own := ownASN(want)
	refuse := func(format string, args ...any) error {
		return &violation{openError, badPeerAS, nil, fmt.Sprintf(format, args...)}
	}
	switch {
	case want.ASN == policy.ASNInternal && o.asn != own:
		return refuse("the peer has AS %d, which is not internal: this end has AS %d", o.asn, own)
	case want.ASN == policy.ASNExternal && o.asn == own:
		return refuse("the peer has AS %d, which is not external: this end has the same", o.asn)
	case want.ASN == policy.ASNGiven && o.asn != want.PeerASN:
		return refuse("the peer has AS %d, and AS %d is expected", o.asn, want.PeerASN)
	case !o.id.IsValid() || o.id.IsUnspecified():
		return &violation{openError, 3, nil, "the peer has the router ID 0.0.0.0"}
	case o.asn == own && o.id == ownID:
		return &violation{openError, 3, nil, fmt.Sprintf("the peer has the router ID %s, which is also that of this end", o.id)}
	case o.holdTime == 1 || o.holdTime == 2:
		return &violation{openError, 6, nil, fmt.Sprintf("the peer proposes a hold time of %d s", o.holdTime)}
	case !(o.ipv4 && want.IPv4) && !(o.ipv6 && want.IPv6):
		return &violation{openError, unsupportedFamily, nil, "the peer offers none of the address families of this session"}
	}
	return nil
}

// negotiated returns the hold time and the keepalive time of a session (RFC 4271, section 4.2).
func (o open) negotiated(want plan.Session) (hold, keepalive time.Duration) {
	theirs := time.Duration(o.holdTime) * time.Second
	if theirs == 0 || want.HoldTime == 0 {
		return 0, 0
	}
	if theirs < want.HoldTime || want.KeepaliveTime == 0 {
		hold = min(theirs, want.HoldTime)
		return hold, max(hold/3, time.Second).Truncate(time.Second)
	}
	return want.HoldTime, want.KeepaliveTime
}

// forEngine writes the OPEN anew for the engine: only what is understood and of use, with a hold time in seconds.
func (o open) forEngine(holdTime uint16) message {
	var caps []bgp.ParameterCapabilityInterface
	if o.ipv4 {
		caps = append(caps, bgp.NewCapMultiProtocol(bgp.RF_IPv4_UC))
	}
	if o.ipv6 {
		caps = append(caps, bgp.NewCapMultiProtocol(bgp.RF_IPv6_UC))
	}
	if o.refresh {
		caps = append(caps, bgp.NewCapRouteRefresh())
	}
	as := uint16(bgp.AS_TRANS)
	if o.asn <= 0xffff {
		as = uint16(o.asn)
	}
	if o.fourOctetASN {
		caps = append(caps, bgp.NewCapFourOctetASNumber(o.asn))
	}
	if o.graceful { // without families: nothing of the neighbor's is ever waited for
		caps = append(caps, bgp.NewCapGracefulRestart(false, false, o.restartTime, nil))
	}
	m := bgp.NewBGPOpenMessage(as, holdTime, o.id.String(), []bgp.OptionParameterInterface{bgp.NewOptionParameterCapability(caps)})
	b, err := m.Serialize()
	if err != nil {
		panic(fmt.Sprintf("bgp: an OPEN of our own cannot be written: %v", err))
	}
	return b
}

// capabilities names the neighbor's capabilities, sorted.
func (o open) capabilities() []string {
	var out []string
	if o.ipv4 {
		out = append(out, "IPv4 unicast")
	}
	if o.ipv6 {
		out = append(out, "IPv6 unicast")
	}
	for _, c := range o.codes {
		switch c {
		case bgp.BGP_CAP_MULTIPROTOCOL: // named by its families
		case capExtendedMessage:
			out = append(out, "extended-message")
		default:
			out = append(out, c.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
