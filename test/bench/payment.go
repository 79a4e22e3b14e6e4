package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// groups are the subscribers; each has its own inbox and business table.
var groups = []string{"delivery", "notification", "dataplatform"}

// keys is how many different order keys there are.
const keys = 10_000

// payment is the message: 280 bytes of JSON, give or take a few. Its field Seq
// finds the payment in the board.
type payment struct {
	ID             uuid.UUID `json:"paymentId"`
	OrderKey       string    `json:"orderKey"`
	OrderKind      string    `json:"orderKind"`
	UserID         string    `json:"userId"`
	Amount         int64     `json:"amount"`
	Currency       string    `json:"currency"`
	Provider       string    `json:"provider"`
	TransactionKey string    `json:"transactionKey"`
	OccurredAt     time.Time `json:"occurredAt"`
	Seq            int       `json:"sequence"`
}

func (payment) EventName() string { return "payment.completed" }
func (p payment) Key() string     { return p.OrderKey }

func newPayment(seq int) payment {
	id := uuid.Must(uuid.NewV7())
	return payment{
		ID: id, OrderKey: fmt.Sprintf("goods-%07d", seq%keys), OrderKind: "goods", UserID: fmt.Sprintf("user-%06d", seq%keys),
		Amount: 4900, Currency: "KRW", Provider: "gateway", TransactionKey: "tx-" + id.String()[24:], OccurredAt: time.Now().UTC(), Seq: seq,
	}
}

func (p payment) json() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // plain fields
	}
	return b
}

// insertPayment is the business half of a publishing transaction.
const insertPayment = `INSERT INTO payments (id, order_key, user_id, amount, currency, transaction_key) VALUES ($1, $2, $3, $4, $5, $6)`

func (p payment) row() []any {
	return []any{p.ID.String(), p.OrderKey, p.UserID, p.Amount, p.Currency, p.TransactionKey}
}

// insertPayments writes those of one transaction: backlogs are made of many at once.
func insertPayments(ctx context.Context, tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, batch []payment,
) error {
	if len(batch) == 1 {
		_, err := tx.ExecContext(ctx, insertPayment, batch[0].row()...)
		return err
	}
	columns := make([][]string, 6)
	for _, p := range batch {
		for i, value := range p.row() {
			columns[i] = append(columns[i], fmt.Sprint(value))
		}
	}
	args := make([]any, len(columns))
	for i, column := range columns {
		args[i] = pq.Array(column)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO payments (id, order_key, user_id, amount, currency, transaction_key)
		SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])`, args...)
	return err
}

const createPayments = `CREATE TABLE %spayments (id uuid PRIMARY KEY, order_key text NOT NULL, user_id text NOT NULL,
	amount bigint NOT NULL, currency text NOT NULL, transaction_key text NOT NULL, created_at timestamptz NOT NULL DEFAULT now())`

// insertEffect is the business half of a handler. Nothing is unique in it: a
// second effect must be seen. touchHot is added to it in the measure "hotrows".
const (
	insertEffect  = `INSERT INTO %s (payment_id, order_key, amount) VALUES ($1, $2, $3)`
	createEffects = `CREATE TABLE %s (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment_id uuid NOT NULL, order_key text NOT NULL,
	amount bigint NOT NULL, at timestamptz NOT NULL DEFAULT now())`
	touchHot   = `UPDATE %s SET n = n + 1 WHERE id = $1`
	createHot  = `CREATE TABLE %[1]s (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50); INSERT INTO %[1]s SELECT i, 0 FROM generate_series(0, 9) i`
	createMark = `CREATE TABLE %s (message_id uuid NOT NULL, subscriber text NOT NULL, topic text NOT NULL, partition smallint NOT NULL, "offset" bigint NOT NULL,
	handled_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (message_id, subscriber))`
	insertMark = `INSERT INTO %s (message_id, subscriber, topic, partition, "offset") VALUES ($1, $2, 'payment.events', 0, $3) ON CONFLICT DO NOTHING`
)

// board is where a run's payments are noted: when each was committed and when
// each group's effect of it was.
type board struct {
	start     time.Time
	committed []atomic.Int64 // nanoseconds since start, by Seq; 0 is never
	effects   [][]atomic.Int64
	count     atomic.Int64

	began          time.Duration // when the contender was started
	server, client float64       // seconds of processor time that handling took
	mu             sync.Mutex
	marks          []mark
	done           chan struct{}
	want           int64
}

// mark is when the count of effects passed a number.
type mark struct {
	count int64
	at    time.Duration
}

func newBoard(payments int) *board {
	b := newTally(payments)
	b.committed = make([]atomic.Int64, payments)
	for i := range b.effects {
		b.effects[i] = make([]atomic.Int64, payments)
	}
	return b
}

// newTally makes a board that counts effects, and does not know of which payment:
// for rates, not latencies. It takes no memory, so that all there is of a large
// backlog is the contender's.
func newTally(payments int) *board {
	return &board{start: time.Now(), effects: make([][]atomic.Int64, len(groups)), done: make(chan struct{}), want: int64(payments * len(groups))}
}

func (b *board) published(seq int) { b.committed[seq].Store(int64(time.Since(b.start))) }

// effect notes that a group's effect was committed.
func (b *board) effect(group, seq int) {
	at := time.Since(b.start)
	if noted := b.effects[group]; noted != nil {
		noted[seq].Store(int64(at))
	}
	n := b.count.Add(1)
	if step := max(b.want/100, 1); n%step == 0 {
		b.mu.Lock()
		b.marks = append(b.marks, mark{n, at})
		b.mu.Unlock()
	}
	if n == b.want {
		close(b.done)
	}
}

// rate is effects per second between 5 and 95 % of those there were: the start
// of a contender, and the end, when some groups are idle, are not what it can do.
func (b *board) rate() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	total := b.count.Load()
	var from, to *mark
	for i := range b.marks {
		m := &b.marks[i]
		if from == nil && m.count >= total/20 {
			from = m
		}
		if m.count <= total*19/20 {
			to = m
		}
	}
	if from == nil || to == nil || to.at <= from.at {
		return 0 // next to nothing was done
	}
	return float64(to.count-from.count) / (to.at - from.at).Seconds()
}

// whole is effects per second from the start of the contender to the last of
// all effects; 0 if some are missing.
func (b *board) whole() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count.Load() < b.want || len(b.marks) == 0 {
		return 0
	}
	var last time.Duration
	for _, m := range b.marks {
		last = max(last, m.at)
	}
	return float64(b.want) / (last - b.began).Seconds()
}

// latencies are the milliseconds from commit to effect of the groups given, and
// how many payments of from…to have no effect at all in one of them.
func (b *board) latencies(from, to int, of ...int) (ms []float64, missing int) {
	for seq := from; seq < to; seq++ {
		committed := b.committed[seq].Load()
		if committed == 0 {
			continue
		}
		for _, group := range of {
			at := b.effects[group][seq].Load()
			if at == 0 {
				missing++
				continue
			}
			ms = append(ms, max(0, float64(at-committed)/1e6))
		}
	}
	return ms, missing
}
