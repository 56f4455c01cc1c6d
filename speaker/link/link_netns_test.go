//go:build linux && netns

package link

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const limit = 10 * time.Second

// start runs a watcher in a new namespace, which has the interface eth0, until the test ends.
func start(t *testing.T) (*netnstest.NS, *Watcher) {
	t.Parallel()
	ns, peer := netnstest.New(t), netnstest.New(t)
	netnstest.Veth(t, ns, "eth0", peer, "peer")
	w := New(Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Exclude: defaults(t)})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go ns.Do(func() { ended <- w.Run(ctx) })
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return ns, w
}

// await waits, by the watcher's own signal, until the snapshot reads like want: names with their prefixes, without
// link-local ones.
func await(t *testing.T, w *Watcher, want ...string) {
	t.Helper()
	deadline := time.After(limit)
	for {
		var got []string
		for _, l := range w.Snapshot() {
			f := []string{l.Name}
			for _, p := range l.Prefixes {
				if !p.Addr().IsLinkLocalUnicast() {
					f = append(f, p.String())
				}
			}
			got = append(got, strings.Join(f, " "))
		}
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-w.Changed():
		case <-deadline:
			t.Fatalf("snapshot is %q, want %q", got, want)
		}
	}
}

func TestInterfacesComeAndGo(t *testing.T) {
	ns, w := start(t)
	await(t, w, "eth0")
	other := netnstest.New(t)
	netnstest.Veth(t, ns, "eth1", other, "peer")
	netnstest.Veth(t, ns, "veth1", other, "peer1") // excluded by name
	await(t, w, "eth0", "eth1")
	ns.Command(t, "ip", "link", "set", "eth0", "down")
	await(t, w, "eth1")
	ns.Command(t, "ip", "link", "set", "eth0", "up")
	await(t, w, "eth0", "eth1")
	other.Command(t, "ip", "link", "set", "peer", "down") // eth1 has no carrier
	await(t, w, "eth0")
	other.Command(t, "ip", "link", "set", "peer", "up")
	await(t, w, "eth0", "eth1")
	ns.Command(t, "ip", "link", "del", "eth1")
	await(t, w, "eth0")
}

func TestAChangedMACIsAnotherLink(t *testing.T) {
	ns, w := start(t)
	await(t, w, "eth0")
	last := w.Snapshot()[0].Link
	ns.Command(t, "ip", "link", "set", "eth0", "address", "02:00:00:00:77:77")
	netnstest.Eventually(t, limit, func() error {
		if now := w.Snapshot()[0].Link; now == last || now.HardwareAddr().String() != "02:00:00:00:77:77" || now.Index != last.Index {
			return fmt.Errorf("link is %v", now)
		}
		return nil
	})
}

