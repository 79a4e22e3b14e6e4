package sqltransport

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// inColumns are the attributes that have columns of their own. They are put back when
// the row is read.
var inColumns = []string{envelope.ID, envelope.Type, envelope.Key, envelope.Subject, envelope.Sequence, envelope.Topic, envelope.Partition}

// adapter is the schema of a log, for watermill-sql's Publisher. Only writing
// goes through it: watermill-sql's Subscriber reads below the oldest running
// transaction's id, so that one slow transaction stops every topic, and its
// queue deletes rows that were never acked. Reading is ours (reader.go).
type adapter struct{ topo *bus.Topology }

// InsertQuery makes one statement for all messages, whatever their topics: the
// topic comes from each message's type.
func (a adapter) InsertQuery(params wsql.InsertQueryParams) (wsql.Query, error) {
	if len(params.Msgs) == 1 {
		return a.insertOne(params.Msgs[0])
	}
	batches := map[string]*columns{}
	var topics, lockTopics []string
	var lockPartitions []int64
	for _, msg := range params.Msgs {
		name := msg.Metadata.Get(envelope.Type)
		topic := a.topo.TopicOf(name)
		if topic == "" {
			return wsql.Query{}, errUndeclared(name)
		}
		b := batches[topic]
		if b == nil {
			b = &columns{}
			batches[topic] = b
			topics = append(topics, topic)
		}
		partition, err := b.addMessage(msg)
		if err != nil {
			return wsql.Query{}, err
		}
		lockTopics = append(lockTopics, topic)
		lockPartitions = append(lockPartitions, partition)
	}
	slices.Sort(topics) // few texts, so that each is prepared once

	var calls []string
	var args []any
	if len(topics) > 1 {
		calls = append(calls, "bus.lock($1, $2)") // which checks deferred constraints, too
		args = append(args, pq.Array(lockTopics), pq.Array(lockPartitions))
	} else {
		calls = append(calls, "bus.check_deferred()")
	}
	for _, topic := range topics {
		function, own := appendFunction(topic), batches[topic].arrays()
		if batches[topic].single() {
			function, own = function+"_one", batches[topic].one()
		}
		n := len(args)
		calls = append(calls, fmt.Sprintf("%s($%d, $%d, $%d, $%d, $%d, $%d)", function, n+1, n+2, n+3, n+4, n+5, n+6))
		args = append(args, own...)
	}
	return wsql.Query{Query: "SELECT " + strings.Join(calls, ", "), Args: args}, nil
}

// insertOne is InsertQuery for most transactions.
func (a adapter) insertOne(msg *message.Message) (wsql.Query, error) {
	name := msg.Metadata.Get(envelope.Type)
	topic := a.topo.TopicOf(name)
	if topic == "" {
		return wsql.Query{}, errUndeclared(name)
	}
	var b columns
	if _, err := b.addMessage(msg); err != nil {
		return wsql.Query{}, err
	}
	return wsql.Query{Query: "SELECT bus.check_deferred(), " + appendFunction(topic) + "_one($1, $2, $3, $4, $5, $6)", Args: b.one()}, nil
}

func errUndeclared(name string) error {
	return errs.New(errs.Invalid, "no module declares the message %q", name)
}

// The rest of the interface belongs to watermill-sql's Subscriber, which is not used.

func (adapter) SelectQuery(wsql.SelectQueryParams) (wsql.Query, error) {
	return wsql.Query{}, errNotRead
}

func (adapter) UnmarshalMessage(wsql.UnmarshalMessageParams) (wsql.Row, error) {
	return wsql.Row{}, errNotRead
}

func (adapter) SchemaInitializingQueries(wsql.SchemaInitializingQueriesParams) ([]wsql.Query, error) {
	return nil, errNotRead
}

func (adapter) SubscribeIsolationLevel() sql.IsolationLevel { return sql.LevelReadCommitted }

var errNotRead = errs.New(errs.Unknown, "this schema is written through watermill-sql and read by package sqltransport")

// table and appendFunction say where a topic lives: "payment.events" in
// payment.log, "payment.commands" in payment.queue. Module names are a–z and
// 0–9 (bus.NewTopology), so they need no quoting.
func table(topic string) string {
	module, kind, _ := strings.Cut(topic, ".")
	if kind == "commands" {
		return module + ".queue"
	}
	return module + ".log"
}

func appendFunction(topic string) string {
	module, name, _ := strings.Cut(table(topic), ".")
	return module + ".append_" + name
}

// Append writes what a transaction says, in one call of watermill-sql's
// Publisher, at the end of the transaction: it takes the publish locks of the
// partitions it writes, which are held until the commit.
func (t *Transport) Append(ctx context.Context, tx *sql.Tx, messages []*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	if !t.lease.valid() { // this process was stopped for a while: who knows what happened meanwhile
		if err := t.sameRoad(ctx, tx); err != nil {
			return err
		}
	}
	failpoint.Here("append.before")
	messages, err := t.appendOutbox(ctx, tx, messages)
	if err != nil || len(messages) == 0 {
		return err
	}
	publisher, err := wsql.NewPublisher(wsql.TxFromStdSQL(tx), wsql.PublisherConfig{SchemaAdapter: adapter{t.topo}}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	messages[0].SetContext(ctx) // Publish has no context of its own: it takes the first message's
	err = publisher.Publish("all", messages...)
	failpoint.Here("append.after")
	return err
}

// Committed wakes the readers of what a transaction said: this process's at
// once, other processes by a notification.
func (t *Transport) Committed(messages []*message.Message) {
	if len(messages) == 0 {
		return
	}
	dirty := wakeup{}
	for _, msg := range messages {
		dirty[t.streamOf(t.topo.TopicOf(msg.Metadata.Get(envelope.Type)), msg.Metadata.Get(envelope.Source))] |= 1 << PartitionOf(msg.Metadata.Get(envelope.Key))
	}
	t.wake(dirty)
	failpoint.Here("wake.before_notify")
	t.notifier.tell(dirty)
}
