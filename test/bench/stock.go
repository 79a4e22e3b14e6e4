package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	_ "github.com/lib/pq" // the driver
)

const (
	pollDefault = time.Second
	pollFast    = 10 * time.Millisecond
	stockTopic  = "payments"
)

// stock is watermill-sql as its documentation shows it: the default schema, one
// consumer group for each listener, a router; but each handler begins and
// commits a transaction of its own, because the subscriber's is not rolled back
// when a handler fails.
type stock struct {
	db     *sql.DB
	poll   time.Duration
	target string // the topic at the brokers that a Forwarder brings the payments to; "" is none
	router *message.Router
	subs   []*wsql.Subscriber
	ended  chan error
}

func openStock(poll time.Duration) func(context.Context, string) (contender, error) {
	return func(ctx context.Context, url string) (contender, error) {
		db, err := openStockTables(ctx, url)
		if err != nil {
			return nil, err
		}
		s := &stock{db: db, poll: poll}
		for _, group := range groups {
			sub, err := s.subscriber(group)
			if err == nil {
				err = sub.SubscribeInitialize(stockTopic)
			}
			if err != nil {
				return nil, errors.Join(err, db.Close())
			}
			s.subs = append(s.subs, sub)
		}
		return s, nil
	}
}

func openStockTables(ctx context.Context, url string) (*sql.DB, error) {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolSize)
	if err := createTables(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (s *stock) subscriber(group string) (*wsql.Subscriber, error) {
	return wsql.NewSubscriber(wsql.BeginnerFromStdSQL(s.db), wsql.SubscriberConfig{
		ConsumerGroup: group, PollInterval: s.poll, InitializeSchema: true,
		SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{},
	}, watermill.NopLogger{})
}

// createTables makes what stock and river write: the same tables as ours, in
// one schema.
func createTables(ctx context.Context, db *sql.DB) error {
	statements := []string{fmt.Sprintf(createPayments, "")}
	for _, group := range groups {
		statements = append(statements, fmt.Sprintf(createEffects, "effects_"+group), fmt.Sprintf(createMark, "inbox_"+group), fmt.Sprintf(createHot, "hot_"+group))
	}
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func effectTables() []string {
	var tables []string
	for _, group := range groups {
		tables = append(tables, "effects_"+group)
	}
	return tables
}

// publisher of a transaction, and the topic to give it.
func (s *stock) publisher(tx *sql.Tx) (message.Publisher, string, error) {
	publisher, err := wsql.NewPublisher(wsql.TxFromStdSQL(tx), wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}}, watermill.NopLogger{})
	if err != nil || s.target == "" {
		return publisher, stockTopic, err
	}
	return forwarder.NewPublisher(publisher, forwarder.PublisherConfig{ForwarderTopic: stockTopic}), s.target, nil
}

func (s *stock) publish(ctx context.Context, batch []payment) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after the commit it does nothing
	publisher, topic, err := s.publisher(tx)
	if err != nil {
		return err
	}
	if err := insertPayments(ctx, tx, batch); err != nil {
		return err
	}
	messages := make([]*message.Message, len(batch))
	for i, p := range batch {
		messages[i] = message.NewMessage(p.ID.String(), p.json())
		messages[i].Metadata.Set("type", p.EventName())
		messages[i].Metadata.Set("key", p.OrderKey)
	}
	if err := publisher.Publish(topic, messages...); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *stock) start(ctx context.Context, b behaviour) error {
	return s.listen(ctx, b, stockTopic, func(i int) message.Subscriber { return s.subs[i] })
}

// listen runs the handlers of all groups on their subscribers.
func (s *stock) listen(ctx context.Context, b behaviour, topic string, of func(group int) message.Subscriber) (err error) {
	if s.router, err = message.NewRouter(message.RouterConfig{}, watermill.NopLogger{}); err != nil {
		return err
	}
	for i, group := range groups {
		s.router.AddConsumerHandler(group, topic, of(i), s.handler(i, b))
	}
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.router.Run(context.WithoutCancel(ctx)) }()
	<-s.router.Running()
	return nil
}

func (s *stock) handler(group int, b behaviour) message.NoPublishHandlerFunc {
	insert, mark, touch := fmt.Sprintf(insertEffect, "effects_"+groups[group]), fmt.Sprintf(insertMark, "inbox_"+groups[group]), fmt.Sprintf(touchHot, "hot_"+groups[group])
	failed := newFailures(b)
	return func(msg *message.Message) error {
		var p payment
		if err := json.Unmarshal(msg.Payload, &p); err != nil {
			return err
		}
		if failed.now(p.Seq) {
			return errOnce
		}
		ctx := context.Background() // the message's own holds the subscriber's transaction
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // after the commit it does nothing
		marked, err := tx.ExecContext(ctx, mark, msg.UUID, groups[group], p.Seq)
		if err != nil {
			return err
		}
		if n, err := marked.RowsAffected(); err != nil || n == 0 {
			return err // handled before
		}
		if _, err := tx.ExecContext(ctx, insert, p.ID.String(), p.OrderKey, p.Amount); err != nil {
			return err
		}
		if b.hot {
			if _, err := tx.ExecContext(ctx, touch, hotRow(p.Seq)); err != nil {
				return err
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		b.observer.effect(group, p.Seq)
		return nil
	}
}

func (s *stock) stop() error {
	return errors.Join(s.router.Close(), <-s.ended)
}

func (s *stock) effects() []string { return effectTables() }

func (s *stock) close() error { return s.db.Close() }
