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
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
)

const (
	stockPayments   = "payment.events"
	stockDeliveries = "delivery.events"
)

// stockPay does the work of "payments" on watermill-sql: a topic for each
// publisher, a consumer group for each listener, polled each 10 ms; each handler
// in a transaction of its own that begins with its inbox row.
type stockPay struct {
	db     *sql.DB
	router *message.Router
	ended  chan error
}

func openStockPay(ctx context.Context, url string, payments int, done func(seq int)) (_ payer, err error) {
	s := &stockPay{ended: make(chan error, 1)}
	if s.db, err = sql.Open("postgres", url); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.db.Close())
		}
	}()
	// As many connections as the pools of ours have together.
	pool := len(oursHosted)*oursPayPool + sqltransport.SharedConns
	s.db.SetMaxOpenConns(pool)
	s.db.SetMaxIdleConns(pool)
	for _, schema := range oursHosted {
		if _, err := s.db.ExecContext(ctx, `CREATE SCHEMA `+schema+`; `+fmt.Sprintf(createMark, schema+".inbox")); err != nil {
			return nil, err
		}
	}
	if err := fillPayments(ctx, s.db, payments); err != nil {
		return nil, err
	}
	if s.router, err = message.NewRouter(message.RouterConfig{}, watermill.NopLogger{}); err != nil {
		return nil, err
	}
	decoded := func(f func(ctx context.Context, tx *sql.Tx, cause bus.Received, e paymentapi.Completed) error) stockWork {
		return func(ctx context.Context, tx *sql.Tx, r bus.Received) error {
			var e paymentapi.Completed
			if err := json.Unmarshal(r.Data, &e); err != nil {
				return err
			}
			return f(ctx, tx, r, e)
		}
	}
	staging := func(ctx context.Context, tx *sql.Tx, r bus.Received) error { return stage(ctx, tx, r) }
	for _, h := range []struct {
		group, topic string
		work         stockWork
	}{
		{"delivery", stockPayments, decoded(func(ctx context.Context, tx *sql.Tx, cause bus.Received, e paymentapi.Completed) error {
			prepared, err := prepare(ctx, tx, cause, e)
			if err != nil {
				return err
			}
			return stockSay(tx, stockDeliveries, prepared)
		})},
		{"notification", stockPayments, decoded(func(ctx context.Context, tx *sql.Tx, cause bus.Received, e paymentapi.Completed) error {
			return notify(ctx, tx, cause, e)
		})},
		{"dataplatform", stockPayments, staging},
		{"dataplatform", stockDeliveries, staging},
	} {
		sub, err := wsql.NewSubscriber(wsql.BeginnerFromStdSQL(s.db), wsql.SubscriberConfig{
			ConsumerGroup: h.group, PollInterval: pollFast, InitializeSchema: true,
			SchemaAdapter: wsql.DefaultPostgreSQLSchema{}, OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{},
		}, watermill.NopLogger{})
		if err == nil {
			err = sub.SubscribeInitialize(h.topic)
		}
		if err != nil {
			return nil, err
		}
		s.router.AddConsumerHandler(h.group+" "+h.topic, h.topic, sub, s.handler(h.group, h.topic, h.work, done))
	}
	go func() { s.ended <- s.router.Run(context.WithoutCancel(ctx)) }()
	<-s.router.Running()
	return s, nil
}

// stockWork is a handler's business, in its transaction.
type stockWork func(ctx context.Context, tx *sql.Tx, r bus.Received) error

func (s *stockPay) handler(group, topic string, work stockWork, done func(seq int)) message.NoPublishHandlerFunc {
	mark := fmt.Sprintf(insertMark, group+".inbox")
	return func(msg *message.Message) error {
		r := bus.Received{Type: msg.Metadata.Get("type"), Source: msg.Metadata.Get("source"), Key: msg.Metadata.Get("key"), Topic: topic, Data: json.RawMessage(msg.Payload)}
		var err error
		if r.ID, err = uuid.Parse(msg.UUID); err != nil {
			return err
		}
		if r.Time, err = time.Parse(time.RFC3339Nano, msg.Metadata.Get("time")); err != nil {
			return err
		}
		ctx := context.Background() // the message's own holds the subscriber's transaction
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // after the commit it does nothing
		marked, err := tx.ExecContext(ctx, mark, msg.UUID, group, 0)
		if err != nil {
			return err
		}
		if n, err := marked.RowsAffected(); err != nil || n == 0 {
			return err // handled before
		}
		if err := work(ctx, tx, r); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		done(seqOf(r.Key))
		return nil
	}
}

// stockSay publishes in the transaction, with the envelope that the handlers need.
func stockSay(tx *sql.Tx, topic string, e bus.Event) error {
	publisher, err := wsql.NewPublisher(wsql.TxFromStdSQL(tx), wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	msg := message.NewMessage(uuid.Must(uuid.NewV7()).String(), data)
	msg.Metadata = message.Metadata{"type": e.EventName(), "key": e.Key(), "source": topic, "time": time.Now().UTC().Format(time.RFC3339Nano)}
	return publisher.Publish(topic, msg)
}

func (s *stockPay) callback(ctx context.Context, r gateway.Result, webhook string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after the commit it does nothing
	completed, err := settle(ctx, tx, r, webhook)
	if err != nil {
		return err
	}
	if err := stockSay(tx, stockPayments, completed); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *stockPay) stop() error {
	return errors.Join(s.router.Close(), <-s.ended, s.db.Close())
}
