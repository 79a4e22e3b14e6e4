package work

// state is where a partition stands with the workers of its group.
type state uint8

const (
	idle    state = iota // nothing to do, as far as anybody knows
	queued               // in the queue
	running              // a worker has it
	again                // running, and woken meanwhile
	paused               // queued again by a timer, and not before
)

// Partition is a group's work on one partition of one stream. One worker has it at a time,
// so what belongs to the worker needs no lock.
type Partition struct {
	Stream string
	Number int

	// Guarded by the queue.
	state    state
	assigned bool // this node may own it
	release  bool // another node shall have it
	parked   bool // parked messages may be due
	reload   bool // what is known of it may be old

	// Of the worker.
	Offset    int64  // the committed one
	TopicID   string // see store.Committed
	loaded    bool   // Offset is known
	failures  int    // in a row, that paused it
	lockTries int    // likewise, and each because of a lock
}

// LockTries returns how often in a row it was paused because of a lock.
func (p *Partition) LockTries() int { return p.lockTries }