func TestAddressesComeAndGo(t *testing.T) {
	ns, w := start(t)
	await(t, w, "eth0")
	ns.Command(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
	ns.Command(t, "ip", "addr", "add", "fd00::1/64", "dev", "eth0")
	await(t, w, "eth0 192.0.2.1/24 fd00::1/64")
	ns.Command(t, "ip", "addr", "del", "192.0.2.1/24", "dev", "eth0")
	await(t, w, "eth0 fd00::1/64")
	netnstest.Eventually(t, limit, func() error {
		for _, p := range w.Snapshot()[0].Prefixes {
			if p.Addr().IsLinkLocalUnicast() && p.Bits() == 64 {
				return nil
			}
		}
		return fmt.Errorf("no link-local address in %v", w.Snapshot())
	})
}

func TestTentativeAddressesAreLeftOut(t *testing.T) {
	ns, w := start(t)
	await(t, w, "eth0")
	ns.Command(t, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=1")
	ns.Command(t, "ip", "addr", "add", "fd00::1/64", "dev", "eth0")
	ns.Command(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
	await(t, w, "eth0 192.0.2.1/24") // duplicate address detection takes a second
	await(t, w, "eth0 192.0.2.1/24 fd00::1/64")
}

func TestEnslavedInterfacesAreLeftOut(t *testing.T) {
	ns, w := start(t)
	await(t, w, "eth0")
	ns.Lines(t, `
		ip link add br0 type bridge
		ip link set eth0 master br0
		ip link set br0 up`)
	await(t, w, "br0")
	ns.Command(t, "ip", "link", "set", "eth0", "nomaster")
	netnstest.Eventually(t, limit, func() error { // br0 has no carrier now
		if s := w.Snapshot(); len(s) == 0 || s[0].Name != "eth0" {
			return fmt.Errorf("snapshot is %v", s)
		}
		return nil
	})
}

func TestExclusionsFollowTheUser(t *testing.T) {
	ns, w := start(t)
	await(t, w, "eth0")
	ns.Command(t, "ip", "link", "add", "docker0", "type", "bridge")
	ns.Lines(t, `
		ip link add link eth0 name mac0 type macvlan
		ip link set mac0 up`)
	await(t, w, "eth0", "mac0") // docker0 is excluded by default, and is down
	w.SetExclude([]*regexp.Regexp{regexp.MustCompile("^eth")})
	await(t, w, "mac0")
	w.SetExclude(nil)
	await(t, w, "eth0", "mac0")
}

// A bridge called kube-ipvs0 stands for kube-proxy's interface. The client's ping, which the kernel can answer only if
// it told its hardware address, shows what KernelAnswers predicts.
func TestKernelAnswersInTheSpeakersPlace(t *testing.T) {
	t.Parallel()
	ns, client := netnstest.New(t), netnstest.New(t)
	netnstest.Veth(t, ns, "eth0", client, "peer")
	ns.Lines(t, `
		ip addr add 192.0.2.1/24 dev eth0
		ip link add kube-ipvs0 type bridge
		ip addr add 192.0.2.50/32 dev kube-ipvs0`)
	client.Command(t, "ip", "addr", "add", "192.0.2.9/24", "dev", "peer")
	client.Command(t, "ping", "-c1", "-W5", "192.0.2.1") // the link works
	for _, test := range []struct {
		sysctl  string
		answers bool
	}{
		{"net.ipv4.conf.all.arp_ignore=0", true},
		{"net.ipv4.conf.all.arp_ignore=1", false},
		{"net.ipv4.conf.all.arp_ignore=3", true},
		{"net.ipv4.conf.eth0.arp_ignore=2", true}, // the larger one counts
		{"net.ipv4.conf.all.arp_ignore=0", false},
	} {
		ns.Command(t, "sysctl", "-qw", test.sysctl)
		out, err := client.Try("arping", "-c", "1", "-w", "1", "-I", "peer", "192.0.2.50")
		if (err == nil) != test.answers {
			t.Errorf("%s: the kernel answers: %v, want %v\n%s", test.sysctl, err == nil, test.answers, out)
		}
		var told []string
		ns.Do(func() { told = KernelAnswers(os.DirFS("/proc/sys"), []string{"eth0"}) })
		if len(told) > 0 != test.answers {
			t.Errorf("%s: KernelAnswers says %q", test.sysctl, told)
		}
	}
}

// TestFramesAreCounted: what a neighbor sends is counted on the link where it came in.
func TestFramesAreCounted(t *testing.T) {
	t.Parallel()
	ns, peer := netnstest.New(t), netnstest.New(t)
	netnstest.Veth(t, ns, "eth0", peer, "peer")
	netnstest.Veth(t, ns, "eth1", peer, "idle")
	peer.Lines(t, `
		sysctl -qw net.ipv6.conf.idle.disable_ipv6=1
		ip addr add 192.0.2.2/24 dev peer
		ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev peer`)
	counts := func() (eth0, eth1 uint64) {
		t.Helper()
		var out [2]uint64
		for i, name := range []string{"eth0", "eth1"} {
			ns.Do(func() {
				dev, err := net.InterfaceByName(name)
				if err == nil {
					out[i], err = Frames(plan.Link{Index: dev.Index, Name: name})
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		return out[0], out[1]
	}
	before, idle := counts()
	const sent = 20
	peer.Do(func() {
		conn, err := net.Dial("udp", "192.0.2.9:9")
		for i := 0; i < sent && err == nil; i++ {
			_, err = conn.Write([]byte("x"))
		}
		if err != nil {
			t.Error(err)
		}
	})
	if after, still := counts(); after < before+sent || still != idle {
		t.Errorf("eth0 counted %d frames more, want %d; eth1 %d, want none", after-before, sent, still-idle)
	}
	ns.Do(func() {
		if _, err := Frames(plan.Link{Index: 4711, Name: "gone"}); err == nil || !strings.Contains(err.Error(), "gone") {
			t.Errorf("frames of a link that is not there: %v", err)
		}
	})
}
