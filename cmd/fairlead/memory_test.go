package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestOnlyPagesThatNothingWritesToAreReleased(t *testing.T) {
	const maps = `00400000-018f6000 r-xp 00000000 fe:00 1311 /fairlead
018f6000-02e72000 r--p 014f6000 fe:00 1311 /fairlead
02e72000-02f10000 rw-p 02a72000 fe:00 1311 /fairlead
02f10000-04f5e000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r--p 00000000 fe:00 99 /etc/other
7f0000002000-7f0000003000 r--s 00000000 fe:00 1311 /fairlead
7ffd000-7ffe000 r-xp 00000000 00:00 0 [vdso]
nonsense
`
	want := []mapping{{0x400000, 0x18f6000}, {0x18f6000, 0x2e72000}}
	if got := readOnly(maps, "/fairlead"); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// The process goes on after its own pages were taken from it.
func TestTheProgramRunsOnWithoutItsPages(t *testing.T) {
	for range 3 {
		if err := releaseProgram(); err != nil {
			t.Fatal(err)
		}
	}
	if got := readOnly("1-2 r--p 0 0 0 /x", "/x"); len(got) != 1 {
		t.Errorf("after the release: %v", got)
	}
}

// TestMemoryIsGivenBackAfterBusyTimes: when the start is over, though what follows may be busy, and after each busy time; at
// rest the program's pages alone.
func TestMemoryIsGivenBackAfterBusyTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		at := func() time.Duration { return time.Since(began) }
		busy := map[int64]time.Duration{0: 3 * time.Second, 5: 2 * time.Second, 6: 4 * time.Second} // by window
		var used time.Duration
		var released, unmapped []time.Duration
		s := &shrinker{
			ready: func(*http.Request) error {
				if at() < 3*window {
					return errors.New("not yet")
				}
				return nil
			},
			used: func() time.Duration { // each window's is complete at its end
				used = 0
				for w, d := range busy {
					if at() >= time.Duration(w+1)*window {
						used += d
					}
				}
				return used + at()/100
			},
			release: func() { released = append(released, at()) },
			unmap:   func() { unmapped = append(unmapped, at()) },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*window+time.Second)
		defer cancel()
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if want := []time.Duration{3 * window, 4 * window, 8 * window}; !slices.Equal(released, want) {
			t.Errorf("given back at %v, want %v", released, want)
		}
		if want := []time.Duration{5 * window, 9 * window, 10 * window}; !slices.Equal(unmapped, want) {
			t.Errorf("the program's pages alone at %v, want %v", unmapped, want)
		}
	})
}
