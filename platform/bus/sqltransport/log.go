package sqltransport

import (
	"context"
	"database/sql"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus"
	"millrace/platform/bus/cluster"
	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
	"millrace/platform/bus/work"
	"millrace/platform/failpoint"
)

// log is the bus.Log of this process.
type log struct {
	streams
	registry *store.Registry
	lease    *cluster.Lease
	readers  work.Readers
	notifier *cluster.Notifier
}

var _ bus.Log = (*log)(nil)

// Append writes what a transaction publishes and sends, at the end of the transaction, in one
// call of watermill-sql's Publisher. It takes the publish locks of the partitions, which are
// held until the commit.
func (l *log) Append(ctx context.Context, tx *sql.Tx, messages []*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	if !l.lease.Valid() { // this process was stopped for a while: the transport may have been switched
		if err := l.registry.Check(ctx, tx); err != nil {
			return err
		}
	}
	failpoint.Here("append.before")
	if l.bridged {
		var err error
		if messages, err = store.AppendOutbox(ctx, tx, l.topo, messages); err != nil || len(messages) == 0 {
			return err
		}
	}
	err := store.Append(ctx, tx, l.topo, messages)
	failpoint.Here("append.after")
	return err
}

// Committed wakes the readers of what a transaction published and sent: this process's at
// once, other processes' by a notification.
func (l *log) Committed(messages []*message.Message) {
	if len(messages) == 0 {
		return
	}
	changes := cluster.Changes{}
	for _, msg := range messages {
		changes[l.of(l.topo.TopicOf(msg.Metadata.Get(envelope.Type)), msg.Metadata.Get(envelope.Source))] |= 1 << store.PartitionOf(msg.Metadata.Get(envelope.Key))
	}
	l.readers.Changed(changes)
	failpoint.Here("wake.before_notify")
	l.notifier.Notify(changes)
}
