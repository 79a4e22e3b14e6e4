package demo

import "syscall"

// withParent makes the kernel kill the child when its parent dies.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
