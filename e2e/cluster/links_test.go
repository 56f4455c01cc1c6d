//go:build e2e

package cluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestLinksAndNeighbors(t *testing.T) {
	c := start(t, Options{Nodes: 2})
	ask := func(addr netip.Addr) error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := c.Outside().HTTPGet(ctx, "http://"+netip.AddrPortFrom(addr, 10256).String()+"/healthz") // kube-proxy's
		return err
	}
	node := c.Node(1)
	reachable := func(want bool) {
		t.Helper()
		for _, addr := range []netip.Addr{node.IPv4, node.IPv6} {
			err := Eventually(t.Context(), patience, func() error {
				if err := ask(addr); (err == nil) != want {
					return fmt.Errorf("reachable: want %v, got error %v", want, err)
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", addr, err)
			}
		}
	}
	reachable(true)
	for name, cut := range map[string]func(context.Context, int) error{"cut": c.Cut, "mute": c.Mute} {
		t.Run(name, func(t *testing.T) {
			if err := cut(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			reachable(false)
			carrier, err := node.Run(t.Context(), "ip", "-br", "link", "show", "eth0")
			if err != nil || strings.Contains(carrier, "NO-CARRIER") != (name == "cut") {
				t.Errorf("%v, %s", err, carrier)
			}
			if err := c.Heal(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			reachable(true)
		})
	}
	t.Run("who has", func(t *testing.T) {
		v4, v6 := segmentV4(150), segmentV6(150)
		for _, addr := range []netip.Addr{v4, v6} {
			if macs, err := c.Outside().WhoHas(t.Context(), addr, 300*time.Millisecond); err != nil || len(macs) != 0 {
				t.Errorf("nobody has %s yet: %v, %v", addr, macs, err)
			}
		}
		var want []net.HardwareAddr
		for _, n := range c.Nodes() { // two owners, as when a product fails
			if err := ip(t.Context(), n.Namespace, fmt.Sprintf("addr add %s/32 dev eth0", v4), fmt.Sprintf("addr add %s/128 dev eth0 nodad", v6)); err != nil {
				t.Fatal(err)
			}
			want = append(want, n.MAC)
		}
		for _, addr := range []netip.Addr{v4, v6} {
			macs, err := c.Outside().WhoHas(t.Context(), addr, 500*time.Millisecond)
			if err != nil || fmt.Sprint(macs) != fmt.Sprint(want) {
				t.Errorf("who has %s: %v, %v, want %v", addr, macs, err, want)
			}
			mac, err := c.Outside().Neighbor(t.Context(), addr)
			if err != nil || c.HostOf(mac) == nil {
				t.Errorf("neighbor %s: %v, %v", addr, mac, err)
			}
		}
		if mac, err := c.Outside().Neighbor(t.Context(), segmentV4(151)); err == nil {
			t.Errorf("a neighbor that is not there: %s", mac)
		}
	})
	t.Run("probe", func(t *testing.T) {
		probe := c.Outside().Probe("http://"+netip.AddrPortFrom(node.IPv4, 10256).String()+"/healthz", 20*time.Millisecond, 200*time.Millisecond)
		more := func() {
			t.Helper()
			n := probe.Answered() + 10
			if err := Eventually(t.Context(), patience, func() error {
				if probe.Answered() < n {
					return probe.Report().LastError
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		more()
		if err := c.Mute(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond) // the gap to be measured
		if err := c.Heal(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		more()
		report := probe.Stop()
		t.Logf("gap %s, %d of %d answered", report.Gap, report.Answered, report.Asked)
		if report.Gap < 450*time.Millisecond || report.Answered >= report.Asked {
			t.Errorf("half a second without a link shows as %+v", report)
		}
	})
}
