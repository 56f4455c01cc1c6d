//go:build linux

package layer2

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// burst returns how many frames may go out at once before the rate limit holds them back: 50 ms worth, so that a
// process that is not scheduled for that long still keeps the rate; but never less than one address takes.
func burst(frameRate int) int { return max(2, frameRate/20) }

// gratuitous sends the frames that announce an address without being asked: when it is new, and some times again. Its
// goroutine owns both queues; new addresses go before repetitions.
type gratuitous struct {
	rounds  int           // how often each is sent, the first time included
	every   time.Duration // between two rounds of an address
	limiter *rate.Limiter // in frames
	added   chan []*sending
}

// sending is one address on one link that is being announced.
type sending struct {
	plan.Announcement
	frames [][]byte
	conn   conn
	sent   prometheus.Counter
	result chan<- sendResult // gets the outcome of the first round; has room for it

	// Owned by the goroutine of Run.
	confirmed bool // the first round went out

	// Owned by gratuitous.
	left int       // rounds
	due  time.Time // of the next round

	mu      sync.Mutex // held while sending
	stopped bool
}

// sendResult is the outcome of the first round of a sending.
type sendResult struct {
	sending *sending
	err     error
}

func newGratuitous(c Config) *gratuitous {
	return &gratuitous{
		rounds:  1 + int(c.RepeatFor/c.RepeatEvery),
		every:   c.RepeatEvery,
		limiter: rate.NewLimiter(rate.Limit(c.FrameRate), burst(c.FrameRate)),
		added:   make(chan []*sending),
	}
}

// run sends what is due until ctx ends.
func (g *gratuitous) run(ctx context.Context) error {
	var fresh, again []*sending // in the order of their due times
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select { // what is new goes before a repetition that is due as well
		case batch := <-g.added:
			fresh = append(fresh, batch...)
		default:
		}
		queue := &again
		if len(fresh) > 0 {
			queue = &fresh
		}
		var due <-chan time.Time
		if len(*queue) > 0 {
			timer.Reset(time.Until((*queue)[0].due))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case batch := <-g.added:
			fresh = append(fresh, batch...)
		case <-due:
			s := (*queue)[0]
			(*queue)[0] = nil
			*queue = (*queue)[1:]
			if g.round(ctx, s) {
				again = append(again, s)
			}
		}
	}
}

// round sends the frames of one round and reports whether there is to be another one.
func (g *gratuitous) round(ctx context.Context, s *sending) bool {
	if g.limiter.WaitN(ctx, len(s.frames)) != nil { // ctx ended
		return false
	}
	first := s.left == 0
	if first {
		s.left = g.rounds
	}
	goOn, err := s.send()
	if first {
		s.result <- sendResult{s, err}
	}
	s.left--
	s.due = time.Now().Add(g.every)
	return goOn && s.left > 0 && (err == nil || !first)
}

// send writes the frames unless s was stopped. An error of a repetition is not told: if the link is down, the plan will
// drop it.
func (s *sending) send() (goOn bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false, nil
	}
	for _, f := range s.frames {
		if err := send(s.conn, f); err != nil {
			return true, err
		}
		s.sent.Inc()
	}
	return true, nil
}

// stop makes sure that no frame goes out any more.
func (s *sending) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}
