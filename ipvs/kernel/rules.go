//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The rules never change; only the sets' elements do. In the words of nft, for IPv4, and for single ports where there is the
// same once more for ranges:
//
//	chain clear  { type filter hook output priority -310; meta mark @ownmarks meta mark set 0 }
//	chain input  { type filter hook input priority 97; ct direction original jump frontends }
//	chain output { type filter hook output priority -99; ct direction original
//	               meta mark set ip daddr . meta l4proto . th dport map @marks }
//	chain frontends {
//	  ip daddr . meta l4proto . th dport @guarded  ip daddr . meta l4proto . th dport . ip saddr != @allowed  drop
//	  ip saddr != @internal  ip daddr . meta l4proto . th dport @closed  drop
//	  ip saddr != @internal  meta mark set ip daddr . meta l4proto . th dport map @external  accept
//	  meta mark set ip daddr . meta l4proto . th dport map @marks  accept
//	  ip daddr @vips  jump closed-ports
//	}
//	chain closed-ports { see closedPorts }
//	chain postrouting { type nat hook postrouting priority 99; see postrouting }
//
// A mark lives from our last word before IPVS, whose hooks are at 98 and 99 of input and -98 of output, to the output chain
// that a forwarded packet passes next: no other software's rules see it, and none of theirs can change it, which IPVS
// compares as a whole.
const (
	clearPriority  = -310
	inputPriority  = 97
	outputPriority = -99
	natPriority    = 99
)

// chain is a chain with its rules.
type chain struct {
	*nftables.Chain
	rules [][]expr.Any
}

// asksConntrack says whether the rules ask for what a connection began with. The library cannot encode that, so these rules
// are added by addRules.
func (c *chain) asksConntrack() bool { return c.Type == nftables.ChainTypeNAT }

func base(name string, t *nftables.Table, kind nftables.ChainType, hook nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
	return &nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: &hook, Priority: &priority}
}

// chains lists the chains of a table, those that are jumped to before those that jump.
func chains(t *nftables.Table) []chain {
	filter := nftables.ChainTypeFilter
	if t.Family == nftables.TableFamilyARP {
		return []chain{{base("input", t, filter, 0, 0), [][]expr.Any{arpRequests()}}} // NF_ARP_IN is 0
	}
	f := ipv4()
	if t.Family == nftables.TableFamilyIPv6 {
		f = ipv6()
	}
	return []chain{
		{&nftables.Chain{Name: "closed-ports", Table: t}, f.closedPorts()},
		{&nftables.Chain{Name: "frontends", Table: t}, f.frontends()},
		{base("clear", t, filter, *nftables.ChainHookOutput, clearPriority), [][]expr.Any{
			rule(load(expr.MetaKeyMARK, first), f.lookup(ownMarks, false, false), zero(first), store(expr.MetaKeyMARK, first)),
		}},
		{base("input", t, filter, *nftables.ChainHookInput, inputPriority), [][]expr.Any{
			append(original(), &expr.Verdict{Kind: expr.VerdictJump, Chain: "frontends"}),
		}},
		{base("output", t, filter, *nftables.ChainHookOutput, outputPriority), f.output()},
		{base("postrouting", t, nftables.ChainTypeNAT, *nftables.ChainHookPostrouting, natPriority), f.postrouting()},
	}
}

// note is what a rule carries so that it is known again: a hash of it.
func note(r []expr.Any) []byte {
	h := fnv.New64a()
	for _, e := range r {
		if b, err := expr.Marshal(unix.NFPROTO_INET, e); err == nil {
			h.Write(b)
		}
	}
	return fmt.Appendf(nil, "fairlead %016x", h.Sum64())
}

// Registers of 32 bits: the first of those that lookups read from, and one that they do not use.
const (
	first = unix.NFT_REG32_00
	spare = unix.NFT_REG32_15
)

func rule(parts ...expr.Any) []expr.Any { return parts }

func load(key expr.MetaKey, register uint32) expr.Any {
	return &expr.Meta{Key: key, Register: register}
}

func store(key expr.MetaKey, register uint32) expr.Any {
	return &expr.Meta{Key: key, SourceRegister: true, Register: register}
}

func zero(register uint32) expr.Any {
	return &expr.Immediate{Register: register, Data: make([]byte, 4)}
}

func equal(register uint32, data ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}

func drop() expr.Any   { return &expr.Verdict{Kind: expr.VerdictDrop} }
func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

// original matches packets in a connection's original direction, and none without a connection.
func original() []expr.Any {
	return rule(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: spare}, equal(spare, 0))
}

// family is what differs between the rules for IPv4 and IPv6.
type family struct {
	v6           bool
	size         uint32 // of an address
	source, dest uint32 // offsets in the IP header
	icmp, echo   byte   // protocol, and type of an echo request
	unreachable  byte   // code of "port unreachable"
	originalDest expr.CtKey
}

func ipv4() family { return family{false, 4, 12, 16, unix.IPPROTO_ICMP, 8, 3, unix.NFT_CT_DST_IP} }
func ipv6() family { return family{true, 16, 8, 24, unix.IPPROTO_ICMPV6, 128, 4, unix.NFT_CT_DST_IP6} }

