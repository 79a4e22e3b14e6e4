package devserver_test

import "os"

func running(pid int) bool {
	found, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	_ = found.Release() // it was only looked for
	return true
}
