package explain

import (
	"fmt"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// Answer is how a step came out.
type Answer string

// The answers.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown" // it cannot be said with what was read
	Fact    Answer = "fact"    // it is neither good nor bad
)

// Step is one link of the chain from an object to the wire.
type Step struct {
	Name    string         `json:"name"`
	Answer  Answer         `json:"answer"`
	Reason  verdict.Reason `json:"reason,omitempty"`
	Message string         `json:"message"`
	Steps   []Step         `json:"steps,omitempty"` // what it is made of
}

// Explanation is what is to be said of one object.
type Explanation struct {
	Kind    string         `json:"kind"`
	Name    string         `json:"name"`
	OK      bool           `json:"ok"` // it does what it is for
	Reason  verdict.Reason `json:"reason,omitempty"`
	Summary string         `json:"summary"`        // the one sentence that matters
	Do      string         `json:"do,omitempty"`   // what to do about it
	Next    string         `json:"next,omitempty"` // the next command to run
	Steps   []Step         `json:"steps"`
	Gaps    []string       `json:"gaps,omitempty"`  // what could not be read
	Notes   []string       `json:"notes,omitempty"` // what makes the answer doubtful
}

// add appends a step.
func (e *Explanation) add(name string, a Answer, reason verdict.Reason, format string, args ...any) *Step {
	e.Steps = append(e.Steps, Step{Name: name, Answer: a, Reason: reason, Message: fmt.Sprintf(format, args...)})
	return &e.Steps[len(e.Steps)-1]
}

// add appends a step to those that a step is made of.
func (s *Step) add(name string, a Answer, reason verdict.Reason, format string, args ...any) *Step {
	s.Steps = append(s.Steps, Step{Name: name, Answer: a, Reason: reason, Message: fmt.Sprintf(format, args...)})
	return &s.Steps[len(s.Steps)-1]
}

// conclude makes the sentence, unless there is one: of the first step that is a no, else of the first that is not known,
// else the one that is given.
func (e *Explanation) conclude(v *View, reason verdict.Reason, format string, args ...any) {
	e.Gaps, e.Notes = v.gaps(), v.notes()
	e.OK, e.Reason, e.Summary = true, reason, fmt.Sprintf(format, args...)
	for _, a := range []Answer{Unknown, No} { // a no counts more
		for i := len(e.Steps) - 1; i >= 0; i-- {
			if s := &e.Steps[i]; s.Answer == a {
				e.OK, e.Reason, e.Summary = false, s.Reason, s.Message
			}
		}
	}
	if d, ok := e.Reason.Doc(); ok && !e.OK {
		e.Do, e.Next = d.Do, e.command(d.Next, v)
	}
}

// command fills in the names in a command of a Reason's Doc.
func (e *Explanation) command(text string, v *View) string {
	home := v.Namespace
	namespace, name, ok := strings.Cut(e.Name, "/")
	switch {
	case !ok:
		namespace, name = home, e.Name
	case strings.Contains(text, "KIND"): // it is about the object itself
		home = namespace
	}
	if text == "fairlead explain svc NAMESPACE/NAME" && e.Kind == kindService {
		return "" // this is what they did
	}
	return strings.NewReplacer("NAMESPACE", namespace, "NAME", name, "HOME", home, "KIND", strings.ToLower(e.Kind)).Replace(text)
}

// The kinds of what can be explained.
const (
	kindService = "Service"
	kindAddress = "Address"
	kindPool    = "IPAddressPool"
	kindNode    = "Node"
	kindPeer    = "BGPPeer"
)

// yes is Yes or No.
func yes(is bool) Answer {
	if is {
		return Yes
	}
	return No
}
