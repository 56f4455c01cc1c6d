package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
)

type peerSpec = v1beta2.BGPPeerSpec

// peer is a BGPPeer of a test: a good one, which the options change.
func peer(name string, options ...func(*v1beta2.BGPPeer)) v1beta2.BGPPeer {
	p := v1beta2.BGPPeer{ObjectMeta: meta(name), Spec: peerSpec{MyASN: 64500, PeerASN: 64501, PeerAddress: "10.0.0.1"}}
	for _, o := range options {
		o(&p)
	}
	return p
}

func with(change func(*peerSpec)) func(*v1beta2.BGPPeer) {
	return func(p *v1beta2.BGPPeer) { change(&p.Spec) }
}

func peers(p ...v1beta2.BGPPeer) Objects { return Objects{BGPPeers: p} }

func seconds(n float64) *metav1.Duration {
	return &metav1.Duration{Duration: time.Duration(n * float64(time.Second))}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestPeerDefaults(t *testing.T) {
	p, problems := Compile(peers(peer("r")), nil)
	expect(t, problems)
	got, ok := p.Peer("r")
	want := Peer{
		Ref:      Ref{"BGPPeer", "metallb-system", "r", "uid-r"},
		Neighbor: Neighbor{Address: addr("10.0.0.1"), Port: 179},
		MyASN:    64500, PeerASN: 64501,
		HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, ConnectTime: 10 * time.Second,
		IPv4: true,
	}
	if !ok || fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
		t.Errorf("the peer is\n%+v, want\n%+v", got, want)
	}
	if !got.SelectsNode(nil) || !got.InForce() || !got.Carries(IPv4) || got.Carries(IPv6) {
		t.Error("methods")
	}
}

func TestPeerInFull(t *testing.T) {
	o := peers(peer("r", with(func(s *peerSpec) {
		*s = peerSpec{
			MyASN: 64500, DynamicASN: v1beta2.DynamicASNExternal, LocalASN: 64999, PeerAddress: "fd00::1", SourceAddress: "fd00::2", PeerPort: 1179,
			HoldTime: seconds(9), KeepaliveTime: seconds(2), ConnectTime: seconds(5), RouterID: "192.0.2.9", NodeSelectors: []metav1.LabelSelector{is("rack", "1")},
			PasswordSecret: corev1.SecretReference{Name: "s"}, BFDProfile: "fast", EnableGracefulRestart: true, EBGPMultiHop: true, VRFName: "red", DualStackAddressFamily: true,
		}
	})))
	o.Secrets = map[SecretKey]Secret{{"metallb-system", "s"}: {corev1.SecretTypeBasicAuth, "pass"}}
	o.BFDProfiles = []v1beta1.BFDProfile{{ObjectMeta: meta("fast")}}
	p, problems := Compile(o, nil)
	expect(t, problems)
	got, _ := p.Peer("r")
	if got.Password != "pass" || strings.Contains(fmt.Sprintf("%v %+v %#v", got, *got, *got), `"pass"`) {
		t.Errorf("password %q", string(got.Password))
	}
	want := Peer{
		Ref:      got.Ref,
		Neighbor: Neighbor{Address: addr("fd00::1"), Source: addr("fd00::2"), Port: 1179, VRF: "red"},
		MyASN:    64500, LocalASN: 64999, ASN: ASNExternal, RouterID: addr("192.0.2.9"),
		HoldTime: 9 * time.Second, KeepaliveTime: 2 * time.Second, ConnectTime: 5 * time.Second,
		Password: "pass", MultiHop: true, GracefulRestart: true, IPv4: true, IPv6: true,
		BFD:   BFD{true, 300 * time.Millisecond, 300 * time.Millisecond, 50 * time.Millisecond, 3, false, false, 254},
		Nodes: got.Nodes,
	}
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
		t.Errorf("the peer is\n%+v, want\n%+v", got, want)
	}
	if got.SelectsNode(nil) || !got.SelectsNode(map[string]string{"rack": "1"}) {
		t.Error("nodeSelectors")
	}
	if text := got.Neighbor.String(); text != "fd00::1 port 1179 in VRF red" {
		t.Error(text)
	}
}

