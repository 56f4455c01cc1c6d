//go:build linux

// Package unserved keeps packets from circling between a router and this node. A router sends everything for an address
// that it learned by BGP to a node. What is for a port that no Service has, kube-proxy leaves as it is; the node has the
// address on no interface, so it forwards the packet to where its own routes point, mostly the same router, which sends
// it back, until the TTL is used up. A filter in the kernel (nftables, in the forward hook) drops such packets: those that
// are still for an announced address there were not translated to an endpoint.
package unserved

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	tableName = "fairlead-unserved"
	// lookEvery is how often the kernel is asked whether the filter is what it was, though nothing else is wanted.
	lookEvery = 30 * time.Second
	// atOnce is how many elements a message carries: the length of an attribute has 16 bits.
	atOnce = 1000
)

// Filter drops packets that this node would forward although they are for given addresses. It needs CAP_NET_ADMIN. The
// zero value drops nothing yet. It is used by one goroutine at a time.
type Filter struct {
	have   []netip.Addr // sorted
	looked time.Time    // when the kernel had them last; the zero time: it is not known to have them
}

// Apply makes want the addresses, in any order. The whole filter changes at once, so that no packet slips through.
func (f *Filter) Apply(want []netip.Addr, now time.Time) error {
	want = slices.Clone(want)
	slices.SortFunc(want, netip.Addr.Compare)
	want = slices.Compact(want)
	same := slices.Equal(f.have, want)
	if same && now.Sub(f.looked) < lookEvery {
		return nil
	}
	c, err := nftables.New()
	if err == nil && same {
		if is, err := read(c); err == nil && slices.Equal(is, want) {
			f.looked = now
			return nil
		}
	}
	if err == nil {
		err = replace(c, want)
	}
	if err != nil {
		f.looked = time.Time{}
		return fmt.Errorf("filtering packets that nothing serves: %w", explain(err))
	}
	f.have, f.looked = want, now
	return nil
}

// Remove takes the filter away.
func (f *Filter) Remove() error {
	c, err := nftables.New()
	if err == nil {
		drop(c)
		err = c.Flush()
	}
	*f = Filter{}
	if err != nil {
		return fmt.Errorf("removing the filter for packets that nothing serves: %w", explain(err))
	}
	return nil
}

func explain(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: it takes the capability NET_ADMIN", err)
	}
	return err
}

func table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName}
}

// drop deletes the table, whether it is there or not, and what is in it.
func drop(c *nftables.Conn) { c.DelTable(c.AddTable(table())) }

// replace puts a filter for the addresses in the place of the one that is there.
func replace(c *nftables.Conn, want []netip.Addr) error {
	drop(c)
	t := c.AddTable(table())
	chain := c.AddChain(&nftables.Chain{
		Table: t, Name: "forward", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	for _, f := range families() {
		s := f.set(t)
		if err := c.AddSet(s, nil); err != nil {
			return err
		}
		var elements []nftables.SetElement
		for _, a := range want {
			if a.Is4() == f.is4 {
				elements = append(elements, nftables.SetElement{Key: a.AsSlice()})
			}
		}
		for part := range slices.Chunk(elements, atOnce) {
			if err := c.SetAddElements(s, part); err != nil {
				return err
			}
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: f.rule(s)})
	}
	return c.Flush()
}

// family is what differs between IPv4 and IPv6.
type family struct {
	is4            bool
	name           string
	id             uint32 // of the set in a message; the library's own choice is a variable that all goroutines share
	key            nftables.SetDatatype
	protocol       byte
	offset, length uint32 // of the destination in the header
}

func families() []family {
	return []family{
		{true, "ipv4", 1, nftables.TypeIPAddr, unix.NFPROTO_IPV4, 16, 4},
		{false, "ipv6", 2, nftables.TypeIP6Addr, unix.NFPROTO_IPV6, 24, 16},
	}
}

func (f family) set(t *nftables.Table) *nftables.Set {
	return &nftables.Set{Table: t, Name: f.name, ID: f.id, KeyType: f.key}
}

// rule is: meta nfproto FAMILY ip daddr @SET counter drop.
func (f family) rule(s *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.offset, Len: f.length},
		&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// read returns the addresses of the filter that is there, sorted.
func read(c *nftables.Conn) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, f := range families() {
		elements, err := c.GetSetElements(f.set(table()))
		if err != nil {
			return nil, err
		}
		for _, e := range elements {
			if a, ok := netip.AddrFromSlice(e.Key); ok {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, nil
}
