package speaker

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const ms = time.Millisecond

func TestTheFirstPlanWaitsForLinksAndMembers(t *testing.T) {
	for name, first := range map[string]func(*world){
		"links first":   func(w *world) { w.changed <- struct{}{} },
		"members first": func(w *world) { close(w.ready) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.services("172.25.254.50")
				w.run()
				w.at(time.Minute)
				first(w)
				w.at(2 * time.Minute)
				w.wantApplies()
				if name == "links first" {
					close(w.ready)
				} else {
					w.changed <- struct{}{}
				}
				synctest.Wait()
				w.wantApplies(apply{2 * time.Minute, ".50", ""})
			})
		})
	}
}

func TestStoppedBeforeTheFirstPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.alive = []string{"n1"}
		stop := w.run()
		synctest.Wait()
		if took, err := stop(); took != 0 || err != nil {
			t.Fatalf("stopped after %s with %v, want at once", took, err)
		}
		w.wantApplies()
	})
}

func TestChangesDuringAPlanMakeOneMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50")
		w.applying = func() error { time.Sleep(100 * ms); return nil }
		w.up()
		for range 100 {
			w.mark()
		}
		w.services("172.25.254.50", "172.25.254.51")
		w.at(20 * time.Second)
		w.wantApplies(apply{0, ".50", ""}, apply{200 * ms, ".50 .51", ""})
	})
}

// Services that come one after the other are planned some at a time: each plan looks at all of them.
func TestAStreamOfChangesLeavesTimeBetweenPlans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50")
		w.applying = func() error { time.Sleep(10 * ms); return nil }
		w.up()
		for range 1000 {
			w.mark()
			time.Sleep(ms)
		}
		synctest.Wait()
		if n := len(w.applies); n > 11 {
			t.Errorf("%d plans in a second that take 10 ms each, want one in 100 ms", n)
		}
		w.shrank <- struct{}{}
		time.Sleep(11 * ms)
		synctest.Wait()
		if n := len(w.applies); n != 12 {
			t.Errorf("%d plans: what a socket lost has to wait", n)
		}
	})
}

func TestEverythingIsComparedAgainNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50")
		w.up()
		w.at(61 * time.Second)
		w.wantApplies(apply{0, ".50", ""}, apply{30 * time.Second, ".50", ""}, apply{60 * time.Second, ".50", ""})
	})
}

// The more there is to compare, the less often it is: a thousandth of the time, but every five minutes.
func TestMuchIsComparedAgainLessOften(t *testing.T) {
	for took, next := range map[time.Duration]time.Duration{
		20 * ms:         30*time.Second + 20*ms,
		200 * ms:        200*time.Second + 200*ms,
		2 * time.Second: 5*time.Minute + 2*time.Second,
	} {
		t.Run(took.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.services("172.25.254.50")
				w.applying = func() error { time.Sleep(took); return nil }
				w.up()
				w.at(next + took/2)
				w.wantApplies(apply{0, ".50", ""}, apply{next, ".50", ""})
			})
		})
	}
}

func TestWhatASocketLostIsAppliedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50")
		w.up()
		w.at(5 * time.Second)
		w.shrank <- struct{}{}
		w.at(6 * time.Second)
		w.wantApplies(apply{0, ".50", ""}, apply{5 * time.Second, ".50", ""})
	})
}

func TestAFailureIsTriedAgainAndLoggedOnce(t *testing.T) {
	for name, set := range map[string]func(w *world, err error){
		"apply":  func(w *world, err error) { w.applying = func() error { return err } },
		"gather": func(w *world, err error) { w.gatherErr = err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.services("172.25.254.50")
				put := func(err error) { w.mu.Lock(); defer w.mu.Unlock(); set(w, err) }
				logged := func(want int) {
					t.Helper()
					if n := strings.Count(w.log.String(), "could not be carried out"); n != want {
						t.Fatalf("logged %d times, want %d:\n%s", n, want, w.log.String())
					}
				}
				put(errors.New("no socket"))
				w.up()
				w.at(3500 * ms)
				logged(1)
				if name == "apply" {
					w.wantApplies(apply{0, ".50", ""}, apply{1 * time.Second, ".50", ""}, apply{2 * time.Second, ".50", ""}, apply{3 * time.Second, ".50", ""})
				} else {
					w.wantApplies()
				}
				put(errors.New("another reason"))
				w.at(5500 * ms)
				logged(2)
				put(nil)
				w.at(6500 * ms)
				if got := w.answeredFor(); got != ".50" {
					t.Fatalf("answers for %q after the failure", got)
				}
				put(errors.New("another reason"))
				w.mark()
				logged(3) // it came, went and came again
			})
		})
	}
}

