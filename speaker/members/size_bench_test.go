//go:build bench

package members

import (
	"runtime/debug"
	"testing"
	"time"
)

// TestSizeOfThree is TestSize for long, since losses make few alarms among few.
func TestSizeOfThree(t *testing.T) {
	trial{members: 3, quiet: 2 * time.Hour, deaths: 50, losses: []float64{bearable, 0.1, 0.2}}.run(t)
}

// TestSizeOfAHundred is TestSize with more of everything.
func TestSizeOfAHundred(t *testing.T) { thoroughly(t, 100) }

// TestSizeOfAThousand takes some minutes of both cores and 5 GB.
func TestSizeOfAThousand(t *testing.T) { thoroughly(t, 1000) }

func thoroughly(t *testing.T, members int) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // all that live do so for long
	trial{members: members, quiet: time.Minute, deaths: 5, rack: members / 25, losses: []float64{bearable, 0.1, 0.2}}.run(t)
}
