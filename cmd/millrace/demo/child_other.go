//go:build !linux

package demo

import "syscall"

// withParent is empty where the kernel does not end a child with its parent.
func withParent() *syscall.SysProcAttr { return nil }
