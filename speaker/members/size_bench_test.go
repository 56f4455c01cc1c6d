//go:build bench

package members

import (
	"testing"
	"time"
)

// TestSizeOfAThousand is TestSize for more members and deaths, at the size that most memberships stay under.
func TestSizeOfAThousand(t *testing.T) {
	trial{members: 1000, quiet: time.Minute, deaths: 5, rack: 40, losses: []float64{0.05, 0.2}}.run(t)
}

// TestSizeOfAHundred is TestSize for more deaths.
func TestSizeOfAHundred(t *testing.T) {
	trial{members: 100, quiet: time.Minute, deaths: 5, rack: 10, losses: []float64{0.05, 0.2}}.run(t)
}
