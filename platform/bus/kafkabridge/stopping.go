package kafkabridge

import (
	"context"
	"sync"
	"time"

	"millrace/platform/errs"
)

// stopping is a request to stop, for several goroutines.
type stopping struct {
	requested chan struct{} // closed by stop
	once      sync.Once
}

func newStopping() *stopping { return &stopping{requested: make(chan struct{})} }

func (s *stopping) stop() { s.once.Do(func() { close(s.requested) }) }

func (s *stopping) isRequested() bool {
	select {
	case <-s.requested:
		return true
	default:
		return false
	}
}

// sleep waits. It returns false at once when stop is called.
func (s *stopping) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.requested:
		return false
	}
}

// within calls wait, and returns a timeout error with the message if that takes longer than
// ctx. Then wait goes on in the background.
func within(ctx context.Context, message string, wait func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errs.New(errs.Timeout, "%s", message)
	}
}
