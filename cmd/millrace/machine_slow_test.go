//go:build slow && unix

package main

import "testing"

// Each start writes a cluster to the disk: half a minute in all. The default tier has
// the umask 0777.
func TestMachine_ServesWithEveryUmask(t *testing.T) {
	for _, umask := range []string{"000", "077"} {
		t.Run(umask, func(t *testing.T) { servesWithUmask(t, umask) })
	}
}
