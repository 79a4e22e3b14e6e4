//go:build chaos && unix

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

type point struct {
	name string
	nth  int64
	stop bool
	seen atomic.Int64
}

var armed = sync.OnceValue(func() *point {
	name, rest, _ := strings.Cut(os.Getenv("FAILPOINT"), ":")
	count, action, _ := strings.Cut(rest, ":")
	p := &point{name: name, nth: 1, stop: action == "stop"}
	if n, err := strconv.ParseInt(count, 10, 64); err == nil {
		p.nth = n
	}
	return p
})

// Here marks the step called name.
func Here(name string) {
	p := armed()
	if name != p.name || p.seen.Add(1) != p.nth {
		return
	}
	if p.stop {
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) // signalling our own process is always allowed
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // likewise
	select {}                                      // the signal may arrive a moment later
}
