//go:build linux

package layer2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead-lb/fairlead/internal/diff"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// state is what is announced, and the sockets that it takes. It is owned by the goroutine of Run.
type state struct {
	*Announcer
	ctx        context.Context // Run's
	work       *errgroup.Group // Run's goroutines
	log        *slog.Logger
	gratuitous *gratuitous
	responders map[segment]*responder
	sendings   map[plan.Announcement]*sending // every announcement that a responder answers for
	failed     chan *responder                // those whose socket failed
}

func newState(ctx context.Context, a *Announcer, work *errgroup.Group) *state {
	s := &state{
		Announcer:  a,
		ctx:        ctx,
		work:       work,
		log:        a.cfg.Log,
		gratuitous: newGratuitous(a.cfg, a.pulse, a.random),
		responders: map[segment]*responder{},
		sendings:   map[plan.Announcement]*sending{},
		failed:     make(chan *responder),
	}
	a.shared.asked = func() { s.gratuitous.asked.Store(true) }
	return s
}

// apply brings what is announced to want: what is new first, then what has to go.
func (s *state) apply(ctx context.Context, want, leaving []plan.Announcement) error {
	s.dropChangedLinks()
	if s.pulse.paused() {
		_, remove := diff.Sets(slices.Concat(want, leaving), s.answered())
		return errors.Join(ErrPaused, s.remove(remove))
	}
	s.leave(want, leaving)
	add, _ := diff.Sets(want, s.confirmed())
	err := s.add(ctx, add)
	_, remove := diff.Sets(slices.Concat(want, leaving), s.answered())
	return errors.Join(err, s.remove(remove))
}

// leave marks those of leaving that are announced and not wanted, and no other.
func (s *state) leave(want, leaving []plan.Announcement) {
	notWanted, _ := diff.Sets(leaving, want)
	for _, a := range notWanted {
		if x, ok := s.sendings[a]; ok {
			x.leaving.Store(true)
		}
	}
	for _, a := range want {
		if x, ok := s.sendings[a]; ok && x.leaving.Swap(false) {
			x.silent.Store(false)
			x.confirmed = false // another speaker may have announced it
		}
	}
}

// resume ends a pause: what is not wanted any more goes first, and the rest is announced anew.
func (s *state) resume(ctx context.Context, noticed time.Duration, want []plan.Announcement) error {
	_, remove := diff.Sets(want, s.answered())
	err := s.remove(remove)
	if !s.pulse.resume(noticed) {
		return errors.Join(ErrPaused, err)
	}
	for _, x := range s.sendings {
		x.confirmed = false
		x.silent.Store(false)
	}
	return errors.Join(err, s.apply(ctx, want, nil))
}

// answered returns every announcement that a responder answers for, sorted.
func (s *state) answered() []plan.Announcement {
	out := make([]plan.Announcement, 0, len(s.sendings))
	for a := range s.sendings {
		out = append(out, a)
	}
	slices.SortFunc(out, plan.Announcement.Compare)
	return out
}

// confirmed returns those of answered whose first gratuitous announcement went out, too.
func (s *state) confirmed() []plan.Announcement {
	return slices.DeleteFunc(s.answered(), func(a plan.Announcement) bool { return !s.sendings[a].confirmed })
}

// announcing returns what is said to be announced.
func (s *state) announcing() []plan.Announcement {
	if s.pulse.paused() {
		return nil
	}
	return slices.DeleteFunc(s.confirmed(), func(a plan.Announcement) bool { return s.sendings[a].silent.Load() })
}

// add begins to announce each of add, and waits until the segments know.
func (s *state) add(ctx context.Context, add []plan.Announcement) error {
	var errs []error
	var begun []*sending
	fail := func(a plan.Announcement, err error) {
		errs = append(errs, fmt.Errorf("announcing %s: %w", a, err))
	}
	results := make(chan sendResult, len(add))
	for _, batch := range bySegment(add) {
		for _, a := range s.answer(batch, fail) {
			begun = append(begun, s.begin(a, results))
		}
	}
	s.await(ctx, begun, results, fail)
	return errors.Join(errs...)
}

