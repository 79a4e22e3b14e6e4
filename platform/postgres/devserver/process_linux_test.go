package devserver

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The kernel takes the end of the thread that started a program for our end, and
// a thread ends with the goroutine that is locked to it: a server's, when it stops.
func TestAProgramIsNotEndedByAThreadThatEndsBesideIt(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 40)
	var all sync.WaitGroup
	for range cap(failed) {
		all.Go(func() {
			_, err := keepingThread(serverUser().command(t.Context(), programs{dir: "/bin"}, "sleep", "0.2").CombinedOutput)
			failed <- err
		})
	}
	over := make(chan struct{})
	go func() { all.Wait(); close(over) }()
	end := time.NewTicker(time.Millisecond)
	defer end.Stop()
	for ended := false; !ended; {
		go runtime.LockOSThread() // as startProcess does; never unlocked
		select {
		case <-over:
			ended = true
		case <-end.C:
		}
	}
	for range cap(failed) {
		require.NoError(t, <-failed)
	}
}
