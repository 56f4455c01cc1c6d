//go:build e2e && soak

package faults

// The long version: 20 faults.
const (
	services  = 500
	addresses = 270
	rounds    = 4
	leaveOut  = 0
)
