package heartbeat

import (
	"slices"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	// grace is how long nothing more may be heard after the heartbeats were missed.
	grace = 200 * time.Millisecond
	// wordLasts is how long the word of another candidate counts that it misses a node.
	wordLasts = 2 * time.Second
	// tellEvery and tellFor say how often and for how long other candidates are told that a node is missed.
	tellEvery = 50 * time.Millisecond
	tellFor   = time.Second
)

// signal is what the heartbeats say of a node.
type signal int

const (
	unheard signal = iota // nothing was heard of it yet, or it said itself that it does not hear this node, or stops
	hears                 // both hear each other
	missed                // it was heard, and then three heartbeats in a row were not
)

// reply is what came of asking a node whether it is there.
type reply int

const (
	unasked  reply = iota
	asking         // no result yet
	answered       // it answered, or could not be asked
	silent         // it did not answer, and somebody else was heard meanwhile
	alone          // it did not answer, and nobody else was heard either
)

// judge decides which companions are lost. It knows neither clock nor socket: what is heard and the time come in, and
// what is to be done comes out. It is owned by one goroutine.
type judge struct {
	cases map[string]*docket // by node
}

// docket is all that is known of one companion.
type docket struct {
	plan.Companion
	signal   signal
	missedAt time.Time
	reply    reply
	words    map[string]time.Time // when another candidate said last that it misses the node
	toldAt   time.Time
	lost     bool
}

// todo is what step wants to be done.
type todo struct {
	ask  []plan.Companion // these are to be asked whether they are there
	tell []word           // these words are to be said
	lost []string         // these have become lost
}

// word is what one candidate tells another one of a node. It is comparable.
type word struct {
	to, of string // nodes
	misses bool
}

// replace makes the companions the whole set. What is known of those that stay is kept.
func (j *judge) replace(all []plan.Companion) {
	next := make(map[string]*docket, len(all))
	for _, c := range all {
		d := j.cases[c.Node]
		if d == nil || d.Address != c.Address {
			d = &docket{words: map[string]time.Time{}}
		}
		d.Companion = c
		next[c.Node] = d
	}
	j.cases = next
}

// hear takes in what the heartbeats say of a node now; since is when it became so. It says whether a lost one is back,
// and to whom it is to be told that it is heard again.
func (j *judge) hear(node string, now signal, since time.Time) (back bool, tell []word) {
	d := j.cases[node]
	if d == nil || d.signal == now {
		return false, nil
	}
	before := d.signal
	//exhaustive:enforce
	switch now {
	case hears:
		back = d.lost
		if before == missed {
			tell = d.say(false)
		}
		*d = docket{Companion: d.Companion, signal: hears, words: d.words}
	case missed:
		if before != hears {
			return false, nil // it was missed before this node could know it
		}
		d.signal, d.missedAt = missed, since
	case unheard:
		if before == missed { // it is there, but does not hear this node, or stops
			tell = d.say(false)
		}
		back = d.lost
		*d = docket{Companion: d.Companion, signal: unheard, words: d.words}
	}
	return back, tell
}

// listen takes in what another candidate said of a node.
func (j *judge) listen(from, of string, misses bool, now time.Time) {
	d := j.cases[of]
	switch {
	case d == nil || !slices.Contains(d.Mates, from):
	case misses:
		d.words[from] = now
	default:
		delete(d.words, from)
	}
}

// asked takes in what came of asking a node.
func (j *judge) asked(node string, r reply) {
	if d := j.cases[node]; d != nil && d.reply == asking {
		d.reply = r
	}
}

// step says what is to be done now, and when to call it again; zero: when something comes in.
func (j *judge) step(now time.Time) (do todo, next time.Time) {
	for _, d := range j.cases {
		if d.signal != missed || !d.Watched || d.lost || len(d.Links) == 0 {
			continue
		}
		if d.reply == unasked {
			d.reply = asking
			do.ask = append(do.ask, d.Companion)
		}
		if now.Sub(d.missedAt) < tellFor {
			if now.Sub(d.toldAt) >= tellEvery {
				d.toldAt = now
				do.tell = append(do.tell, d.say(true)...)
			}
			next = earlier(next, d.toldAt.Add(tellEvery))
		}
		over := d.missedAt.Add(grace)
		switch {
		case over.After(now):
			next = earlier(next, over)
		case j.agreed(d, now):
			d.lost = true
			do.lost = append(do.lost, d.Node)
		}
	}
	slices.Sort(do.lost)
	return do, next
}

// agreed says whether a node is gone by all that is known: it did not answer, and every other candidate for what it owns
// that is heard here misses it as well. Where there are others and none is heard, it may be this node that is cut off;
// where there is no other, somebody else must have been heard since.
func (j *judge) agreed(d *docket, now time.Time) bool {
	if d.reply != silent && d.reply != alone {
		return false
	}
	heard := false
	for _, mate := range d.Mates {
		m := j.cases[mate]
		if m == nil || m.signal != hears {
			continue
		}
		heard = true
		if said, ok := d.words[mate]; !ok || now.Sub(said) > wordLasts {
			return false
		}
	}
	return heard || len(d.Mates) == 0 && d.reply == silent
}

// say returns the word to every other candidate.
func (d *docket) say(misses bool) []word {
	var out []word
	for _, mate := range d.Mates {
		out = append(out, word{to: mate, of: d.Node, misses: misses})
	}
	return out
}

// now returns the nodes that are lost, and those which hear this node and are heard.
func (j *judge) now() (lost, heard map[string]bool) {
	lost, heard = map[string]bool{}, map[string]bool{}
	for node, d := range j.cases {
		if d.lost {
			lost[node] = true
		}
		if d.signal == hears {
			heard[node] = true
		}
	}
	return lost, heard
}

// earlier returns the earlier of two times, where the zero time never comes.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