// TestPeerRules: what makes a peer wait, and what is only told.
func TestPeerRules(t *testing.T) {
	const p = `BGPPeer "r"`
	for _, c := range []struct {
		name   string
		change func(*peerSpec)
		waits  bool
		says   string
	}{
		{"no AS", func(s *peerSpec) { s.MyASN = 0 }, true, p + ", spec.myASN: set the AS number of this end, 1 to 4294967295 (InvalidValue)"},
		{"no AS of the peer", func(s *peerSpec) { s.PeerASN = 0 }, true, p + ": set either spec.peerASN or spec.dynamicASN (InvalidValue)"},
		{"two ASes of the peer", func(s *peerSpec) { s.DynamicASN = "external" }, true, p + " has both spec.peerASN and spec.dynamicASN: remove one of the two (InvalidValue)"},
		{"dynamicASN", func(s *peerSpec) { s.PeerASN, s.DynamicASN = 0, "internal" }, false, ""},
		{"strange dynamicASN", func(s *peerSpec) { s.PeerASN, s.DynamicASN = 0, "any" }, true, p + `, spec.dynamicASN: "any" is neither "internal" nor "external" (InvalidValue)`},
		{"localASN", func(s *peerSpec) { s.LocalASN = 4200000000 }, false, ""},
		{"localASN for nothing", func(s *peerSpec) { s.LocalASN = 64500 }, false, p + ", spec.localASN: it is the same as spec.myASN and has no effect: remove it (NoEffect)"},
		{"neither address nor interface", func(s *peerSpec) { s.PeerAddress = "" }, true, p + ": set either spec.peerAddress or spec.interface (InvalidValue)"},
		{"address and interface", func(s *peerSpec) { s.Interface = "eth0" }, true, p + ": set either spec.peerAddress or spec.interface (InvalidValue)"},
		{"unnumbered", func(s *peerSpec) { s.PeerAddress, s.Interface = "", "eth0" }, false, ""},
		{"unnumbered, with IPv4 source", func(s *peerSpec) { s.PeerAddress, s.Interface, s.SourceAddress = "", "eth0", "10.0.0.2" }, true,
			p + ", spec.sourceAddress: 10.0.0.2 is not of the neighbor's address family (InvalidValue)"},
		{"no address", func(s *peerSpec) { s.PeerAddress = "router" }, true, p + `, spec.peerAddress: "router" is not an IP address (InvalidValue)`},
		{"address with zone", func(s *peerSpec) { s.PeerAddress = "fe80::1%eth0" }, true, p + `, spec.peerAddress: "fe80::1%eth0" is not an IP address (InvalidValue)`},
		{"link-local address", func(s *peerSpec) { s.PeerAddress = "fe80::1" }, true, p + ", spec.peerAddress: fe80::1 means nothing without a link: set spec.interface in its place (InvalidValue)"},
		{"IPv4 link-local address", func(s *peerSpec) { s.PeerAddress = "169.254.1.1" }, false, ""},
		{"multicast address", func(s *peerSpec) { s.PeerAddress = "224.0.0.1" }, true, p + ", spec.peerAddress: 224.0.0.1 is not the address of a host (InvalidValue)"},
		{"broadcast address", func(s *peerSpec) { s.PeerAddress = "255.255.255.255" }, true, p + ", spec.peerAddress: 255.255.255.255 is not the address of a host (InvalidValue)"},
		{"source of the other family", func(s *peerSpec) { s.SourceAddress = "fd00::1" }, true, p + ", spec.sourceAddress: fd00::1 is not of the neighbor's address family (InvalidValue)"},
		{"bad source", func(s *peerSpec) { s.SourceAddress = "0.0.0.0" }, true, p + ", spec.sourceAddress: 0.0.0.0 is not the address of a host (InvalidValue)"},
		{"port", func(s *peerSpec) { s.PeerPort = 16385 }, true, p + ", spec.peerPort: 16385 is not from 1 to 16384 (InvalidValue)"},
		{"router ID", func(s *peerSpec) { s.RouterID = "fd00::1" }, true, p + `, spec.routerID: "fd00::1" is not an IPv4 address such as 192.0.2.1 (InvalidValue)`},
		{"router ID 0", func(s *peerSpec) { s.RouterID = "0.0.0.0" }, true, p + `, spec.routerID: "0.0.0.0" is not an IPv4 address such as 192.0.2.1 (InvalidValue)`},
		{"interface", func(s *peerSpec) { s.PeerAddress, s.Interface = "", "a/b" }, true, p + `, spec.interface: "a/b" cannot be the name of a network device (InvalidValue)`},
		{"vrf", func(s *peerSpec) { s.VRFName = "sixteen-letters-" }, true, p + `, spec.vrf: "sixteen-letters-" cannot be the name of a network device (InvalidValue)`},
		{"multihop in the own AS", func(s *peerSpec) { s.PeerASN, s.EBGPMultiHop = 64500, true }, true,
			p + ", spec.ebgpMultiHop: the peer is of the own AS, for which distance does not matter: remove it (InvalidValue)"},
		{"multihop in the own AS, dynamic", func(s *peerSpec) { s.PeerASN, s.DynamicASN, s.EBGPMultiHop = 0, "internal", true }, true,
			p + ", spec.ebgpMultiHop: the peer is of the own AS, for which distance does not matter: remove it (InvalidValue)"},
		{"multihop", func(s *peerSpec) { s.EBGPMultiHop = true }, false, ""},
		{"connect time", func(s *peerSpec) { s.ConnectTime = seconds(1.5) }, true, p + ", spec.connectTime: 1.5s is not a whole number of seconds from 1 to 65535 (InvalidValue)"},
		{"no connect time", func(s *peerSpec) { s.ConnectTime = seconds(0) }, true, p + ", spec.connectTime: 0s is not a whole number of seconds from 1 to 65535 (InvalidValue)"},
		{"selector", func(s *peerSpec) { s.NodeSelectors = []metav1.LabelSelector{bad} }, true, p + ", spec.nodeSelectors[0]: " + badText + " (InvalidSelector)"},
		{"password and Secret", func(s *peerSpec) { s.Password, s.PasswordSecret.Name = "x", "good" }, true,
			p + " has both spec.password and spec.passwordSecret: remove one of the two (InvalidValue)"},
		{"password", func(s *peerSpec) { s.Password = strings.Repeat("x", 80) }, false, ""},
		{"long password", func(s *peerSpec) { s.Password = strings.Repeat("x", 81) }, true, p + ", spec.password: it is longer than 80 bytes: take a shorter one (InvalidValue)"},
		{"Secret", func(s *peerSpec) { s.PasswordSecret.Name = "good" }, false, ""},
		{"Secret elsewhere", func(s *peerSpec) { s.PasswordSecret = corev1.SecretReference{Name: "good", Namespace: "x"} }, false,
			p + `, spec.passwordSecret.namespace: "x" has no effect, since the Secret is read in namespace "metallb-system": remove it (NoEffect)`},
		{"no Secret", func(s *peerSpec) { s.PasswordSecret.Name = "gone" }, true,
			p + ` names Secret "metallb-system/gone", which does not exist as one of type "kubernetes.io/basic-auth": create it or correct spec.passwordSecret (UnknownReference)`},
		{"Secret of another type", func(s *peerSpec) { s.PasswordSecret.Name = "opaque" }, true,
			p + ` names Secret "metallb-system/opaque", which is of type "Opaque": make it of type "kubernetes.io/basic-auth" (UnusableSecret)`},
		{"Secret without the key", func(s *peerSpec) { s.PasswordSecret.Name = "empty" }, true,
			p + ` names Secret "metallb-system/empty", which has nothing under the key "password": put the password there (UnusableSecret)`},
		{"Secret with a line break", func(s *peerSpec) { s.PasswordSecret.Name = "line" }, true,
			p + ` names Secret "metallb-system/line", whose password has a line break, at its end perhaps: remove it (UnusableSecret)`},
		{"no profile", func(s *peerSpec) { s.BFDProfile = "gone" }, true, p + ` names BFDProfile "gone", which does not exist: create it or correct spec.bfdProfile (UnknownReference)`},
		{"echo", func(s *peerSpec) { s.BFDProfile = "echo" }, false, ""},
		{"echo for IPv6", func(s *peerSpec) { s.PeerAddress, s.BFDProfile = "fd00::1", "echo" }, false,
			p + ` names BFDProfile "echo", whose echoMode has no effect here, since it is for IPv4 neighbors on the link: give this peer a profile without it (NoEffect)`},
		{"disableMP", func(s *peerSpec) { s.DisableMP = true }, false,
			p + ", spec.disableMP: it is deprecated and has no effect, since a session carries routes of its own address family only: remove it, and see spec.dualStackAddressFamily (NoEffect)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := peers(peer("r", with(c.change)), peer("other", with(func(s *peerSpec) { s.PeerAddress = "10.9.9.9" })))
			secret := func(name string) SecretKey { return SecretKey{"metallb-system", name} }
			o.Secrets = map[SecretKey]Secret{
				secret("good"): {corev1.SecretTypeBasicAuth, "x"}, secret("opaque"): {corev1.SecretTypeOpaque, "x"},
				secret("empty"): {Type: corev1.SecretTypeBasicAuth}, secret("line"): {corev1.SecretTypeBasicAuth, "x\n"},
			}
			on := true
			o.BFDProfiles = []v1beta1.BFDProfile{{ObjectMeta: meta("echo"), Spec: v1beta1.BFDProfileSpec{EchoMode: &on}}}
			compiled, problems := Compile(o, nil)
			var says []string
			if c.says != "" {
				says = []string{c.says}
			}
			expect(t, problems, says...)
			got, _ := compiled.Peer("r")
			if got.InForce() == c.waits || c.waits && got.Waiting.String() != c.says {
				t.Errorf("the peer is %+v", got)
			}
			if len(problems) > 0 && problems[0].Reason.Warns() && c.waits != (strings.Contains(c.says, "does not exist")) {
				t.Errorf("%s is only a warning", c.says)
			}
			if other, _ := compiled.Peer("other"); !other.InForce() {
				t.Errorf("the other peer waits: %s", other.Waiting)
			}
		})
	}
}

