//go:build !chaos || !unix

package failpoint

// Here is a step called name.
func Here(string) {}
