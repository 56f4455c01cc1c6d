//go:build e2e

package faults

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"
)

// announcement is one address that a node announces for a Service. It is comparable.
type announcement struct{ ip, service, node string }

var announced = regexp.MustCompile(`(?m)^metallb_speaker_announced\{ip="([^"]+)",node="([^"]+)",protocol="layer2",service="([^"]+)"\} 1$`)

// announcements asks every speaker what it announces, in the same moment as far as that is possible.
func (l *installation) announcements() (map[announcement]struct{}, error) {
	texts := make([]string, len(l.speakers))
	errs := make([]error, len(l.speakers))
	var asked sync.WaitGroup
	for i, p := range l.speakers {
		asked.Go(func() { texts[i], errs[i] = l.metrics(p) })
	}
	asked.Wait()
	out := map[announcement]struct{}{}
	for i := range texts {
		if errs[i] != nil {
			return nil, errs[i]
		}
		for _, m := range announced.FindAllStringSubmatch(texts[i], -1) {
			out[announcement{m[1], m[3], m[2]}] = struct{}{}
		}
	}
	return out, nil
}

const (
	watchEvery = 200 * time.Millisecond
	// handOver is how many looks in a row may see an address at two nodes: speakers hear of changes one after the other.
	handOver = 5
)

// guard watches what is announced until it is stopped. One speaker that announces an address for two Services is a fault
// at once; two speakers, when it lasts.
type guard struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	looks   int
	seen    int // announcements, over all looks
	faults  []string
}

func (l *installation) startGuard() *guard {
	ctx, cancel := context.WithCancel(l.ctx)
	g := &guard{cancel: cancel}
	lasting := map[[2]announcement]int{}
	g.running.Go(func() {
		for ctx.Err() == nil {
			now, err := l.announcements()
			if err != nil {
				g.faults = append(g.faults, err.Error())
				return
			}
			g.looks++
			g.seen += len(now)
			lasting = g.compare(now, lasting)
			time.Sleep(watchEvery)
		}
	})
	return g
}

// compare returns how often each pair that should not be has been seen in a row.
func (g *guard) compare(now map[announcement]struct{}, before map[[2]announcement]int) map[[2]announcement]int {
	first := map[string]announcement{}
	out := map[[2]announcement]int{}
	for a := range now {
		b, ok := first[a.ip]
		if !ok {
			first[a.ip] = a
			continue
		}
		if a.node > b.node || a.node == b.node && a.service > b.service {
			a, b = b, a
		}
		pair := [2]announcement{a, b}
		out[pair] = before[pair] + 1
		if a.node == b.node || out[pair] == handOver {
			g.faults = append(g.faults, fmt.Sprintf("%s is announced for %s by %s and for %s by %s", a.ip, a.service, a.node, b.service, b.node))
		}
	}
	return out
}

func (g *guard) stop() {
	g.cancel()
	g.running.Wait()
}
