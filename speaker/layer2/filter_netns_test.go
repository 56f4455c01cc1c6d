//go:build linux && netns

package layer2

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

// manyAddresses returns n addresses of each family, none next to another.
func manyAddresses(n int) []netip.Addr {
	var out []netip.Addr
	for i := range n {
		w := uint32(i) * 7919 % (1 << 22) * 3
		out = append(out, word(familyARP, 10<<24|w), word(familyNDP, w+1))
	}
	return out
}

// askAll sends a question for every address, some at a time, and fails unless each is answered from the speaker. As a
// kernel does, it asks again after a second: the repeated announcements of many addresses may overflow a socket.
func (w *world) askAll(s *speaker, addresses []netip.Addr) {
	w.t.Helper()
	arps, ndps := w.socket(0x0806), w.socket(0x86dd)
	frames := [2]<-chan []byte{capture(w.t, arps, s.link.MAC), capture(w.t, ndps, s.link.MAC)}
	for batch := range slices.Chunk(addresses, 64) {
		missing := map[netip.Addr]bool{}
		for _, a := range batch {
			missing[a] = true
		}
		again, timeout := time.NewTimer(0), time.After(limit)
		for len(missing) > 0 {
			var answer []byte
			select {
			case answer = <-frames[0]:
			case answer = <-frames[1]:
			case <-again.C:
				for a := range missing {
					w.ask(arps, ndps, a)
				}
				again.Reset(time.Second)
				continue
			case <-timeout:
				w.t.Fatalf("no answer for %d of %d addresses: %v", len(missing), len(batch), missing)
			}
			if macAddr(answer[:6]) != hostMAC { // a gratuitous announcement
				continue
			}
			if binary.BigEndian.Uint16(answer[12:]) == 0x0806 {
				delete(missing, netip.AddrFrom4([4]byte(answer[28:32])))
			} else {
				delete(missing, netip.AddrFrom16([16]byte(answer[62:78])))
			}
		}
	}
}

// ask sends a question for one address.
func (w *world) ask(arps, ndps conn, a netip.Addr) {
	w.t.Helper()
	if a.Is4() {
		must(w.t, send(arps, arpRequest(host4, a)))
	} else {
		must(w.t, send(ndps, resolution(a)))
	}
}

func TestManyAddressesAtOnce(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	addresses := manyAddresses(1000)
	start := time.Now()
	s.apply(addresses...)
	t.Logf("Apply of %d addresses took %v", len(addresses), time.Since(start))
	w.askAll(s, addresses)
	s.apply(addresses[:100]...)
	w.askAll(s, addresses[:100])
	s.apply()
}

// Old kernels allow 20 KB for a socket's options: several filters do not fit, nor do the groups into one socket.
func TestManyAddressesWithLittleKernelMemory(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("sysctl -qw net.core.optmem_max=20480")
	addresses := manyAddresses(1000)
	s.apply(addresses[:1000]...)
	s.apply(addresses...)
	w.askAll(s, addresses)
}

func TestTheKernelFiltersOtherFrames(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	s.apply(vip4, vip6)
	arps, ndps := w.socket(0x0806), w.socket(0x86dd)
	tagged := slices.Concat(arpRequest(host4, vip4)[:12], []byte{0x81, 0, 0, 10}, arpRequest(host4, vip4)[12:])
	for range 100 {
		must(t, send(arps, arpRequest(host4, vip4.Next())))
		must(t, send(arps, tagged))
		must(t, send(ndps, resolution(vip6.Next())))
		must(t, send(ndps, patch(resolution(vip6), 21, 64)))
	}
	must(t, send(arps, arpRequest(host4, vip4))) // each socket is read in order, so these come last
	must(t, send(ndps, resolution(vip6)))
	b := &bench{registry: s.registry}
	for _, a := range []netip.Addr{vip4, vip6} {
		netnstest.Eventually(t, limit, func() error {
			if n, _ := b.metric(t, "metallb_layer2_responses_sent", a.String()); n != 1 {
				return fmt.Errorf("%v answers for %v, want 1", n, a)
			}
			return nil
		})
		if n, _ := b.metric(t, "metallb_layer2_requests_received", a.String()); n != 1 {
			t.Errorf("%v requests for %v passed, want 1", n, a)
		}
	}
	families, err := s.registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == "fairlead_layer2_frames_ignored_total" {
			t.Errorf("frames passed the kernel filter that should not have: %v", f)
		}
	}
}
