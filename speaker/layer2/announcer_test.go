//go:build linux

package layer2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

var (
	eth0  = plan.Link{Index: 2, Name: "eth0", MAC: ourMAC}
	eth1  = plan.Link{Index: 3, Name: "eth1", MAC: macAddr{2, 0, 0, 0, 0, 2}}
	on0   = plan.Announcement{Address: vip4, Link: eth0}
	on0v6 = plan.Announcement{Address: vip6, Link: eth0}
	on1   = plan.Announcement{Address: vip4, Link: eth1}
	next0 = plan.Announcement{Address: vip4.Next(), Link: eth0}
)

func TestGratuitousScheduleOfANewAddress(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		b.apply(t, on0, on0v6)
		if got := len(b.network.take()); got != 3 {
			t.Errorf("%d frames are out when Apply returns, want 3", got)
		}
		time.Sleep(3500 * time.Millisecond)
		b.apply(t, on0, on0v6) // again the same: changes nothing
		time.Sleep(3 * time.Minute)
		var at []time.Duration
		for _, f := range b.network.take() {
			at = append(at, f.at.Round(time.Millisecond))
		}
		var want []time.Duration
		for s := range 5 {
			d := time.Duration(s+1) * time.Second
			want = append(want, d, d, d)
		}
		for m := range 2 { // refreshed; without jitter in the test
			d := 5*time.Second + time.Duration(m+1)*time.Minute
			want = append(want, d, d, d)
		}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("repetitions at (-want +got):\n%s", diff)
		}
		if n, _ := b.metric(t, "metallb_layer2_gratuitous_sent", vip4.String()); n != 16 {
			t.Errorf("%v gratuitous frames are counted, want 16", n)
		}
	})
}

func TestRefreshHasJitterAndCanBeOff(t *testing.T) {
	for _, test := range []struct {
		random float64
		every  time.Duration
		want   time.Duration // of the first refresh after the last repetition
	}{{0, 0, 45 * time.Second}, {0.999999, 0, 75 * time.Second}, {0.5, 20 * time.Second, 20 * time.Second}, {0.5, -1, 0}} {
		inBubble(t, Config{RefreshEvery: test.every}, func(t *testing.T, b *bench) {
			b.network.setRandom(test.random)
			b.apply(t, on0)
			time.Sleep(5500 * time.Millisecond)
			b.network.take()
			time.Sleep(10 * time.Minute)
			var got time.Duration
			if frames := b.network.take(); len(frames) > 0 {
				got = frames[0].at - 5*time.Second
			}
			if got.Round(time.Millisecond*10) != test.want {
				t.Errorf("refreshed %v after the last repetition, want %v", got, test.want)
			}
		})
	}
}

func TestGratuitousStopsWithTheAddress(t *testing.T) {
	inBubble(t, Config{RefreshEvery: -1}, func(t *testing.T, b *bench) {
		b.apply(t, on0, next0)
		time.Sleep(1500 * time.Millisecond)
		b.apply(t, next0)
		b.network.take()
		time.Sleep(time.Minute)
		frames := b.network.take()
		for _, f := range frames {
			if got := netip.AddrFrom4([4]byte(f.frame[28:32])); got != next0.Address {
				t.Fatalf("%v is still announced at %v", got, f.at)
			}
		}
		if len(frames) != 8 {
			t.Errorf("%d frames for the other one, want 8", len(frames))
		}
	})
}

func TestGratuitousIsPacedAndNewAddressesGoFirst(t *testing.T) {
	inBubble(t, Config{FrameRate: 1000}, func(t *testing.T, b *bench) {
		var many []plan.Announcement
		for a, i := netip.MustParseAddr("10.0.0.1"), 0; i < 2000; a, i = a.Next(), i+1 {
			many = append(many, plan.Announcement{Address: a, Link: eth0})
		}
		start := time.Now()
		b.apply(t, many...)
		if d, want := time.Since(start), time.Duration(4000-burst(1000))*time.Millisecond; d.Round(time.Millisecond) != want {
			t.Errorf("2000 addresses took %v, want %v", d, want)
		}
		time.Sleep(500 * time.Millisecond) // repetitions are late now, and go on all the time
		start = time.Now()
		b.apply(t, append(many, on0)...)
		if d := time.Since(start); d > 10*time.Millisecond {
			t.Errorf("one more address waited %v behind repetitions", d)
		}
	})
}

