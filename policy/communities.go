package policy

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Communities is a set of BGP communities: standard (RFC 1997) and large (RFC 8092). It is comparable; the zero value is
// the empty set.
type Communities struct {
	standard string // 4 bytes each, ascending
	large    string // 12 bytes each, ascending
}

const (
	sizeStandard = 4
	sizeLarge    = 12
	// prefixLarge marks a large community in a configuration object: "large:65000:1:2".
	prefixLarge = "large:"
)

// ParseCommunity reads one community: "65000:100", two numbers of 16 bits each (RFC 1997), or "large:65000:1:2", three of
// 32 bits each (RFC 8092).
func ParseCommunity(text string) (Communities, error) {
	if rest, ok := strings.CutPrefix(text, prefixLarge); ok {
		packed, err := packNumbers(rest, 3, 32)
		if err != nil {
			return Communities{}, fmt.Errorf("%q is not a large community: want large:NUMBER:NUMBER:NUMBER, each from 0 to 4294967295", text)
		}
		return Communities{large: packed}, nil
	}
	packed, err := packNumbers(text, 2, 16)
	if err != nil {
		return Communities{}, fmt.Errorf("%q is not a community: want NUMBER:NUMBER, each from 0 to 65535, or large:NUMBER:NUMBER:NUMBER", text)
	}
	return Communities{standard: packed}, nil
}

// packNumbers reads n numbers of the given size, joined by colons, into big-endian bytes.
func packNumbers(text string, n, bits int) (string, error) {
	parts := strings.Split(text, ":")
	if len(parts) != n {
		return "", fmt.Errorf("has %d numbers", len(parts))
	}
	var out []byte
	for _, part := range parts {
		x, err := strconv.ParseUint(part, 10, bits)
		if err != nil {
			return "", err
		}
		if bits == 16 {
			out = binary.BigEndian.AppendUint16(out, uint16(x))
		} else {
			out = binary.BigEndian.AppendUint32(out, uint32(x))
		}
	}
	return string(out), nil
}

// IsEmpty says whether there are none.
func (c Communities) IsEmpty() bool { return c == Communities{} }

// Union returns the communities of both sets.
func (c Communities) Union(d Communities) Communities {
	return Communities{
		standard: union(c.standard, d.standard, sizeStandard),
		large:    union(c.large, d.large, sizeLarge),
	}
}

func union(a, b string, size int) string {
	switch {
	case a == b || b == "":
		return a
	case a == "":
		return b
	}
	items := append(chunks(a, size), chunks(b, size)...)
	slices.SortFunc(items, func(a, b string) int { return cmp.Compare(a, b) })
	return strings.Join(slices.Compact(items), "")
}

func chunks(s string, size int) []string {
	var out []string
	for ; len(s) > 0; s = s[size:] {
		out = append(out, s[:size])
	}
	return out
}

// Standard returns the standard communities as they stand on the wire, ascending.
func (c Communities) Standard() []uint32 {
	var out []uint32
	for _, x := range chunks(c.standard, sizeStandard) {
		out = append(out, binary.BigEndian.Uint32([]byte(x)))
	}
	return out
}

// Large returns the three numbers of each large community, ascending.
func (c Communities) Large() [][3]uint32 {
	var out [][3]uint32
	for _, x := range chunks(c.large, sizeLarge) {
		b := []byte(x)
		out = append(out, [3]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])})
	}
	return out
}

// String returns the communities as configuration objects write them, joined by commas.
func (c Communities) String() string {
	var out []string
	for _, x := range c.Standard() {
		out = append(out, fmt.Sprintf("%d:%d", x>>16, x&0xffff))
	}
	for _, x := range c.Large() {
		out = append(out, fmt.Sprintf("%s%d:%d:%d", prefixLarge, x[0], x[1], x[2]))
	}
	return strings.Join(out, ",")
}
