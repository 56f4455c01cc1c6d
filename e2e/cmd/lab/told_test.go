package main

import (
	"bytes"
	"context"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// gap is the time without an answer that a demo may end with: ten times what is expected.
const gap = 6.0

// told runs a demo and sees that it tells all this, in this order, and at the end what a client noticed of a dead node.
func told(t *testing.T, run func(*demo, context.Context) error, parts ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := run(&demo{out: &out}, ctx)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	measured := regexp.MustCompile(`(\d+) of (\d+) requests were answered; the longest time without an answer was (\d+\.\d+) s\.`)
	rest := out.Bytes()
	for _, p := range append(parts, measured.String(), `nothing is left\.`) {
		at := regexp.MustCompile(p).FindIndex(rest)
		if at == nil {
			t.Fatalf("it does not tell %q in its place:\n%s", p, &out)
		}
		rest = rest[at[1]:]
	}
	all := measured.FindAllSubmatch(out.Bytes(), -1)
	last := all[len(all)-1]
	answered, _ := strconv.Atoi(string(last[1]))
	asked, _ := strconv.Atoi(string(last[2]))
	if longest, _ := strconv.ParseFloat(string(last[3]), 64); answered < steady || asked <= answered || longest <= 0 || longest > gap {
		t.Errorf("a node died, and it was %s", last[0])
	}
}