// many returns n IPv4 announcements on eth0.
func many(n int) []plan.Announcement {
	var out []plan.Announcement
	for a, i := netip.MustParseAddr("10.0.0.1"), 0; i < n; a, i = a.Next(), i+1 {
		out = append(out, plan.Announcement{Address: a, Link: eth0})
	}
	return out
}

func TestFiveThousandAddressesGoOutInTwoSeconds(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		start := time.Now()
		b.apply(t, many(5000)...)
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("took %v", d)
		}
		perSecond := map[time.Duration]int{}
		for _, f := range b.network.take() {
			perSecond[f.at.Truncate(time.Second)]++
		}
		for at, n := range perSecond {
			if n > 8000+burst(8000) {
				t.Errorf("%d frames in the second that begins at %v", n, at)
			}
		}
	})
}

func TestWhatWasAskedForLastGoesFirst(t *testing.T) {
	inBubble(t, Config{FrameRate: 100}, func(t *testing.T, b *bench) {
		all := many(50)
		b.apply(t, on0)
		var watched []netip.Addr
		for _, a := range all {
			watched = append(watched, a.Address)
		}
		if err := b.Watch(t.Context(), watched); err != nil {
			t.Fatal(err)
		}
		c := b.network.conn(eth0, familyARP)
		for _, i := range []int{30, 10, 20} {
			time.Sleep(time.Second)
			c.frames <- arpRequest(host4, all[i].Address)
		}
		synctest.Wait()
		b.apply(t) // what was seen outlives the socket
		b.network.take()
		done := make(chan error)
		go func() { done <- b.Apply(t.Context(), all) }()
		time.Sleep(500 * time.Millisecond)
		b.network.conn(eth0, familyARP).frames <- arpRequest(host4, all[45].Address)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		order := announcedOrder(b.network.take())
		if want := []netip.Addr{all[20].Address, all[10].Address, all[30].Address, all[0].Address}; !slices.Equal(order[:4], want) {
			t.Errorf("the first are %v, want %v", order[:4], want)
		}
		if at := slices.Index(order, all[45].Address); at < 4 || at > 35 {
			t.Errorf("the one that was asked for while it waited was number %d", at)
		}
		if len(order) != len(all) {
			t.Errorf("%d were announced", len(order))
		}
	})
}

// announcedOrder returns the addresses of gratuitous ARP requests in the order of their first.
func announcedOrder(frames []sentFrame) []netip.Addr {
	var order []netip.Addr
	for _, f := range frames {
		if a := netip.AddrFrom4([4]byte(f.frame[28:32])); f.frame[21] == 1 && !slices.Contains(order, a) {
			order = append(order, a)
		}
	}
	return order
}

func TestAFloodOfWatchedAddressesIsNotListenedTo(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		b.apply(t, on0)
		if err := b.Watch(t.Context(), []netip.Addr{host4}); err != nil {
			t.Fatal(err)
		}
		c := b.network.conn(eth0, familyARP)
		wide := c.filterSize()
		for range watchedPerRest {
			c.frames <- arpRequest(vip4.Next(), host4)
		}
		synctest.Wait()
		if c.filterSize() >= wide {
			t.Error("they are still let through")
		}
		time.Sleep(watchRest + time.Second)
		if c.filterSize() != wide {
			t.Error("they are not let through after a rest")
		}
	})
}

