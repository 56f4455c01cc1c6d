package plan

import (
	"cmp"
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// Ranks is how many candidates of an address are ranked: the owner and those who take over from it.
const Ranks = 3

// candidate is a node that may announce an address.
type candidate struct {
	node      string
	hash      uint64 // of the name
	draining  bool   // it comes after every one that is not
	unsettled bool   // the node, or every link that it may use, came up a short time ago: it comes after every one that is settled
	ready     bool   // the Node is Ready; one that is not comes after every one that is
	score     int64  // sum of the preferences for this node
	near      bool   // the address lies in a subnet of a link that may carry it
	at        int    // place among the nodes of the view
}

// rank returns the candidates that come first for the address, in order, with "" where there are no more: not draining
// before draining, settled before unsettled, Ready before not, then the higher score, then those with a link in the
// address's subnet, then the higher rendezvous hash of address and node. Since the hash depends on that pair alone, a
// node that comes or goes moves only the addresses that it gains or had. Every node computes the same result.
func rank(address netip.Addr, candidates []candidate) (names [Ranks]string) {
	var best [Ranks]*candidate
	var weights [Ranks]uint64
	hash := hashAddress(address)
	for i := range candidates {
		c, w := &candidates[i], mix(hash, candidates[i].hash)
		for at := range best {
			if best[at] == nil || c.compare(best[at], w, weights[at]) > 0 {
				copy(best[at+1:], best[at:])
				copy(weights[at+1:], weights[at:])
				best[at], weights[at] = c, w
				break
			}
		}
	}
	for i, c := range best {
		if c != nil {
			names[i] = c.node
		}
	}
	return names
}

// compare says by a positive number that a candidate comes before another one, given their weights for the address.
func (c *candidate) compare(o *candidate, weight, otherWeight uint64) int {
	switch {
	case c.draining != o.draining:
		return first(o.draining)
	case c.unsettled != o.unsettled:
		return first(o.unsettled)
	case c.ready != o.ready:
		return first(c.ready)
	case c.score != o.score:
		return cmp.Compare(c.score, o.score)
	case c.near != o.near:
		return first(c.near)
	case weight != otherWeight:
		return cmp.Compare(weight, otherWeight)
	}
	return cmp.Compare(c.node, o.node)
}

func first(is bool) int {
	if is {
		return 1
	}
	return -1
}

// Outranks says whether of two nodes that both announce an address, because neither sees the other, the first one goes on
// and the second one is silent. It depends on the rendezvous hash alone and not on what either believes of the other, so
// that both come to the same result: exactly one of Outranks(x, a, b) and Outranks(x, b, a) is true of different nodes.
func Outranks(address netip.Addr, a, b string) bool {
	hash := hashAddress(address)
	return cmp.Or(cmp.Compare(mix(hash, hashNode(a)), mix(hash, hashNode(b))), cmp.Compare(a, b)) > 0
}

func hashAddress(a netip.Addr) uint64 {
	bytes := a.As16()
	return xxhash.Sum64(bytes[:])
}

func hashNode(name string) uint64 { return xxhash.Sum64String(name) }

// mix is the rendezvous hash of an address and a node, given theirs: the finalizer of MurmurHash3 over both.
func mix(address, node uint64) uint64 {
	x := address ^ node
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}
