package explain

// This file holds how explanations look on a terminal.

import (
	"fmt"
	"io"
	"strings"
)

// Style colours text, or leaves it as it is.
type Style struct{ Colours bool }

// SGR sequences (ECMA-48).
const (
	green  = "\x1b[32m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	bold   = "\x1b[1m"
	off    = "\x1b[0m"
)

func (s Style) in(colour, text string) string {
	if !s.Colours || colour == "" {
		return text
	}
	return colour + text + off
}

// mark is how an answer looks, always four columns wide.
func (s Style) mark(a Answer) string {
	switch a {
	case Yes:
		return s.in(green, "yes ")
	case No:
		return s.in(red, "no  ")
	case Unknown:
		return s.in(yellow, "?   ")
	}
	return "-   "
}

// clean drops control characters, which what others wrote may hold, so that it cannot do things to a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}

// Write writes the explanation for people.
func (e *Explanation) Write(w io.Writer, s Style) error {
	colour := red
	if e.OK {
		colour = green
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n\n", e.Kind, clean(e.Name), s.in(bold+colour, clean(e.Summary)+reason(string(e.Reason))))
	writeSteps(&b, s, e.Steps, "")
	doubts(&b, s, e.Gaps, e.Notes)
	if e.Do != "" && e.Do != "Nothing." {
		fmt.Fprintf(&b, "\nwhat to do: %s\n", clean(e.Do))
	}
	if e.Next != "" {
		fmt.Fprintf(&b, "next:       %s\n", clean(e.Next))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// doubts writes why an answer may not be the whole truth.
func doubts(b *strings.Builder, s Style, gaps, notes []string) {
	for _, g := range gaps {
		fmt.Fprintf(b, "\n%s %s\n", s.in(yellow, "not read:"), clean(g))
	}
	for _, n := range notes {
		fmt.Fprintf(b, "\n%s %s\n", s.in(yellow, "note:"), clean(n))
	}
}

func reason(r string) string {
	if r == "" {
		return ""
	}
	return " (" + r + ")"
}

// writeSteps writes steps as columns.
func writeSteps(b *strings.Builder, s Style, steps []Step, indent string) {
	width := 0
	for _, x := range steps {
		width = max(width, len(clean(x.Name)))
	}
	for _, x := range steps {
		why := ""
		if x.Answer != Yes {
			why = reason(string(x.Reason))
		}
		fmt.Fprintf(b, "%s%s %-*s  %s%s\n", indent, s.mark(x.Answer), width, clean(x.Name), clean(x.Message), why)
		writeSteps(b, s, x.Steps, indent+"     ")
	}
}

// Write writes the cluster at a glance for people.
func (s *Status) Write(w io.Writer, style Style) error {
	var b strings.Builder
	n := s.Services
	fmt.Fprintf(&b, "%s: %s, %s with an address, %s, %s\n", style.in(bold, "Fairlead in "+s.Namespace), counted(n.All, "Service"), fmt.Sprint(n.Assigned),
		style.bad(n.Waiting, fmt.Sprintf("%d waiting", n.Waiting)), style.bad(n.Silent, fmt.Sprintf("%d not announced", n.Silent)))
	section(&b, style, "POOLS", poolRows(s, style))
	section(&b, style, "WAITING FOR AN ADDRESS", serviceRows(s, s.Waiting))
	section(&b, style, "NOT ANNOUNCED", serviceRows(s, s.Silent))
	section(&b, style, "NODES", nodeRows(s, style))
	section(&b, style, "BGP SESSIONS", sessionRows(s, style))
	section(&b, style, "PROBLEMS", problemRows(s))
	doubts(&b, style, s.Gaps, s.Notes)
	_, err := io.WriteString(w, b.String())
	return err
}

// bad colours what should be none.
func (s Style) bad(n int, text string) string {
	if n > 0 {
		return s.in(red, text)
	}
	return text
}

// section writes rows as columns; the last column is not padded, and colours do not count.
func section(b *strings.Builder, s Style, title string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	var widths []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], visible(cell))
		}
	}
	fmt.Fprintf(b, "\n%s\n", s.in(bold, title))
	for _, r := range rows {
		line := " "
		for i, cell := range r {
			line += " " + cell
			if i < len(r)-1 {
				line += strings.Repeat(" ", widths[i]-visible(cell)+1)
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// visible is how many columns a text takes, without its colours.
func visible(text string) (n int) {
	escape := false
	for _, r := range text {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n++
		}
	}
	return n
}

func poolRows(s *Status, style Style) (rows [][]string) {
	for _, p := range s.Pools {
		row := []string{clean(p.Name)}
		for _, c := range []struct {
			family string
			Count
		}{{"IPv4", p.IPv4}, {"IPv6", p.IPv6}} {
			if c.Total > 0 {
				row = append(row, style.bar(c.Count), fmt.Sprintf("%d of %s %s", c.Assigned, many(c.Total), c.family))
			}
		}
		row = append(row, counted(int(p.Services), "Service"))
		if p.Invalid {
			row = append(row, style.in(red, "invalid, gives nothing new"))
		}
		rows = append(rows, row)
	}
	return rows
}

// many writes a number that may be very large.
func many(n int64) string {
	if n >= maxTotal {
		return "very many"
	}
	return fmt.Sprint(n)
}

// bar draws how much is in use, in 20 steps; what is in use at all shows.
func (s Style) bar(c Count) string {
	const steps = 20
	used := int(float64(c.Assigned) / float64(c.Total) * steps)
	if c.Assigned > 0 {
		used = max(used, 1)
	}
	used = min(used, steps)
	colour := green
	switch {
	case c.Assigned >= c.Total:
		colour = red
	case used >= steps*3/4:
		colour = yellow
	}
	return "[" + s.in(colour, strings.Repeat("#", used)) + strings.Repeat(".", steps-used) + "]"
}

// mostRows is how many Services are listed; the sum is told anyway.
const mostRows = 20

func serviceRows(s *Status, list []ServiceStatus) (rows [][]string) {
	for _, x := range list[:min(len(list), mostRows)] {
		since := ""
		if !x.Since.IsZero() {
			since = Age(s.Now, x.Since)
		}
		rows = append(rows, []string{clean(x.Service), since, clean(x.Message) + reason(string(x.Reason))})
	}
	if rest := len(list) - mostRows; rest > 0 {
		rows = append(rows, []string{fmt.Sprintf("and %d more", rest)})
	}
	return rows
}

func nodeRows(s *Status, style Style) (rows [][]string) {
	for _, n := range s.Nodes {
		row := []string{clean(n.Name)}
		switch {
		case !n.Speaker:
			row = append(row, style.in(red, "no speaker"))
		case !n.Ready:
			row = append(row, style.in(red, "not Ready"))
		case n.Excluded != "":
			row = append(row, style.in(yellow, clean(n.Excluded)))
		case !n.Settled:
			row = append(row, style.in(yellow, "settling"))
		default:
			row = append(row, style.in(green, "ready"))
		}
		announces := fmt.Sprintf("announces %d", n.Announces)
		if n.Announces != n.Wanted {
			announces += fmt.Sprintf(", should %d", n.Wanted)
		}
		row = append(row, announces)
		if n.Sessions > 0 {
			row = append(row, style.bad(n.Sessions-n.Established, fmt.Sprintf("%d of %s established", n.Established, counted(n.Sessions, "session"))))
		}
		if n.Conflicts > 0 {
			row = append(row, style.in(red, counted(n.Conflicts, "conflict")))
		}
		if p := n.Programmer; p != nil {
			row = append(row, style.programmer(p))
		}
		if n.Speaker {
			row = append(row, fmt.Sprintf("version %s for %s", or(clean(n.Version), "unknown"), Age(s.Now, n.Since)))
		}
		rows = append(rows, row)
	}
	return rows
}

// programmer is how a node's IPVS programmer looks in one cell.
func (s Style) programmer(p *ProgrammerStatus) string {
	switch {
	case !p.Reports:
		return "no IPVS"
	case !p.Ready:
		return s.in(red, "IPVS: "+clean(p.Message))
	}
	return s.in(green, fmt.Sprintf("IPVS serves %d", p.Addresses))
}

func sessionRows(s *Status, style Style) (rows [][]string) {
	for _, x := range s.Sessions {
		colour := red
		if x.State == stateEstablished {
			colour = green
		}
		rows = append(rows, []string{clean(x.Peer), clean(x.Node), style.in(colour, clean(x.Message))})
	}
	return rows
}

func problemRows(s *Status) (rows [][]string) {
	for _, p := range s.Problems {
		rows = append(rows, []string{clean(p.Object), clean(p.Message) + reason(string(p.Reason))})
	}
	return rows
}
