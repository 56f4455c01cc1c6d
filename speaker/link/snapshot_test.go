//go:build linux

package link

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const running = unix.IFF_UP | unix.IFF_LOWER_UP | unix.IFF_BROADCAST

// message is an Ethernet interface that is up, changed by each of change.
func message(index uint32, name string, change ...func(*rtnetlink.LinkMessage)) rtnetlink.LinkMessage {
	m := rtnetlink.LinkMessage{Index: index, Type: unix.ARPHRD_ETHER, Flags: running, Attributes: &rtnetlink.LinkAttributes{
		Name: name, Address: net.HardwareAddr{2, 0, 0, 0, 0, byte(index)}, OperationalState: rtnetlink.OperStateUp,
	}}
	for _, f := range change {
		f(&m)
	}
	return m
}

func flags(f uint32) func(*rtnetlink.LinkMessage) {
	return func(m *rtnetlink.LinkMessage) { m.Flags = f }
}

func state(s rtnetlink.OperationalState) func(*rtnetlink.LinkMessage) {
	return func(m *rtnetlink.LinkMessage) { m.Attributes.OperationalState = s }
}

func kind(k string) func(*rtnetlink.LinkMessage) {
	return func(m *rtnetlink.LinkMessage) { m.Attributes.Info = &rtnetlink.LinkInfo{Kind: k} }
}

func master(index uint32) func(*rtnetlink.LinkMessage) {
	return func(m *rtnetlink.LinkMessage) { m.Attributes.Master = &index }
}

func mac(a net.HardwareAddr) func(*rtnetlink.LinkMessage) {
	return func(m *rtnetlink.LinkMessage) { m.Attributes.Address = a }
}

func TestUsableLinks(t *testing.T) {
	masters := []rtnetlink.LinkMessage{
		message(10, "br0", kind("bridge")), message(11, "bond0", kind("bond")), message(12, "team0", kind("team")),
		message(13, "vrf0", kind("vrf"), flags(running|unix.IFF_NOARP)), message(14, "ovs-system", kind("openvswitch")),
	}
	tests := []struct {
		name string
		link rtnetlink.LinkMessage
		want bool
	}{
		{"Ethernet, up", message(2, "eth0"), true},
		{"operational state unknown", message(2, "eth0", state(rtnetlink.OperStateUnknown)), true},
		{"VLAN", message(2, "eth0.10", kind("vlan")), true},
		{"VRF member", message(2, "eth0", master(13)), true},
		{"no master any more", message(2, "eth0", master(0)), true},
		{"a name that only holds an excluded one", message(2, "my-docker0"), true},

		{"administratively down", message(2, "eth0", flags(unix.IFF_BROADCAST), state(rtnetlink.OperStateDown)), false},
		{"no carrier", message(2, "eth0", flags(unix.IFF_UP), state(rtnetlink.OperStateDown)), false},
		{"no carrier, state unknown", message(2, "eth0", flags(unix.IFF_UP), state(rtnetlink.OperStateUnknown)), false},
		{"lower layer down", message(2, "eth0.10", state(rtnetlink.OperStateLowerLayerDown)), false},
		{"dormant", message(2, "eth0", state(rtnetlink.OperStateDormant)), false},
		{"loopback", message(1, "loop", flags(running|unix.IFF_LOOPBACK)), false},
		{"NOARP", message(2, "eth0", flags(running|unix.IFF_NOARP)), false},
		{"no MAC", message(2, "tun0", mac(nil)), false},
		{"an InfiniBand MAC", message(2, "ib0", mac(make(net.HardwareAddr, 20))), false},
		{"not Ethernet", message(2, "wpan0", func(m *rtnetlink.LinkMessage) { m.Type = unix.ARPHRD_IEEE802154 }), false},
		{"bridge port", message(2, "eth0", master(10)), false},
		{"bond member", message(2, "eth0", master(11)), false},
		{"team member", message(2, "eth0", master(12)), false},
		{"Open vSwitch port", message(2, "eth0", master(14)), false},
		{"member of an unknown master", message(2, "eth0", master(99)), false},
		{"excluded by name", message(2, "docker0"), false},
		{"excluded by prefix", message(2, "veth12ab"), false},
		{"no attributes", rtnetlink.LinkMessage{Index: 2, Flags: running}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got bool
			for _, s := range snapshot(tables{links: append(masters, test.link)}, defaults(t)) {
				got = got || s.Index == int(test.link.Index)
			}
			if got != test.want {
				t.Errorf("in the snapshot: %v, want %v", got, test.want)
			}
		})
	}
}

