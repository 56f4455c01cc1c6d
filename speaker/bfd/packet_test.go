//go:build linux

package bfd

import (
	"testing"
	"time"
)

// valid is a control packet as it may come: Init, 3 x 100 ms both ways, between 0x01020304 and 0x0a0b0c0d.
func valid() []byte {
	return packet{
		diagnostic: NeighborDown, state: Init, poll: true, multiplier: 3, mine: 0x01020304, yours: 0x0a0b0c0d,
		desiredTx: 100 * time.Millisecond, requiredRx: 200 * time.Millisecond, echoRx: 50 * time.Millisecond,
	}.append(nil)
}

// patched returns valid with some bytes replaced.
func patched(at int, bytes ...byte) []byte {
	b := valid()
	copy(b[at:], bytes)
	return b
}

// TestFormat is section 4.1 byte by byte.
func TestFormat(t *testing.T) {
	want := [packetLength]byte{
		1<<5 | 3, 2<<6 | 1<<5, 3, 24,
		1, 2, 3, 4, 0x0a, 0x0b, 0x0c, 0x0d,
		0, 1, 0x86, 0xa0, 0, 3, 0x0d, 0x40, 0, 0, 0xc3, 0x50,
	}
	if got := [packetLength]byte(valid()); got != want {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

// TestReception_6_8_6 is about the checks that need no session.
func TestReception_6_8_6(t *testing.T) {
	tests := map[string]struct {
		packet []byte
		want   Drop
	}{
		"valid":                             {valid(), ""},
		"valid, with bytes after it":        {append(valid(), 1, 2, 3), ""},
		"nothing":                           {nil, DropShort},
		"cut":                               {valid()[:23], DropShort},
		"version 0":                         {patched(0, 0<<5), DropVersion},
		"version 2":                         {patched(0, 2<<5), DropVersion},
		"length 23":                         {patched(3, 23), DropLength},
		"length beyond the end":             {patched(3, 25), DropLength},
		"multiplier 0":                      {patched(2, 0), DropMultiplier},
		"multipoint":                        {patched(1, 2<<6|flagMultipoint), DropMalformed},
		"Poll and Final":                    {patched(1, 2<<6|flagPoll|flagFinal), DropMalformed},
		"authenticated":                     {patched(1, 2<<6|flagAuthentication), DropAuthentication},
		"my discriminator 0":                {patched(4, 0, 0, 0, 0), DropDiscriminator},
		"your discriminator 0 in Init":      {patched(8, 0, 0, 0, 0), DropDiscriminator},
		"your discriminator 0 in Down":      {func() []byte { b := patched(8, 0, 0, 0, 0); b[1] = 1 << 6; return b }(), ""},
		"your discriminator 0 in AdminDown": {func() []byte { b := patched(8, 0, 0, 0, 0); b[1] = 0; return b }(), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, got := parse(tt.packet); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	p, drop := parse(valid())
	if drop != "" || string(p.append(nil)) != string(valid()) {
		t.Errorf("%+v, %q", p, drop)
	}
}
