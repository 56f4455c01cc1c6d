// Package portrange reads lists of port ranges as the annotation fairlead.io/port-ranges has them. It is pure.
package portrange

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Annotation on a Service lists ports beside those of its spec that reach the same ports of its pods: "10000-20000/UDP",
// "21", "5060/TCP", separated by commas. Without a protocol it is TCP.
const Annotation = "fairlead.io/port-ranges"

// Range is the ports from First to Last, both included, 1 to 65535, of one protocol. It is comparable.
type Range struct {
	Protocol    corev1.Protocol // TCP, UDP or SCTP
	First, Last uint16
}

// Port returns the range of one port.
func Port(protocol corev1.Protocol, port uint16) Range { return Range{protocol, port, port} }

// String returns the range as Parse reads it.
func (r Range) String() string {
	return r.Span() + "/" + string(r.Protocol)
}

// Overlap returns the ports that the two have in common, where Overlaps says that there are some.
func (r Range) Overlap(o Range) Range {
	return Range{r.Protocol, max(r.First, o.First), min(r.Last, o.Last)}
}

// Subtract returns what is left of the range without another one: one, two or no ranges.
func (r Range) Subtract(o Range) (rest []Range) {
	if !r.Overlaps(o) {
		return []Range{r}
	}
	if r.First < o.First {
		rest = append(rest, Range{r.Protocol, r.First, o.First - 1})
	}
	if o.Last < r.Last {
		rest = append(rest, Range{r.Protocol, o.Last + 1, r.Last})
	}
	return rest
}

// Without returns what is left of ranges without another one.
func Without(list []Range, o Range) (rest []Range) {
	for _, r := range list {
		rest = append(rest, r.Subtract(o)...)
	}
	return rest
}

// Size returns how many ports the range has.
func (r Range) Size() int { return int(r.Last) - int(r.First) + 1 }

// Overlaps says whether the two have a port in common.
func (r Range) Overlaps(o Range) bool {
	return r.Protocol == o.Protocol && r.First <= o.Last && o.First <= r.Last
}

// Contains says whether the port is one of the range.
func (r Range) Contains(protocol corev1.Protocol, port uint16) bool {
	return r.Overlaps(Port(protocol, port))
}

// maxRanges is how many ranges a list may have: each is looked at for every Service again and again, on every node.
const maxRanges = 100

// Parse reads a list of at most 100 ranges, in its order. Ranges that overlap are an error: one of them is a mistake.
func Parse(text string) ([]Range, error) {
	var out []Range
	for part := range strings.SplitSeq(text, ",") {
		if len(out) == maxRanges {
			return nil, fmt.Errorf("there are more than %d ranges", maxRanges)
		}
		r, err := parse(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(out, r.Overlaps); i >= 0 {
			return nil, fmt.Errorf("%s and %s overlap", out[i], r)
		}
		out = append(out, r)
	}
	return out, nil
}

// Merge returns the ports of all ranges in as few as possible, sorted by protocol and port. The list is sorted in place.
func Merge(list []Range) []Range {
	slices.SortFunc(list, func(a, b Range) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.First, b.First))
	})
	var out []Range
	for _, r := range list {
		if i := len(out) - 1; i >= 0 && out[i].Protocol == r.Protocol && int(r.First) <= int(out[i].Last)+1 {
			out[i].Last = max(out[i].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// parse reads one range.
func parse(text string) (Range, error) {
	ports, protocol, named := strings.Cut(text, "/")
	r := Range{Protocol: corev1.ProtocolTCP}
	if named {
		r.Protocol = corev1.Protocol(strings.ToUpper(protocol))
	}
	if !slices.Contains([]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}, r.Protocol) {
		return r, fmt.Errorf("%q: the protocol is none of TCP, UDP and SCTP", text)
	}
	first, last, ok := span(ports)
	switch {
	case !ok:
		return r, fmt.Errorf("%q is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP", text)
	case last < first:
		return r, fmt.Errorf("%q ends before it starts", text)
	}
	r.First, r.Last = first, last
	return r, nil
}

// ParseSpan reads a port or a range of ports without a protocol, such as "33333" or "33000-33999".
func ParseSpan(text string) (Range, error) {
	first, last, ok := span(text)
	switch {
	case !ok:
		return Range{}, fmt.Errorf("%q is neither a port from 1 to 65535 nor a range of them such as 33000-33999", text)
	case last < first:
		return Range{}, fmt.Errorf("%q ends before it starts", text)
	}
	return Range{First: first, Last: last}, nil
}

// Span returns the range without its protocol, as ParseSpan reads it.
func (r Range) Span() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// span reads the first and the last port.
func span(text string) (first, last uint16, ok bool) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, ok1 := number(from)
	last, ok2 := number(to)
	return first, last, ok1 && ok2
}

func number(text string) (uint16, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && n > 0
}
