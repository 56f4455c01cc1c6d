package policy

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// Timers of a BGP session. On the wire and in GoBGP they are whole seconds, 16 bits of them (RFC 4271 section 4.2).
const (
	defaultHoldTime    = 90 * time.Second // RFC 4271 section 10
	defaultConnectTime = 10 * time.Second // RFC 4271 suggests 120 s, which is long to wait for a router that is back
	minHoldTime        = 3 * time.Second  // RFC 4271 section 4.2; 0 turns the timer off
	maxTimer           = 65535 * time.Second
	keepalivesPerHold  = 3 // RFC 4271 section 4.4
)

// holdTimers returns the peer's hold and keepalive times. Fractions of a second are dropped, as MetalLB drops them, but
// a keepalive time is never less than a second. A keepalive time of 0 counts as unset.
func (c *compiler) holdTimers(id Ref, s *v1beta2.BGPPeerSpec) (hold, keepalive time.Duration) {
	before := len(c.problems)
	c.checkHold(id, s.HoldTime)
	c.checkKeepalive(id, s)
	if len(c.problems) > before {
		return 0, 0
	}
	if isSet(s.KeepaliveTime) {
		keepalive = max(s.KeepaliveTime.Truncate(time.Second), time.Second)
	}
	switch {
	case s.HoldTime != nil:
		hold = s.HoldTime.Truncate(time.Second)
	case keepalive != 0:
		hold = min(keepalivesPerHold*keepalive, maxTimer)
	default:
		hold = defaultHoldTime
	}
	if keepalive == 0 {
		keepalive = (hold / keepalivesPerHold).Truncate(time.Second)
	}
	return hold, keepalive
}

func isSet(d *metav1.Duration) bool { return d != nil && d.Duration != 0 }

func (c *compiler) checkHold(id Ref, d *metav1.Duration) {
	if isSet(d) && (d.Duration < minHoldTime || d.Duration > maxTimer) {
		c.report(id, verdict.InvalidValue, "%s, spec.holdTime: %s is neither 0 nor from 3s to 65535s", id, d.Duration)
	}
}

func (c *compiler) checkKeepalive(id Ref, s *v1beta2.BGPPeerSpec) {
	d := s.KeepaliveTime
	switch {
	case !isSet(d):
	case d.Duration < 0 || d.Duration > maxTimer:
		c.report(id, verdict.InvalidValue, "%s, spec.keepaliveTime: %s is not from 0 to 65535s", id, d.Duration)
	case s.HoldTime != nil && d.Duration > s.HoldTime.Duration:
		c.report(id, verdict.InvalidValue, "%s, spec.keepaliveTime: %s is more than the holdTime of %s: make it a third of that, or leave it out", id, d.Duration, s.HoldTime.Duration)
	}
}

// connectTime returns the time between the peer's attempts to connect.
func (c *compiler) connectTime(id Ref, d *metav1.Duration) time.Duration {
	switch {
	case d == nil:
		return defaultConnectTime
	case d.Duration < time.Second || d.Duration > maxTimer || d.Duration%time.Second != 0:
		c.report(id, verdict.InvalidValue, "%s, spec.connectTime: %s is not a whole number of seconds from 1 to 65535", id, d.Duration)
		return 0
	}
	return d.Duration
}