// answer makes the responder of batch's segment answer for its announcements, and returns those that it does.
func (s *state) answer(batch []plan.Announcement, fail func(plan.Announcement, error)) []plan.Announcement {
	seg := segmentOf(batch[0])
	var ready []plan.Announcement
	var addresses []netip.Addr // of those that are not answered for yet
	for _, a := range batch {
		if err := s.prepare(a); err != nil {
			fail(a, err)
			continue
		}
		ready = append(ready, a)
		if _, ok := s.sendings[a]; !ok {
			addresses = append(addresses, a.Address)
		}
	}
	if len(addresses) == 0 {
		return ready
	}
	if err := s.extend(seg, addresses); err != nil {
		return slices.DeleteFunc(ready, func(a plan.Announcement) bool {
			if _, ok := s.sendings[a]; ok {
				return false
			}
			s.unprepare(a)
			fail(a, err)
			return true
		})
	}
	return ready
}

// prepare does what has to be done before a responder answers for a: it checks the address and joins its group.
func (s *state) prepare(a plan.Announcement) error {
	if err := checkAddress(a.Address); err != nil {
		return err
	}
	if _, ok := s.sendings[a]; ok || familyOf(a.Address) != familyNDP {
		return nil
	}
	return s.groups.join(a.Link.Index, a.Address)
}

// unprepare takes prepare back.
func (s *state) unprepare(a plan.Announcement) {
	if _, ok := s.sendings[a]; !ok && familyOf(a.Address) == familyNDP {
		s.groups.leave(a.Link.Index, a.Address)
	}
}

// extend adds addresses to what is answered for on a segment, whose socket is opened if it is the first time.
func (s *state) extend(seg segment, addresses []netip.Addr) error {
	r, isOpen := s.responders[seg]
	if !isOpen {
		r = &responder{segment: seg, shared: s.shared, ignored: s.metrics.ignoredBy(seg.family)}
		r.targets.Store(&targets{})
	}
	next := (*r.targets.Load()).with(addresses, func(a netip.Addr) *entry { return s.newEntry(a, r) })
	var err error
	if isOpen {
		err = r.widen(next)
	} else {
		r.targets.Store(&next)
		err = s.open(r)
	}
	if err != nil {
		for _, a := range addresses {
			s.metrics.release(a)
		}
	}
	return err
}

// newEntry returns the entry of an address that r is to answer for.
func (s *state) newEntry(address netip.Addr, r *responder) *entry {
	e := &entry{
		Announcement: plan.Announcement{Address: address, Link: r.link},
		counters:     s.metrics.acquire(address),
		responder:    r,
	}
	if at, ok := (*s.shared.watched.Load())[address]; ok {
		e.asked.Store(at.Load())
	}
	return e
}

// open starts a responder.
func (s *state) open(r *responder) error {
	err := r.attach(*r.targets.Load(), func(filter []bpf.RawInstruction) (err error) {
		r.conn, err = s.listen(r.link, r.family, filter)
		return err
	})
	if err != nil {
		return err
	}
	r.ctx, r.cancel = context.WithCancel(s.ctx)
	s.responders[r.segment] = r
	s.shareOwn()
	s.log.Info("answering", "interface", r.link.Name, "family", r.family)
	s.work.Go(func() error {
		r.serve()
		select {
		case s.failed <- r:
		case <-r.ctx.Done():
		}
		return nil
	})
	return nil
}

// shareOwn tells the responders the hardware addresses of all of them.
func (s *state) shareOwn() {
	own := map[macAddr]bool{}
	for seg := range s.responders {
		own[seg.link.MAC] = true
	}
	s.shared.own.Store(&own)
}

