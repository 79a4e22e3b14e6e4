//go:build !chaos

package conformance

import "time"

// deadlocksFor is how long transactions are given to get into each other's way
// at least: not longer than they need for a fixed number.
const deadlocksFor time.Duration = 0
