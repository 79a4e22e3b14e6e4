package engine

// isolation is what is known of the messages of a partition's next batch from the attempts
// before. A batch is tried without savepoints first. If a message fails, it is repeated with a
// savepoint around that message; if that does not show which one fails (an earlier handler
// ignored an SQL error, or only the COMMIT failed), with one around each.
type isolation struct {
	all      bool            // a savepoint stands around each message
	isolated map[int64]bool  // offsets of messages around which a savepoint stands
	failed   map[int64]error // offsets of messages that certainly fail, and why
}

// isolate puts a savepoint around a message.
func (i *isolation) isolate(offset int64) {
	if i.isolated == nil {
		i.isolated = map[int64]bool{}
	}
	i.isolated[offset] = true
}

// fail records that a message certainly fails.
func (i *isolation) fail(offset int64, cause error) {
	if i.failed == nil {
		i.failed = map[int64]error{}
	}
	i.failed[offset] = cause
}

// active reports whether a message failed, or took long, in the present batch.
func (i *isolation) active() bool { return i.all || i.isolated != nil || i.failed != nil }

// end forgets all of it: the batch is over.
func (i *isolation) end() { *i = isolation{} }
