//go:build chaos

package conformance

import "time"

// deadlocksFor is how long the deadlock test runs at least.
const deadlocksFor = time.Minute
