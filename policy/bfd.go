package policy

import (
	"time"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// BFD is how a BGP session is guarded by BFD (RFC 5880): a BFDProfile. It is comparable; the zero value means not at all.
type BFD struct {
	Enabled          bool
	TransmitInterval time.Duration // Desired Min TX Interval
	ReceiveInterval  time.Duration // Required Min RX Interval
	EchoInterval     time.Duration // of echo packets, sent and asked for, where Echo is set
	DetectMultiplier uint8
	Echo             bool
	Passive          bool  // wait for the neighbor's first packet (RFC 5880 section 6.1)
	MinimumTTL       uint8 // of packets from a multihop neighbor
}

// What an unset field of a BFDProfile stands for; intervals in milliseconds.
const (
	defaultBFDInterval   = 300
	defaultBFDMultiplier = 3
	defaultEchoInterval  = 50
	defaultMinimumTTL    = 254
)

// bfdProfile is a compiled BFDProfile.
type bfdProfile struct {
	Ref
	BFD
}

func (b *bfdProfile) ref() Ref { return b.Ref }

func (c *compiler) compileBFDProfiles(objects []v1beta1.BFDProfile, last *Policy) []bfdProfile {
	var out []bfdProfile
	for i := range objects {
		out = append(out, c.bfdProfile(&objects[i], last))
	}
	sortByName(out, (*bfdProfile).ref)
	return out
}

// bfdProfile compiles one profile. A bad one keeps its last value; without one, what is bad in it has its default.
func (c *compiler) bfdProfile(o *v1beta1.BFDProfile, last *Policy) bfdProfile {
	id, before := ref("BFDProfile", o), len(c.problems)
	s := &o.Spec
	out := bfdProfile{id, BFD{
		Enabled:          true,
		TransmitInterval: c.milliseconds(id, "spec.transmitInterval", s.TransmitInterval, defaultBFDInterval),
		ReceiveInterval:  c.milliseconds(id, "spec.receiveInterval", s.ReceiveInterval, defaultBFDInterval),
		EchoInterval:     c.milliseconds(id, "spec.echoInterval", s.EchoInterval, defaultEchoInterval),
		DetectMultiplier: uint8(c.number(id, "spec.detectMultiplier", s.DetectMultiplier, bounds{2, 255}, defaultBFDMultiplier)),
		Echo:             s.EchoMode != nil && *s.EchoMode,
		Passive:          s.PassiveMode != nil && *s.PassiveMode,
		MinimumTTL:       uint8(c.number(id, "spec.minimumTtl", s.MinimumTTL, bounds{1, 254}, defaultMinimumTTL)),
	}}
	if len(c.problems) > before && last != nil {
		if good, ok := find(last.bfdProfiles, id, (*bfdProfile).ref); ok {
			return *good
		}
	}
	return out
}

func (c *compiler) milliseconds(id Ref, field string, n *uint32, unset uint32) time.Duration {
	return time.Duration(c.number(id, field, n, bounds{10, 60000}, unset)) * time.Millisecond
}

// bounds are the least and the greatest value of a field.
type bounds struct{ from, to uint32 }

func (c *compiler) number(id Ref, field string, n *uint32, in bounds, unset uint32) uint32 {
	switch {
	case n == nil:
		return unset
	case *n < in.from || *n > in.to:
		c.report(id, verdict.InvalidValue, "%s, %s: %d is not from %d to %d", id, field, *n, in.from, in.to)
		return unset
	}
	return *n
}

// bfdOf returns how the peer's session is guarded, given its profile's name.
func (c *compiler) bfdOf(id Ref, name string, p *Policy) BFD {
	if name == "" {
		return BFD{}
	}
	profile, ok := named(p.bfdProfiles, name, (*bfdProfile).ref)
	if !ok {
		c.report(id, verdict.UnknownReference, "%s names BFDProfile %q, which does not exist: create it or correct spec.bfdProfile", id, name)
		return BFD{}
	}
	return profile.BFD
}
