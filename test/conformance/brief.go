//go:build !chaos

package conformance

import "time"

// deadlocksFor is how long the deadlock test runs at least. Zero: it ends after a
// fixed number of transactions.
const deadlocksFor time.Duration = 0
