//go:build !linux

package demo

import "syscall"

// withParent does nothing on systems without a parent-death signal.
func withParent() *syscall.SysProcAttr { return nil }
