//go:build linux

package bfd

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// link carries packets between two machines in simulated time. It loses, doubles and delays them, so that they overtake
// each other.
type link struct {
	ends   [2]*machine
	now    time.Time
	random *rand.Rand
	loss   float64
	twice  float64
	delay  time.Duration // of each packet
	uneven time.Duration // more delay, at most
	flight []flying
}

// flying is a packet on its way.
type flying struct {
	to      int
	arrives time.Time
	packet  packet
}

// run lets time pass.
func (l *link) run(d time.Duration) {
	for i, m := range l.ends {
		l.take(i, m)
	}
	for end := l.now.Add(d); ; {
		next := l.next()
		if !due(next, end) {
			l.now = end
			return
		}
		if next.After(l.now) {
			l.now = next
		}
		l.deliver()
		for i, m := range l.ends {
			m.advance(l.now)
			l.take(i, m)
		}
	}
}

func (l *link) next() time.Time {
	next := earliest(l.ends[0].next(), l.ends[1].next())
	for _, f := range l.flight {
		next = earliest(next, f.arrives)
	}
	return next
}

func (l *link) deliver() {
	flight := l.flight
	l.flight = nil
	for _, f := range flight {
		if f.arrives.After(l.now) {
			l.flight = append(l.flight, f)
			continue
		}
		m := l.ends[f.to]
		if p, drop := parse(f.packet.append(nil)); drop == "" && (p.yours == 0 || p.yours == m.mine) {
			m.receive(p, l.now)
			l.take(f.to, m)
		}
	}
}

// take puts what a machine sends on the way.
func (l *link) take(from int, m *machine) {
	for _, p := range m.out {
		for copies := 1; copies > 0; copies-- {
			if l.random.Float64() >= l.loss {
				l.flight = append(l.flight, flying{1 - from, l.now.Add(l.delay + time.Duration(l.random.Float64()*float64(l.uneven))), p})
			}
			if l.random.Float64() < l.twice {
				copies++
			}
		}
	}
	m.out = m.out[:0]
}

// anyParameters draws parameters; intervals are of whole milliseconds.
func anyParameters(t *rapid.T, name string) Parameters {
	interval := rapid.IntRange(10, 2000)
	return Parameters{
		DesiredMinTx:     time.Duration(interval.Draw(t, name+" tx")) * ms,
		RequiredMinRx:    time.Duration(interval.Draw(t, name+" rx")) * ms,
		DetectMultiplier: uint8(rapid.IntRange(1, 10).Draw(t, name+" multiplier")),
		Passive:          rapid.Bool().Draw(t, name+" passive"),
	}
}

// TestTwoEndsAgree: whatever a bad link did, once it is good both ends are Up with the same timers, also where they are
// changed meanwhile, and stay so; when it is cut, both are Down after the detection time; one that is taken down takes
// the other one down.
func TestTwoEndsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		l := &link{now: epoch(), random: rand.New(rand.NewPCG(seed, 1))}
		parameters := []Parameters{anyParameters(t, "a"), anyParameters(t, "b")}
		parameters[0].Passive = parameters[0].Passive && !parameters[1].Passive // both would be silent for ever
		for i := range l.ends {
			l.ends[i] = newMachine(Session{Parameters: parameters[i]}, uint32(1+i), l.random.Float64, l.now)
		}
		l.loss = rapid.Float64Range(0, 1).Draw(t, "loss")
		l.twice = rapid.Float64Range(0, 0.3).Draw(t, "twice")
		l.delay, l.uneven = ms, time.Duration(rapid.IntRange(0, 3000).Draw(t, "uneven"))*ms
		l.run(time.Duration(rapid.IntRange(0, 30).Draw(t, "bad for")) * time.Second)

		l.loss, l.twice, l.uneven = 0, 0, 0
		l.run(4 * time.Second) // what was on its way arrives
		l.run(25 * time.Second)
		wantAgreement(t, l)
		downs := l.ends[0].downs + l.ends[1].downs
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			i := rapid.IntRange(0, 1).Draw(t, "whose")
			p := anyParameters(t, "new")
			p.Passive = parameters[i].Passive
			l.ends[i].configure(p, l.now)
			l.run(time.Duration(rapid.IntRange(0, 3000).Draw(t, "then")) * ms)
		}
		l.run(25 * time.Second)
		wantAgreement(t, l)
		if now := l.ends[0].downs + l.ends[1].downs; now != downs {
			t.Fatalf("a change of parameters took the session down %d times", now-downs)
		}
		if rapid.Bool().Draw(t, "on purpose") {
			l.ends[0].shut(l.now)
			l.run(2*farewellInterval + 2*ms)
			if b := l.ends[1]; !l.ends[0].done() || b.local != Down || b.diagnostic != NeighborDown || b.remote != AdminDown {
				t.Fatalf("after AdminDown: %v, %v, %v", b.local, b.diagnostic, b.remote)
			}
			return
		}
		l.loss = 1
		l.run(2*ms + max(l.ends[0].detectionTime(), l.ends[1].detectionTime()))
		for _, m := range l.ends {
			if m.local != Down || m.diagnostic != DetectionExpired {
				t.Fatalf("after a cut: %v, %v", m.local, m.diagnostic)
			}
		}
	})
}

func wantAgreement(t *rapid.T, l *link) {
	for i, m := range l.ends {
		other := l.ends[1-i]
		if m.local != Up || m.remote != Up || m.polling {
			t.Fatalf("end %d: %v, the other one %v, polling %v", i, m.local, m.remote, m.polling)
		}
		if want := max(m.params.DesiredMinTx, other.params.RequiredMinRx); m.interval() != want {
			t.Fatalf("end %d sends every %v, want %v", i, m.interval(), want)
		}
		if want := time.Duration(m.params.DetectMultiplier) * m.interval(); other.detectionTime() != want {
			t.Fatalf("detection time of end %d is %v, want %v", 1-i, other.detectionTime(), want)
		}
	}
}
