// Package bench measures Fairlead in a cluster in network namespaces: how soon a Service has its address and the
// segment knows of it, how long an address is without an answer when its node dies, what idling costs, and how fast
// thousands of Services are served. `make bench` runs it, as root; docs/performance.md holds what was measured.
//
// The figures depend on the machine, so a benchmark fails only on a ratio within one run, or on a limit of ten times
// what is expected. The benchmarks are in files with the build tag bench; what only computes and prints is in this one.
package bench

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// sample is a number of measurements of the same thing, in any order.
type sample []time.Duration

// quantile is the smallest measurement that at least the share p of all do not exceed (nearest rank): 0.5 is the
// median, 1 the worst. An empty sample has none and gives 0.
func (s sample) quantile(p float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, int(math.Ceil(p*float64(len(s))))-1)]
}

func (s sample) median() time.Duration { return s.quantile(0.5) }
func (s sample) p99() time.Duration    { return s.quantile(0.99) }
func (s sample) worst() time.Duration  { return s.quantile(1) }

// table is what a run prints at its end. Its first column is wide, the others are short.
type table struct {
	title string
	head  []string
	rows  [][]string
}

func (t *table) add(row ...string) { t.rows = append(t.rows, row) }

// write renders the table in aligned columns.
func (t *table) write(w io.Writer) error {
	var aligned strings.Builder
	tw := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	for _, row := range slices.Concat([][]string{t.head}, t.rows) {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", t.title)
	for line := range strings.Lines(aligned.String()) {
		if _, err := fmt.Fprintf(w, "  %s\n", strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// show renders a duration with three significant digits.
func show(d time.Duration) string {
	unit, name := time.Microsecond, "µs"
	switch abs := d.Abs(); {
	case abs >= time.Second:
		unit, name = time.Second, "s"
	case abs >= time.Millisecond:
		unit, name = time.Millisecond, "ms"
	}
	value := float64(d) / float64(unit)
	digits := 2
	for limit := 10.0; math.Abs(value) >= limit && digits > 0; limit *= 10 {
		digits--
	}
	return strconv.FormatFloat(value, 'f', digits, 64) + " " + name
}

// mib renders a number of bytes.
func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// counts are the counters of one metric by their labels, written as in the Prometheus text format: a="b",c="d".
type counts map[string]float64

// parseCounts reads the series of one metric out of a text in Prometheus's format.
func parseCounts(text, metric string) counts {
	out := counts{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), metric+"{")
		if !ok {
			continue
		}
		labels, value, ok := strings.Cut(rest, "} ")
		if !ok {
			continue
		}
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			out[labels] = n
		}
	}
	return out
}

// since returns what was counted after an earlier reading.
func (c counts) since(before counts) counts {
	out := counts{}
	for labels, n := range c {
		if d := n - before[labels]; d != 0 {
			out[labels] = d
		}
	}
	return out
}

// label reads one label of a series; no value in here holds a quote or a comma.
func label(labels, name string) string {
	for part := range strings.SplitSeq(labels, ",") {
		if value, ok := strings.CutPrefix(part, name+"="); ok {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// writes sums apiserver_request_total by what was written: "PATCH services/status". Requests that only read are left
// out.
func (c counts) writes() counts {
	out := counts{}
	for labels, n := range c {
		verb := label(labels, "verb")
		if !slices.Contains([]string{"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}, verb) {
			continue
		}
		what := label(labels, "resource")
		if sub := label(labels, "subresource"); sub != "" {
			what += "/" + sub
		}
		out[verb+" "+what] += n
	}
	return out
}

// sum adds all up.
func (c counts) sum() float64 {
	total := 0.0
	for _, n := range c {
		total += n
	}
	return total
}

// String lists the counters by name.
func (c counts) String() string {
	if len(c) == 0 {
		return "none"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%g %s", c[name], name))
	}
	return strings.Join(parts, ", ")
}
