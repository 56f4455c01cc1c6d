package portrange

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"21":                           "[21/TCP]",
		"5060/UDP":                     "[5060/UDP]",
		"10000-20000/UDP,21,5060/TCP":  "[10000-20000/UDP 21/TCP 5060/TCP]",
		" 1-65535/sctp , 1-65535/tcp ": "[1-65535/SCTP 1-65535/TCP]",
		"7-7":                          "[7/TCP]",
		"10-20,30-40,21-29":            "[10-20/TCP 30-40/TCP 21-29/TCP]",
		"10-20/UDP,20-30/TCP":          "[10-20/UDP 20-30/TCP]",
		"":                             `error: "" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP`,
		"21,":                          `error: "" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP`,
		"0":                            `error: "0" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP`,
		"65536":                        `error: "65536" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP`,
		"1-99999/UDP":                  `error: "1-99999/UDP" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP`,
		"http":                         `error: "http" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP`,
		"+1":                           `error: "+1" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP`,
		"1-2-3":                        `error: "1-2-3" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP`,
		"20-10":                        `error: "20-10" ends before it starts`,
		"21/ICMP":                      `error: "21/ICMP": the protocol is none of TCP, UDP and SCTP`,
		"21/":                          `error: "21/": the protocol is none of TCP, UDP and SCTP`,
		"10-20,5060/UDP,20-30":         `error: 10-20/TCP and 20-30/TCP overlap`,
	} {
		ranges, err := Parse(text)
		got := fmt.Sprint(ranges)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	r := Range{corev1.ProtocolUDP, 10, 20}
	for port, want := range map[uint16]bool{1: false, 9: false, 10: true, 15: true, 20: true, 21: false} {
		if r.Contains(corev1.ProtocolUDP, port) != want || r.Contains(corev1.ProtocolTCP, port) {
			t.Errorf("port %d: %v of UDP, %v of TCP", port, r.Contains(corev1.ProtocolUDP, port), r.Contains(corev1.ProtocolTCP, port))
		}
	}
	if all := (Range{corev1.ProtocolUDP, 1, 65535}); !all.Overlaps(r) || !r.Overlaps(all) {
		t.Error("a range within another one does not overlap it")
	}
}

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]string{
		"33333": "33333", "33000-33999": "33000-33999", "7-7": "7",
		"":        `error: "" is neither a port from 1 to 65535 nor a range of them such as 33000-33999`,
		"0":       `error: "0" is neither a port from 1 to 65535 nor a range of them such as 33000-33999`,
		"1-65536": `error: "1-65536" is neither a port from 1 to 65535 nor a range of them such as 33000-33999`,
		"21/TCP":  `error: "21/TCP" is neither a port from 1 to 65535 nor a range of them such as 33000-33999`,
		"20-10":   `error: "20-10" ends before it starts`,
	} {
		r, err := ParseSpan(text)
		got := r.Span()
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want || r.Protocol != "" {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestSubtract: what is left and what two ranges have in common are together what there was.
func TestSubtract(t *testing.T) {
	udp := func(first, last uint16) Range { return Range{corev1.ProtocolUDP, first, last} }
	for _, c := range []struct {
		from, take Range
		rest       string
		common     string
	}{
		{udp(10, 20), udp(30, 40), "[10-20/UDP]", ""},
		{udp(10, 20), Range{corev1.ProtocolTCP, 10, 20}, "[10-20/UDP]", ""},
		{udp(10, 20), udp(10, 20), "[]", "10-20/UDP"},
		{udp(10, 20), udp(12, 15), "[10-11/UDP 16-20/UDP]", "12-15/UDP"},
		{udp(10, 20), udp(1, 15), "[16-20/UDP]", "10-15/UDP"},
		{udp(10, 20), udp(20, 65535), "[10-19/UDP]", "20/UDP"},
		{udp(1, 65535), udp(1, 65535), "[]", "1-65535/UDP"},
	} {
		rest := c.from.Subtract(c.take)
		common, size := "", 0
		if c.from.Overlaps(c.take) {
			common, size = c.from.Overlap(c.take).String(), c.from.Overlap(c.take).Size()
		}
		for _, r := range rest {
			size += r.Size()
		}
		if fmt.Sprint(rest) != c.rest || common != c.common || size != c.from.Size() {
			t.Errorf("%s without %s: %v and %q, together %d ports, want %s and %q", c.from, c.take, rest, common, size, c.rest, c.common)
		}
	}
}

// TestParseIsBounded: a list is looked at for every Service again and again.
func TestParseIsBounded(t *testing.T) {
	list := make([]string, maxRanges)
	for i := range list {
		list[i] = fmt.Sprint(i + 1)
	}
	text := strings.Join(list, ",")
	if _, err := Parse(text); err != nil {
		t.Error(err)
	}
	if _, err := Parse(text + ",1000"); err == nil || err.Error() != "there are more than 100 ranges" {
		t.Errorf("one more: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("10000-20000/UDP,21,5060/TCP")
	f.Fuzz(func(t *testing.T, text string) {
		ranges, err := Parse(text)
		if err != nil {
			return
		}
		again := ""
		for i, r := range ranges {
			if r.First == 0 || r.Last < r.First {
				t.Fatalf("%q gives %v", text, r)
			}
			if i > 0 {
				again += ","
			}
			again += r.String()
		}
		if back, err := Parse(again); err != nil || fmt.Sprint(back) != fmt.Sprint(ranges) {
			t.Fatalf("%q gives %v, which is read as %v, %v", text, ranges, back, err)
		}
	})
}

func TestMerge(t *testing.T) {
	for text, want := range map[string]string{
		"2,1":                         "[1-2/TCP]",
		"1,3":                         "[1/TCP 3/TCP]",
		"65535,1-65534":               "[1-65535/TCP]",
		"5/UDP,4,6/UDP,4/UDP,8/SCTP":  "[8/SCTP 4/TCP 4-6/UDP]",
		"100-200,1-5,201,6-99,300":    "[1-201/TCP 300/TCP]",
		"33000,33002,33001,33003/UDP": "[33000-33002/TCP 33003/UDP]",
	} {
		list, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(Merge(list)); got != want {
			t.Errorf("%s becomes %s, want %s", text, got, want)
		}
	}
	if got := fmt.Sprint(Merge([]Range{{"TCP", 1, 9}, {"TCP", 2, 3}, {"TCP", 2, 3}})); got != "[1-9/TCP]" {
		t.Errorf("ranges that overlap become %s", got)
	}
}
