//go:build linux && soak

package layer2

import "time"

// reachabilityFor is how long the flow of TestReachabilityOfALiveFlow lives.
const reachabilityFor = 10 * time.Minute