// begin queues the gratuitous announcements of a, anew if there were some before.
func (s *state) begin(a plan.Announcement, results chan<- sendResult) *sending {
	e := (*s.responders[segmentOf(a)].targets.Load())[a.Address]
	x := &sending{entry: e, result: results, index: -1}
	e.current.Store(x)
	s.sendings[a] = x
	return x
}

// await hands begun to the sender and waits for the first round of each.
func (s *state) await(ctx context.Context, begun []*sending, results <-chan sendResult, fail func(plan.Announcement, error)) {
	if len(begun) == 0 {
		return
	}
	waiting := make(map[*sending]struct{}, len(begun))
	for _, b := range begun {
		waiting[b] = struct{}{}
	}
	select {
	case s.gratuitous.added <- begun:
	case <-s.ctx.Done():
	}
	var ended error
	for len(waiting) > 0 && ended == nil {
		select {
		case r := <-results:
			delete(waiting, r.sending)
			r.sending.confirmed = r.err == nil
			if r.err != nil {
				fail(r.sending.Announcement, r.err)
			}
		case <-ctx.Done():
			ended = ctx.Err()
		case <-s.ctx.Done():
			ended = ErrStopped
		}
	}
	for _, b := range begun {
		if _, ok := waiting[b]; ok {
			fail(b.Announcement, ended)
		}
	}
}

// remove ends what is announced of remove.
func (s *state) remove(remove []plan.Announcement) error {
	var errs []error
	for _, batch := range bySegment(remove) {
		r := s.responders[segmentOf(batch[0])]
		addresses := make([]netip.Addr, 0, len(batch))
		for _, a := range batch {
			addresses = append(addresses, a.Address)
		}
		if next := (*r.targets.Load()).without(addresses); len(next) == 0 {
			s.closeResponder(r)
		} else if err := r.narrow(next); err != nil {
			errs = append(errs, fmt.Errorf("narrowing the filter on %s: %w", r.link, err))
		}
		for _, a := range batch {
			s.forget(a)
		}
	}
	return errors.Join(errs...)
}

// forget ends everything that belongs to an announcement that is no longer answered for.
func (s *state) forget(a plan.Announcement) {
	e := s.sendings[a].entry
	s.gratuitous.stop(e)
	delete(s.sendings, a)
	if at, ok := (*s.shared.watched.Load())[a.Address]; ok {
		at.Store(max(at.Load(), e.asked.Load()))
	}
	s.unprepare(a)
	s.metrics.release(a.Address)
}

// dropChangedLinks ends what is announced on interfaces that are gone, or have another hardware address.
func (s *state) dropChangedLinks() {
	checked := map[plan.Link]error{}
	for seg, r := range s.responders {
		err, ok := checked[seg.link]
		if !ok {
			err = s.check(seg.link)
			checked[seg.link] = err
		}
		if err != nil {
			s.log.Info("link is gone", "interface", seg.link.Name, "reason", err)
			s.dropResponder(r)
		}
	}
}

// dropResponder ends what is announced by r, unless that was done already.
func (s *state) dropResponder(r *responder) {
	if s.responders[r.segment] != r {
		return
	}
	s.closeResponder(r)
	for address := range *r.targets.Load() {
		s.forget(plan.Announcement{Address: address, Link: r.link})
	}
}

func (s *state) closeResponder(r *responder) {
	r.close()
	delete(s.responders, r.segment)
	s.shareOwn()
	s.log.Info("no longer answering", "interface", r.link.Name, "family", r.family)
}

// close ends everything.
func (s *state) close() {
	for _, r := range s.responders {
		s.dropResponder(r)
	}
	s.groups.close()
}

func segmentOf(a plan.Announcement) segment { return segment{a.Link, familyOf(a.Address)} }

// bySegment groups announcements by their segment, in the order of the first of each.
func bySegment(all []plan.Announcement) [][]plan.Announcement {
	var out [][]plan.Announcement
	at := map[segment]int{}
	for _, a := range all {
		seg := segmentOf(a)
		i, ok := at[seg]
		if !ok {
			i = len(out)
			at[seg] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], a)
	}
	return out
}
