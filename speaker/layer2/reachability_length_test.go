//go:build linux && netns && !soak

package layer2

import "time"

// reachabilityFor is how long the flow of TestReachabilityOfALiveFlow lives.
const reachabilityFor = time.Minute
