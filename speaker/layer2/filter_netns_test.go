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
	arps, ndps := w.socket(familyARP), w.socket(familyNDP)
	frames := [2]<-chan []byte{capture(arps, s.link.MAC), capture(ndps, s.link.MAC)}
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
		sendAll(w.t, arps, arpRequest(host4, a))
	} else {
		sendAll(w.t, ndps, resolution(a))
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

// It is not parallel, so that nothing but the rate limit slows it down.
func TestFiveThousandAddressesAreOnTheWireInTwoSeconds(t *testing.T) {
	w := newWorldOf(t)
	w.config.RefreshEvery, w.config.RepeatFor = -1, 1
	s := w.newSpeaker("")
	frames := capture(w.socket(familyARP), s.link.MAC)
	var addresses []netip.Addr
	for a := netip.MustParseAddr("10.1.0.1"); len(addresses) < 5000; a = a.Next() {
		addresses = append(addresses, a)
	}
	start := time.Now()
	s.apply(addresses...)
	t.Logf("Apply took %v", time.Since(start))
	for range 2 * len(addresses) {
		receive(t, frames)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("the last frame came after %v", d)
	}
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

// tagged returns frame with an IEEE 802.1Q tag.
func tagged(frame []byte, vlan byte) []byte {
	return slices.Concat(frame[:12], []byte{0x81, 0, 0, vlan}, frame[12:])
}

// What does not concern our addresses never leaves the kernel; what is broken or misplaced about them is counted.
func TestTheKernelFiltersOtherFrames(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	s.apply(vip4, vip6)
	arps, ndps := w.socket(familyARP), w.socket(familyNDP)
	request, ns := arpRequest(host4, vip4), resolution(vip6)
	for range 100 {
		sendAll(t, arps,
			arpRequest(host4, vip4.Next()),
			tagged(arpRequest(host4, vip4.Next()), 10),
			tagged(request, 10), // there is no device for this VLAN: the kernel strips the tag
			request[:40],
			patch(request, 14, 0, 6),
			patch(request, 18, 8),
		)
		sendAll(t, ndps,
			resolution(vip6.Next()),
			tagged(ns, 10),
			patch(ns, 21, 64),
			patch(ns, 56, 1, 2),
			patch(ns, 18, 0, 40),
			resum(patch(ns, 55, 1)),
		)
	}
	sendAll(t, arps, tagged(request, 0), request) // each socket is read in order, so these come last
	sendAll(t, ndps, tagged(ns, 0), ns)           // VLAN 0 is a priority and no VLAN (IEEE 802.1Q, 9.6)
	for _, a := range []netip.Addr{vip4, vip6} {
		netnstest.Eventually(t, limit, func() error {
			if n := s.metric("metallb_layer2_responses_sent", a.String()); n != 2 {
				return fmt.Errorf("%v answers for %v, want 2", n, a)
			}
			return nil
		})
		if n := s.metric("metallb_layer2_requests_received", a.String()); n != 2 {
			t.Errorf("%v requests for %v passed, want 2", n, a)
		}
	}
	want := map[family]map[reason]float64{
		familyARP: {reasonVLAN: 100, reasonShort: 100, reasonHardwareType: 100, reasonLength: 100},
		familyNDP: {reasonVLAN: 100, reasonHopLimit: 100, reasonChecksum: 100, reasonShort: 100, reasonMalformed: 100},
	}
	for f, byReason := range want {
		for _, r := range reasons() {
			if n := s.metric("fairlead_layer2_frames_ignored_total", f.String(), string(r)); n != byReason[r] {
				t.Errorf("%v frames of %v are ignored as %s, want %v", n, f, r, byReason[r])
			}
		}
	}
}
