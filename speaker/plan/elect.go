package plan

import (
	"cmp"
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// Candidate is a node that may announce an address.
type Candidate struct {
	Node  string
	Ready bool  // the Node is Ready; one that is not comes after every one that is
	Score int64 // sum of the preferences for this node
}

// Elect returns the candidate that announces the address, or "" where there is none: a Ready one before others, then
// the higher score, then the higher rendezvous hash of address and node. Since the hash depends on that pair alone, a
// node that comes or goes moves only the addresses that it gains or had. Every node computes the same result.
func Elect(address netip.Addr, candidates []Candidate) string {
	var best Candidate
	var bestWeight uint64
	for i, c := range candidates {
		if w := weight(address, c.Node); i == 0 || c.beats(best, w, bestWeight) {
			best, bestWeight = c, w
		}
	}
	return best.Node
}

// beats says whether a candidate comes before another one, given their rendezvous hashes.
func (c Candidate) beats(other Candidate, weight, otherWeight uint64) bool {
	if c.Ready != other.Ready {
		return c.Ready
	}
	return cmp.Or(cmp.Compare(c.Score, other.Score), cmp.Compare(weight, otherWeight), cmp.Compare(c.Node, other.Node)) > 0
}

// weight is the rendezvous hash of an address and a node.
func weight(address netip.Addr, node string) uint64 {
	var room [96]byte // for an address and most names, so that nothing is allocated
	bytes := address.As16()
	return xxhash.Sum64(append(append(room[:0], bytes[:]...), node...))
}
