package work

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// Lease is the node's lease.
type Lease interface {
	Valid() bool // the other nodes take this one for alive
	RenewSoon()  // and assign partitions
}

// Config describes a group.
type Config struct {
	Offsets *store.Offsets
	Readers map[string]*Reader // of each stream that the group reads
	Lease   Lease
	Workers func(slow int) int // how many, while so many are held by something slow
	Step    func(*Partition)   // works on a partition, and gives it back by Done, Settle or Fail
	Logger  *slog.Logger
}

// Group is the work of one subscriber, or of one relay, on the partitions that are assigned
// to this node.
type Group struct {
	*Assignment
	*Queue
	Pauses
	cfg     Config
	workers workers

	started  chan struct{}
	stopping chan struct{}
	once     sync.Once
}

// NewGroup returns a group that is woken by its readers, and does nothing before Start.
func NewGroup(cfg Config) *Group {
	q := newQueue()
	g := &Group{
		Assignment: newAssignment(q), Queue: q, cfg: cfg,
		Pauses:  Pauses{log: cfg.Logger, paused: map[*Partition]reason{}},
		workers: workers{next: q.next, step: cfg.Step, limit: cfg.Workers},
		started: make(chan struct{}), stopping: make(chan struct{}),
	}
	for stream, reader := range cfg.Readers {
		g.Assignment.add(stream)
		reader.wakes(g.Assignment, stream)
	}
	return g
}

// Start begins to work. Partitions are claimed at once.
func (g *Group) Start() {
	g.workers.start()
	close(g.started)
	g.cfg.Lease.RenewSoon()
}

// Halt takes no new partition. Other nodes may claim the partitions from now on; a step in
// progress keeps its own by the lock on its offset.
func (g *Group) Halt() {
	g.once.Do(func() {
		close(g.stopping)
		g.Queue.stop()
		g.cfg.Lease.RenewSoon()
	})
}

// Stop takes no new partition and waits for the steps in progress.
func (g *Group) Stop() {
	g.Halt()
	g.workers.wait()
}

// Started is closed when the group has started, Stopping when it takes no new partition.
func (g *Group) Started() <-chan struct{}  { return g.started }
func (g *Group) Stopping() <-chan struct{} { return g.stopping }

// Working reports whether the group takes partitions.
func (g *Group) Working() bool { return isClosed(g.started) && !isClosed(g.stopping) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Replace starts another worker while the caller, a worker, is held by something slow. The
// caller calls the returned function when it is not any more.
func (g *Group) Replace() (back func()) { return g.workers.replace() }

// Prepare does what has to be done before a partition is read: it releases the partition, or
// loads its committed offset. ready is false if nothing is to be done then. loaded, if the
// offset was loaded just now, is what the database knows. parked reports that parked
// messages may be due.
//
// After a pause that is longer than the lease nothing is done before it was renewed.
func (g *Group) Prepare(ctx context.Context, p *Partition) (ready bool, loaded *store.Committed, parked bool, err error) {
	f := g.flagsOf(p)
	p.loaded = p.loaded && !f.reload
	switch {
	case !f.assigned:
		return false, nil, f.parked, nil
	case !g.cfg.Lease.Valid():
		return false, nil, f.parked, errNoLease
	case f.release:
		p.loaded = false
		failpoint.Here("lease.before_release")
		if err := g.cfg.Offsets.Release(ctx, p.Stream, p.Number); err != nil {
			return false, nil, f.parked, err
		}
		failpoint.Here("lease.released")
		g.lost(p)
		return false, nil, f.parked, nil
	case p.loaded:
		return true, nil, f.parked, nil
	}
	found, err := g.cfg.Offsets.Load(ctx, p.Stream, p.Number)
	if err != nil {
		return false, nil, f.parked, err
	}
	if !found.Assigned {
		g.lost(p)
		return false, nil, f.parked, nil
	}
	p.Offset, p.TopicID, p.loaded = found.Offset, found.TopicID, true
	return true, &found, f.parked, nil
}

// Read returns up to limit records behind the committed offset.
func (g *Group) Read(ctx context.Context, p *Partition, limit int) ([]store.Record, error) {
	return g.cfg.Readers[p.Stream].After(ctx, p.Number, p.Offset, limit)
}

// Settle gives a partition back after a step: to be read again at once if err is nil, else
// as Fail does.
func (g *Group) Settle(p *Partition, err error) {
	if err != nil {
		g.Fail(p, err)
		return
	}
	g.Resume(p)
	g.Done(p, true)
}

// Fail gives a partition back after a failure that no message caused; it uses no attempt.
// The pause occupies no worker, so that what one partition meets does not stop the others.
func (g *Group) Fail(p *Partition, err error) {
	p.loaded = false
	switch {
	case isClosed(g.stopping):
		g.Done(p, false)
	case errors.Is(err, store.ErrMoved):
		g.Done(p, true)
	case errors.Is(err, errNoLease):
		g.Queue.pause(p, leasePause)
	default:
		p.failures++
		wait := minPause
		if errs.Locked(err) {
			p.lockTries++
			wait = lockPause
		} else {
			p.lockTries = 0
		}
		g.Pauses.begin(p, err)
		g.Queue.pause(p, min(maxPause, wait<<min(p.failures-1, 10)))
	}
}

const (
	minPause   = 50 * time.Millisecond  // the first wait after a fault of the environment
	lockPause  = 250 * time.Millisecond // the first wait after a lock was not had
	maxPause   = 10 * time.Second       // the longest wait of both
	leasePause = 50 * time.Millisecond  // until the lease is looked at again
)

var errNoLease = errors.New("the lease has expired")

// Distrust has everything that is known of the database read again: it has lost something, in
// a crash, or because it was restored or a standby replaces it.
func (g *Group) Distrust() {
	for stream, reader := range g.cfg.Readers {
		for n := range store.Partitions {
			reader.reset(n)
			g.Reload(stream, n)
		}
	}
}