func TestPeerFamilies(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*peerSpec)
		v4, v6 bool
	}{
		{"IPv4", func(*peerSpec) {}, true, false},
		{"IPv4, mapped", func(s *peerSpec) { s.PeerAddress = "::ffff:10.0.0.1" }, true, false},
		{"IPv6", func(s *peerSpec) { s.PeerAddress = "fd00::1" }, false, true},
		{"both", func(s *peerSpec) { s.DualStackAddressFamily = true }, true, true},
		{"unnumbered", func(s *peerSpec) { s.PeerAddress, s.Interface = "", "eth0" }, true, true},
	} {
		p := first(Compile(peers(peer("r", with(c.change))), nil)).Peers[0]
		if p.IPv4 != c.v4 || p.IPv6 != c.v6 {
			t.Errorf("%s: IPv4 %v, IPv6 %v", c.name, p.IPv4, p.IPv6)
		}
	}
}

func TestTimers(t *testing.T) {
	const p = `BGPPeer "r", spec.`
	for _, c := range []struct {
		hold, keepalive         *metav1.Duration
		wantHold, wantKeepalive int
		says                    string
	}{
		{nil, nil, 90, 30, ""},
		{seconds(9), nil, 9, 3, ""},
		{seconds(10), nil, 10, 3, ""},
		{seconds(3), nil, 3, 1, ""},
		{seconds(3.9), nil, 3, 1, ""},
		{nil, seconds(10), 30, 10, ""},
		{nil, seconds(0.2), 3, 1, ""},
		{nil, seconds(30000), 65535, 30000, ""},
		{seconds(20), seconds(20), 20, 20, ""},
		{seconds(20), seconds(0), 20, 6, ""},
		{seconds(0), nil, 0, 0, ""},
		{seconds(0), seconds(0), 0, 0, ""},
		{seconds(0), seconds(1), 0, 0, p + "keepaliveTime: 1s is more than the holdTime of 0s: make it a third of that, or leave it out (InvalidValue)"},
		{seconds(2.9), nil, 0, 0, p + "holdTime: 2.9s is neither 0 nor from 3s to 65535s (InvalidValue)"},
		{seconds(-1), nil, 0, 0, p + "holdTime: -1s is neither 0 nor from 3s to 65535s (InvalidValue)"},
		{seconds(65536), nil, 0, 0, p + "holdTime: 18h12m16s is neither 0 nor from 3s to 65535s (InvalidValue)"},
		{seconds(9), seconds(10), 0, 0, p + "keepaliveTime: 10s is more than the holdTime of 9s: make it a third of that, or leave it out (InvalidValue)"},
		{nil, seconds(-1), 0, 0, p + "keepaliveTime: -1s is not from 0 to 65535s (InvalidValue)"},
	} {
		compiled, problems := Compile(peers(peer("r", with(func(s *peerSpec) { s.HoldTime, s.KeepaliveTime = c.hold, c.keepalive }))), nil)
		if c.says != "" {
			expect(t, problems, c.says)
			continue
		}
		expect(t, problems)
		got := compiled.Peers[0]
		if got.HoldTime != time.Duration(c.wantHold)*time.Second || got.KeepaliveTime != time.Duration(c.wantKeepalive)*time.Second {
			t.Errorf("hold %v, keepalive %v: %s and %s, want %d and %d", c.hold, c.keepalive, got.HoldTime, got.KeepaliveTime, c.wantHold, c.wantKeepalive)
		}
	}
}