// address is an address of interface 2.
func address(a string, bits, flags uint8, change ...func(*rtnetlink.AddressMessage)) rtnetlink.AddressMessage {
	m := rtnetlink.AddressMessage{Index: 2, PrefixLength: bits, Flags: flags, Attributes: &rtnetlink.AddressAttributes{Address: net.ParseIP(a)}}
	for _, f := range change {
		f(&m)
	}
	return m
}

func TestUsableAddresses(t *testing.T) {
	local := func(a string) func(*rtnetlink.AddressMessage) {
		return func(m *rtnetlink.AddressMessage) { m.Attributes.Local = net.ParseIP(a) }
	}
	got := snapshot(tables{
		links: []rtnetlink.LinkMessage{message(3, "eth1"), message(2, "eth0")},
		addresses: []rtnetlink.AddressMessage{
			address("fe80::1", 64, unix.IFA_F_PERMANENT),
			address("fd00::4", 64, unix.IFA_F_TENTATIVE),
			address("fd00::5", 64, unix.IFA_F_DADFAILED),
			address("fd00::6", 64, 0, func(m *rtnetlink.AddressMessage) { m.Attributes.Flags = unix.IFA_F_TENTATIVE }),
			address("fd00::3", 64, unix.IFA_F_DEPRECATED),
			address("192.0.2.2", 24, unix.IFA_F_SECONDARY, local("192.0.2.2")),
			address("192.0.2.9", 32, 0, local("192.0.2.8")), // point to point: IFA_ADDRESS is the peer's
			address("192.0.2.1", 24, 0, local("192.0.2.1")),
			address("192.0.2.1", 24, 0, local("192.0.2.1")),
			address("192.0.2.3", 99, 0),
			{Index: 2},
			{Index: 77, PrefixLength: 8, Attributes: &rtnetlink.AddressAttributes{Address: net.ParseIP("10.0.0.1")}},
		},
	}, nil)
	var prefixes []netip.Prefix
	for _, p := range strings.Fields("192.0.2.1/24 192.0.2.2/24 192.0.2.8/32 fd00::3/64 fe80::1/64") {
		prefixes = append(prefixes, netip.MustParsePrefix(p))
	}
	want := []plan.LinkState{
		{Link: plan.Link{Index: 2, Name: "eth0", MAC: [6]byte{2, 0, 0, 0, 0, 2}}, Prefixes: prefixes},
		{Link: plan.Link{Index: 3, Name: "eth1", MAC: [6]byte{2, 0, 0, 0, 0, 3}}},
	}
	text := cmp.Transformer("text", netip.Prefix.String)
	if diff := cmp.Diff(want, got, text); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

func TestParseExclude(t *testing.T) {
	got, err := ParseExclude([]string{"^a", "(", "b$", "["})
	if len(got) != 2 || err == nil {
		t.Fatalf("%d patterns, error %v", len(got), err)
	}
	for _, bad := range []string{`"("`, `"["`} {
		if !strings.Contains(err.Error(), bad) {
			t.Errorf("the error does not name %s: %v", bad, err)
		}
	}
	for name, want := range map[string]bool{"docker0": true, "lo": true, "lo1": false, "vethab": true, "eth0": false, "bond0": false, "kube-ipvs0": true} {
		if got := excluded(name, defaults(t)); got != want {
			t.Errorf("%s is excluded: %v, want %v", name, got, want)
		}
	}
}

func TestParseExcludeConfig(t *testing.T) {
	tests := []struct{ document, want string }{
		{"announcedInterfacesToExclude: [\"^docker.*\", '^veth.*']\n", "^docker.* ^veth.*"},
		{"announcedInterfacesToExclude:\n- ^lo$\n", "^lo$"},
		{"announcedInterfacesToExclude: []\n", ""},
		{"announcedInterfacesToExclude: ^lo$\n", "error"},
		{"announcedInterfaces: [^lo$]\n", "error"},
		{"", "error"},
		{"{", "error"},
	}
	for _, test := range tests {
		got, err := ParseExcludeConfig(test.document)
		if err != nil {
			got = []string{"error"}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%q is %q (%v), want %q", test.document, got, err, test.want)
		}
	}
}
