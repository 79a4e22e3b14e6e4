//go:build unix

package main

import "syscall"

// keepOwnRights removes the owner's bits from the umask: with umask 0777, the
// program could not enter a folder that it has just created. The bits for group and
// others stay.
func keepOwnRights() {
	umask := syscall.Umask(0o077)
	syscall.Umask(umask &^ 0o700)
}