func TestWhatMovedToAnotherNodeIsAnsweredForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50", "172.25.254.51")
		w.up()
		w.at(time.Second)
		w.announcer("n2")
		w.mark()
		w.at(1400 * ms)
		w.mark() // another change makes the while no longer
		w.at(4999 * ms)
		if got := w.answeredFor(); got != ".50 .51" {
			t.Fatalf("answers for %q while the other node takes over", got)
		}
		w.at(5000 * ms)
		if got := w.answeredFor(); got != "" {
			t.Fatalf("still answers for %q", got)
		}
		w.wantApplies(apply{0, ".50 .51", ""}, apply{time.Second, "", ".50 .51"}, apply{1400 * ms, "", ".50 .51"}, apply{5000 * ms, "", ""})

		w.announcer("n1") // back, and away again: a new while begins
		w.mark()
		w.announcer("n2")
		w.mark()
		w.at(8999 * ms)
		if got := w.answeredFor(); got != ".50 .51" {
			t.Fatalf("answers for %q after it came back and went", got)
		}
		w.at(9 * time.Second)
		if got := w.answeredFor(); got != "" {
			t.Fatalf("still answers for %q", got)
		}
	})
}

// TestWhatMovedOffADeadLinkIsAnsweredForNoLonger: when the link is back, it is the other node's.
func TestWhatMovedOffADeadLinkIsAnsweredForNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50")
		w.up()
		w.announcer("n2")
		w.mu.Lock()
		w.links = nil
		w.mu.Unlock()
		w.changed <- struct{}{}
		w.mark()
		if got := w.answeredFor(); got != "" {
			t.Fatalf("still answers for %q", got)
		}
	})
}

func TestWhatAnotherSpeakerAnnouncesIsAnsweredForNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50")
		w.up()
		w.at(time.Second)
		w.announcer("n2")
		w.mark()
		w.at(1100 * ms)
		w.hear()
		synctest.Wait()
		w.wantApplies(apply{0, ".50", ""}, apply{time.Second, "", ".50"}, apply{1100 * ms, "", ""})
	})
}

func TestWhatMayHaveToBeTakenOverIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50", "172.25.254.51")
		for i := range w.view.Nodes {
			w.view.Nodes[i].Labels["announces"] = "yes"
		}
		w.up()
		w.mark()
		owned, watched := w.answeredFor(), ""
		for _, a := range w.watched {
			watched += " " + a.String()[strings.LastIndex(a.String(), "."):]
		}
		if w.watches > 1 || len(owned)+len(strings.TrimSpace(watched)) < 6 || strings.Contains(watched, owned) && owned != "" {
			t.Errorf("announces %q and watches %q, asked for %d times", owned, watched, w.watches)
		}
	})
}

// TestALostNodeIsReplaced: at once, for as long as it is lost, and watched meanwhile so that its return is noticed; once the
// members know that it is dead it is not watched any more.
func TestALostNodeIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.beats = make(chan struct{}, 1)
		w.view.Nodes = nil
		for _, n := range []plan.Node{{Name: "n1", Unsettled: true}, {Name: "n2"}} { // so that n2 is the owner
			n.Ready, n.Labels = true, map[string]string{"announces": "yes"}
			w.view.Nodes = append(w.view.Nodes, n)
		}
		w.services("172.25.254.50")
		w.up()
		is := func(answers, watched string) {
			t.Helper()
			var now []string
			for _, c := range w.companions[len(w.companions)-1] {
				now = append(now, c.Node)
			}
			if got := w.answeredFor(); got != answers || strings.Join(now, " ") != watched {
				t.Fatalf("answers for %q and watches %q, want %q and %q", got, now, answers, watched)
			}
		}
		is("", "n2")
		w.at(time.Second)
		w.loses("n2")
		is(".50", "n2")
		w.at(2 * time.Second)
		w.mark()
		is(".50", "n2")
		if len(w.companions) != 1 {
			t.Errorf("the same companions were given %d times", len(w.companions))
		}
		w.loses()
		w.at(2500 * ms)
		is(".50", "n2") // it is handed back: answered for until n2 is heard
		w.at(7 * time.Second)
		is("", "n2")
		w.loses("n2")
		w.mu.Lock()
		w.alive = []string{"n1"}
		w.mu.Unlock()
		w.mark()
		is(".50", "")
	})
}

