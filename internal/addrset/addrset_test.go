package addrset

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTexts(t *testing.T) {
	for addresses, want := range map[string]string{
		"":                                        "[]",
		"192.0.2.1":                               "[192.0.2.1]",
		"192.0.2.3 192.0.2.1 192.0.2.2":           "[192.0.2.1-192.0.2.3]",
		"192.0.2.1 192.0.2.1 192.0.2.3":           "[192.0.2.1 192.0.2.3]",
		"2001:db8::2 192.0.2.1 2001:db8::1":       "[192.0.2.1 2001:db8::1-2001:db8::2]",
		"255.255.255.255 ::":                      "[255.255.255.255 ::]",
		"192.0.2.255 192.0.3.0 192.0.3.2":         "[192.0.2.255-192.0.3.0 192.0.3.2]",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]",
	} {
		var in []netip.Addr
		for _, f := range strings.Fields(addresses) {
			in = append(in, netip.MustParseAddr(f))
		}
		if got := fmt.Sprint(Of(in).Texts()); got != want {
			t.Errorf("%s: %s, want %s", addresses, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	got, err := Parse([]string{"192.0.2.9", "x", "192.0.2.1-192.0.2.4", "192.0.2.3-192.0.2.6", "192.0.2.4-192.0.2.1", "192.0.2.1-::1", "::1-::2", "fe80::1%eth0"})
	if want := "[192.0.2.1-192.0.2.6 192.0.2.9 ::1-::2]"; fmt.Sprint(got.Texts()) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if err == nil || !strings.HasPrefix(err.Error(), "4 of 8 ranges: ") {
		t.Errorf("error %v", err)
	}
}

// TestASetHoldsWhatItWasMadeOf compares a set, as text there and back, with the list it was made of.
func TestASetHoldsWhatItWasMadeOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.Custom(func(t *rapid.T) netip.Addr {
			n := byte(rapid.IntRange(0, 40).Draw(t, "n"))
			if rapid.Bool().Draw(t, "v6") {
				return netip.AddrFrom16([16]byte{15: n})
			}
			return netip.AddrFrom4([4]byte{3: n})
		})
		in := rapid.SliceOf(address).Draw(t, "in")
		s, err := Parse(Of(in).Texts())
		if err != nil || !slices.Equal(s, Of(in)) {
			t.Fatalf("%v became %v, %v", Of(in), s, err)
		}
		for n := range 45 {
			for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{3: byte(n)}), netip.AddrFrom16([16]byte{15: byte(n)})} {
				if s.Contains(a) != slices.Contains(in, a) {
					t.Fatalf("%v contains %s: %t", s, a, s.Contains(a))
				}
			}
		}
	})
}
