//go:build linux

package layer2

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// peerMAC is a link of another speaker, of the node "peer".
var peerMAC = macAddr{2, 0, 0, 0, 0, 0x42}

// segmentOfSpeakers is the configuration of the node "own", which outranks the other one or not.
func segmentOfSpeakers(outranks bool) Config {
	return Config{
		RefreshEvery: -1,
		Node:         "own",
		Peer: func(mac [6]byte) (string, bool) {
			node, ok := map[macAddr]string{peerMAC: "peer", {2, 0, 0, 0, 0, 3}: "own"}[mac]
			return node, ok
		},
		Outranks: func(_ netip.Addr, node, other string) bool {
			if node != "own" || other != "peer" {
				panic(fmt.Sprintf("asked for %s and %s", node, other))
			}
			return outranks
		},
	}
}

// settled applies announcements and waits until their repetitions are over.
func (b *bench) settled(t *testing.T, want ...plan.Announcement) {
	t.Helper()
	b.apply(t, want...)
	time.Sleep(10 * time.Second)
	b.network.take()
	b.takeChanged()
}

// hear makes the speaker receive a frame on eth0.
func (b *bench) hear(f family, frame []byte) {
	b.network.conn(eth0, f).frames <- frame
	synctest.Wait()
}

// takeChanged reports whether Changed has a value.
func (b *bench) takeChanged() bool {
	synctest.Wait()
	select {
	case <-b.Changed():
		return true
	default:
		return false
	}
}

// sentAt returns when frames went out, in tenths of seconds from a time on.
func (b *bench) sentAt(from time.Duration) []float64 {
	var out []float64
	for _, f := range b.network.take() {
		out = append(out, float64((f.at-from).Round(100*time.Millisecond))/1e9)
	}
	return out
}

func TestAForeignHostIsReportedAndNeverFought(t *testing.T) {
	inBubble(t, segmentOfSpeakers(true), func(t *testing.T, b *bench) {
		b.settled(t, on0, on0v6)
		since := time.Now()
		for range 20 {
			b.hear(familyARP, gratuitousARP(vip4, hostMAC)[0])
			b.hear(familyARP, arpRequest(vip4, host4))
			b.hear(familyNDP, gratuitousNDP(vip6, hostMAC)[0])
			time.Sleep(time.Second)
		}
		if frames := b.network.take(); len(frames) != 0 {
			t.Errorf("%d frames were sent", len(frames))
		}
		want := []Conflict{
			{Address: vip4, Link: eth0, MAC: hostMAC, Since: since, Last: since.Add(19 * time.Second)},
			{Address: vip6, Link: eth0, MAC: hostMAC, Since: since, Last: since.Add(19 * time.Second)},
		}
		if diff := cmp.Diff(want, b.Conflicts(), compareAddresses()); diff != "" || !b.takeChanged() {
			t.Errorf("conflicts (-want +got):\n%s", diff)
		}
		if n, _ := b.metric(t, "fairlead_layer2_conflicts_total", hostForeign, vip4.String()); n != 40 {
			t.Errorf("%v frames are counted, want 40", n)
		}
		if len(b.Announced()) != 2 {
			t.Errorf("announced: %v", b.Announced())
		}
		b.hear(familyARP, arpRequest(host4, vip4))
		if len(b.network.take()) != 1 {
			t.Error("a request is not answered")
		}
		time.Sleep(conflictMemory)
		if len(b.Conflicts()) != 0 || !b.takeChanged() {
			t.Errorf("conflicts that are long over: %v", b.Conflicts())
		}
	})
}

func TestOwnFramesAreNoConflict(t *testing.T) {
	inBubble(t, segmentOfSpeakers(false), func(t *testing.T, b *bench) {
		b.settled(t, on0, on0v6, on1)
		b.hear(familyARP, gratuitousARP(vip4, ourMAC)[0])               // reflected
		b.hear(familyARP, gratuitousARP(vip4, eth1.MAC)[1])             // of the other link, which is on the same segment
		b.hear(familyARP, arpRequestOf(macAddr{2, 0, 0, 0, 0, 3}))      // of a link that announces nothing
		b.hear(familyNDP, gratuitousNDP(vip6, ourMAC)[0])               // reflected
		b.hear(familyARP, arpRequest(netip.IPv4Unspecified(), vip4))    // a probe is a question
		b.hear(familyNDP, probe(vip6))                                  // and so is this
		b.hear(familyARP, gratuitousARP(vip4.Next(), peerMAC)[0])       // of an address that is not ours
		b.hear(familyNDP, gratuitousNDP(vip6.Next(), hostMAC)[0])       // the same
		b.hear(familyNDP, nsFrame(ourMAC, host6, vip6, vip6, &hostMAC)) // an honest question
		time.Sleep(time.Second)
		if len(b.Conflicts()) != 0 || len(b.Announced()) != 3 || b.takeChanged() {
			t.Errorf("conflicts: %v; announced: %v", b.Conflicts(), b.Announced())
		}
	})
}

