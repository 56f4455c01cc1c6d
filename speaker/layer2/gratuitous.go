//go:build linux

package layer2

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// refreshGrain is how far apart slow repetitions are at least that are not sent together, so that many addresses do not
// wake this process all the time.
const refreshGrain = time.Second

// gratuitous sends the frames that announce an address without being asked: when it is new, some times again, and then
// slowly for as long as it is announced; and the few that conflicts ask for. All of them share one rate limit. Its
// goroutine owns the queues.
type gratuitous struct {
	rounds  int                  // how often a new address is announced, the first time included
	every   time.Duration        // between two of them
	refresh func() time.Duration // to the next one after these; nil: there is none
	limiter *rate.Limiter        // in frames
	pulse   *pulse
	added   chan []*sending
	single  chan []single
	started time.Time
	asked   atomic.Bool // an address was asked for while it was to be announced first

	mu sync.Mutex // held while frames are sent
}

// sending is the schedule of an entry.
type sending struct {
	*entry
	result chan<- sendResult // gets the outcome of the first round; has room for it

	// Owned by the goroutine of Run.
	confirmed bool // the first round went out

	// Owned by gratuitous.
	begun bool      // the first round is over
	left  int       // rounds before it is slow
	due   time.Time // of the next round
	index int       // in later; -1: in none
}

// sendResult is the outcome of the first round of a sending.
type sendResult struct {
	sending *sending
	err     error
}

// single is what is to be sent once.
type single struct {
	entry *entry
	kind  singleKind
}

type singleKind uint8

const (
	singleAnswer  singleKind = iota // one announcement, to one of another speaker
	singleProbe                     // the question who has the address
	singleRestart                   // the schedule of a new address, from its beginning
)

// burst returns how many frames may go out at once before the rate limit holds them back: 50 ms worth, so that a
// process that is not scheduled for that long still keeps the rate; but never less than one address takes.
func burst(frameRate int) int { return max(2, frameRate/20) }

func newGratuitous(c Config, p *pulse, random func() float64) *gratuitous {
	g := &gratuitous{
		rounds:  1 + int(c.RepeatFor/c.RepeatEvery),
		every:   c.RepeatEvery,
		limiter: rate.NewLimiter(rate.Limit(c.FrameRate), burst(c.FrameRate)),
		pulse:   p,
		added:   make(chan []*sending),
		single:  make(chan []single),
		started: time.Now(),
	}
	if c.RefreshEvery > 0 {
		g.refresh = func() time.Duration { return time.Duration(float64(c.RefreshEvery) * (0.75 + random()/2)) }
	}
	return g
}

// queues is what is to be sent: what is new goes before what is asked for once, and that before what is repeated.
type queues struct {
	fresh  []*sending
	single []single
	later  schedule
}

// run sends what is due until ctx ends.
func (g *gratuitous) run(ctx context.Context) error {
	var q queues
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select { // what is new goes before a repetition that is due as well
		case batch := <-g.added:
			q.add(batch)
			continue
		default:
		}
		batch, wait := g.next(&q)
		if len(batch) > 0 {
			if !g.sendBatch(ctx, &q, batch) {
				return nil
			}
			continue
		}
		var due <-chan time.Time
		if wait >= 0 {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case batch := <-g.added:
			q.add(batch)
		case singles := <-g.single:
			q.single = append(q.single, singles...)
		case <-due:
		}
	}
}

func (q *queues) add(batch []*sending) {
	for _, s := range batch {
		s.index = -1
	}
	q.fresh = append(q.fresh, batch...)
	sortByUse(q.fresh)
}

// sortByUse puts what was asked for most recently first; what was not asked for stays in its order.
func sortByUse(fresh []*sending) {
	asked := make(map[*sending]int64, len(fresh))
	for _, s := range fresh {
		asked[s] = s.asked.Load()
	}
	slices.SortStableFunc(fresh, func(a, b *sending) int { return cmp.Compare(asked[b], asked[a]) })
}

// job is one part of a batch.
type job struct {
	entry     *entry
	probe     bool
	scheduled *sending // nil: sent once
}

// next takes what is to be sent next, as many addresses as the burst and one system call allow; if that is nothing, it
// returns how long it takes until something is due, or -1.
func (g *gratuitous) next(q *queues) (batch []job, wait time.Duration) {
	room := max(1, min(batchSize, g.limiter.Burst()/10)/2) // 5 ms worth, since what is new waits for the end of a batch
	if len(q.fresh) > 0 {
		if g.asked.Swap(false) {
			sortByUse(q.fresh)
		}
		n := min(room, len(q.fresh))
		for _, s := range q.fresh[:n] {
			batch = append(batch, job{entry: s.entry, scheduled: s})
		}
		q.fresh = slices.Delete(q.fresh, 0, n)
		return batch, 0
	}
	for len(q.single) > 0 && len(batch) < room {
		if s := q.single[0]; s.kind == singleRestart {
			g.restart(q, s.entry)
		} else {
			batch = append(batch, job{entry: s.entry, probe: s.kind == singleProbe})
		}
		q.single = q.single[1:]
	}
	now := time.Now()
	for len(q.later) > 0 && len(batch) < room && !q.later[0].due.After(now) {
		s := heap.Pop(&q.later).(*sending)
		batch = append(batch, job{entry: s.entry, scheduled: s})
	}
	switch {
	case len(batch) > 0:
		return batch, 0
	case len(q.later) == 0:
		return nil, -1
	}
	return nil, q.later[0].due.Sub(now)
}