func (f family) lookup(s Set, ranges, invert bool) expr.Any {
	return &expr.Lookup{SourceRegister: first, SetName: shape{s, f.v6, ranges}.name(), Invert: invert}
}

// mark looks the mark up and sets it.
func (f family) mark(s Set, ranges bool) []expr.Any {
	return rule(&expr.Lookup{SourceRegister: first, SetName: shape{s, f.v6, ranges}.name(), DestRegister: first, IsDestRegSet: true}, store(expr.MetaKeyMARK, first))
}

// words is how many registers an address takes.
func (f family) words() uint32 { return f.size / 4 }

func (f family) address(offset, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.size}
}

// ports loads destination, protocol and port.
func (f family) ports() []expr.Any {
	return rule(
		f.address(f.dest, first),
		load(expr.MetaKeyL4PROTO, first+f.words()),
		&expr.Payload{DestRegister: first + f.words() + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	)
}

// originalPorts loads the same of the packet with which the connection began, before IPVS changed it; see encodeCt.
func (f family) originalPorts() []expr.Any {
	return rule(
		&expr.Ct{Key: f.originalDest, Register: first},
		load(expr.MetaKeyL4PROTO, first+f.words()),
		&expr.Ct{Key: expr.CtKeyPROTODST, Register: first + f.words() + 1},
	)
}

// outside matches sources outside the cluster.
func (f family) outside() []expr.Any {
	return rule(f.address(f.source, first), load(expr.MetaKeyL4PROTO, first+f.words()), f.lookup(internal, true, true))
}

func join(parts ...[]expr.Any) (out []expr.Any) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// kinds are single ports and ranges: most rules stand once for each.
func kinds() []bool { return []bool{false, true} }

// frontends is for packets to this node that begin or continue connections.
func (f family) frontends() (rules [][]expr.Any) {
	for _, r := range kinds() {
		rules = append(rules, join(f.ports(), rule(f.lookup(guarded, r, false), f.address(f.source, first+f.words()+2), f.lookup(allowed, true, true), drop())))
	}
	for _, r := range kinds() {
		rules = append(rules, join(f.outside(), f.ports(), rule(f.lookup(closed, r, false), drop())))
	}
	for _, r := range kinds() {
		rules = append(rules, join(f.outside(), f.ports(), f.mark(external, r), rule(accept())))
	}
	for _, r := range kinds() {
		rules = append(rules, join(f.ports(), f.mark(marks, r), rule(accept())))
	}
	return append(rules, rule(f.address(f.dest, first), f.lookup(vips, false, false), &expr.Verdict{Kind: expr.VerdictJump, Chain: "closed-ports"}))
}

// closedPorts lets packets to our addresses pass that belong there, and rejects the others, which would reach whatever
// listens on all addresses of the node.
func (f family) closedPorts() (rules [][]expr.Any) {
	for _, r := range kinds() {
		rules = append(rules, join(f.ports(), rule(f.lookup(open, r, false), accept())))
	}
	state := expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	isPing := rule(load(expr.MetaKeyL4PROTO, spare), equal(spare, f.icmp),
		&expr.Payload{DestRegister: spare, Base: expr.PayloadBaseTransportHeader, Len: 1}, equal(spare, f.echo))
	return append(rules,
		rule(
			&expr.Ct{Key: expr.CtKeySTATE, Register: spare},
			&expr.Bitwise{SourceRegister: spare, DestRegister: spare, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(state), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: spare, Data: make([]byte, 4)},
			accept(),
		),
		join(isPing, rule(&expr.Immediate{Register: first, Data: mark(1)}, f.lookup(ping, false, false), accept())),
		join(isPing, rule(drop())),
		rule(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: f.unreachable}),
	)
}

// output marks what the node's own processes send. It all belongs to the cluster.
func (f family) output() (rules [][]expr.Any) {
	for _, r := range kinds() {
		rules = append(rules, join(original(), f.ports(), f.mark(marks, r), rule(accept())))
	}
	return rules
}

// postrouting gives connections that IPVS forwards an address of this node, where the answers would not come back by it or
// the client is not to be told from the node. What it looks up is where the client believed to go.
func (f family) postrouting() (rules [][]expr.Any) {
	masquerading := rule(&expr.Masq{FullyRandom: true})
	at := func(s Set, r bool) []expr.Any { return join(f.originalPorts(), rule(f.lookup(s, r, false))) }
	notLocal := rule(&expr.Fib{Register: spare, FlagSADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: spare, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)})
	toItself := rule(f.address(f.source, first), f.address(f.dest, first+f.words()), f.lookup(hairpin, false, false))
	for _, r := range kinds() {
		rules = append(rules, join(notLocal, f.outside(), at(preserve, r), rule(accept())))
	}
	for _, r := range kinds() {
		rules = append(rules,
			join(at(masquerade, r), masquerading),
			join(toItself, at(clusterIPs, r), masquerading),
			join(f.outside(), at(clusterIPs, r), masquerading))
	}
	return rules
}

