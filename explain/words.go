package explain

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/fairlead-lb/fairlead/internal/nearest"
)

// NotFoundError says that what is asked about does not exist.
type NotFoundError struct{ message string }

// Error says what does not exist, and what may be meant.
func (e NotFoundError) Error() string { return e.message }

// notFound makes the error for a name that does not exist among those that do.
func notFound(what, name string, names []string) error {
	return NotFoundError{fmt.Sprintf("there is no %s %q%s", what, name, nearest.Ask(name, names))}
}

// counted writes a number of things.
func counted(n int, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "s"):
		what += "es"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// listed joins words in a sentence, the first ten of many.
func listed[T any](items []T, word func(T) string) string {
	const most = 10
	var texts []string
	for _, x := range items[:min(len(items), most)] {
		texts = append(texts, word(x))
	}
	text := strings.Join(texts, ", ")
	if rest := len(items) - most; rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	return text
}

func same(s string) string { return s }

func quoted(s string) string { return fmt.Sprintf("%q", s) }

func addresses(list []netip.Addr) string { return listed(list, netip.Addr.String) }

// Age writes how long ago something was, as kubectl does.
func Age(now, then time.Time) string {
	d := now.Sub(then)
	switch {
	case then.IsZero():
		return "an unknown time"
	case d < 0:
		d = 0
	}
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
