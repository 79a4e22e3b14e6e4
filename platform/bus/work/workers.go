package work

import (
	"sync"

	"millrace/platform/bus"
)

// Patience is how long a worker waits for something slow before others must not wait with it:
// the other partitions of its transaction, and the group's other work.
const Patience = bus.HandlerTimeout / 4

// workers are the goroutines that work on a group's partitions. While a worker is held by
// something slow, another one works in its place, so that several slow handlers do not stop
// the module. limit returns how many there may be.
type workers struct {
	next  func() *Partition // nil ends a worker
	step  func(*Partition)
	limit func(slow int) int

	mu      sync.Mutex
	running int
	slow    int // of these, held by something slow
	all     sync.WaitGroup
}

// start starts workers up to the limit.
func (w *workers) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.running < w.limit(w.slow) {
		w.running++
		w.all.Go(w.work)
	}
}

func (w *workers) work() {
	for !w.surplus() {
		p := w.next()
		if p == nil {
			return
		}
		w.step(p)
	}
}

// surplus ends a worker above the limit.
func (w *workers) surplus() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running <= w.limit(w.slow) {
		return false
	}
	w.running--
	return true
}

// replace starts another worker while the caller, a worker, is held by something slow. The
// caller calls the returned function when it is not any more.
func (w *workers) replace() (back func()) {
	w.count(1)
	w.start()
	return func() { w.count(-1) }
}

func (w *workers) count(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow += n
}

func (w *workers) wait() { w.all.Wait() }
