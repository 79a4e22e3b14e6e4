package sqltransport

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

const (
	runTarget    = 100 * time.Millisecond // a run that takes longer makes the next ones shorter
	soloPeriod   = 10 * time.Second       // runs of one message after contention
	minPause     = 50 * time.Millisecond  // the first wait after a fault of the environment
	lockPause    = 250 * time.Millisecond // the first wait after a lock was not had
	maxPause     = 10 * time.Second       // the longest wait of both
	leasePause   = 50 * time.Millisecond  // until the lease is looked at again
	handlerGrace = time.Second            // for a handler to notice that its time is over
)

var (
	errMoved   = errors.New("the position was moved by somebody else")
	errRedo    = errors.New("the run is done again, guarded")
	errCrowded = errors.New("the run fought with another one for a lock")
)

// staff counts a subscriber's executors. A handler that takes long holds one;
// while it does, a substitute works in its place, so that several such handlers
// do not stop the module. Each has a connection, so there is an end to it.
type staff struct {
	mu      sync.Mutex
	working int // executors there are
	held    int // by handlers that take long
}

// employ starts executors up to what is needed now.
func (s *subscriber) employ() {
	s.staff.mu.Lock()
	defer s.staff.mu.Unlock()
	for s.staff.working < s.needed() {
		s.staff.working++
		s.executors.Add(1)
		go s.execute()
	}
}

// needed is how many executors there should be: two connections are left for
// the module's requests.
func (s *subscriber) needed() int {
	if s.relay() { // who waits for the carrier has no connection
		return s.t.cfg.Executors + min(s.staff.held, store.Partitions)
	}
	return min(s.t.cfg.Executors+s.staff.held, s.t.cfg.MaxConnsPerModule-2)
}

// substitute has somebody else work while the caller is held; call what it
// returns when it is not any more.
func (s *subscriber) substitute() (back func()) {
	change := func(n int) {
		s.staff.mu.Lock()
		defer s.staff.mu.Unlock()
		s.staff.held += n
	}
	change(1)
	s.employ()
	return func() { change(-1) }
}

// superfluous lets an executor go that is not needed any more.
func (s *subscriber) superfluous() bool {
	s.staff.mu.Lock()
	defer s.staff.mu.Unlock()
	if s.staff.working <= s.needed() {
		return false
	}
	s.staff.working--
	return true
}

// execute runs ready tasks until the subscriber stops.
func (s *subscriber) execute() {
	defer s.executors.Done()
	for !s.superfluous() {
		t := s.queue.next()
		if t == nil {
			return
		}
		s.step(t)
	}
}

// step brings a task forward: it hands the partition over, drains what is aside
// and due, or runs what is there now of the log. While more tasks wait than
// there are executors, short runs of several partitions share a transaction.
func (s *subscriber) step(t *task) {
	ctx := context.Background() // work in flight is finished, whoever goes down
	room := int(s.runSize.Load())
	if time.Now().UnixMilli() < s.solo.Load() || t.lockTries > 0 {
		room = 1
	}
	if s.relay() {
		room = forwardRows
	}
	rows, more, err := s.next(ctx, t, room)
	if err != nil {
		s.fail(t, err)
		return
	}
	if len(rows) == 0 {
		s.works(t)
		s.queue.done(t, more)
		return
	}
	if s.relay() {
		s.forward(ctx, &part{t: t, rows: rows})
		return
	}
	parts := []*part{{t: t, rows: rows}}
	for room -= len(rows); room > 0; room -= len(rows) {
		other := s.queue.another(s.t.cfg.Executors)
		if other == nil {
			break
		}
		if rows, err = s.read(ctx, other, room); err != nil {
			s.fail(other, err)
			break
		}
		if len(rows) == 0 {
			s.queue.done(other, false)
			continue
		}
		parts = append(parts, &part{t: other, rows: rows})
	}
	err = s.attempt(ctx, parts)
	if len(parts) > 1 && (errors.Is(err, errRedo) || errors.Is(err, errMoved)) {
		guilty := slices.DeleteFunc(slices.Clone(parts), func(p *part) bool { return !p.t.marked() })
		if len(guilty) > 0 { // the others wait for nobody
			for _, p := range parts {
				if !slices.Contains(guilty, p) {
					s.queue.done(p.t, true)
				}
			}
			parts = guilty
		}
		for _, p := range parts { // each by itself
			s.settle(p.t, s.attempt(ctx, []*part{p}))
		}
		return
	}
	for _, p := range parts {
		s.settle(p.t, err)
	}
}

