package plan

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestCompanions: whoever ranks with this node for an address is one; it is watched if it owns such an address, and then
// the other candidates are its mates.
func TestCompanions(t *testing.T) {
	at := netip.MustParseAddr
	var members []Member
	for i, node := range []string{"a", "b", "c", "d", "e"} {
		members = append(members, Member{Node: node, Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})})
	}
	ranked := func(names ...string) Verdict {
		v := Verdict{Owner: names[0]}
		copy(v.Next[:], names[1:])
		return v
	}
	eth0 := LinkState{Link: Link{Index: 2, Name: "eth0"}, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}
	eth1 := LinkState{Link: Link{Index: 3, Name: "eth1"}, Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/24")}}
	eth2 := LinkState{Link: Link{Index: 4, Name: "eth2"}, Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24")}}
	v := View{Node: "a", Links: []LinkState{eth0, eth1, eth2}, Nodes: []Node{
		{Name: "b", Links: []NodeLink{{Name: "ens1", Subnets: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}}},
	}}
	p := Plan{Verdicts: []Verdict{
		ranked("a", "b", "c"), // its own
		ranked("b", "c", "a"), // of which it is the second candidate
		ranked("b", "a", "d"),
		ranked("d", "b", "c"),   // nothing to do with it
		ranked("gone", "a", ""), // no live member
		ranked("", "", ""),
	}}
	want := []Companion{
		{Node: "b", Address: at("192.0.2.2"), Watched: true, Mates: []string{"c", "d"}, Links: []Link{eth0.Link, eth1.Link}},
		{Node: "c", Address: at("192.0.2.3"), Links: []Link{eth0.Link}},
		{Node: "d", Address: at("192.0.2.4"), Links: []Link{eth0.Link}},
	}
	got := Companions(&v, &p, members)
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