// TestAfterAPauseAnotherSpeakerIsHeardFirst: nothing is announced until then, and the speaker is not settled any more.
// TestANewcomerIsOneFromTheFirst: before anybody hears of it, it says that it is not settled, and its first plan knows that,
// too. Otherwise it would take what others serve for a moment.
// TestWhoIsHeardIsNotDead: a node that the members take for dead keeps its addresses as long as its heartbeats are heard.
func TestWhoIsHeardIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.beats = make(chan struct{}, 1)
		w.view.Nodes = nil
		for _, n := range []plan.Node{{Name: "n1", Unsettled: true}, {Name: "n2"}} { // so that n2 is the owner
			n.Ready, n.Labels = true, map[string]string{"announces": "yes"}
			w.view.Nodes = append(w.view.Nodes, n)
		}
		w.services("172.25.254.50")
		w.up()
		step := func(at time.Duration, heard map[string]bool, alive []string, want string) {
			t.Helper()
			w.at(at)
			w.mu.Lock()
			w.heard, w.alive = heard, alive
			w.mu.Unlock()
			w.beats <- struct{}{}
			w.mark()
			if got := w.answeredFor(); got != want {
				t.Fatalf("after %s it answers for %q, want %q", at, got, want)
			}
		}
		n2 := map[string]bool{"n2": true}
		step(1*time.Second, n2, []string{"n1", "n2"}, "")
		step(2*time.Second, n2, []string{"n1"}, "")
		step(40*time.Second, n2, []string{"n1"}, "")
		step(41*time.Second, nil, []string{"n1"}, ".50")
		step(42*time.Second, n2, []string{"n1"}, ".50")       // heard, but no member any more: it has to join
		step(50*time.Second, n2, []string{"n1", "n2"}, ".50") // answered for until n2 is heard to announce it
		w.at(55 * time.Second)
		step(56*time.Second, n2, []string{"n1", "n2"}, "")
	})
}

func TestANewcomerIsOneFromTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.failback = 30 * time.Second
		w.up()
		if len(w.joining) == 0 || w.joining[0] == (plan.Facts{}) || w.joining[0].Settled {
			t.Errorf("it joined the others saying %+v of itself", w.joining)
		}
		first := w.reports[0].Local
		if self := first.Members[0]; self.Node != "n1" || self.Settled || self.Facts != first.Facts {
			t.Errorf("the first plan is made with %+v of itself, want %+v", self, first.Facts)
		}
	})
}

// TestALinkThatComesBackWaitsForTheOthers: a node whose only link comes back announces nothing until it hears another speaker
// again, which may have its addresses, but not for ever; what it announces on another link stays.
func TestALinkThatComesBackWaitsForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50")
		w.up()
		other := plan.LinkState{Link: plan.Link{Index: 8, Name: "eth1", MAC: [6]byte{2, 0, 0, 0, 0, 2}}}
		step := func(at time.Duration, links []plan.LinkState, alive []string, want string) {
			t.Helper()
			w.at(at)
			w.mu.Lock()
			w.links, w.alive = links, alive
			w.mu.Unlock()
			w.changed <- struct{}{}
			w.mark()
			var got []string
			for _, x := range (layer2{w}).Announced() {
				got = append(got, x.Link.Name)
			}
			if strings.Join(got, " ") != want {
				t.Fatalf("after %s it is announced on %q, want %q", at, got, want)
			}
		}
		eth0, both, eth1 := []plan.LinkState{{Link: link}}, []plan.LinkState{{Link: link}, other}, []plan.LinkState{other}
		step(1*time.Second, both, []string{"n1", "n2"}, "eth0 eth1")
		step(2*time.Second, nil, []string{"n1"}, "")
		step(5*time.Second, eth0, []string{"n1"}, "")
		step(7*time.Second, eth0, []string{"n1", "n2"}, "eth0")
		step(20*time.Second, nil, []string{"n1"}, "")
		step(30*time.Second, eth0, []string{"n1"}, "")
		w.at(34900 * ms)
		if w.answeredFor() != "" {
			t.Fatal("it did not wait for the others")
		}
		w.at(35100 * ms)
		if w.answeredFor() != ".50" {
			t.Fatal("it waits for the others for ever")
		}
		step(40*time.Second, both, []string{"n1"}, "eth0")
		step(50*time.Second, eth1, []string{"n1", "n2"}, "eth1")
	})
}