func TestApplyAddsBeforeItRemoves(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		b.apply(t, on0)
		b.takeEvents()
		b.apply(t, on0v6)
		want := strings.Join([]string{"join 2 " + vip6.String(), "open eth0 ndp", "frame eth0 ndp", "close eth0 arp"}, "\n")
		if diff := cmp.Diff(want, b.takeEvents()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		b.apply(t, on1, on0v6)
		b.apply(t, on1, on0, next0)
		b.apply(t, next0)
		want = strings.Join([]string{
			"open eth1 arp", "frame eth1 arp", "frame eth1 arp",
			"open eth0 arp", "frame eth0 arp", "frame eth0 arp", "frame eth0 arp", "frame eth0 arp",
			"close eth0 ndp", "leave 2 " + vip6.String(),
			"filter eth0 arp", "close eth1 arp",
		}, "\n")
		if diff := cmp.Diff(want, b.takeEvents()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestAFailingItemHoldsUpNoOther(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		b.network.gone[eth1.Index] = true
		bad := []plan.Announcement{on1, {Address: vip6, Link: eth1}, {Address: netip.MustParseAddr("ff02::1"), Link: eth0}, {Link: eth0}}
		want := append(slices.Clone(bad), on0, on0v6)
		err := b.Apply(t.Context(), want)
		text := strings.Join([]string{
			"announcing 172.25.254.50 on eth1: no such device",
			"announcing fd00:25::12:3456 on eth1: no such device",
			"announcing ff02::1 on eth0: not a unicast address that can be announced",
			"announcing invalid IP on eth0: not a unicast address that can be announced",
		}, "\n")
		if err == nil || err.Error() != text {
			t.Errorf("error is\n%v, want\n%s", err, text)
		}
		if diff := cmp.Diff([]plan.Announcement{on0, on0v6}, b.Announced(), compareAddresses()); diff != "" {
			t.Errorf("announced (-want +got):\n%s", diff)
		}
		delete(b.network.gone, eth1.Index)
		if err := b.Apply(t.Context(), want); !errors.Is(err, errAddress) || errors.Is(err, unix.ENODEV) {
			t.Errorf("the second Apply returned %v", err)
		}
		if got := len(b.Announced()); got != 4 {
			t.Errorf("%d are announced after the second Apply, want 4", got)
		}
	})
}

func TestAnUnsentAnnouncementIsAnErrorAndTriedAgain(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		b.network.sendErr = unix.ENETDOWN
		if err := b.Apply(t.Context(), []plan.Announcement{on0}); !errors.Is(err, unix.ENETDOWN) {
			t.Errorf("Apply returned %v", err)
		}
		if got := b.Announced(); len(got) != 0 {
			t.Errorf("announced: %v", got)
		}
		b.network.sendErr = nil
		b.apply(t, on0)
		if frames := len(b.network.take()); frames != 2 || len(b.Announced()) != 1 {
			t.Errorf("%d frames, announced: %v", frames, b.Announced())
		}
	})
}

func TestApplyEndsWithItsContext(t *testing.T) {
	inBubble(t, Config{FrameRate: 1}, func(t *testing.T, b *bench) {
		var want []plan.Announcement
		for a, i := netip.MustParseAddr("10.0.0.1"), 0; i < 100; a, i = a.Next(), i+1 {
			want = append(want, plan.Announcement{Address: a, Link: eth0})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Apply(ctx, want); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Apply returned %v", err)
		}
		if got := len(b.Announced()); got != 1 {
			t.Errorf("%d are announced, want the one whose frames went out", got)
		}
	})
}

func TestASocketThatFailsIsOpenedAgainByTheNextApply(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		b.apply(t, on0, on0v6)
		b.network.conn(eth0, familyARP).errs <- unix.EIO
		<-b.Changed()
		if got := b.Announced(); !slices.Equal(got, []plan.Announcement{on0v6}) {
			t.Errorf("announced after the failure: %v", got)
		}
		b.apply(t, on0, on0v6)
		if got := len(b.Announced()); got != 2 || b.network.conn(eth0, familyARP) == nil {
			t.Errorf("%d are announced after the next Apply", got)
		}
	})
}

func TestALinkThatIsDownIsReadGently(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		b.apply(t, on0)
		c := b.network.conn(eth0, familyARP)
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case c.errs <- unix.ENETDOWN:
				case <-stop:
					return
				}
			}
		}()
		time.Sleep(10 * time.Second)
		close(stop)
		synctest.Wait()
		if n := c.readCount(); n > 110 {
			t.Errorf("%d reads in 10 s", n)
		}
		time.Sleep(time.Second)
		b.network.take()
		c.frames <- arpRequest(host4, vip4)
		synctest.Wait()
		if got := len(b.network.take()); got != 1 {
			t.Errorf("%d answers after the link came up", got)
		}
	})
}

func TestALinkThatChangedIsDropped(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		b.apply(t, on0, on0v6, on1)
		b.network.gone[eth0.Index] = true
		if err := b.Apply(t.Context(), []plan.Announcement{on0, on0v6, on1}); !errors.Is(err, unix.ENODEV) {
			t.Errorf("Apply returned %v", err)
		}
		if got := b.Announced(); !slices.Equal(got, []plan.Announcement{on1}) {
			t.Errorf("announced: %v", got)
		}
	})
}

