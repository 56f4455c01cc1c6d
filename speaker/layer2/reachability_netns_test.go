//go:build linux && (netns || soak)

package layer2

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

// Neighbor unreachability detection (RFC 4861, 7.3) of a client whose entries are reachable for a second never fails
// during a live flow.
func TestReachabilityOfALiveFlow(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	s.apply(vip4, vip6)
	for _, family := range []string{"ipv4", "ipv6"} {
		w.client.Lines(t, fmt.Sprintf(`
			sysctl -qw net.%[1]s.neigh.lan.base_reachable_time_ms=1000
			sysctl -qw net.%[1]s.neigh.lan.delay_first_probe_time=1
			sysctl -qw net.%[1]s.neigh.lan.retrans_time_ms=1000`, family))
	}
	var flows [2]net.Conn
	for i, a := range []netip.Addr{vip4, vip6} {
		w.resolve(a, s)
		w.client.Do(func() {
			var err error
			if flows[i], err = net.Dial("udp", netip.AddrPortFrom(a, 9).String()); err != nil {
				t.Error(err)
			}
		})
	}
	failed := w.watchNeighbors(vip4, vip6)
	before := [2]float64{}
	for i, a := range []netip.Addr{vip4, vip6} {
		before[i] = s.metric("metallb_layer2_responses_sent", a.String())
	}
	for end, tick := time.After(reachabilityFor), time.Tick(20*time.Millisecond); ; {
		select {
		case <-tick:
			for _, f := range flows {
				_, _ = f.Write([]byte("x"))
			}
			continue
		case line := <-failed:
			t.Fatalf("an entry failed: %s", line)
		case <-end:
		}
		break
	}
	for i, a := range []netip.Addr{vip4, vip6} {
		probes := s.metric("metallb_layer2_responses_sent", a.String()) - before[i]
		if least := reachabilityFor.Seconds() / 5; probes < least {
			t.Errorf("%v was probed %v times in %v, want at least %v: the test tests nothing", a, probes, reachabilityFor, least)
		}
		if err := w.checkNeighbor(a, s, "REACHABLE", "STALE", "DELAY", "PROBE"); err != nil {
			t.Error(err)
		}
	}
}

// watchNeighbors yields what the client's kernel says of entries of addresses that fail, or are resolved anew, from now
// on.
func (w *world) watchNeighbors(addresses ...netip.Addr) <-chan string {
	w.t.Helper()
	c := exec.Command("nsenter", "--net="+w.client.Path(), "ip", "-o", "monitor", "neigh")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // says that it was killed
	})
	watching, failed := make(chan struct{}), make(chan string, 1000)
	go func() {
		begin := sync.OnceFunc(func() { close(watching) })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			begin()
			f := strings.Fields(lines.Text())
			for _, a := range addresses {
				if slices.Contains(f, a.String()) && (slices.Contains(f, "FAILED") || slices.Contains(f, "INCOMPLETE")) {
					failed <- lines.Text()
				}
			}
		}
	}()
	netnstest.Eventually(w.t, limit, func() error { // it sees a change of another entry
		w.client.Lines(w.t, `
			ip neigh replace 172.25.254.200 dev lan lladdr 02:00:00:00:00:77 nud stale
			ip neigh del 172.25.254.200 dev lan`)
		select {
		case <-watching:
			return nil
		default:
			return errors.New("ip monitor is silent")
		}
	})
	return failed
}
