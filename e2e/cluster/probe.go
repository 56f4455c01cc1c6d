package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Probe is a client that asks a URL at fixed intervals, each time on a connection of its own and without waiting for
// the answer before, and writes down when it was answered.
type Probe struct {
	host    *Host
	url     string
	timeout time.Duration
	started time.Time
	cancel  context.CancelFunc
	asking  sync.WaitGroup

	mu      sync.Mutex
	answers []answer
	failed  []Failure
}

type answer struct {
	at   time.Time
	body string
}

// ProbeReport is what a Probe saw.
type ProbeReport struct {
	Asked, Answered int
	// Reset counts the requests whose connection was open and was then reset. A connection that is open while its address
	// moves to another node may end so: the translation of addresses is known to one node alone.
	Reset int
	// Gap is the longest time between two answers, or between the last one and the end. GapStart is when it began.
	Gap      time.Duration
	GapStart time.Time
	// By counts the answers by the first word of their body: a pod's name.
	By map[string]int
	// Failed are the requests that failed, and LastError is why the latest one did.
	Failed    []Failure
	LastError error
}

// Failure is a request that failed: when it was asked, and why.
type Failure struct {
	Asked time.Time
	Err   error
}

// Probe starts asking; every is the interval, timeout bounds one request with its connection.
func (h *Host) Probe(url string, every, timeout time.Duration) *Probe {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Probe{host: h, url: url, timeout: timeout, started: time.Now(), cancel: cancel}
	p.asking.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			p.asking.Go(func() { p.ask(ctx) })
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return p
}

func (p *Probe) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	asked := time.Now()
	body, err := p.host.HTTPGet(ctx, p.url)
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return // the end of the probe is no failure
	}
	if err != nil {
		p.failed = append(p.failed, Failure{asked, err})
		return
	}
	p.answers = append(p.answers, answer{at: time.Now(), body: body})
}

// Answered is the number of answers so far.
func (p *Probe) Answered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.answers)
}

// Report is what the probe has seen so far.
func (p *Probe) Report() ProbeReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := ProbeReport{Asked: len(p.answers) + len(p.failed), Answered: len(p.answers), By: map[string]int{}, Failed: slices.Clone(p.failed)}
	for _, f := range p.failed {
		r.LastError = f.Err
		if strings.Contains(f.Err.Error(), unix.ECONNRESET.Error()) {
			r.Reset++
		}
	}
	times := make([]time.Time, 0, len(p.answers))
	for _, a := range p.answers {
		times = append(times, a.at)
		name, _, _ := strings.Cut(a.body, " ")
		r.By[name]++
	}
	r.GapStart, r.Gap = longestGap(p.started, time.Now(), times)
	return r
}

// Stop ends the asking and reports.
func (p *Probe) Stop() ProbeReport {
	r := p.Report()
	p.cancel()
	p.asking.Wait()
	return r
}

// longestGap finds the longest time between neighboring moments. It counts from the first answer on, or from the start
// if there was none, up to the end.
func longestGap(start, end time.Time, answers []time.Time) (time.Time, time.Duration) {
	last := start
	if len(answers) > 0 {
		last = answers[0]
	}
	from, gap := last, time.Duration(0)
	for _, at := range append(answers, end) {
		if d := at.Sub(last); d > gap {
			from, gap = last, d
		}
		last = at
	}
	return from, gap
}
