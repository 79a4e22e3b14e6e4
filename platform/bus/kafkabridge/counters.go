package kafkabridge

import "sync/atomic"

// Counts are totals since the start of this process.
type Counts struct {
	Sent       int64 // rows that the brokers acknowledged
	Received   int64 // records that were stored, repeats included
	Foreign    int64 // of these, records that no module published
	Skipped    int64 // foreign records of a type that does not belong to their topic
	Unreadable int64 // foreign records without a readable type
	Restarts   int64 // consumers that made no progress and were restarted
	Reread     int64 // records that were read outside the consumer group
	Superseded int64 // records that were dropped, since their publisher was restored to a time before them
	Gone       int64 // records that the brokers deleted before the database had them
}

// counters count what consumers do.
type counters struct {
	received, foreign, skipped, unreadable, restarts, reread, superseded, gone atomic.Int64
}

func (c *counters) counts() Counts {
	return Counts{
		Received: c.received.Load(), Foreign: c.foreign.Load(), Skipped: c.skipped.Load(), Unreadable: c.unreadable.Load(),
		Restarts: c.restarts.Load(), Reread: c.reread.Load(), Superseded: c.superseded.Load(), Gone: c.gone.Load(),
	}
}
