package tokens

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestReview: the API server is asked once a minute for each token; an answer that it could not give is not remembered.
func TestReview(t *testing.T) {
	now, asked, failure := time.Unix(0, 0), 0, error(nil)
	r := &Reviewer{Now: func() time.Time { return now }, Ask: func(_ context.Context, token string) (string, bool, error) {
		asked++
		return token, token == "reader", failure
	}}
	for _, step := range []struct {
		what, token string
		after       time.Duration
		fails       error
		want        Answer
		asked       int // times since the beginning
	}{
		{what: "the first time", token: "reader", want: Answer{"reader", true}, asked: 1},
		{what: "remembered", token: "reader", after: Remembered - 1, want: Answer{"reader", true}, asked: 1},
		{what: "forgotten", token: "reader", after: 1, want: Answer{"reader", true}, asked: 2},
		{what: "somebody else", token: "writer", want: Answer{"writer", false}, asked: 3},
		{what: "a no is remembered", token: "writer", want: Answer{"writer", false}, asked: 3},
		{what: "no answer", token: "third", fails: errors.ErrUnsupported, asked: 4},
		{what: "asked again", token: "third", want: Answer{"third", false}, asked: 5},
		{what: "too long to be one", token: strings.Repeat("x", MaxToken+1), asked: 5},
	} {
		now, failure = now.Add(step.after), step.fails
		got, err := r.Review(t.Context(), step.token)
		if got != step.want || !errors.Is(err, step.fails) || asked != step.asked {
			t.Errorf("%s: %+v, %v, asked %d times; want %+v, asked %d times", step.what, got, err, asked, step.want, step.asked)
		}
	}
}

// TestStrangersCannotBloatIt: however many tokens somebody makes up, few are known, and few are asked about at once.
func TestStrangersCannotBloatIt(t *testing.T) {
	r := &Reviewer{Now: time.Now, Ask: func(context.Context, string) (string, bool, error) { return "", false, nil }}
	for i := range 3 * maxKnown {
		if _, err := r.Review(t.Context(), strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
		if len(r.known) > maxKnown {
			t.Fatalf("%d are known", len(r.known))
		}
	}
	hold, came := make(chan struct{}), make(chan struct{})
	r.Ask = func(context.Context, string) (string, bool, error) {
		came <- struct{}{}
		<-hold
		return "", false, nil
	}
	for i := range maxAsked {
		go func() { _, _ = r.Review(context.Background(), "new-"+strconv.Itoa(i)) }()
		<-came
	}
	if _, err := r.Review(t.Context(), "one-more"); !errors.Is(err, ErrBusy) {
		t.Errorf("one more is asked about: %v", err)
	}
	close(hold)
}