// restart begins the schedule of an entry anew, now.
func (g *gratuitous) restart(q *queues, e *entry) {
	s := e.current.Load()
	if s == nil || !s.begun {
		return
	}
	s.left, s.due = g.rounds, time.Now()
	if s.index >= 0 {
		heap.Fix(&q.later, s.index)
	} else {
		heap.Push(&q.later, s)
	}
}

// sendBatch sends the frames of batch, when the rate limit allows, and plans the next rounds. It returns false if ctx
// ended.
func (g *gratuitous) sendBatch(ctx context.Context, q *queues, batch []job) bool {
	count := 0
	for _, j := range batch {
		count += j.size()
	}
	if g.limiter.WaitN(ctx, count) != nil {
		return false
	}
	errs := g.send(batch)
	for i, j := range batch {
		if j.scheduled != nil {
			g.reschedule(q, j.scheduled, errs[i])
		}
	}
	return true
}

// reschedule tells the outcome of the first round, and plans the next one.
func (g *gratuitous) reschedule(q *queues, s *sending, err error) {
	if !s.begun {
		s.begun, s.left = true, g.rounds
		s.result <- sendResult{s, err}
		if err != nil {
			return // it is begun anew by the next Apply
		}
	}
	if s.left > 0 {
		s.left--
	}
	if s.gone.Load() || s.current.Load() != s {
		return
	}
	switch {
	case s.left > 0:
		s.due = time.Now().Add(g.every)
	case g.refresh != nil:
		s.due = g.grained(time.Now().Add(g.refresh()))
	default:
		return
	}
	heap.Push(&q.later, s)
}

// grained puts a time off to when others are due as well.
func (g *gratuitous) grained(t time.Time) time.Time {
	return g.started.Add((t.Sub(g.started) + refreshGrain - 1).Truncate(refreshGrain))
}

// size is how many frames are to be sent for j.
func (j job) size() int {
	if j.probe || j.entry.responder.family == familyNDP {
		return 1
	}
	return 2 // request and reply form
}

// frames returns what is to be sent for j.
func (j job) frames() [][]byte {
	f, address, mac := j.entry.responder.family, j.entry.Address, j.entry.Link.MAC
	if j.probe {
		return [][]byte{f.probe(address, mac)}
	}
	return f.gratuitous(address, mac)
}

// send writes the frames of batch, but for those of entries that do not speak, and returns what kept each from being
// sent. An error of a repetition is not told: if the link is down, the plan will drop it.
func (g *gratuitous) send(batch []job) []error {
	g.mu.Lock()
	defer g.mu.Unlock()
	errs := make([]error, len(batch))
	if g.pulse.paused() {
		for i := range errs {
			errs[i] = ErrPaused
		}
		return errs
	}
	for begin, end := 0, 0; begin < len(batch); begin = end {
		conn := batch[begin].entry.responder.conn
		for end < len(batch) && batch[end].entry.responder.conn == conn {
			end++
		}
		sendRow(conn, batch[begin:end], errs[begin:end])
	}
	return errs
}

// sendRow writes the frames of jobs of one socket by one system call.
func sendRow(c conn, row []job, errs []error) {
	var frames [][]byte
	var owners []int // by frame, the index in row
	for i, j := range row {
		if j.isDue() {
			for _, f := range j.frames() {
				frames, owners = append(frames, f), append(owners, i)
			}
		}
	}
	send(c, frames, func(i int, err error) {
		switch j := row[owners[i]]; {
		case err != nil:
			errs[owners[i]] = err
		case !j.probe:
			j.entry.gratuitous.Add(1)
		}
	})
}

// isDue reports whether j still is to be sent: a schedule may have been replaced, and an entry may not speak any more. A
// probe is for an entry that is silent.
func (j job) isDue() bool {
	switch e := j.entry; {
	case j.scheduled != nil && e.current.Load() != j.scheduled, e.gone.Load(), e.leaving.Load():
		return false
	default:
		return e.silent.Load() == j.probe
	}
}

// stop makes sure that nothing is sent for e any more.
func (g *gratuitous) stop(e *entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e.gone.Store(true)
}
