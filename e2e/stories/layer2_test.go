//go:build e2e

package stories

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

const (
	watchedAddress = "172.25.254.50"
	sixth          = "fd00:172:25:254::60" // the IPv6 address beside it where there is one
)

// watched is an address whose pods are on other nodes than its owner, so that nothing but the announcement is lost with
// that node.
type watched struct {
	*story
	address netip.Addr
	owner   int // the node that announces it at first
}

// watch makes such an address.
func (s *story) watch(name string) *watched {
	s.Helper()
	return s.watchOf(name, pool("first-pool", watchedAddress+"-172.25.254.99")+service(name, ""), watchedAddress)
}

// watchOf makes such an address by these manifests, which give the Service of that name these addresses, that one first.
func (s *story) watchOf(name, manifests string, addresses ...string) *watched {
	s.Helper()
	pods := []*cluster.Pod{s.pod(0, name), s.pod(1, name), s.pod(2, name)}
	s.apply(manifests)
	s.hasAddresses(name, addresses...)
	s.served(watchedAddress, 8080)
	w := &watched{s, netip.MustParseAddr(watchedAddress), nodeIndex(s.announcer(watchedAddress))}
	s.must(lab.SetPodReady(s.ctx, pods[w.owner], false))
	s.eventually("the other nodes' pods answer, and no other", func() error {
		probe := w.probe()
		time.Sleep(400 * time.Millisecond)
		report := probe.Stop()
		if report.Answered < 10 || report.By[pods[w.owner].Name] > 0 {
			return errors.Join(errors.New("not yet"), report.LastError)
		}
		return nil
	})
	return w
}

// probe asks at the address every 20 ms until it is stopped.
func (w *watched) probe() *cluster.Probe {
	return lab.Outside().Probe(cluster.URL(w.address, 8080), 20*time.Millisecond, 200*time.Millisecond)
}

// elsewhere waits until exactly one node answers for the address that is not the one named.
func (w *watched) elsewhere(node int) int {
	w.Helper()
	var at int
	w.eventually("another node announces the address", func() error {
		who := w.whoHas(watchedAddress)
		if len(who) != 1 || lab.HostOf(who[0]) == lab.Node(node) {
			return errors.New("not yet")
		}
		at = nodeIndex(lab.HostOf(who[0]))
		return nil
	})
	return at
}

// die cuts a node's link and kills its speaker.
func (w *watched) die(node int) {
	w.Helper()
	w.must(errors.Join(lab.Cut(w.ctx, node), lab.speakers[node].Kill()))
}

