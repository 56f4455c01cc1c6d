//go:build linux && netns

package layer2

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

func TestTheKernelResolvesBothFamilies(t *testing.T) {
	w := newWorld(t)
	for _, setup := range []string{"", "ip addr flush dev eth0", "ip addr add 172.25.254.2/24 dev eth0"} {
		s := w.newSpeaker(setup)
		s.apply(vip4, vip6)
		w.resolve(vip4, s)
		w.resolve(vip6, s)
		s.apply()
	}
}

func TestKindsOfInterfaces(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct{ link, setup string }{
		{"br0", `
			ip link add br0 type bridge mcast_snooping 0
			ip link set eth0 master br0
			sysctl -qw net.ipv6.conf.br0.accept_dad=0
			ip link set br0 up`},
		{"mac0", `
			ip link add link eth0 name mac0 type macvlan mode bridge
			sysctl -qw net.ipv6.conf.mac0.accept_dad=0
			ip link set mac0 up`},
		{"eth0", "ip link set eth0 promisc on"},
	} {
		s := w.newSpeakerOn(test.link, test.setup)
		s.apply(vip4, vip6)
		w.resolve(vip4, s)
		w.resolve(vip6, s)
		for _, a := range []netip.Addr{vip4, vip6} {
			w.client.Command(t, "ip", "neigh", "change", a.String(), "dev", "lan", "lladdr", s.link.HardwareAddr().String(), "nud", "probe")
			w.awaitNeighbor(a, s, "REACHABLE")
		}
		s.apply()
	}
}

func TestArpingIsAnswered(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	s.apply(vip4)
	out := w.client.Command(t, "arping", "-I", "lan", "-c", "3", "-w", "5", vip4.String()) // the second and third by unicast
	if want := "Received 3 response(s)"; !strings.Contains(out, want) {
		t.Errorf("arping does not say %q:\n%s", want, out)
	}
	out, err := w.client.Try("arping", "-D", "-I", "lan", "-c", "1", "-w", "5", vip4.String()) // from 0.0.0.0
	if err == nil || !strings.Contains(out, "Received 1 response(s)") {
		t.Errorf("the probe is not answered (%v):\n%s", err, out)
	}
	out, err = w.client.Try("arping", "-I", "lan", "-c", "1", "-w", "1", vip4.Next().String())
	if err == nil {
		t.Errorf("another address is answered:\n%s", out)
	}
}

func TestNdisc6IsAnswered(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	s.apply(vip6)
	out := w.client.Command(t, "ndisc6", "-1", "-q", "-w", "5000", vip6.String(), "lan")
	if got, want := strings.ToLower(strings.TrimSpace(out)), s.link.HardwareAddr().String(); got != want {
		t.Errorf("ndisc6 says %q, want %q", got, want)
	}
	if out, err := w.client.Try("ndisc6", "-1", "-q", "-r", "1", "-w", "500", vip6.Next().String(), "lan"); err == nil {
		t.Errorf("another address is answered: %s", out)
	}
}

func TestUnicastReachabilityProbesAreAnswered(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	s.apply(vip4, vip6)
	for _, a := range []netip.Addr{vip4, vip6} {
		w.resolve(a, s)
		w.client.Command(t, "ip", "neigh", "change", a.String(), "dev", "lan", "lladdr", s.link.HardwareAddr().String(), "nud", "probe")
		w.awaitNeighbor(a, s, "REACHABLE") // else the entry would fail: in this state the kernel asks by unicast only
	}
}

func TestDuplicateAddressDetectionFindsUs(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	s.apply(vip6)
	w.client.Command(t, "sysctl", "-qw", "net.ipv6.conf.lan.accept_dad=1")
	w.client.Command(t, "ip", "addr", "add", vip6.String()+"/64", "dev", "lan")
	netnstest.Eventually(t, limit, func() error {
		if out := w.client.Command(t, "ip", "addr", "show", "dev", "lan"); !strings.Contains(out, "dadfailed") {
			return fmt.Errorf("no address failed duplicate address detection:\n%s", out)
		}
		return nil
	})
}

func TestTheNextAnnouncerTakesOver(t *testing.T) {
	w := newWorld(t)
	first, second := w.newSpeaker(""), w.newSpeaker("")
	first.apply(vip4, vip6)
	w.resolve(vip4, first)
	w.resolve(vip6, first)
	second.apply(vip4, vip6)
	first.apply()
	for _, a := range []netip.Addr{vip4, vip6} {
		w.awaitNeighbor(a, second, "REACHABLE", "STALE", "DELAY", "PROBE")
	}
	w.resolve(vip4, second)
	w.resolve(vip6, second)
}

