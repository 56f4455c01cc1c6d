//go:build linux && netns

package layer2

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// newSegmentOfSpeakers is a world whose speakers know each other's links; the one that was added later ranks higher.
func newSegmentOfSpeakers(t *testing.T) *world {
	w := newWorld(t)
	w.config.Outranks = func(_ netip.Addr, node, other string) bool { return node > other }
	w.config.Peer = w.node
	return w
}

// checkAnnounced says unless a speaker announces exactly addresses.
func (s *speaker) checkAnnounced(addresses ...netip.Addr) error {
	var got []netip.Addr
	for _, a := range s.Announced() {
		got = append(got, a.Address)
	}
	if !slices.Equal(got, addresses) {
		return fmt.Errorf("%s announces %v, want %v", s.link, got, addresses)
	}
	return nil
}

func TestASplitHasOneOwnerAndHeals(t *testing.T) {
	w := newSegmentOfSpeakers(t)
	lower, higher := w.newSpeaker(""), w.newSpeaker("")
	one := func(owner, other *speaker) {
		t.Helper()
		netnstest.Eventually(t, limit, func() error {
			return errors.Join(owner.checkAnnounced(vip4, vip6), other.checkAnnounced())
		})
		for _, a := range []netip.Addr{vip4, vip6} {
			w.awaitNeighbor(a, owner, "REACHABLE", "STALE", "DELAY", "PROBE")
			w.resolve(a, owner)
		}
	}
	lower.apply(vip4, vip6)
	w.resolve(vip4, lower)
	w.resolve(vip6, lower)
	higher.apply(vip4, vip6) // neither knows of the other but by what it hears
	one(higher, lower)
	netnstest.Eventually(t, limit, func() error {
		told := 0
		for _, c := range lower.Conflicts() {
			if c.MAC == higher.link.MAC && c.Node == "node2" && c.Silent {
				told++
			}
		}
		if told != 2 {
			return fmt.Errorf("conflicts: %+v", lower.Conflicts())
		}
		return nil
	})
	lower.apply(vip4, vip6)
	one(higher, lower)
	higher.apply()
	one(lower, higher)
	higher.apply(vip4, vip6)
	one(higher, lower)
	lower.apply() // healed: its plan knows now
	one(higher, lower)
}

// The lower one is silent while it hears the higher one, which is then to hand over to it: that answers hosts, but no longer
// the lower one, until that has spoken.
func TestASilentSuccessorTakesOver(t *testing.T) {
	w := newSegmentOfSpeakers(t)
	lower, higher := w.newSpeaker(""), w.newSpeaker("")
	higher.apply(vip4, vip6)
	lower.apply(vip4, vip6)
	netnstest.Eventually(t, limit, func() error {
		return errors.Join(higher.checkAnnounced(vip4, vip6), lower.checkAnnounced())
	})
	var leaving []plan.Announcement
	for _, a := range []netip.Addr{vip4, vip6} {
		leaving = append(leaving, plan.Announcement{Address: a, Link: higher.link})
	}
	must(t, higher.ApplyLeaving(t.Context(), nil, leaving))
	w.resolve(vip4, higher) // it does so, for hosts
	w.resolve(vip6, higher)
	netnstest.Eventually(t, limit, func() error { return lower.checkAnnounced(vip4, vip6) })
	for _, a := range []netip.Addr{vip4, vip6} {
		w.awaitNeighbor(a, lower, "REACHABLE", "STALE", "DELAY", "PROBE")
		w.resolve(a, lower)
	}
}

