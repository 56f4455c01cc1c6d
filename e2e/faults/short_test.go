//go:build e2e && !soak

package faults

// The short version, which every change has to pass.
const (
	services  = 120
	addresses = 64 // fewer than Services, so that each is wanted again at once
	rounds    = 1  // of every fault
	leaveOut  = 1  // the first kinds of faults, which others contain
)