func TestAfterAPauseAnotherSpeakerIsHeardFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.failback = 30 * time.Second
		w.services("172.25.254.50")
		w.up()
		w.at(40 * time.Second)
		w.applies = nil
		w.paused, w.unheard, w.announced = 7, errors.New("no answer"), nil
		w.shrank <- struct{}{}
		w.at(41500 * ms)
		if len(w.resumed) > 0 || w.answeredFor() != "" {
			t.Fatalf("resumed %v before another speaker was heard", w.resumed)
		}
		w.mu.Lock()
		w.unheard = nil
		w.mu.Unlock()
		w.at(42 * time.Second)
		if len(w.resumed) != 1 || w.resumed[0] != 7 || w.answeredFor() != ".50" {
			t.Fatalf("resumed %v and answers for %q after another speaker was heard", w.resumed, w.answeredFor())
		}
		w.at(2 * time.Minute)
		var settled []bool
		for _, f := range w.published {
			settled = append(settled, f.Settled)
		}
		if !slices.Equal(settled, []bool{false, false, true, false, false, false, true}) {
			t.Errorf("told of itself %v", w.published)
		}
		w.wantApplies(apply{72 * time.Second, ".50", ""}, apply{102 * time.Second, ".50", ""})
	})
}

func TestWhatNobodyElseAnnouncesIsDroppedAtOnce(t *testing.T) {
	for name, change := range map[string]func(*world){
		"the Service was deleted":        func(w *world) { w.services("172.25.254.51") },
		"no endpoint is serving":         func(w *world) { w.view.Services[0].Serving = false },
		"no node is selected any more":   func(w *world) { w.announcer("") },
		"the other node is not alive":    func(w *world) { w.alive = []string{"n1"}; w.announcer("n2") },
		"it moved, and then was deleted": func(w *world) { w.announcer("n2"); w.mark(); w.services() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.services("172.25.254.50", "172.25.254.51")
				w.up()
				change(w)
				w.mark()
				if got := w.answeredFor(); strings.Contains(got, ".50") {
					t.Fatalf("answers for %q", got)
				}
			})
		})
	}
}

func TestHandOverOnStop(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*world)
		leaves  bool
		takes   time.Duration
	}{
		"told at once":      {func(*world) {}, true, leaving},
		"told slowly":       {func(w *world) { w.leaveFor = 300 * ms }, true, 300*ms + leaving},
		"nobody hears it":   {func(w *world) { w.leaveFor = time.Hour }, true, leaveTimeout + leaving},
		"announces nothing": {func(w *world) { w.services() }, true, 0},
		"no other is alive": {func(w *world) { w.alive = []string{"n1"} }, false, 0},
		"in the middle of a plan": {func(w *world) {
			w.applying = func() error {
				if len(w.announced) > 0 {
					time.Sleep(100 * ms)
				}
				return nil
			}
		}, true, 200*ms + leaving},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.services("172.25.254.50")
				c.prepare(w)
				stop := w.up()
				w.at(time.Second)
				w.mark()
				held := w.answeredFor()
				took, err := stop()
				if err != nil || took != c.takes || took > 2*time.Second {
					t.Errorf("stopped after %s with %v, want after %s", took, err, c.takes)
				}
				if c.leaves != (len(w.left) == 1) {
					t.Errorf("told the others at %v, want to tell: %t", w.left, c.leaves)
				}
				if got := w.answeredFor(); got != held {
					t.Errorf("answered for %q during the hand-over, before for %q", got, held)
				}
				for name, e := range w.edges {
					if e.ended != time.Second+c.takes {
						t.Errorf("%s ended at %s, before the hand-over was over", name, e.ended)
					}
				}
			})
		})
	}
}

