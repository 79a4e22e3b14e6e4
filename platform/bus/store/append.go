package store

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
)

// Append writes what a transaction publishes and sends into the event logs and command
// queues, in one call of watermill-sql's Publisher, which must be the transaction's last
// statement but COMMIT: the publish locks of the partitions are held until then, so that
// offsets follow the commit order. messages must not be empty. A type that no module
// declares is Invalid.
func Append(ctx context.Context, tx *sql.Tx, topo *bus.Topology, messages []*message.Message) error {
	publisher, err := wsql.NewPublisher(wsql.TxFromStdSQL(tx), wsql.PublisherConfig{SchemaAdapter: adapter{topo}}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	messages[0].SetContext(ctx) // Publish has no context of its own: it takes the first message's
	return publisher.Publish("all", messages...)
}

// adapter is the schema of event logs and command queues, for watermill-sql's Publisher.
// Only writing goes through it: watermill-sql's Subscriber reads below the oldest running
// transaction's id, so one slow transaction stops every topic, and its queue schema
// deletes rows that were never acked.
type adapter struct{ topo *bus.Topology }

// InsertQuery makes one statement for all messages, whatever their topics: the
// topic comes from each message's type.
func (a adapter) InsertQuery(params wsql.InsertQueryParams) (wsql.Query, error) {
	if len(params.Msgs) == 1 {
		return a.insertOne(params.Msgs[0])
	}
	batches := map[string]*Columns{}
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
			b = &Columns{}
			batches[topic] = b
			topics = append(topics, topic)
		}
		partition, err := b.AddMessage(msg)
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
		function, own := appendFunction(topic), batches[topic].Arrays()
		if batches[topic].Single() {
			function, own = function+"_one", batches[topic].One()
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
	var b Columns
	if _, err := b.AddMessage(msg); err != nil {
		return wsql.Query{}, err
	}
	return wsql.Query{Query: "SELECT bus.check_deferred(), " + appendFunction(topic) + "_one($1, $2, $3, $4, $5, $6)", Args: b.One()}, nil
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

var errNotRead = errs.New(errs.Unknown, "this schema is written through watermill-sql and read by package store")
