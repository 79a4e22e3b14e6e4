package sqltransport

import (
	"context"
	"database/sql"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus/cluster"
	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
	"millrace/platform/failpoint"
)

// Append writes what a transaction says, in one call of watermill-sql's
// Publisher, at the end of the transaction: it takes the publish locks of the
// partitions it writes, which are held until the commit.
func (t *Transport) Append(ctx context.Context, tx *sql.Tx, messages []*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	if !t.lease.Valid() { // this process was stopped for a while: who knows what happened meanwhile
		if err := t.sameRoad(ctx, tx); err != nil {
			return err
		}
	}
	failpoint.Here("append.before")
	messages, err := t.appendOutbox(ctx, tx, messages)
	if err != nil || len(messages) == 0 {
		return err
	}
	err = store.Append(ctx, tx, t.topo, messages)
	failpoint.Here("append.after")
	return err
}

// Committed wakes the readers of what a transaction said: this process's at
// once, other processes by a notification.
func (t *Transport) Committed(messages []*message.Message) {
	if len(messages) == 0 {
		return
	}
	dirty := cluster.Changes{}
	for _, msg := range messages {
		dirty[t.streamOf(t.topo.TopicOf(msg.Metadata.Get(envelope.Type)), msg.Metadata.Get(envelope.Source))] |= 1 << store.PartitionOf(msg.Metadata.Get(envelope.Key))
	}
	t.wake(dirty)
	failpoint.Here("wake.before_notify")
	t.notifier.Notify(dirty)
}