func TestDuplicatePeers(t *testing.T) {
	younger := func(p *v1beta2.BGPPeer) { p.CreationTimestamp = at(1) }
	in := func(rack string) func(*v1beta2.BGPPeer) {
		return with(func(s *peerSpec) { s.NodeSelectors = []metav1.LabelSelector{is("rack", rack)} })
	}
	const says = `BGPPeer "a" has the same neighbor 10.0.0.1 as the older BGPPeer "b", whose session alone is held where both select a node: remove one of the two, or keep their spec.nodeSelectors apart (DuplicatePeer)`
	for _, c := range []struct {
		name   string
		a, b   v1beta2.BGPPeer
		yields bool
		says   []string
	}{
		{"one neighbor", peer("a", younger), peer("b"), true, []string{says}},
		{"on all nodes and on some", peer("a", younger, in("1")), peer("b"), true, []string{says}},
		{"on the same nodes", peer("a", younger, in("1")), peer("b", in("1")), true, []string{says}},
		{"on different nodes, as far as one can tell", peer("a", younger, in("1")), peer("b", in("2")), true, nil},
		{"another port", peer("a", younger, with(func(s *peerSpec) { s.PeerPort = 180 })), peer("b"), false, nil},
		{"another VRF", peer("a", younger, with(func(s *peerSpec) { s.VRFName = "red" })), peer("b"), false, nil},
		{"another source", peer("a", younger, with(func(s *peerSpec) { s.SourceAddress = "10.0.0.9" })), peer("b"), false, nil},
		{"the older one waits", peer("a", younger), peer("b", with(func(s *peerSpec) { s.MyASN = 0 })), false,
			[]string{`BGPPeer "b", spec.myASN: set the AS number of this end, 1 to 4294967295 (InvalidValue)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, problems := Compile(peers(c.a, c.b), nil)
			expect(t, problems, c.says...)
			if got := len(p.Peers[0].Yields) > 0; got != c.yields || len(p.Peers[1].Yields) > 0 {
				t.Errorf("a yields to %v, b to %v", p.Peers[0].Yields, p.Peers[1].Yields)
			}
			for _, x := range problems {
				if !p.Told(x) {
					t.Errorf("%s is not told", x)
				}
			}
			if p.Told(Problem{}) {
				t.Error("the zero Problem was told")
			}
		})
	}
}

func TestBadPeerKeepsItsLastValue(t *testing.T) {
	at := func(address string, uid types.UID, options ...func(*peerSpec)) Objects {
		p := peer("r", with(func(s *peerSpec) { s.PeerAddress = address }))
		p.UID = uid
		for _, o := range options {
			o(&p.Spec)
		}
		return peers(p)
	}
	spoil := func(s *peerSpec) { s.BFDProfile = "gone" }
	last := first(Compile(at("10.0.0.1", "1"), nil))
	kept := first(Compile(at("10.0.0.2", "1", spoil), last))
	if got := kept.Peers[0]; got.Address != addr("10.0.0.1") || !got.InForce() {
		t.Errorf("the bad peer is %+v", got)
	}
	if got := first(Compile(at("10.0.0.2", "1", spoil), kept)).Peers[0]; got.Address != addr("10.0.0.1") {
		t.Errorf("bad for the second time, it is %+v", got)
	}
	renewed := first(Compile(at("10.0.0.2", "2", spoil), kept))
	if got := renewed.Peers[0]; got.InForce() || got.Address.IsValid() {
		t.Errorf("re-created under its name, it is %+v", got)
	}
	if got := first(Compile(at("10.0.0.3", "2"), renewed)).Peers[0]; got.Address != addr("10.0.0.3") || !got.InForce() {
		t.Errorf("once good, it is %+v", got)
	}
}

func TestUnreadSecrets(t *testing.T) {
	o := peers(peer("r", with(func(s *peerSpec) { s.PasswordSecret.Name = "s" })))
	o.SecretsUnread = true
	p, problems := Compile(o, nil)
	expect(t, problems)
	if p.Peers[0].InForce() {
		t.Error("a session is held without the password")
	}
}

func TestBFDProfiles(t *testing.T) {
	u := func(n uint32) *uint32 { return &n }
	on := true
	full := v1beta1.BFDProfileSpec{ReceiveInterval: u(10), TransmitInterval: u(60000), DetectMultiplier: u(255), EchoInterval: u(11), EchoMode: &on, PassiveMode: &on, MinimumTTL: u(1)}
	defaults := BFD{true, 300 * time.Millisecond, 300 * time.Millisecond, 50 * time.Millisecond, 3, false, false, 254}
	inFull := BFD{true, 60 * time.Second, 10 * time.Millisecond, 11 * time.Millisecond, 255, true, true, 1}
	wrong := v1beta1.BFDProfileSpec{ReceiveInterval: u(9), TransmitInterval: u(60001), DetectMultiplier: u(1), EchoInterval: u(0), MinimumTTL: u(255)}
	const f = `BFDProfile "f", spec.`
	says := []string{
		f + "detectMultiplier: 1 is not from 2 to 255 (InvalidValue)",
		f + "echoInterval: 0 is not from 10 to 60000 (InvalidValue)",
		f + "minimumTtl: 255 is not from 1 to 254 (InvalidValue)",
		f + "receiveInterval: 9 is not from 10 to 60000 (InvalidValue)",
		f + "transmitInterval: 60001 is not from 10 to 60000 (InvalidValue)",
	}
	for _, c := range []struct {
		name       string
		last, spec *v1beta1.BFDProfileSpec
		want       BFD
		says       []string
	}{
		{"defaults", nil, &v1beta1.BFDProfileSpec{}, defaults, nil},
		{"in full", nil, &full, inFull, nil},
		{"bad: what is bad has its default", nil, &wrong, defaults, says},
		{"bad: it keeps its last value", &full, &wrong, inFull, says},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects := func(spec *v1beta1.BFDProfileSpec) Objects {
				o := peers(peer("r", with(func(s *peerSpec) { s.BFDProfile = "f" })))
				o.BFDProfiles = []v1beta1.BFDProfile{{ObjectMeta: meta("f"), Spec: *spec}}
				return o
			}
			var last *Policy
			if c.last != nil {
				last = first(Compile(objects(c.last), nil))
			}
			p, problems := Compile(objects(c.spec), last)
			expect(t, problems, c.says...)
			if p.Peers[0].BFD != c.want {
				t.Errorf("BFD is %+v, want %+v", p.Peers[0].BFD, c.want)
			}
		})
	}
}
