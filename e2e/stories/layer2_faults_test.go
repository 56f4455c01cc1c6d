//go:build e2e

package stories

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// lose makes a node lose those packets that the speakers send each other, membership and heartbeats, and that match. All
// else passes. The function it returns ends that, and fails the story if no packet was lost, as the story's end does.
func (s *story) lose(node int, match string) (heal func()) {
	s.Helper()
	n := lab.Node(node)
	const chain = "add table inet loss; add counter inet loss lost; add chain inet loss in { type filter hook input priority 0; }; "
	rule := func(ports string) string {
		return "add rule inet loss in meta l4proto { tcp, udp } " + ports + " " + match + " counter name lost drop; "
	}
	_, err := n.Run(s.ctx, "nft", chain+rule("th dport { 7944, 7947 }")+rule("th sport 7947"))
	s.must(err)
	healed := false
	heal = func() {
		if healed {
			return
		}
		healed = true
		counted, err := n.Run(context.Background(), "nft", "list counter inet loss lost")
		s.must(err)
		if strings.Contains(counted, "packets 0 ") {
			s.Errorf("%s lost nothing, so that the story shows nothing", n.Name)
		}
		s.Logf("%s lost: %s", n.Name, strings.Join(strings.Fields(counted)[7:9], " "))
		_, err = n.Run(context.Background(), "nft", "delete table inet loss")
		s.must(err)
	}
	s.Cleanup(heal)
	return heal
}

// deafen makes nodes lose what the speakers on others send them.
func (s *story) deafen(hearers, senders []int) (heal func()) {
	s.Helper()
	var from []string
	for _, i := range senders {
		from = append(from, lab.Node(i).IPv4.String())
	}
	var heals []func()
	for _, i := range hearers {
		heals = append(heals, s.lose(i, "ip saddr { "+strings.Join(from, ", ")+" }"))
	}
	return func() {
		for _, heal := range heals {
			heal()
		}
	}
}

// but is every node but this one.
func but(node int) (out []int) {
	for i := range lab.Nodes() {
		if i != node {
			out = append(out, i)
		}
	}
	return out
}

// part is a part of the story, with a time limit of its own.
func (w *watched) part(t *testing.T) *watched {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), time.Minute)
	t.Cleanup(cancel)
	return &watched{&story{t, ctx}, w.address, w.owner}
}

// The membership is split, or hears in one direction only, on a segment that is whole: one node announces the address, but
// for moments, and it moves at most once. When all hear each other again it does not move: who heard the others announce
// was on the segment all the time, and is no newcomer.
func TestSplitAndOneWayLinks(t *testing.T) {
	s := begin(t)
	s.settle(settled)
	w := s.watch("apart")
	candidate := but(w.owner)[0]
	for _, c := range []struct {
		name  string
		node  int
		deaf  bool // the node does not hear the others
		mute  bool // the others do not hear the node
		short bool // it is part of the short version
	}{
		{"the owner is split off", w.owner, true, true, true},
		{"the owner does not hear", w.owner, true, false, true},
		{"the owner is not heard", w.owner, false, true, true},
		{"a candidate is split off", candidate, true, true, false},
		{"a candidate does not hear", candidate, true, false, false},
		{"a candidate is not heard", candidate, false, true, false},
	} {
		if !c.short && !long {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			w := w.part(t)
			w.awaitOwner()
			var heals []func()
			if c.deaf {
				heals = append(heals, w.deafen([]int{c.node}, but(c.node)))
			}
			if c.mute {
				heals = append(heals, w.deafen(but(c.node), []int{c.node}))
			}
			w.calm(w.look(4*time.Second), 1, 2*time.Second)
			for _, heal := range heals {
				heal()
			}
			w.calm(w.look(settled+time.Second), 0, time.Second)
		})
	}
}

// Every node loses some of what the speakers send each other, in both directions: a fifth moves nothing, and a third not
// more than once.
func TestPacketLoss(t *testing.T) {
	for _, c := range []struct{ percent, moves int }{{20, 0}, {30, 1}} {
		if c.percent > 20 && !long {
			continue
		}
		t.Run(fmt.Sprintf("%d %%", c.percent), func(t *testing.T) {
			s := begin(t)
			w := s.watch("loss")
			for i := range lab.Nodes() {
				s.lose(i, fmt.Sprintf("numgen random mod 100 < %d", c.percent))
			}
			w.calm(w.look(15*time.Second), c.moves, time.Second)
		})
	}
}
