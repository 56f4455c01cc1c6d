//go:build linux

package kernel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"
)

// TableName is the name of our tables of the families ip, ip6 and arp.
const TableName = "fairlead"

const (
	// sendBuffer is enough for the messages of one transaction that makes a large table, in bytes.
	sendBuffer = 64 << 20
	// chunk is how many elements go into one message, whose length is a number of 16 bits.
	chunk = 400
)

// Table is the nftables table, in the network namespace of the thread that opened it.
type Table struct {
	conn *nftables.Conn
	raw  *netlink.Conn // for what conn cannot read

	generation uint32 // of State's last answer
	intact     bool
}

// OpenTable opens a socket. It makes no table.
func OpenTable() (*Table, error) {
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(sendBuffer), c.SetReadBuffer(sendBuffer))
	}))
	if err != nil {
		return nil, fmt.Errorf("opening nftables: %w", err)
	}
	raw, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening nftables: %w", err), c.CloseLasting())
	}
	return &Table{conn: c, raw: raw}, nil
}

// Close closes the sockets.
func (t *Table) Close() error { return errors.Join(t.conn.CloseLasting(), t.raw.Close()) }

func table(f nftables.TableFamily) *nftables.Table {
	return &nftables.Table{Name: TableName, Family: f}
}

func tables() []*nftables.Table {
	return []*nftables.Table{table(nftables.TableFamilyIPv4), table(nftables.TableFamilyIPv6), table(nftables.TableFamilyARP)}
}

// shape is one of the nftables sets that hold a Set.
type shape struct {
	Set
	v6     bool
	ranges bool // its elements are intervals; else single values, which are found by hash
}

// name is that of the nftables set.
func (s shape) name() string {
	text := [...]string{"vips", "open", "marks", "external", "closed", "guarded", "allowed", "masquerade", "preserve", "clusterips",
		"hairpin", "internal", "owned", "ownmarks", "ping"}[s.Set]
	if s.ranges {
		text += "-ranges"
	}
	return text
}

func (s shape) table() *nftables.Table {
	if s.v6 {
		return table(nftables.TableFamilyIPv6)
	}
	return table(nftables.TableFamilyIPv4)
}

// shapes lists all nftables sets of the tables ip and ip6.
func shapes() (out []shape) {
	for s := range sets {
		for _, v6 := range []bool{false, true} {
			switch s {
			case vips, hairpin, owned, ownMarks, ping:
				out = append(out, shape{s, v6, false})
			case allowed, internal:
				out = append(out, shape{s, v6, true})
			default:
				out = append(out, shape{s, v6, false}, shape{s, v6, true})
			}
		}
	}
	return out
}

// of returns the shape that holds an element. What has no family stands in both tables, and this is the first one.
func of(e Element) shape {
	switch e.Set {
	case ownMarks, ping:
		return shape{Set: e.Set}
	case internal:
		return shape{e.Set, e.From.Addr().Is6(), true}
	case allowed:
		return shape{e.Set, e.Address.Is6(), true}
	}
	return shape{e.Set, e.Address.Is6(), e.First != e.Last}
}

// set is the nftables set of a shape.
func (s shape) set(t *nftables.Table) *nftables.Set {
	address := nftables.TypeIPAddr
	if s.v6 {
		address = nftables.TypeIP6Addr
	}
	out := &nftables.Set{Table: t, Name: s.name(), Interval: s.ranges, Concatenation: true}
	switch s.Set {
	case ownMarks, ping:
		out.KeyType, out.Concatenation = nftables.TypeMark, false
	case vips:
		out.KeyType, out.Concatenation = address, false
	case hairpin:
		out.KeyType = nftables.MustConcatSetType(address, address)
	case internal:
		out.KeyType = nftables.MustConcatSetType(address, nftables.TypeInetProto)
	case allowed:
		out.KeyType = nftables.MustConcatSetType(address, nftables.TypeInetProto, nftables.TypeInetService, address)
	default:
		out.KeyType = nftables.MustConcatSetType(address, nftables.TypeInetProto, nftables.TypeInetService)
	}
	if s.Set == marks || s.Set == external {
		out.IsMap, out.DataType = true, nftables.TypeMark
	}
	return out
}

// anyProtocol is the protocols of an interval that means all of them: a source needs no protocol, but only intervals of
// several fields may be many.
const anyProtocol = 255

