package heartbeat

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// maxSessions bounds the heartbeats of a node, where each of many nodes owns many addresses: 64 companions are 640 packets
// a second in each direction. The loss of a companion beyond is left to the membership.
const maxSessions = 64

// closest returns the companions to exchange heartbeats with, at most maxSessions. Both ends order a pair alike, by a hash
// of both names, so that they tend to choose each other: a session takes both.
func closest(self string, all []plan.Companion) []plan.Companion {
	if len(all) <= maxSessions {
		return all
	}
	near := slices.Clone(all)
	slices.SortFunc(near, func(a, b plan.Companion) int {
		x, y := distance(self, a.Node), distance(self, b.Node)
		return cmp.Or(bytes.Compare(x[:], y[:]), cmp.Compare(a.Node, b.Node))
	})
	return near[:maxSessions]
}

// distance is the same for (a, b) and (b, a).
func distance(a, b string) [sha256.Size]byte {
	return sha256.Sum256([]byte(min(a, b) + "\x00" + max(a, b)))
}
