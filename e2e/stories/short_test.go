//go:build e2e && !soak

package stories

import "time"

// long says that the long forms of the stories are told, too.
const long = false

// settled is after what time speakers are that lost the others for a while.
const settled = 2 * time.Second

// quiet is how long nobody may log anything.
const quiet = 10 * time.Second
