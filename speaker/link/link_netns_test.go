//go:build linux && netns

package link

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
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