// encode makes the nftables element.
func encode(e Element) nftables.SetElement {
	s := of(e)
	var out nftables.SetElement
	switch e.Set {
	case ownMarks, ping:
		out.Key = mark(e.Mark)
	case vips:
		out.Key = e.Address.AsSlice()
	case hairpin: // source and destination
		out.Key = append(e.Address.AsSlice(), e.Address.AsSlice()...)
	case internal:
		out.Key = append(e.From.Addr().AsSlice(), 0, 0, 0, 0)
		out.KeyEnd = append(last(e.From).AsSlice(), anyProtocol, 0, 0, 0)
	default:
		out.Key = portKey(e.Address, e.Protocol, e.First)
		if s.ranges {
			out.KeyEnd = portKey(e.Address, e.Protocol, e.Last)
		}
		if e.Set == allowed {
			out.Key = append(out.Key, e.From.Addr().AsSlice()...)
			out.KeyEnd = append(out.KeyEnd, last(e.From).AsSlice()...)
		}
		if e.Set == marks || e.Set == external {
			out.Val = mark(e.Mark)
		}
	}
	return out
}

func mark(m uint32) []byte { return binary.NativeEndian.AppendUint32(nil, m) }

// portKey is address, protocol and port, each filled up to four bytes.
func portKey(a netip.Addr, p corev1.Protocol, port uint16) []byte {
	return append(a.AsSlice(), number(p), 0, 0, 0, byte(port>>8), byte(port), 0, 0)
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// errElement is returned for an element that is not as encode makes it.
var errElement = errors.New("not an element of ours")

// decode is the reverse of encode.
func decode(s shape, x nftables.SetElement) (e Element, err error) {
	e.Set = s.Set
	size := 4
	if s.v6 {
		size = 16
	}
	switch s.Set {
	case ownMarks, ping:
		if len(x.Key) != 4 {
			return e, errElement
		}
		e.Mark = binary.NativeEndian.Uint32(x.Key)
		return e, nil
	case vips, hairpin:
		if len(x.Key) < size {
			return e, errElement
		}
		e.Address, _ = netip.AddrFromSlice(x.Key[:size])
		return e, nil
	case internal:
		if len(x.Key) != size+4 || len(x.KeyEnd) != size+4 {
			return e, errElement
		}
		e.From = prefix(x.Key[:size], x.KeyEnd[:size])
		return e, nil
	}
	length := size + 8
	if s.Set == allowed {
		length += size
	}
	if len(x.Key) != length || s.ranges && len(x.KeyEnd) != length {
		return e, errElement
	}
	e.Address, _ = netip.AddrFromSlice(x.Key[:size])
	e.Protocol = protocol(x.Key[size])
	e.First = binary.BigEndian.Uint16(x.Key[size+4:])
	e.Last = e.First
	if s.ranges {
		e.Last = binary.BigEndian.Uint16(x.KeyEnd[size+4:])
	}
	if s.Set == allowed {
		e.From = prefix(x.Key[size+8:], x.KeyEnd[size+8:])
	}
	if s.Set == marks || s.Set == external {
		if len(x.Val) < 4 {
			return e, errElement
		}
		e.Mark = binary.NativeEndian.Uint32(x.Val)
	}
	return e, nil
}

// prefix is the prefix from one address to another.
func prefix(first, end []byte) netip.Prefix {
	bits := 0
	for bits < len(first)*8 && (first[bits/8]^end[bits/8])&(0x80>>(bits%8)) == 0 {
		bits++
	}
	a, _ := netip.AddrFromSlice(first)
	return netip.PrefixFrom(a, bits)
}

// Read reads the tables.
func (t *Table) Read() (out []Element, intact bool, err error) {
	found, err := t.conn.ListTables()
	if err != nil {
		return nil, false, err
	}
	intact = true
	both := map[Element]int{} // those that stand in both tables
	for _, want := range tables() {
		if !slices.ContainsFunc(found, func(x *nftables.Table) bool { return x.Name == want.Name && x.Family == want.Family }) {
			intact = false
			continue
		}
		sets, err := t.conn.GetSets(want)
		if err != nil {
			return nil, false, err
		}
		for _, s := range shapes() {
			if s.table().Family != want.Family {
				continue
			}
			i := slices.IndexFunc(sets, func(x *nftables.Set) bool { return x.Name == s.name() })
			if i < 0 {
				intact = false
				continue
			}
			list, err := t.conn.GetSetElements(sets[i])
			if err != nil {
				return nil, false, fmt.Errorf("reading the set %s: %w", s.name(), err)
			}
			for _, x := range list {
				e, err := decode(s, x)
				if err != nil {
					intact = false
					continue
				}
				if s.Set == ownMarks || s.Set == ping {
					both[e]++
				}
				out = append(out, e)
			}
		}
		same, err := t.rulesAre(want)
		if err != nil {
			return nil, false, err
		}
		intact = intact && same
	}
	for _, n := range both {
		intact = intact && n == 2
	}
	return out, intact, nil
}

// State asks for the number of the last change, and, where it is new, looks at tables and rules.
func (t *Table) State() (generation uint32, intact bool, err error) {
	if generation, err = t.lastChange(); err != nil {
		return 0, false, fmt.Errorf("asking for the number of the last change: %w", err)
	}
	if generation == t.generation {
		return generation, t.intact, nil
	}
	intact = true
	for _, want := range tables() {
		same, err := t.rulesAre(want)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return 0, false, err
		}
		intact = intact && same
	}
	t.generation, t.intact = generation, intact
	return generation, intact, nil
}

