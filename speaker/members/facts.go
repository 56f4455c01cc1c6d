package members

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// The encoding: a version, flags, when it started, the digest, when it came up, how long it settles; all big-endian, times in
// milliseconds, since 1970. Version 1 ended with the digest.
const (
	factsVersion = 2
	flagSettled  = 1 << 0
	facts1Size   = 2 + 8 + 8
	factsSize    = facts1Size + 8 + 8
	maxSettling  = math.MaxInt64 / uint64(time.Millisecond)
)

// encodeFacts renders facts for memberlist, which takes 512 bytes at most.
func encodeFacts(f plan.Facts) []byte {
	b := make([]byte, 2, factsSize)
	b[0] = factsVersion
	if f.Settled {
		b[1] = flagSettled
	}
	b = binary.BigEndian.AppendUint64(b, uint64(f.Started.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, f.Links)
	b = binary.BigEndian.AppendUint64(b, uint64(f.CameUp.UnixMilli()))
	return binary.BigEndian.AppendUint64(b, uint64(f.Settling.Milliseconds()))
}

// decodeFacts reads what a member says of itself. One of a later version may say more, which is passed over; what is too
// short says nothing.
func decodeFacts(b []byte) plan.Facts {
	if len(b) < facts1Size || b[0] == 0 {
		return plan.Facts{}
	}
	f := plan.Facts{
		Settled: b[1]&flagSettled != 0,
		Started: time.UnixMilli(int64(binary.BigEndian.Uint64(b[2:]))),
		Links:   binary.BigEndian.Uint64(b[10:]),
	}
	if len(b) >= factsSize {
		f.CameUp = time.UnixMilli(int64(binary.BigEndian.Uint64(b[18:])))
		f.Settling = time.Duration(min(binary.BigEndian.Uint64(b[26:]), maxSettling)) * time.Millisecond
	}
	return f
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
