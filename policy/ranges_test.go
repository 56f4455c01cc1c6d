package policy

import (
	"math"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestParseRange(t *testing.T) {
	const form = " is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20"
	for _, c := range []struct{ text, want, fails string }{
		{text: "192.0.2.0/24", want: "192.0.2.0-192.0.2.255"},
		{text: "192.0.2.77/24", want: "192.0.2.0-192.0.2.255"}, // whichever of its addresses is written
		{text: "192.0.2.77/32", want: "192.0.2.77"},
		{text: "192.0.2.77/31", want: "192.0.2.76-192.0.2.77"},
		{text: "0.0.0.0/0", want: "0.0.0.0-255.255.255.255"},
		{text: "10.1.2.3/13", want: "10.0.0.0-10.7.255.255"},
		{text: "192.0.2.10-192.0.2.20", want: "192.0.2.10-192.0.2.20"},
		{text: "192.0.2.10-192.0.2.10", want: "192.0.2.10"},
		{text: "2001:db8::/120", want: "2001:db8::-2001:db8::ff"},
		{text: "2001:db8::5-2001:db8::a", want: "2001:db8::5-2001:db8::a"},
		{text: "::/0", want: "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{text: " 192.0.2.0/24\t", want: "192.0.2.0-192.0.2.255"},
		{text: " 192.0.2.10 - 192.0.2.20 ", want: "192.0.2.10-192.0.2.20"},
		{text: "::ffff:192.0.2.7/120", want: "192.0.2.0-192.0.2.255"}, // IPv4-mapped is IPv4
		{text: "::ffff:192.0.2.1-192.0.2.9", want: "192.0.2.1-192.0.2.9"},

		{text: "", fails: `""` + form},
		{text: "192.0.2.1", fails: `"192.0.2.1"` + form},
		{text: "192.0.2.0/33", fails: `"192.0.2.0/33"` + form},
		{text: "192.0.2.0/-1", fails: `"192.0.2.0/" is not an IP address`},
		{text: "192.0.2/24", fails: `"192.0.2/24"` + form},
		{text: "192.0.2.0/024", fails: `"192.0.2.0/024"` + form},
		{text: "pool", fails: `"pool"` + form},
		{text: "fe80::%eth0/64", fails: `"fe80::%eth0/64"` + form},
		{text: "fe80::1%eth0-fe80::9%eth0", fails: `"fe80::1%eth0" is not an IP address`},
		{text: "192.0.2.10-", fails: `"" is not an IP address`},
		{text: "-192.0.2.10", fails: `"" is not an IP address`},
		{text: "192.0.2.10-20", fails: `"20" is not an IP address`},
		{text: "192.0.2.1-192.0.2.3-192.0.2.5", fails: `"192.0.2.3-192.0.2.5" is not an IP address`},
		{text: "192.0.2.20-192.0.2.10", fails: `range "192.0.2.20-192.0.2.10" ends before it starts`},
		{text: "2001:db8::9-2001:db8::1", fails: `range "2001:db8::9-2001:db8::1" ends before it starts`},
		{text: "192.0.2.1-2001:db8::1", fails: `range "192.0.2.1-2001:db8::1" mixes IPv4 and IPv6`},
		{text: "::ffff:192.0.2.1/90", fails: `"::ffff:192.0.2.1/90" mixes IPv4 and IPv6`},
	} {
		got, err := ParseRange(c.text)
		switch {
		case c.fails == "" && (err != nil || got.String() != c.want):
			t.Errorf("%q is %s (%v), want %s", c.text, got, err, c.want)
		case c.fails != "" && (err == nil || err.Error() != c.fails):
			t.Errorf("%q fails with\n%v, want\n%s", c.text, err, c.fails)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24", "192.0.2.1-192.0.2.9", "2001:db8::/64", "::ffff:192.0.2.0/120", "-", "/", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRange(s)
		if err != nil {
			return
		}
		if !r.From.IsValid() || r.From.BitLen() != r.To.BitLen() || r.To.Less(r.From) || r.From.Is4In6() || r.From.Zone() != "" || r.Size() < 1 {
			t.Fatalf("%q gives the invalid range %v", s, r)
		}
		if again, err := ParseRange(r.From.String() + "-" + r.To.String()); err != nil || again != r {
			t.Fatalf("%q gives %s, which reads as %s (%v)", s, r, again, err)
		}
	})
}

func span(s string) Range {
	r, err := ParseRange(s)
	if err != nil {
		panic(err)
	}
	return r
}

func TestSizeOfARange(t *testing.T) {
	for text, want := range map[string]int64{
		"192.0.2.7/32":              1,
		"192.0.2.10-192.0.2.20":     11,
		"10.0.0.0/8":                1 << 24,
		"0.0.0.0/0":                 1 << 32,
		"2001:db8::/120":            256,
		"2001:db8::/66":             1 << 62,
		"::-::7fff:ffff:ffff:ffff":  math.MaxInt64, // 2^63, the first that does not fit
		"::1-::7fff:ffff:ffff:ffff": math.MaxInt64,
		"::2-::7fff:ffff:ffff:ffff": math.MaxInt64 - 1,
		"2001:db8::/64":             math.MaxInt64,
		"::/0":                      math.MaxInt64,
	} {
		if got := span(text).Size(); got != want {
			t.Errorf("%s has %d addresses, want %d", text, got, want)
		}
	}
}

func TestRangesOverlapAndSubtract(t *testing.T) {
	for _, c := range []struct{ a, b, overlap, rest string }{
		{"10.0.0.0/24", "10.0.1.0/24", "", "10.0.0.0-10.0.0.255"},
		{"10.0.0.0/24", "fd00::/8", "", "10.0.0.0-10.0.0.255"},
		{"0.0.0.0/0", "::/0", "", "0.0.0.0-255.255.255.255"},
		{"10.0.0.0/24", "10.0.0.255-10.0.1.9", "10.0.0.255", "10.0.0.0-10.0.0.254"},
		{"10.0.0.0/24", "9.0.0.0-10.0.0.0", "10.0.0.0", "10.0.0.1-10.0.0.255"},
		{"10.0.0.0/24", "10.0.0.10-10.0.0.20", "10.0.0.10-10.0.0.20", "10.0.0.0-10.0.0.9, 10.0.0.21-10.0.0.255"},
		{"10.0.0.10-10.0.0.20", "10.0.0.0/24", "10.0.0.10-10.0.0.20", ""},
		{"10.0.0.0/24", "10.0.0.0/24", "10.0.0.0-10.0.0.255", ""},
		{"0.0.0.0/0", "0.0.0.0/0", "0.0.0.0-255.255.255.255", ""},
		{"::/0", "::5/128", "::5", "::-::4, ::6-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	} {
		a, b := span(c.a), span(c.b)
		if got := a.Overlaps(b); got != (c.overlap != "") || got != b.Overlaps(a) {
			t.Errorf("%s overlaps %s: %v", a, b, got)
		}
		if c.overlap != "" && a.overlap(b).String() != c.overlap {
			t.Errorf("%s and %s both hold %s, want %s", a, b, a.overlap(b), c.overlap)
		}
		if got := list(a.subtract(b)); got != c.rest {
			t.Errorf("%s without %s is %q, want %q", a, b, got, c.rest)
		}
	}
}

func TestSubtractLeavesWhatTheOtherDoesNotHold(t *testing.T) {
	address := rapid.Map(rapid.ByteRange(0, 20), func(b byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, b}) })
	ranges := rapid.Custom(func(t *rapid.T) Range {
		a, b := address.Draw(t, "from"), address.Draw(t, "to")
		if b.Less(a) {
			a, b = b, a
		}
		return Range{a, b}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, x := ranges.Draw(t, "a"), ranges.Draw(t, "b"), address.Draw(t, "x")
		n := 0
		for _, r := range a.subtract(b) {
			if r.Contains(x) {
				n++
			}
		}
		if want := a.Contains(x) && !b.Contains(x); n > 1 || (n == 1) != want {
			t.Fatalf("%s stands %d times in %s without %s", x, n, a, b)
		}
	})
}