func TestASpeakerStopsAsSoonAsItsSuccessorIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50")
		stop := w.up()
		w.leaveFor = 50 * ms
		go func() {
			time.Sleep(30 * ms) // as soon as the others are told, and before all of them are
			w.hear()
		}()
		if took, err := stop(); took != 50*ms || err != nil {
			t.Errorf("stopped after %s with %v", took, err)
		}
		w.wantApplies(apply{0, ".50", ""}, apply{0, "", ".50"})
	})
}

// BGP carries out every plan; a change of its sessions is reported and makes no new plan; its failure does not hold up
// layer 2; and its hand-over is waited for, beside layer 2's.
func TestBGPBesideLayer2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.bgp = &applier{world: w, changed: make(chan struct{}, 1), drain: 5 * time.Second}
		w.edges["bgp"] = &edge{fail: make(chan error)}
		w.services("172.25.254.50")
		w.alive = []string{"n1"}
		stop := w.up()
		w.at(100 * ms)
		if w.bgp.plans != 1 || len(w.reports) != 1 {
			t.Fatalf("%d plans, %d reports", w.bgp.plans, len(w.reports))
		}
		w.bgp.changed <- struct{}{}
		synctest.Wait()
		if w.bgp.plans != 1 || len(w.reports) != 2 || len(w.reports[1].Plan.L2) != 1 {
			t.Fatalf("%d plans, %d reports", w.bgp.plans, len(w.reports))
		}
		w.bgp.failed = errors.New("no engine")
		w.services("172.25.254.51")
		w.mark()
		if last := w.reports[len(w.reports)-1]; w.answeredFor() != ".51" || !errors.Is(last.Failed, w.bgp.failed) {
			t.Errorf("answered for %q, %v", w.answeredFor(), last.Failed)
		}
		if took, err := stop(); took != 5*time.Second || err != nil {
			t.Errorf("stopped after %s: %v", took, err)
		}
		if w.edges["bgp"].ended-w.edges["layer2"].ended != 0 {
			t.Errorf("the edges ended at %s and %s", w.edges["bgp"].ended, w.edges["layer2"].ended)
		}
	})
}

func TestNoPlanIsBegunAfterTheStop(t *testing.T) {
	for range 20 { // select chooses at random
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.services("172.25.254.50")
			w.applying = func() error { time.Sleep(100 * ms); return nil }
			stop := w.up()
			w.mark() // waits for the plan that is being carried out
			_, _ = stop()
			w.wantApplies(apply{0, ".50", ""}, apply{100 * ms, "", ".50"}) // which is the hand-over
		})
	}
}

func TestAnEdgeThatFailsEndsTheSpeaker(t *testing.T) {
	for _, name := range []string{"links", "members", "layer2"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.services("172.25.254.50")
				stop := w.up()
				failure := errors.New(name + " failed")
				w.edges[name].fail <- failure
				synctest.Wait()
				for other, e := range w.edges {
					if other != name && e.ended != 0 {
						t.Errorf("%s ended at %s, want at once", other, e.ended)
					}
				}
				if took, err := stop(); !errors.Is(err, failure) || took != 0 {
					t.Errorf("Run returned %v after %s", err, took)
				}
				if len(w.left) > 0 {
					t.Error("told the others although the members' edge may have ended")
				}
			})
		})
	}
}

// TestTheWatchdogSeesARoundWithoutEnd, which a restart mends, but no fault in a speaker that rests.
func TestTheWatchdogSeesARoundWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.services("172.25.254.50")
		w.up()
		w.at(time.Hour)
		if err := w.watchdog.Check(nil); err != nil {
			t.Errorf("a speaker at rest: %v", err)
		}
		w.mu.Lock()
		w.applying = func() error { time.Sleep(2 * time.Minute); return nil }
		w.mu.Unlock()
		w.at(time.Hour + 100*time.Second) // a round begins every 30 s
		if err := w.watchdog.Check(nil); err == nil {
			t.Error("a round is stuck and nothing is said")
		}
	})
}
