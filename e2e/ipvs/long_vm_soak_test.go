//go:build vm && soak

package ipvs

// long is the form of the stories that takes minutes under emulation.
const long = true
