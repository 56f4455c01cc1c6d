package plan

import (
	"cmp"
	"net/netip"
	"slices"

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
	if len(candidates) == 0 {
		return ""
	}
	best := slices.MaxFunc(candidates, func(a, b Candidate) int {
		return cmp.Or(
			compareBool(a.Ready, b.Ready),
			cmp.Compare(a.Score, b.Score),
			cmp.Compare(weight(address, a.Node), weight(address, b.Node)),
			cmp.Compare(a.Node, b.Node),
		)
	})
	return best.Node
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// weight is the rendezvous hash of an address and a node.
func weight(address netip.Addr, node string) uint64 {
	bytes := address.As16()
	h := xxhash.New()
	_, _ = h.Write(bytes[:])
	_, _ = h.WriteString(node)
	return h.Sum64()
}