// The lower one comes later, so that it is the higher one that has to answer.
func TestALateLowerSpeakerIsSilenced(t *testing.T) {
	w := newSegmentOfSpeakers(t)
	lower, higher := w.newSpeaker(""), w.newSpeaker("")
	higher.apply(vip4, vip6)
	netnstest.Eventually(t, limit, func() error { // its repetitions are over
		if n := higher.metric("metallb_layer2_gratuitous_sent", vip4.String()); n < 12 {
			return fmt.Errorf("%v frames", n)
		}
		return nil
	})
	lower.apply(vip4, vip6)
	netnstest.Eventually(t, limit, func() error {
		return errors.Join(higher.checkAnnounced(vip4, vip6), lower.checkAnnounced())
	})
	w.resolve(vip4, higher)
	w.resolve(vip6, higher)

	// It asks, and hears that the other one still lives: longer than the silence, without a word of its own.
	said := lower.metric("metallb_layer2_gratuitous_sent", vip4.String())
	answered := higher.metric("metallb_layer2_responses_sent", vip4.String())
	netnstest.Eventually(t, limit, func() error {
		if n := higher.metric("metallb_layer2_responses_sent", vip4.String()) - answered; n < 8 {
			return fmt.Errorf("%v probes were answered", n)
		}
		return nil
	})
	if n := lower.metric("metallb_layer2_gratuitous_sent", vip4.String()) - said; n != 0 {
		t.Errorf("the silent one sent %v announcements", n)
	}
	if err := errors.Join(higher.checkAnnounced(vip4, vip6), lower.checkAnnounced()); err != nil {
		t.Error(err)
	}
}

func TestAForeignHostIsReported(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	s.apply(vip4, vip6)
	foreign := netnstest.New(t)
	netnstest.Veth(t, foreign, "eth0", w.client, "foreign")
	w.client.Command(t, "ip", "link", "set", "foreign", "master", "lan")
	w.awaitForwarding("foreign")
	awaitUp(t, foreign, "eth0")
	link := linkOf(t, foreign, "eth0")
	foreign.Command(t, "ip", "addr", "add", vip4.String()+"/24", "dev", "eth0")
	foreign.Command(t, "arping", "-U", "-c", "1", "-I", "eth0", vip4.String())
	foreign.Do(func() {
		c, err := listen(link, familyNDP, nil)
		if err == nil {
			_, err = c.WriteBatch(gratuitousNDP(vip6, link.MAC))
			err = errors.Join(err, c.Close())
		}
		if err != nil {
			t.Error(err)
		}
	})
	netnstest.Eventually(t, limit, func() error {
		var got []netip.Addr
		for _, c := range s.Conflicts() {
			if c.MAC == link.MAC && c.Node == "" && !c.Silent && c.Link == s.link {
				got = append(got, c.Address)
			}
		}
		if !slices.Equal(got, []netip.Addr{vip4, vip6}) {
			return fmt.Errorf("conflicts: %+v", s.Conflicts())
		}
		return nil
	})
	if err := s.checkAnnounced(vip4, vip6); err != nil {
		t.Error(err)
	}
	if n := s.metric("fairlead_layer2_conflicts_total", hostForeign, vip4.String()); n < 1 {
		t.Errorf("%v conflicts are counted", n)
	}
}

// Both links of a node are on one segment, and the switch reflects: each hears what the other one announces, and itself.
func TestTwoLinksOnOneSegmentAreNoConflict(t *testing.T) {
	w := newWorld(t)
	s := w.newSpeaker("")
	netnstest.Veth(t, s.ns, "eth1", w.client, "second")
	w.client.Command(t, "ip", "link", "set", "second", "master", "lan")
	w.awaitForwarding("second")
	awaitUp(t, s.ns, "eth1")
	w.client.Lines(t, `
		bridge link set dev port1 hairpin on
		bridge link set dev second hairpin on`)
	second := linkOf(t, s.ns, "eth1")
	var want []plan.Announcement
	for _, l := range []plan.Link{s.link, second} {
		want = append(want, plan.Announcement{Address: vip4, Link: l}, plan.Announcement{Address: vip6, Link: l})
	}
	must(t, s.Apply(t.Context(), want))
	netnstest.Eventually(t, limit, func() error {
		for _, f := range []string{"arp", "ndp"} {
			if s.metric("fairlead_layer2_frames_ignored_total", f, string(reasonOwn)) < 3 {
				return fmt.Errorf("no %s frame of our own was heard", f)
			}
		}
		return nil
	})
	if c := s.Conflicts(); len(c) != 0 {
		t.Errorf("conflicts: %v", c)
	}
	out := s.ns.Command(t, "ip", "-6", "maddr", "show", "dev", "eth1") // the link came after the address
	if !slices.Contains(strings.Fields(out), "ff02::1:ff12:3456") {
		t.Errorf("eth1 did not join the group:\n%s", out)
	}
}