// arpRequestOf is an announcement of vip4 by a hardware address.
func arpRequestOf(mac macAddr) []byte { return gratuitousARP(vip4, mac)[0] }

func TestTheHigherSpeakerAnswersOnceASecond(t *testing.T) {
	inBubble(t, segmentOfSpeakers(true), func(t *testing.T, b *bench) {
		b.settled(t, on0)
		from := time.Since(b.start)
		for range 30 {
			b.hear(familyARP, gratuitousARP(vip4, peerMAC)[0])
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		if got, want := b.sentAt(from), []float64{0.5, 0.5, 1.5, 1.5, 2.5, 2.5, 3.5, 3.5}; !slices.Equal(got, want) {
			t.Errorf("answers at %v, want %v", got, want)
		}
		c := b.Conflicts()
		if len(c) != 1 || c[0].Node != "peer" || c[0].Silent || len(b.Announced()) != 1 {
			t.Errorf("conflicts: %+v; announced: %v", c, b.Announced())
		}
		if n, _ := b.metric(t, "fairlead_layer2_conflicts_total", hostSpeaker, vip4.String()); n != 30 {
			t.Errorf("%v frames are counted, want 30", n)
		}
	})
}

// An address that moves on purpose is announced by its next owner a moment before this node's plan drops it.
func TestAMoveIsNotFought(t *testing.T) {
	inBubble(t, segmentOfSpeakers(true), func(t *testing.T, b *bench) {
		b.settled(t, on0, next0)
		b.hear(familyARP, gratuitousARP(vip4, peerMAC)[0])
		time.Sleep(300 * time.Millisecond)
		b.apply(t, next0)
		time.Sleep(10 * time.Second)
		if frames := b.network.take(); len(frames) != 0 || len(b.Conflicts()) != 0 {
			t.Errorf("%d frames were sent; conflicts: %v", len(frames), b.Conflicts())
		}
	})
}

func TestTheLowerSpeakerIsSilentWhileItHearsTheOther(t *testing.T) {
	inBubble(t, segmentOfSpeakers(false), func(t *testing.T, b *bench) {
		b.settled(t, on0, on0v6)
		from := time.Since(b.start)
		b.hear(familyARP, gratuitousARP(vip4, peerMAC)[0])
		if got := b.Announced(); !slices.Equal(got, []plan.Announcement{on0v6}) || !b.takeChanged() {
			t.Errorf("announced: %v", got)
		}
		b.apply(t, on0, on0v6) // the plan does not know, and changes nothing
		b.hear(familyARP, arpRequest(host4, vip4))
		time.Sleep(750 * time.Millisecond)
		if c := b.Conflicts(); len(c) != 1 || !c[0].Silent || c[0].Node != "peer" {
			t.Errorf("conflicts: %+v", c)
		}
		b.hear(familyARP, arpReplyOf(peerMAC)) // to the probe
		time.Sleep(2900 * time.Millisecond)
		probes := b.network.take()
		for _, f := range probes {
			if !slices.Equal(f.frame, probeARP(vip4, ourMAC)) {
				t.Errorf("at %v was sent %x", f.at-from, f.frame)
			}
		}
		if len(probes) < 5 || len(probes) > 8 {
			t.Errorf("%d probes in 3.65 s", len(probes))
		}
		b.takeChanged()
		time.Sleep(200 * time.Millisecond) // 3 s after the reply
		if len(b.Announced()) != 2 || !b.takeChanged() {
			t.Errorf("announced: %v", b.Announced())
		}
		b.hear(familyARP, arpRequest(host4, vip4))
		time.Sleep(10 * time.Second)
		if n := len(b.network.take()); n != 1+2*6 {
			t.Errorf("%d frames were sent, want an answer and six rounds", n)
		}
	})
}

// arpReplyOf is an answer for vip4 to a probe of ours.
func arpReplyOf(mac macAddr) []byte { return answerARP(probeARP(vip4, ourMAC), mac, ours).reply }

func TestTheLowerSpeakerOfTwoIsSilentInBothFamilies(t *testing.T) {
	inBubble(t, segmentOfSpeakers(false), func(t *testing.T, b *bench) {
		b.settled(t, on0, on0v6)
		b.hear(familyNDP, gratuitousNDP(vip6, peerMAC)[0])
		b.hear(familyNDP, resolution(vip6))
		b.hear(familyNDP, probe(vip6))
		if got := b.Announced(); !slices.Equal(got, []plan.Announcement{on0}) || len(b.network.take()) != 0 {
			t.Errorf("announced: %v, or a solicitation is answered", got)
		}
		time.Sleep(time.Second)
		if frames := b.network.take(); len(frames) == 0 || !slices.Equal(frames[0].frame, probe6()) {
			t.Errorf("probes: %v", frames)
		}
		if n, _ := b.metric(t, "fairlead_layer2_frames_ignored_total", "ndp", string(reasonSilent)); n != 2 {
			t.Errorf("%v frames are ignored, want 2", n)
		}
	})
}

// probe6 is a probe of ours for vip6.
func probe6() []byte {
	f := probe(vip6)
	copy(f[6:], ourMAC[:])
	return f
}

// A kernel that has the address itself, without strict ARP, sends requests from it; it is no speaker that announces it.
func TestAPeersKernelSilencesNobody(t *testing.T) {
	inBubble(t, segmentOfSpeakers(false), func(t *testing.T, b *bench) {
		b.settled(t, on0)
		request := patch(arpRequest(vip4, host4), 22, peerMAC[:]...)
		b.hear(familyARP, request)
		if len(b.Announced()) != 1 {
			t.Errorf("announced: %v", b.Announced())
		}
		time.Sleep(time.Second)
		if n := len(b.network.take()); n != 2 || len(b.Conflicts()) != 1 {
			t.Errorf("%d frames, want one announcement; conflicts: %v", n, b.Conflicts())
		}
	})
}

func TestALeavingAddressIsAnsweredForUntilTheSuccessorIsHeard(t *testing.T) {
	inBubble(t, segmentOfSpeakers(true), func(t *testing.T, b *bench) {
		b.apply(t, on0, next0)
		if err := b.ApplyLeaving(t.Context(), []plan.Announcement{next0}, []plan.Announcement{on0, on0v6, next0}); err != nil {
			t.Fatal(err)
		}
		b.network.take()
		if got := b.Announced(); !slices.Equal(got, []plan.Announcement{on0, next0}) {
			t.Errorf("announced: %v", got)
		}
		time.Sleep(10 * time.Second)
		for _, a := range announcedOrder(b.network.take()) {
			if a == vip4 {
				t.Error("it is still announced")
			}
		}
		b.hear(familyARP, arpRequest(host4, vip4))
		if len(b.network.take()) != 1 {
			t.Error("it is not answered for")
		}
		probe := arpRequest(netip.IPv4Unspecified(), vip4)
		copy(probe[6:], peerMAC[:])
		copy(probe[22:], peerMAC[:])
		b.hear(familyARP, probe)
		if n := len(b.network.take()); n != 0 {
			t.Errorf("the successor asks and is answered by %d frames: it would be silent for longer", n)
		}
		b.hear(familyARP, gratuitousARP(vip4, peerMAC)[0])
		b.hear(familyARP, arpRequest(host4, vip4))
		time.Sleep(10 * time.Second)
		if frames := b.network.take(); len(frames) != 0 || !slices.Equal(b.Announced(), []plan.Announcement{next0}) {
			t.Errorf("%d frames after the successor was heard; announced: %v", len(frames), b.Announced())
		}
		b.apply(t, on0, next0) // the move was called off
		if got := announcedOrder(b.network.take()); !slices.Equal(got, []netip.Addr{vip4}) || len(b.Announced()) != 2 {
			t.Errorf("announced anew: %v; announced: %v", got, b.Announced())
		}
		b.apply(t, next0)
		if got := b.Announced(); !slices.Equal(got, []plan.Announcement{next0}) {
			t.Errorf("announced: %v", got)
		}
	})
}

// A successor that plans first is heard before the address is leaving; its next announcement would come a second later.
func TestASuccessorThatWasHeardBeforeNeedNotBeHeardAgain(t *testing.T) {
	inBubble(t, segmentOfSpeakers(true), func(t *testing.T, b *bench) {
		leave := func() {
			t.Helper()
			if err := b.ApplyLeaving(t.Context(), nil, []plan.Announcement{on0}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
		}
		b.settled(t, on0)
		b.hear(familyARP, gratuitousARP(vip4, peerMAC)[0])
		time.Sleep(100 * time.Millisecond)
		leave()
		b.hear(familyARP, arpRequest(host4, vip4))
		if n := len(b.network.take()); n != 0 || len(b.Announced()) != 0 || !b.takeChanged() {
			t.Errorf("%d frames after the successor was heard; announced: %v", n, b.Announced())
		}

		b.settled(t, on0)
		b.hear(familyARP, patch(arpRequest(vip4, host4), 22, peerMAC[:]...)) // the successor's kernel, which announces nothing
		leave()
		b.hear(familyARP, arpRequest(host4, vip4))
		if n := len(b.network.take()); n != 1 || len(b.Announced()) != 1 {
			t.Errorf("%d frames before the successor was heard; announced: %v", n, b.Announced())
		}

		b.settled(t, on0)
		b.hear(familyARP, gratuitousARP(vip4, peerMAC)[0])
		time.Sleep(time.Second)
		b.network.take()
		leave()
		b.hear(familyARP, arpRequest(host4, vip4))
		if n := len(b.network.take()); n != 1 || len(b.Announced()) != 1 {
			t.Errorf("%d frames of what was fought for a second ago; announced: %v", n, b.Announced())
		}
	})
}

func TestManyForgedConflictsAreBounded(t *testing.T) {
	inBubble(t, segmentOfSpeakers(true), func(t *testing.T, b *bench) {
		b.settled(t, on0)
		for i := range 1000 {
			b.hear(familyARP, arpRequestOf(macAddr{2, 1, 0, 0, byte(i >> 8), byte(i)}))
		}
		time.Sleep(time.Second)
		if n := len(b.Conflicts()); n != maxRivals {
			t.Errorf("%d conflicts are remembered", n)
		}
	})
}

func TestAfterAPauseNothingIsSentUntilResume(t *testing.T) {
	inBubble(t, Config{PauseAfter: 500 * time.Millisecond}, func(t *testing.T, b *bench) {
		b.apply(t, on0, on0v6)
		b.network.take()
		b.takeChanged()
		b.network.stop(300 * time.Millisecond)
		b.hear(familyARP, arpRequest(host4, vip4))
		if len(b.network.take()) != 1 {
			t.Error("a short pause silences")
		}
		time.Sleep(200 * time.Millisecond)
		b.network.stop(time.Second)
		b.hear(familyARP, arpRequest(host4, vip4)) // from the queue, before anything noticed
		noticed, paused := b.Paused()
		if !paused || !b.takeChanged() || len(b.Announced()) != 0 {
			t.Fatalf("paused: %v, announced: %v", paused, b.Announced())
		}
		if err := b.Apply(t.Context(), []plan.Announcement{on0, on0v6, on1}); !errors.Is(err, ErrPaused) {
			t.Errorf("Apply returned %v", err)
		}
		time.Sleep(time.Minute)
		b.hear(familyNDP, resolution(vip6))
		if frames := b.network.take(); len(frames) != 0 {
			t.Errorf("%d frames were sent", len(frames))
		}
		if n, _ := b.metric(t, "fairlead_layer2_frames_ignored_total", "arp", string(reasonPaused)); n != 1 {
			t.Errorf("%v frames are counted, want 1", n)
		}
		b.network.stop(time.Second) // another one
		time.Sleep(time.Second)
		if err := b.Resume(t.Context(), noticed, []plan.Announcement{on0, on0v6}); !errors.Is(err, ErrPaused) {
			t.Errorf("Resume of an earlier pause returned %v", err)
		}
		noticed, _ = b.Paused()
		if err := b.Resume(t.Context(), noticed, []plan.Announcement{on0, on1}); err != nil {
			t.Errorf("Resume returned %v", err)
		}
		if n := len(b.network.take()); n != 4 || !slices.Equal(b.Announced(), []plan.Announcement{on0, on1}) {
			t.Errorf("%d frames, want 4; announced: %v", n, b.Announced())
		}
		time.Sleep(5500 * time.Millisecond)
		if n := len(b.network.take()); n != 5*4 {
			t.Errorf("%d frames in the repetitions, want 20", n)
		}
		if _, paused := b.Paused(); paused {
			t.Error("still paused")
		}
	})
}

func TestAPauseEndsAnApplyThatWaits(t *testing.T) {
	inBubble(t, Config{PauseAfter: 500 * time.Millisecond, FrameRate: 10}, func(t *testing.T, b *bench) {
		done := make(chan error)
		go func() { done <- b.Apply(context.Background(), many(100)) }()
		time.Sleep(time.Second)
		b.network.stop(time.Second)
		if err := <-done; !errors.Is(err, ErrPaused) {
			t.Errorf("Apply returned %v", err)
		}
		if len(b.Announced()) != 0 {
			t.Errorf("announced: %v", b.Announced())
		}
	})
}
