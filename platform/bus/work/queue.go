package work

import (
	"sync"
	"time"
)

// Queue has the partitions of a group that are ready, in order of waking. Each is in it once
// at most.
type Queue struct {
	mu      sync.Mutex
	arrived sync.Cond
	ready   []*Partition
	stopped bool
}

func newQueue() *Queue {
	q := &Queue{}
	q.arrived.L = &q.mu
	return q
}

// next blocks until a partition is ready. It returns nil once the queue was stopped.
func (q *Queue) next() *Partition {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.stopped {
		q.arrived.Wait()
	}
	if q.stopped {
		return nil
	}
	return q.first()
}

// Another returns a partition that is ready, if at least so many are, and if it needs
// nothing but to be read; plain, if given, is asked too. It returns nil otherwise, and does
// not block.
func (q *Queue) Another(least int, plain func(*Partition) bool) *Partition {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) < least || q.stopped {
		return nil
	}
	p := q.ready[0]
	if !p.assigned || p.release || p.parked || p.reload || !p.loaded || p.lockTries > 0 || plain != nil && !plain(p) {
		return nil
	}
	return q.first()
}

func (q *Queue) first() *Partition {
	p := q.ready[0]
	q.ready[0] = nil
	q.ready = q.ready[1:]
	p.state = running
	return p
}

// Done gives a partition back. With more it is queued again, behind the others.
func (q *Queue) Done(p *Partition, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.state == again || more {
		q.add(p)
		return
	}
	p.state = idle
}

// pause gives a partition back, and queues it again after d.
func (q *Queue) pause(p *Partition, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.state = paused
	time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.add(p)
	})
}

func (q *Queue) add(p *Partition) {
	p.state = queued
	q.ready = append(q.ready, p)
	q.arrived.Signal()
}

// wake makes sure that a worker takes the partition after this call, at least once.
func (q *Queue) wake(p *Partition) { q.change(p, func() {}) }

// change wakes the partition after setting its guarded fields.
func (q *Queue) change(p *Partition, set func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	set()
	switch p.state {
	case idle:
		q.add(p)
	case running:
		p.state = again
	case queued, again, paused:
	}
}

// look calls do while the guarded fields do not change.
func (q *Queue) look(do func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	do()
}

func (q *Queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.arrived.Broadcast()
}