// arpRequests drops requests for our addresses before the kernel answers: every node has them, and who answers is decided
// elsewhere. Packet sockets see them before that.
func arpRequests() []expr.Any {
	const operation, target = 6, 24 // offsets in the packet, for Ethernet and IPv4 (RFC 826)
	return rule(
		&expr.Payload{DestRegister: spare, Base: expr.PayloadBaseNetworkHeader, Offset: operation, Len: 2}, equal(spare, 0, 1),
		&expr.Payload{DestRegister: first, Base: expr.PayloadBaseNetworkHeader, Offset: target, Len: 4},
		ipv4().lookup(vips, false, false), drop(),
	)
}

// rulesAre says whether every chain of the table has the rules that Commit makes, by what it notes on them.
func (t *Table) rulesAre(of *nftables.Table) (bool, error) {
	found, err := t.notes(of)
	if err != nil {
		return false, fmt.Errorf("reading the rules of the table %s: %w", of.Name, err)
	}
	count := 0
	for _, c := range chains(of) {
		for i, r := range c.rules {
			if list := found[c.Name]; i >= len(list) || list[i] != string(note(r)) {
				return false, nil
			}
			count++
		}
	}
	for _, list := range found {
		count -= len(list)
	}
	return count == 0, nil
}

// notes returns what is noted on the rules of a table, by chain. It asks the kernel itself: nftables.GetRules fails on rules
// with a ct direction.
func (t *Table) notes(of *nftables.Table) (map[string][]string, error) {
	name, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(of.Name + "\x00")}})
	if err != nil {
		return nil, err
	}
	const header = 4 // struct nfgenmsg: family, version, resource (two bytes)
	replies, err := t.raw.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{byte(of.Family), unix.NFNETLINK_V0, 0, 0}, name...),
	})
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, m := range replies {
		if len(m.Data) < header {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[header:])
		if err != nil {
			return nil, err
		}
		var chain, note string
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_RULE_CHAIN:
				chain = ad.String()
			case unix.NFTA_RULE_USERDATA:
				note = string(ad.Bytes())
			}
		}
		if err := ad.Err(); err != nil {
			return nil, err
		}
		out[chain] = append(out[chain], note)
	}
	return out, nil
}

// encodeCt encodes an expression that asks for what a connection began with, which the library does without the direction.
// The older keys that it has would do for the kernel, but the command nft crashes when it shows them in a concatenation.
func encodeCt(e *expr.Ct) ([]byte, error) {
	number := func(n uint32) []byte { return binaryutil.BigEndian.PutUint32(n) }
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_CT_DREG, Data: number(e.Register)},
		{Type: unix.NFTA_CT_KEY, Data: number(uint32(e.Key))},
		{Type: unix.NFTA_CT_DIRECTION, Data: []byte{0}},
	})
	if err != nil {
		return nil, err
	}
	return netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_EXPR_NAME, Data: []byte("ct\x00")},
		{Type: unix.NLA_F_NESTED | unix.NFTA_EXPR_DATA, Data: data},
	})
}

// encodeRule encodes the message that adds a rule to a chain.
func encodeRule(c *chain, r []expr.Any) (netlink.Message, error) {
	var list []netlink.Attribute
	for _, e := range r {
		encode := func() ([]byte, error) { return expr.Marshal(byte(c.Table.Family), e) }
		if ct, ok := e.(*expr.Ct); ok {
			encode = func() ([]byte, error) { return encodeCt(ct) }
		}
		data, err := encode()
		if err != nil {
			return netlink.Message{}, err
		}
		list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: data})
	}
	expressions, err := netlink.MarshalAttributes(list)
	if err != nil {
		return netlink.Message{}, err
	}
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: []byte(c.Table.Name + "\x00")},
		{Type: unix.NFTA_RULE_CHAIN, Data: []byte(c.Name + "\x00")},
		{Type: unix.NLA_F_NESTED | unix.NFTA_RULE_EXPRESSIONS, Data: expressions},
		{Type: unix.NFTA_RULE_USERDATA, Data: note(r)},
	})
	return netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE,
			Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Append,
		},
		Data: append([]byte{byte(c.Table.Family), unix.NFNETLINK_V0, 0, 0}, data...),
	}, err
}

// addRules adds the rules of chains that ask conntrack, in one transaction.
func (t *Table) addRules(chains []chain) error {
	control := func(kind netlink.HeaderType) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request},
			Data:   []byte{0, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}, // the resource, in network order
		}
	}
	messages := []netlink.Message{control(unix.NFNL_MSG_BATCH_BEGIN)}
	for i := range chains {
		for _, r := range chains[i].rules {
			m, err := encodeRule(&chains[i], r)
			if err != nil {
				return err
			}
			messages = append(messages, m)
		}
	}
	count := len(messages) - 1
	messages = append(messages, control(unix.NFNL_MSG_BATCH_END))
	if _, err := t.raw.SendMessages(messages); err != nil {
		return err
	}
	var errs []error
	for range count {
		if _, err := t.raw.Receive(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
