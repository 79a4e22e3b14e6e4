//go:build chaos

package conformance

import "time"

// deadlocksFor is how long transactions are given to get into each other's way.
const deadlocksFor = time.Minute