// next does what a task has to do before its log, and reads that.
func (s *subscriber) next(ctx context.Context, t *task, limit int) (rows []record, more bool, err error) {
	claimed, release, poked, reload := s.queue.flags(t)
	t.drain = t.drain || poked
	t.loaded = t.loaded && !reload
	if !claimed {
		return nil, false, nil
	}
	if !s.t.lease.Valid() {
		// After a pause longer than the lease nothing is handled before it is renewed.
		return nil, false, errNoLease
	}
	if release {
		return nil, false, s.giveBack(ctx, t)
	}
	if !t.loaded {
		if owned, err := s.load(ctx, t); err != nil || !owned {
			return nil, false, err
		}
	}
	if t.drain {
		if err := s.drain(ctx, t); err != nil {
			return nil, false, err
		}
	}
	rows, err = s.read(ctx, t, limit)
	return rows, t.drain, err
}

func (s *subscriber) read(ctx context.Context, t *task, limit int) ([]record, error) {
	rows, err := s.readers[t.topic].after(ctx, t.partition, t.position, limit)
	return s.screen(t.topic, rows), err
}

var errNoLease = errors.New("the lease has run out")

// attempt runs the parts; a single one until it is clear which of its messages
// fail: each time one more is known.
func (s *subscriber) attempt(ctx context.Context, parts []*part) error {
	started := time.Now()
	err := s.run(ctx, parts)
	for len(parts) == 1 && errors.Is(err, errRedo) && !s.isStopping() {
		err = s.run(ctx, parts)
	}
	s.adapt(time.Since(started))
	return err
}

// settle says what follows for a task from its run.
func (s *subscriber) settle(t *task, err error) {
	switch {
	case err == nil:
		s.works(t)
		s.queue.done(t, true)
	case errors.Is(err, errCrowded):
		s.queue.done(t, true)
	default:
		s.fail(t, err)
	}
}

// fail pauses a task after a failure that was no message's fault; it uses up no
// attempt. The pause occupies no executor, so that what troubles one partition
// does not stop the others.
func (s *subscriber) fail(t *task, err error) {
	t.loaded = false
	switch {
	case s.isStopping():
		s.queue.done(t, false)
		return
	case errors.Is(err, errMoved):
		s.queue.done(t, true)
		return
	case errors.Is(err, errNoLease):
		s.queue.pause(t, leasePause)
		return
	}
	t.failures++
	wait := minPause
	if errs.Locked(err) {
		t.lockTries++
		wait = lockPause
	} else {
		t.lockTries = 0
	}
	wait = min(maxPause, wait<<min(t.failures-1, 10))
	s.pauses.began(t, err)
	s.queue.pause(t, wait)
}

// works notes that nothing troubles the task any more.
func (s *subscriber) works(t *task) {
	if t.failures > 0 {
		t.failures, t.lockTries = 0, 0
		s.pauses.ended(t)
	}
}

// adapt keeps runs short.
func (s *subscriber) adapt(took time.Duration) {
	size, most := s.runSize.Load(), int64(s.t.cfg.MaxRun)
	switch {
	case took > runTarget && size > 1:
		s.runSize.CompareAndSwap(size, size/2)
	case took < runTarget/4 && size < most:
		s.runSize.CompareAndSwap(size, min(size*2, most))
	}
}