// lastChange is the generation of all tables of the network namespace.
func (t *Table) lastChange() (uint32, error) {
	replies, err := t.raw.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil || len(replies) == 0 || len(replies[0].Data) < 4 {
		return 0, cmp.Or(err, errElement)
	}
	ad, err := netlink.NewAttributeDecoder(replies[0].Data[4:])
	if err != nil {
		return 0, err
	}
	ad.ByteOrder = binary.BigEndian
	var number uint32
	for ad.Next() {
		if ad.Type() == unix.NFTA_GEN_ID {
			number = ad.Uint32()
		}
	}
	return number, ad.Err()
}

// Commit makes one transaction; where it rebuilds, a second one for the rules that the library cannot encode.
func (t *Table) Commit(rebuild bool, add, remove []Element) error {
	var later []chain
	if rebuild {
		for _, x := range tables() {
			t.conn.AddTable(x) // so that it can be deleted
			t.conn.DelTable(x)
			t.conn.AddTable(x)
		}
		for _, s := range shapes() {
			if err := t.conn.AddSet(s.set(s.table()), nil); err != nil {
				return fmt.Errorf("making the set %s: %w", s.name(), err)
			}
		}
		if err := t.conn.AddSet(shape{Set: vips}.set(table(nftables.TableFamilyARP)), nil); err != nil {
			return fmt.Errorf("making the set for ARP: %w", err)
		}
		for _, want := range tables() {
			for _, c := range chains(want) {
				t.conn.AddChain(c.Chain)
				if c.asksConntrack() {
					later = append(later, c)
					continue
				}
				for _, r := range c.rules {
					t.conn.AddRule(&nftables.Rule{Table: c.Table, Chain: c.Chain, Exprs: r, UserData: note(r)})
				}
			}
		}
	}
	if err := t.elements(remove, t.conn.SetDeleteElements); err != nil {
		return err
	}
	if err := t.elements(add, t.conn.SetAddElements); err != nil {
		return err
	}
	if err := t.conn.Flush(); err != nil || !rebuild {
		return lacking(err, rebuild)
	}
	return lacking(t.addRules(later), rebuild)
}

// lacking names what a kernel may lack that does not know a part of our tables.
func lacking(err error, rebuild bool) error {
	if rebuild && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)) {
		return fmt.Errorf("making the tables: %w: does the kernel lack one of the modules nft_ct, nft_masq, nft_chain_nat, nft_fib_ipv4, nft_fib_ipv6, nft_reject_ipv4 and nft_reject_ipv6?", err)
	}
	return err
}

// elements adds or removes elements, many in a message.
func (t *Table) elements(list []Element, do func(*nftables.Set, []nftables.SetElement) error) error {
	by := map[shape][]nftables.SetElement{}
	for _, e := range list {
		s := of(e)
		by[s] = append(by[s], encode(e))
		if e.Set == ownMarks || e.Set == ping {
			s.v6 = true
			by[s] = append(by[s], encode(e))
		}
	}
	for _, s := range shapes() {
		for part := range slices.Chunk(by[s], chunk) {
			if err := do(s.set(s.table()), part); err != nil {
				return fmt.Errorf("changing the set %s: %w", s.name(), err)
			}
			if s.Set == vips && !s.v6 {
				if err := do(s.set(table(nftables.TableFamilyARP)), part); err != nil {
					return fmt.Errorf("changing the set for ARP: %w", err)
				}
			}
		}
	}
	return nil
}

// Delete removes the tables.
func (t *Table) Delete() error {
	for _, x := range tables() {
		t.conn.AddTable(x)
		t.conn.DelTable(x)
	}
	return t.conn.Flush()
}