// revive gives a node its link back and starts its speaker.
func (s *story) revive(node int, args ...string) {
	s.Helper()
	s.eventually("the link is back", func() error { return lab.Heal(s.ctx, node) })
	s.eventually("the node reaches the API server", func() error {
		conn, err := lab.Node(node).Dial(s.ctx, "tcp", strings.TrimPrefix(lab.RESTConfig().Host, "https://"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	p, err := lab.StartSpeaker(context.Background(), node, args...)
	s.must(err)
	lab.speakers[node] = p
	s.must(lab.WaitReady(context.Background(), p))
}

// settle starts all speakers anew, with that long until each is settled and with these flags more, and waits until they are.
func (s *story) settle(after time.Duration, flags ...string) {
	s.Helper()
	s.restartAtTheEnd()
	s.restart(append(flags, "--failback-after="+after.String())...)
	time.Sleep(after + time.Second)
}

// restart kills all speakers and starts them anew.
func (s *story) restart(args ...string) {
	s.Helper()
	for i, p := range lab.speakers {
		s.must(p.Kill())
		s.revive(i, args...)
	}
}

// restartAtTheEnd starts all speakers anew when the story ends, as they were before.
func (s *story) restartAtTheEnd() {
	s.Cleanup(func() { // the story's own time may be over
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		(&story{s.T, ctx}).restart()
	})
}

// A node that dies as soon as it has its addresses back is no other death than the first one, for both families.
func TestNewcomerThatDiesIsReplaced(t *testing.T) {
	s := begin(t)
	s.settle(2 * time.Second)
	w := s.watchOf("newcomer", pool("first-pool", watchedAddress+"-172.25.254.99", sixth+"/128")+service("newcomer", "ipFamilyPolicy: RequireDualStack"),
		watchedAddress, sixth)
	w.die(w.owner)
	w.elsewhere(w.owner)
	s.revive(w.owner, "--failback-after=2s")
	w.awaitOwner()
	if at := s.announcer(sixth); at != lab.Node(w.owner) {
		t.Fatalf("%s announces %s, want the node that announces the Service's other address", at.Name, sixth)
	}
	six := &watched{s, netip.MustParseAddr(sixth), w.owner}
	probes := []*cluster.Probe{w.probe(), six.probe()}
	time.Sleep(200 * time.Millisecond)
	w.die(w.owner)
	w.elsewhere(w.owner)
	time.Sleep(time.Second)
	for i, probe := range probes {
		report := probe.Stop()
		t.Logf("longest gap of IPv%d: %s, %d of %d requests were answered", 4+2*i, report.Gap, report.Answered, report.Asked)
		if report.Gap > 1500*time.Millisecond || report.Answered == 0 {
			t.Errorf("a client was without an answer for %s, want 1.5 s at most: %v", report.Gap, report.LastError)
		}
	}
}

// Speakers that come up at about the same time, as after a power cut, are settled together: none takes over for a moment what
// a later one has.
func TestSpeakersThatComeUpTogetherSettleTogether(t *testing.T) {
	const after = 16 * time.Second
	s := begin(t)
	s.restartAtTheEnd()
	w := s.watch("together")
	for _, p := range lab.speakers {
		s.must(p.Kill())
	}
	start := func(node int) {
		p, err := lab.StartSpeaker(context.Background(), node, "--failback-after="+after.String())
		s.must(err)
		lab.speakers[node] = p
	}
	for i := range lab.speakers {
		if i != w.owner {
			start(i)
		}
	}
	time.Sleep(time.Second)
	start(w.owner)
	last := time.Now()
	for _, p := range lab.speakers {
		s.must(lab.WaitReady(s.ctx, p))
	}
	w.awaitOwner()
	ctx, cancel := context.WithDeadline(s.ctx, last.Add(after+5*time.Second))
	defer cancel()
	said, _, err := lab.ControlPlane().Interview(ctx, w.address, 5*time.Millisecond, time.Second)
	s.must(err)
	for _, c := range said {
		if !bytes.Equal(c.MAC, lab.Node(w.owner).MAC) {
			t.Fatalf("%s has the address %s after the owner's speaker started", lab.HostOf(c.MAC).Name, c.At.Sub(last))
		}
	}
	if len(said) < 1000 || said[len(said)-1].At.Sub(last) < after+3*time.Second {
		t.Errorf("%d answers were heard, the last one after %s", len(said), said[len(said)-1].At.Sub(last))
	}
	s.eventually("all say that they are settled", func() error {
		out, err := lab.Kubectl(s.ctx, "", "-n", cluster.FairleadNamespace, "get", "speakerstates", "-o", "jsonpath={.items[*].status.settled}")
		if err == nil && strings.Contains(out, "false") {
			err = errors.New(out)
		}
		return err
	})
}

// A link that comes back, under a speaker that lived on, makes a newcomer of it: the address moves back only when that
// says that it is settled.
func TestLinkThatComesBackSettlesFirst(t *testing.T) {
	s := begin(t)
	s.settle(6 * time.Second)
	w := s.watch("returns")
	s.must(lab.Cut(s.ctx, w.owner))
	s.Cleanup(func() { _ = lab.Heal(context.Background(), w.owner) })
	successor := w.elsewhere(w.owner)
	s.eventually("the link is back", func() error { return lab.Heal(s.ctx, w.owner) })
	w.stays(successor, 4*time.Second)
	w.awaitOwner()
}

// Of two interfaces, one goes and comes back: what is announced there moves at once, and moves back only when that interface
// is settled, although its speaker is all the time.
func TestInterfaceThatComesBackSettlesFirst(t *testing.T) {
	s := begin(t)
	mac := func(node int) string { return fmt.Sprintf("02:00:00:00:01:%02x", node) }
	eth1 := func(ctx context.Context, node int, what string) {
		_, err := lab.Node(node).Run(ctx, append([]string{"ip", "link"}, strings.Fields(what)...)...)
		s.must(err)
	}
	for i := range lab.Nodes() {
		eth1(s.ctx, i, "add link eth0 name eth1 address "+mac(i)+" type macvlan mode bridge")
		s.Cleanup(func() { eth1(context.Background(), i, "del eth1") })
		// The kernel would answer there for the node's own address, too, and who took that answer would send to an interface
		// that is gone.
		_, err := lab.Node(i).Run(s.ctx, "sysctl", "-qw", "net.ipv4.conf.eth1.arp_ignore=1")
		s.must(err)
		eth1(s.ctx, i, "set eth1 up")
	}
	s.settle(6 * time.Second)
	s.pod(0, "second")
	s.apply(onePool("first-pool", watchedAddress+"-172.25.254.99") + `
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: second, namespace: metallb-system}
spec: {interfaces: [eth1]}
---
` + service("second", ""))
	s.hasAddresses("second", watchedAddress)
	await := func(what string, is func(node int) bool) (node int) {
		s.eventually(what, func() error {
			who := s.whoHas(watchedAddress)
			for node = range lab.Nodes() {
				if len(who) == 1 && who[0].String() == mac(node) && is(node) {
					return nil
				}
			}
			return fmt.Errorf("%v answers", who)
		})
		return node
	}
	owner := await("it is announced on the second interface of a node", func(int) bool { return true })
	eth1(s.ctx, owner, "set eth1 down")
	successor := await("another node takes it over", func(node int) bool { return node != owner })
	eth1(s.ctx, owner, "set eth1 up")
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
		if who := s.whoHas(watchedAddress); len(who) != 1 || who[0].String() != mac(successor) {
			t.Fatalf("%v answers, want the successor, %s, alone", who, mac(successor))
		}
	}
	await("it is back", func(node int) bool { return node == owner })
}

// A foreign host has the address, too, and announces it: an Event with its hardware address, the owner's SpeakerState and
// a metric say so, and it is not fought.
func TestForeignHostIsReportedAndNotFought(t *testing.T) {
	s := begin(t)
	w := s.watch("used")
	time.Sleep(6 * time.Second) // the repetitions of a new address are over
	const gratuitous = "metallb_layer2_gratuitous_sent{ip=\"" + watchedAddress + "\"}"
	before := w.metric(gratuitous)
	foreign := lab.ControlPlane()
	run := func(ctx context.Context, argv ...string) {
		_, err := foreign.Run(ctx, argv...)
		s.must(err)
	}
	run(s.ctx, "ip", "addr", "add", watchedAddress+"/32", "dev", "eth0")
	s.Cleanup(func() { run(context.Background(), "ip", "addr", "del", watchedAddress+"/32", "dev", "eth0") })
	run(s.ctx, "arping", "-q", "-U", "-c", "5", "-I", "eth0", watchedAddress) // one a second
	s.event("Service", "used", "AddressUsedTwice", "another host, "+foreign.MAC.String()+", uses "+watchedAddress)
	s.eventually("the SpeakerState tells the conflict", func() error {
		out, err := lab.Kubectl(s.ctx, "", "-n", cluster.FairleadNamespace, "get", "speakerstate", lab.Node(w.owner).Name, "-o", "jsonpath={.status.layer2.conflicts[*].mac}")
		if err == nil && out != foreign.MAC.String() {
			err = fmt.Errorf("it names %q", out)
		}
		return err
	})
	if n := w.metric("fairlead_layer2_conflicts_total{host=\"foreign\",ip=\"" + watchedAddress + "\"}"); n < 5 {
		t.Errorf("%v frames of the foreign host are counted, want 5", n)
	}
	if n := w.metric(gratuitous) - before; n > 2 { // a refresh may be due
		t.Errorf("%v gratuitous frames answer the foreign host", n)
	}
	if who := s.whoHas(watchedAddress); len(who) != 2 {
		t.Errorf("%v answer, want the owner and the foreign host", who)
	}
}

// metric returns the value of a series of the owner's speaker, 0 if there is none.
func (w *watched) metric(series string) (value float64) {
	w.Helper()
	text, err := lab.Metrics(w.ctx, lab.speakers[w.owner])
	w.must(err)
	_, rest, _ := strings.Cut(text, "\n"+series+" ")
	_, _ = fmt.Sscan(rest, &value)
	return value
}

// stays looks for that long whether exactly the node answers for the address.
func (w *watched) stays(node int, during time.Duration) {
	w.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); {
		who, err := lab.Outside().WhoHas(w.ctx, w.address, 100*time.Millisecond)
		w.must(err)
		if len(who) != 1 || lab.HostOf(who[0]) != lab.Node(node) {
			w.Fatalf("%v answers for the address, want %s alone", who, lab.Node(node).Name)
		}
	}
}

// seen is who answered for an address while it was asked for, about ten times a second.
type seen struct {
	owners  []int         // the nodes that answered alone, one after the other
	doubled time.Duration // the longest time in which more than one answered
	silent  time.Duration // the longest time in which none did
}

// moves is how often the address went from one node to another.
func (l seen) moves() int { return max(0, len(l.owners)-1) }

// look asks for the address for that long.
func (w *watched) look(during time.Duration) (l seen) {
	w.Helper()
	answers, since := -1, time.Time{}
	for end := time.Now().Add(during); time.Now().Before(end); {
		asked := time.Now()
		who, err := lab.Outside().WhoHas(w.ctx, w.address, 100*time.Millisecond)
		w.must(err)
		if n := min(len(who), 2); n != answers {
			answers, since = n, asked
		}
		switch lasts := time.Since(since); answers {
		case 0:
			l.silent = max(l.silent, lasts)
		case 1:
			if at := nodeIndex(lab.HostOf(who[0])); len(l.owners) == 0 || l.owners[len(l.owners)-1] != at {
				l.owners = append(l.owners, at)
			}
		default:
			l.doubled = max(l.doubled, lasts)
		}
	}
	return l
}

// calm fails the story if more than one node answered for long, or none, or the address moved more often than that.
func (w *watched) calm(l seen, moves int, limit time.Duration) {
	w.Helper()
	w.Logf("nodes %v announced the address (it was node %d), two at once for %s at most, none for %s", l.owners, w.owner, l.doubled.Round(time.Millisecond), l.silent.Round(time.Millisecond))
	if l.doubled > limit || l.silent > limit || l.moves() > moves || len(l.owners) == 0 {
		w.Errorf("want one node at a time but for %s, and %d moves at most", limit, moves)
	}
}

// awaitOwner waits until the node that announced the address at first does so again, alone.
func (w *watched) awaitOwner() {
	w.Helper()
	w.eventually("the address is back", func() error {
		if who := w.whoHas(watchedAddress); len(who) != 1 || lab.HostOf(who[0]) != lab.Node(w.owner) {
			return errors.New("not yet")
		}
		return nil
	})
}

// A speaker that does not run for 800 ms keeps its addresses; one that does not for long loses them, and is silent when it
// wakes, since the others have them.
func TestPausedSpeaker(t *testing.T) {
	s := begin(t)
	s.settle(6 * time.Second) // a pause makes a newcomer of it
	w := s.watch("paused")
	owner := lab.speakers[w.owner]
	t.Cleanup(func() { _ = owner.Signal(unix.SIGCONT) })
	for range 3 {
		s.must(owner.Signal(unix.SIGSTOP))
		time.Sleep(800 * time.Millisecond)
		s.must(owner.Signal(unix.SIGCONT))
		w.stays(w.owner, 2*time.Second)
	}
	s.must(owner.Signal(unix.SIGSTOP))
	successor := w.elsewhere(w.owner)
	time.Sleep(time.Second)
	s.must(owner.Signal(unix.SIGCONT))
	w.stays(successor, 2*time.Second)
}

// withoutAPIServer does something while there is no API server. The controllers are then started anew, as a kubelet
// would: they end when they cannot keep their lease.
func (s *story) withoutAPIServer(fn func()) {
	s.Helper()
	defer func() {
		s.must(lab.StartAPIServer(context.WithoutCancel(s.ctx)))
		s.must(lab.controller.Kill())
		s.restartController()
	}()
	s.must(lab.StopAPIServer())
	fn()
}

// Without the API server what is announced stays announced, and a node that dies is replaced as ever; when the API server
// is back, nothing moves.
func TestAPIServerIsDown(t *testing.T) {
	s := begin(t)
	s.settle(2 * time.Second)
	w := s.watch("alone")
	var successor int
	s.withoutAPIServer(func() {
		w.stays(w.owner, 2*time.Second)
		probe := w.probe()
		time.Sleep(200 * time.Millisecond)
		w.die(w.owner)
		successor = w.elsewhere(w.owner)
		time.Sleep(time.Second)
		report := probe.Stop()
		t.Logf("longest gap %s", report.Gap)
		if report.Gap > 1500*time.Millisecond {
			t.Errorf("a client was without an answer for %s, want 1.5 s at most", report.Gap)
		}
	})
	w.stays(successor, 4*time.Second)
}

// A speaker that is killed and at once started again, on a node that lives, costs no client anything.
func TestSpeakerIsRestarted(t *testing.T) {
	s := begin(t)
	w := s.watch("restarted")
	probe := w.probe()
	time.Sleep(200 * time.Millisecond)
	s.must(lab.speakers[w.owner].Kill())
	p, err := lab.StartSpeaker(s.ctx, w.owner) // it is settled after a minute
	s.must(err)
	lab.speakers[w.owner] = p
	w.calm(w.look(6*time.Second), 1, 2*time.Second)
	if report := probe.Stop(); report.Gap > 1500*time.Millisecond {
		t.Errorf("a client was without an answer for %s, want 1.5 s at most", report.Gap)
	}
}

// An advertisement names an interface that no node has: one Event on the Service, of one speaker, and a problem of each
// SpeakerState say so, with the names that there are.
func TestInterfaceThatNoNodeHas(t *testing.T) {
	s := begin(t)
	s.pod(0, "typo")
	s.apply(onePool("first-pool", watchedAddress+"-172.25.254.99") + `
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: typo, namespace: metallb-system}
spec: {interfaces: [etc0]}
---
` + service("typo", ""))
	s.hasAddresses("typo", watchedAddress)
	s.event("Service", "typo", "NoInterface", `there are "eth0"`)
	s.eventually("the SpeakerStates tell the problem", func() error {
		out, err := lab.Kubectl(s.ctx, "", "get", "speakerstates", "-A", "-o", "jsonpath={.items[*].status.problems[*].message}")
		if err != nil {
			return err
		}
		if n := strings.Count(out, `names interface "etc0", which no node that it selects has: there are "eth0"`); n != len(lab.Nodes()) {
			return fmt.Errorf("%d tell it: %s", n, out)
		}
		return nil
	})
	told := notes(s.events("Service", "typo"))
	if n := strings.Count(strings.Join(told, "\n"), "NoInterface: "); n != 1 {
		t.Errorf("%d Events tell it, want 1: %q", n, told)
	}
	s.silent(watchedAddress)
}
