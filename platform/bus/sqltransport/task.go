package sqltransport

import (
	"sync"
	"time"
)

// taskState is where a task stands with its subscriber's executors.
type taskState uint8

const (
	idle    taskState = iota // nothing to do, as far as anybody knows
	queued                   // in the ready queue
	running                  // an executor has it
	again                    // running, and woken meanwhile
	paused                   // queued again by a timer, and not before
)

// task is one subscriber's work on one partition of one topic. Exactly one
// executor runs it at a time, so its second group of fields needs no lock.
type task struct {
	topic     string
	partition int

	state   taskState // guarded by readyQueue.mu
	release bool      // likewise: give the partition to another process
	claimed bool      // likewise: this process may own it
	poked   bool      // likewise: aside rows may be due
	reload  bool      // likewise: claimed anew, what is known of it may be old

	loaded    bool // position and aside are known; false makes the executor ask the database
	position  int64
	aside     map[string]bool // keys that have open aside rows
	drain     bool            // aside rows are to be looked at
	failures  int             // in a row, that paused the task
	lockTries int             // likewise, and each because of a lock
	suspects  map[int64]bool  // offsets that failed in an unguarded run: a savepoint stands around them
	guardAll  bool            // a savepoint stands around each message
	blamed    map[int64]error // offsets whose handler is known to fail
	timer     *time.Timer     // wakes the task when the next retry is due
}

func (t *task) suspect(offset int64) {
	if t.suspects == nil {
		t.suspects = map[int64]bool{}
	}
	t.suspects[offset] = true
}

func (t *task) blame(offset int64, cause error) {
	if t.blamed == nil {
		t.blamed = map[int64]error{}
	}
	t.blamed[offset] = cause
}

// marked says that some of its messages failed, or took long, in the present run,
// or met a lock in the last one.
func (t *task) marked() bool {
	return t.guardAll || t.suspects != nil || t.blamed != nil || t.lockTries > 0
}

// forgive forgets who failed: the run is over.
func (t *task) forgive() { t.suspects, t.guardAll, t.blamed = nil, false, nil }

// readyQueue holds the tasks that executors should run, in order of waking.
type readyQueue struct {
	mu      sync.Mutex
	arrived sync.Cond
	ready   []*task
	stopped bool
}

func newReadyQueue() *readyQueue {
	q := &readyQueue{}
	q.arrived.L = &q.mu
	return q
}

// wake makes sure that the task runs after this call, at least once.
func (q *readyQueue) wake(t *task) { q.change(t, func() {}) }

// change wakes the task after setting its guarded fields.
func (q *readyQueue) change(t *task, set func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	set()
	switch t.state {
	case idle:
		t.state = queued
		q.ready = append(q.ready, t)
		q.arrived.Signal()
	case running:
		t.state = again
	case queued, again, paused:
	}
}

// next blocks until a task is ready; nil says that the queue was stopped.
func (q *readyQueue) next() *task {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.stopped {
		q.arrived.Wait()
	}
	if q.stopped {
		return nil
	}
	t := q.ready[0]
	q.ready[0] = nil
	q.ready = q.ready[1:]
	t.state = running
	return t
}

// another returns a ready task that needs nothing but to read its log, if at
// least so many are ready; nil otherwise. It does not block.
func (q *readyQueue) another(least int) *task {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) < least || q.stopped {
		return nil
	}
	t := q.ready[0]
	if !t.claimed || t.release || t.poked || t.reload || !t.loaded || t.drain || t.marked() {
		return nil
	}
	q.ready[0] = nil
	q.ready = q.ready[1:]
	t.state = running
	return t
}

// pause takes the task back and queues it again after d.
func (q *readyQueue) pause(t *task, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t.state = paused
	time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		t.state = queued
		q.ready = append(q.ready, t)
		q.arrived.Signal()
	})
}

// done gives the task back; more queues it again behind the others.
func (q *readyQueue) done(t *task, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.state == again || more {
		t.state = queued
		q.ready = append(q.ready, t)
		q.arrived.Signal()
		return
	}
	t.state = idle
}

func (q *readyQueue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.arrived.Broadcast()
}

// flags reads the guarded fields, and takes the poke and the wish to reload.
func (q *readyQueue) flags(t *task) (claimed, release, poked, reload bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	poked, reload = t.poked, t.reload
	t.poked, t.reload = false, false
	return t.claimed, t.release, poked, reload
}

// poke wakes the task to look at what is aside.
func (q *readyQueue) poke(t *task) { q.change(t, func() { t.poked = true }) }

// claim tells the task that this process owns its partition.
func (q *readyQueue) claim(t *task) {
	q.change(t, func() { t.claimed, t.release, t.reload = true, false, true })
}

// giveUp asks the task to hand its partition over.
func (q *readyQueue) giveUp(t *task) { q.change(t, func() { t.release = true }) }

// lost says that another process owns the partition.
func (q *readyQueue) lost(t *task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t.claimed, t.release = false, false
}

// owns reads what the task knows about its ownership.
func (q *readyQueue) owns(t *task) (claimed, release bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return t.claimed, t.release
}