func TestAnswersAndMetrics(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		b.apply(t, on0, on1)
		c := b.network.conn(eth0, familyARP)
		b.network.take()
		c.frames <- arpRequest(host4, vip4)
		c.frames <- arpRequest(host4, vip4.Next())
		c.frames <- []byte{1, 2, 3}
		synctest.Wait()
		want := answerARP(arpRequest(host4, vip4), ourMAC, ours).reply
		if got := b.network.take(); len(got) != 1 || !slices.Equal(got[0].frame, want) {
			t.Errorf("answers: %v", got)
		}
		for _, m := range []struct {
			name  string
			want  float64
			label []string
		}{
			{"metallb_layer2_requests_received", 1, []string{vip4.String()}},
			{"metallb_layer2_responses_sent", 1, []string{vip4.String()}},
			{"metallb_layer2_gratuitous_sent", 4, []string{vip4.String()}},
			{"fairlead_layer2_frames_ignored_total", 1, []string{"arp", "not_ours"}},
			{"fairlead_layer2_frames_ignored_total", 1, []string{"arp", "short"}},
		} {
			if got, _ := b.metric(t, m.name, m.label...); got != m.want {
				t.Errorf("%s%v is %v, want %v", m.name, m.label, got, m.want)
			}
		}
		b.apply(t, on1)
		if _, ok := b.metric(t, "metallb_layer2_gratuitous_sent", vip4.String()); !ok {
			t.Error("the series is gone while one link still has the address")
		}
		b.apply(t)
		if _, ok := b.metric(t, "metallb_layer2_gratuitous_sent", vip4.String()); ok {
			t.Error("the series outlives the address")
		}
	})
}

func TestTheEnd(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, b *bench) {
		b.apply(t, on0, on0v6)
		b.stop()
		synctest.Wait()
		if err := b.Apply(t.Context(), []plan.Announcement{on0}); !errors.Is(err, ErrStopped) {
			t.Errorf("Apply after the end returned %v", err)
		}
	})
}

// Any order of sets, with links that come and go, ends where the last set says, and leaves nothing of the others.
func TestApplyLeadsToTheWantedSet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, Config{FrameRate: 1e6})
		defer b.shutDown(t)
		links := []plan.Link{eth0, eth1, {Index: 2, Name: "eth0", MAC: hostMAC}}
		announcement := rapid.Custom(func(t *rapid.T) plan.Announcement {
			f, w := families().Draw(t, "family"), rapid.Uint32Range(1<<24, 1<<24+5).Draw(t, "address")
			return plan.Announcement{Address: word(f, w), Link: rapid.SampledFrom(links).Draw(t, "link")}
		})
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			want := rapid.SliceOf(announcement).Draw(rt, "want")
			b.network.mu.Lock()
			b.network.gone[2] = rapid.Bool().Draw(rt, "eth0 is gone")
			b.network.mu.Unlock()
			_ = b.Apply(context.Background(), want)
			b.checkAchieved(rt, want)
		}
	})
}

// checkAchieved compares everything that the network shows with what is wanted on the links that exist.
func (b *bench) checkAchieved(t *rapid.T, want []plan.Announcement) {
	possible := slices.DeleteFunc(slices.Clone(want), func(a plan.Announcement) bool { return b.network.gone[a.Link.Index] })
	slices.SortFunc(possible, compare)
	possible = slices.Compact(possible)
	got := slices.Clone(b.Announced())
	slices.SortFunc(got, compare)
	if !slices.Equal(possible, got) {
		t.Fatalf("announced %v, want %v", got, possible)
	}
	segments, groups := map[segment]bool{}, map[string]int{}
	for _, a := range possible {
		segments[segmentOf(a)] = true
		if a.Address.Is6() {
			groups[fmt.Sprint(a.Link.Index, " ", a.Address)]++
		}
	}
	for seg := range b.network.conns {
		if !segments[seg] {
			t.Fatalf("a socket is open on %v without an address", seg)
		}
	}
	if len(segments) != len(b.network.conns) || !maps.Equal(groups, b.network.groups) {
		t.Fatalf("sockets %v, want %v; groups %v, want %v", b.network.conns, segments, b.network.groups, groups)
	}
}

func compare(a, b plan.Announcement) int {
	if c := a.Compare(b); c != 0 {
		return c
	}
	return slices.Compare(a.Link.MAC[:], b.Link.MAC[:])
}

func compareAddresses() cmp.Option {
	return cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
}