func TestNobodyAnswersForWhatWasRemoved(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	for _, left := range [][]netip.Addr{nil, {vip4.Next(), vip6.Next()}} { // sockets are closed, or stay
		s.apply(append(left, vip4, vip6)...)
		w.resolve(vip4, s)
		w.resolve(vip6, s)
		s.apply(left...)
		if out, err := w.client.Try("arping", "-I", "lan", "-c", "1", "-w", "1", vip4.String()); err == nil {
			t.Errorf("%v is still answered:\n%s", vip4, out)
		}
		if out, err := w.client.Try("ndisc6", "-1", "-q", "-r", "1", "-w", "500", vip6.String(), "lan"); err == nil {
			t.Errorf("%v is still answered: %s", vip6, out)
		}
	}
}

func TestAnInterfaceGoesDownAndUp(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	s.apply(vip4, vip6)
	s.ns.Command(t, "ip", "link", "set", "eth0", "down")
	if err := s.try(vip4, vip6, vip4.Next()); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("an address that is new on a link that is down: %v", err)
	}
	s.ns.Command(t, "ip", "link", "set", "eth0", "up")
	s.apply(vip4, vip6, vip4.Next())
	w.resolve(vip4, s)
	w.resolve(vip4.Next(), s)
	w.resolve(vip6, s)
}

func TestAnInterfaceIsReplaced(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	s.apply(vip4, vip6)
	s.ns.Command(t, "ip", "link", "del", "eth0")
	if err := s.try(vip4, vip6); err == nil || len(s.Announced()) != 0 {
		t.Errorf("on an interface that is gone: announced %v, error %v", s.Announced(), err)
	}
	netnstest.Veth(t, s.ns, "eth0", w.client, "again")
	w.client.Command(t, "ip", "link", "set", "again", "master", "lan")
	s.link = linkOf(t, s.ns, "eth0")
	s.apply(vip4, vip6)
	w.resolve(vip4, s)
	w.resolve(vip6, s)

	stale := s.link
	s.ns.Command(t, "ip", "link", "set", "eth0", "address", "02:00:00:00:77:77")
	if err := s.try(vip4, vip6); err == nil || !strings.Contains(err.Error(), "has the hardware address 02:00:00:00:77:77, not "+stale.HardwareAddr().String()) {
		t.Errorf("on an interface with another MAC: %v", err)
	}
	s.link = linkOf(t, s.ns, "eth0")
	s.apply(vip4, vip6)
	w.resolve(vip4, s)
	w.resolve(vip6, s)
}

func TestSolicitedNodeGroupsAreJoinedAndLeft(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	same := netip.MustParseAddr("fd00:26::12:3456") // shares the group
	joined := func() bool {
		out := s.ns.Command(t, "ip", "-6", "maddr", "show", "dev", "eth0")
		return strings.Contains(out, "ff02::1:ff12:3456")
	}
	for _, step := range []struct {
		apply []netip.Addr
		want  bool
	}{{nil, false}, {[]netip.Addr{vip6}, true}, {[]netip.Addr{vip6, same}, true}, {[]netip.Addr{same}, true}, {nil, false}} {
		s.apply(step.apply...)
		if joined() != step.want {
			t.Errorf("with %v announced the group is joined: %v, want %v", step.apply, joined(), step.want)
		}
	}
	s.apply(vip6)
	s.ns.Command(t, "ip", "link", "set", "eth0", "down")
	s.ns.Command(t, "ip", "link", "set", "eth0", "up")
	if !joined() {
		t.Error("the group is not joined any more after the link was down")
	}
}

func TestExactFramesOnTheWire(t *testing.T) {
	w := newWorld(t)
	w.config.RepeatFor = 1 // no repetition
	s := w.newSpeaker("")
	mac := s.link.MAC
	arps, ndps := w.socket(familyARP), w.socket(familyNDP)
	arpFrames, ndpFrames := capture(arps, mac), capture(ndps, mac)
	set := targets{vip4: nil, vip6: nil}
	expect := func(what string, frames <-chan []byte, want []byte) {
		t.Helper()
		for {
			got := receive(t, frames)
			if got[12] == 0x86 && (got[20] != protocolICMPv6 || got[54] != 136) {
				continue // the kernel's own: group reports, solicitations
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s is\n%x, want\n%x", what, got, want)
			}
			return
		}
	}
	s.apply(vip4, vip6)
	for i, want := range gratuitousARP(vip4, mac) {
		expect(fmt.Sprintf("gratuitous ARP %d", i), arpFrames, want)
	}
	expect("unsolicited advertisement", ndpFrames, gratuitousNDP(vip6, mac)[0])

	unicast := arpRequest(host4, vip4)
	copy(unicast, mac[:])
	for _, question := range [][]byte{arpRequest(host4, vip4), arpRequest(netip.IPv4Unspecified(), vip4), unicast} {
		sendAll(t, arps, question)
		expect("answer", arpFrames, answerARP(question, mac, set).reply)
	}
	for _, question := range [][]byte{resolution(vip6), nsFrame(mac, host6, vip6, vip6, &hostMAC), probe(vip6)} {
		sendAll(t, ndps, question)
		expect("answer", ndpFrames, answerNDP(question, mac, set).reply)
	}
}
