package devserver_test

import "os"

func running(pid int) bool {
	found, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	_ = found.Release() // opened only to find it
	return true
}
