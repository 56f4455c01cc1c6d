package members

import (
	"encoding/binary"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// The encoding: a version, flags, the milliseconds since 1970, the digest; all big-endian.
const (
	factsVersion = 1
	flagSettled  = 1 << 0
	factsSize    = 2 + 8 + 8
)

// encodeFacts renders facts for memberlist, which takes 512 bytes at most.
func encodeFacts(f plan.Facts) []byte {
	b := make([]byte, 2, factsSize)
	b[0] = factsVersion
	if f.Settled {
		b[1] = flagSettled
	}
	b = binary.BigEndian.AppendUint64(b, uint64(f.Started.UnixMilli()))
	return binary.BigEndian.AppendUint64(b, f.Links)
}

// decodeFacts reads what a member says of itself. One of a later version may say more, which is passed over; what is too
// short says nothing.
func decodeFacts(b []byte) plan.Facts {
	if len(b) < factsSize || b[0] < factsVersion {
		return plan.Facts{}
	}
	return plan.Facts{
		Settled: b[1]&flagSettled != 0,
		Started: time.UnixMilli(int64(binary.BigEndian.Uint64(b[2:]))),
		Links:   binary.BigEndian.Uint64(b[10:]),
	}
}

// delegate tells memberlist this member's facts; its other methods are for what is told, and for what is not used.
type delegate struct{ m *Members }

// NodeMeta returns the facts.
func (d delegate) NodeMeta(int) []byte { return encodeFacts(*d.m.facts.Load()) }

// NotifyMsg takes what another member told this one alone.
func (d delegate) NotifyMsg(message []byte) {
	if d.m.config.Heard != nil {
		d.m.config.Heard(message)
	}
}

// GetBroadcasts is for messages, of which there are none.
func (delegate) GetBroadcasts(_, _ int) [][]byte { return nil }

// LocalState is for a common state, of which there is none.
func (delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState is for a common state, of which there is none.
func (delegate) MergeRemoteState([]byte, bool) {}
