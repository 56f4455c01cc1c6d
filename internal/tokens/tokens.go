// Package tokens asks whose a bearer token is and what they may, and remembers the answers for a short time: a page that is
// loaded or metrics that are scraped ask nobody anew. It holds no tokens, only their hashes, and a bounded number of them.
package tokens

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

const (
	// MaxToken is the greatest length of a token that is asked about, in bytes.
	MaxToken = 16 << 10
	// Remembered is how long an answer counts: a right that is withdrawn ends that late.
	Remembered = time.Minute

	maxKnown = 1000
	maxAsked = 8 // at the same time
)

// ErrBusy says that too many tokens are asked about at the same time.
var ErrBusy = errors.New("too many tokens are being asked about")

// Ask asks the API server whose token it is ("": nobody's), and whether they may have what they want.
type Ask func(ctx context.Context, token string) (user string, may bool, err error)

// Answer is what was said of a token. It is comparable.
type Answer struct {
	User string // "": nobody's
	May  bool
}

// Reviewer reviews tokens. Its methods may be called from several goroutines.
type Reviewer struct {
	Ask Ask
	Now func() time.Time

	mu    sync.Mutex
	known map[[sha256.Size]byte]remembered
	asked int // about at this time
}

type remembered struct {
	Answer
	until time.Time
}

// Review returns what is said of a token, or was said a short time ago.
func (r *Reviewer) Review(ctx context.Context, token string) (Answer, error) {
	if len(token) > MaxToken {
		return Answer{}, nil
	}
	key, now := sha256.Sum256([]byte(token)), r.Now()
	r.mu.Lock()
	if a, ok := r.known[key]; ok && now.Before(a.until) {
		r.mu.Unlock()
		return a.Answer, nil
	}
	if r.asked >= maxAsked {
		r.mu.Unlock()
		return Answer{}, ErrBusy
	}
	r.asked++
	r.mu.Unlock()
	user, may, err := r.Ask(ctx, token)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked--
	if err != nil {
		return Answer{}, err
	}
	if r.known == nil || len(r.known) >= maxKnown {
		r.known = map[[sha256.Size]byte]remembered{}
	}
	a := Answer{user, may}
	r.known[key] = remembered{a, now.Add(Remembered)}
	return a, nil
}
