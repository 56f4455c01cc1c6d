//go:build e2e

package stories

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// A node that is excluded, and then a speaker that stops: while a client opens 200 connections a second, none fails that
// was not open already, and the successor speaks before the old one is silent.
func TestHandOverFailsNoNewConnection(t *testing.T) {
	s := begin(t)
	w := s.watch("handed")
	await := w.connects()
	label := func(value string) {
		s.must(patchNode(context.Background(), lab.Node(w.owner).Name, `{"metadata":{"labels":{"`+corev1.LabelNodeExcludeBalancers+`":`+value+`}}}`))
	}
	s.Cleanup(func() { label("null") })
	second := w.handsOver(w.owner, func() { label(`""`) })
	s.Cleanup(func() { s.restartSpeaker(second) })
	w.handsOver(second, func() {
		_, err := lab.speakers[second].Stop(s.ctx)
		s.must(err)
	})
	await()
}

// A node that is cordoned, where that counts, and then uncordoned: it hands its address over and has it back at once, as it was
// settled all the time. No connection of 200 a second fails that was not open already.
func TestCordonedNodeHandsOver(t *testing.T) {
	s := begin(t)
	s.settle(2*time.Second, "--drain-cordoned")
	w := s.watch("cordoned")
	await := w.connects()
	s.Cleanup(func() { s.cordon(w.owner, false) })
	successor := w.handsOver(w.owner, func() { s.cordon(w.owner, true) })
	if back := w.handsOver(successor, func() { s.cordon(w.owner, false) }); back != w.owner {
		t.Errorf("node %d has the address of the uncordoned node %d", back, w.owner)
	}
	await()
}

// cordon makes a node unschedulable, or schedulable again.
func (s *story) cordon(node int, is bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // at its end the story's own time may be over
	defer cancel()
	s.must(patchNode(ctx, lab.Node(node).Name, fmt.Sprintf(`{"spec":{"unschedulable":%t}}`, is)))
}

// connects opens 200 connections a second to the address until what it returns is called, which fails the story if one of them
// failed that was not open already.
func (w *watched) connects() (await func()) {
	w.Helper()
	const more = 200 // before and after all that happens
	probe := lab.Outside().Probe(cluster.URL(w.address, 8080), 5*time.Millisecond, 2*time.Second)
	w.Cleanup(func() { probe.Stop() })
	answers := func(n int) {
		w.Helper()
		w.eventually(fmt.Sprintf("the client has %d answers", n), func() error {
			if has := probe.Answered(); has < n {
				return fmt.Errorf("it has %d: %w", has, probe.Report().LastError)
			}
			return nil
		})
	}
	answers(more)
	return func() {
		w.Helper()
		answers(probe.Answered() + more)
		r := probe.Stop()
		w.Logf("%d of %d requests were answered, %d connections were reset", r.Answered, r.Asked, r.Reset)
		if failed := r.Asked - r.Answered - r.Reset; failed > 0 || r.Reset > 2 {
			w.Errorf("%d requests failed and %d connections were reset: %v", failed, r.Reset, r.LastError)
		}
	}
}

// handsOver does what makes a node hand the address over, and returns the node that has it then. It fails the story unless the
// segment hears the successor announce it before the old one, which has answered until then, is silent, and somebody
// answers at every moment.
func (w *watched) handsOver(old int, because func()) (successor int) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	var said []cluster.Claim
	var unanswered int
	ended := make(chan error, 1)
	go func() { // on another host than the client's, so that the answers do not change whom that one knows
		var err error
		said, unanswered, err = lab.ControlPlane().Interview(ctx, w.address, 2*time.Millisecond, time.Second)
		ended <- err
	}()
	because()
	successor = w.elsewhere(old)
	cancel()
	w.must(<-ended)
	by := func(node int) func(cluster.Claim) bool {
		return func(c cluster.Claim) bool { return bytes.Equal(c.MAC, lab.Node(node).MAC) }
	}
	first := slices.IndexFunc(said, func(c cluster.Claim) bool { return c.Unasked && by(successor)(c) })
	if first < 0 {
		w.Fatalf("node %d has the address and never announced it", successor)
	}
	announced, silent := said[first], cluster.Claim{}
	for _, c := range said {
		if by(old)(c) {
			silent = c
		}
	}
	lasted := silent.At.Sub(announced.At)
	w.Logf("node %d was heard for the last time %s after node %d announced the address; %d of %d questions had no answer",
		old, lasted.Round(time.Microsecond), successor, unanswered, said[len(said)-1].Question)
	// One question may cross the announcement, and another may be asked before that is read.
	if unanswered > 0 || silent.Question < announced.Question-2 || lasted > 2*time.Second {
		w.Errorf("node %d announced the address after question %d, node %d was silent after question %d",
			successor, announced.Question, old, silent.Question)
	}
	return successor
}
