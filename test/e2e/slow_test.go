//go:build slow

package e2e_test

import "testing"

// In the default tier, the demo of cmd/millrace is killed.
func TestSIGKILL_UnderLoadLosesAndDuplicatesNothing(t *testing.T) { killMinusNine(t, nil) }
