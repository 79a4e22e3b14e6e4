package devserver

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A thread ends with the goroutine that is locked to it, for example when a server stops.
// The kernel then signals the programs that the thread started.
func TestKeepingThread_ProgramSurvivesEndOfOtherThread(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 40)
	var all sync.WaitGroup
	for range cap(failed) {
		all.Go(func() {
			_, err := keepingThread(account{}.command(t.Context(), programs{dir: "/bin"}, "sleep", "0.2").CombinedOutput)
			failed <- err
		})
	}
	over := make(chan struct{})
	go func() { all.Wait(); close(over) }()
	end := time.NewTicker(time.Millisecond)
	defer end.Stop()
	for ended := false; !ended; {
		go runtime.LockOSThread() // like startProcess; never unlocked
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
