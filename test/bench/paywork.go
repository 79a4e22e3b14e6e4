package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/modules/delivery/deliveryapi"
	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

// The work of the measure "payments" is the product's: its statements on the
// way from a callback to what delivery, notification and the data platform make
// of it, less what they do with other states. It is written once, for a
// transaction of its caller.

// statements is a transaction, *sql.Tx or *bus.Tx.
type statements interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// createPayTables makes the tables in schemas that are there, and the payments
// that wait for their callback, with address and contact. Tables that are empty
// yet are not analyzed: plans for them would be scans, and stay so for a while.
const createPayTables = `
CREATE TABLE payment.payments (payment_id uuid PRIMARY KEY, order_key text NOT NULL UNIQUE, user_id text NOT NULL, amount bigint NOT NULL, currency text NOT NULL,
	status text NOT NULL, captured bigint NOT NULL DEFAULT 0, updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON payment.payments (payment_id) WHERE status = 'pending';
CREATE TABLE payment.payment_history (history_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment_id uuid NOT NULL REFERENCES payment.payments,
	status text NOT NULL, captured bigint NOT NULL, cause text NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON payment.payment_history (payment_id, history_id);
CREATE TABLE payment.charges (transaction_key text PRIMARY KEY, payment_id uuid NOT NULL UNIQUE REFERENCES payment.payments, gateway_status text NOT NULL DEFAULT '');
CREATE TABLE payment.gateway_results (result_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, transaction_key text NOT NULL REFERENCES payment.charges,
	status text NOT NULL, source text NOT NULL, webhook_id text NOT NULL, received_at timestamptz NOT NULL DEFAULT now(), UNIQUE (transaction_key, status));
CREATE TABLE delivery.addresses (order_key text PRIMARY KEY, name text NOT NULL, line1 text NOT NULL, country text NOT NULL);
CREATE TABLE delivery.deliveries (id uuid PRIMARY KEY, order_key text NOT NULL UNIQUE, user_id text NOT NULL, payment_id text NOT NULL, state text NOT NULL,
	carrier text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON delivery.deliveries (updated_at) WHERE state IN ('prepared', 'shipped');
CREATE TABLE delivery.history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, delivery_id uuid NOT NULL REFERENCES delivery.deliveries, action text NOT NULL,
	from_state text NOT NULL, to_state text NOT NULL, cause_id uuid, at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON delivery.history (delivery_id, id);
CREATE TABLE notification.contacts (user_id text PRIMARY KEY, email text NOT NULL);
CREATE TABLE notification.notifications (id uuid PRIMARY KEY, cause_id uuid NOT NULL UNIQUE, user_id text NOT NULL, template text NOT NULL, subject text NOT NULL,
	params jsonb NOT NULL, state text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON notification.notifications (subject, id);
CREATE TABLE notification.outbound_calls (id uuid PRIMARY KEY, name text NOT NULL, key text NOT NULL, payload jsonb NOT NULL, state text NOT NULL DEFAULT 'pending',
	next_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON notification.outbound_calls (name, next_at) WHERE state = 'pending';
CREATE TABLE dataplatform.record (message_id uuid PRIMARY KEY, type text NOT NULL, source text NOT NULL, key text NOT NULL, time timestamptz, topic text NOT NULL,
	payload text NOT NULL, staged_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON dataplatform.record (staged_at);
CREATE INDEX ON dataplatform.record (key, staged_at);

INSERT INTO payment.payments (payment_id, order_key, user_id, amount, currency, status) SELECT gen_random_uuid(), 'goods-' || i, 'user-' || i, 4900, 'KRW', 'pending' FROM generate_series(0, %[1]d - 1) i;
INSERT INTO payment.payment_history (payment_id, status, captured, cause) SELECT payment_id, status, 0, 'request' FROM payment.payments;
INSERT INTO payment.charges (transaction_key, payment_id) SELECT 'tx-' || order_key, payment_id FROM payment.payments;
INSERT INTO delivery.addresses SELECT order_key, 'Kim', '1 Sejong-daero', 'KR' FROM payment.payments;
INSERT INTO notification.contacts SELECT user_id, user_id || '@example.com' FROM payment.payments;
ANALYZE payment.payments, payment.charges, delivery.addresses, notification.contacts`

func orderOf(seq int) string { return "goods-" + strconv.Itoa(seq) }

func seqOf(orderKey string) int {
	seq, err := strconv.Atoi(strings.TrimPrefix(orderKey, "goods-"))
	if err != nil {
		panic(err) // orderOf made it
	}
	return seq
}

// result is the result of a payment that the gateway sends.
func result(seq int) gateway.Result {
	return gateway.Result{TransactionKey: "tx-" + orderOf(seq), OrderKey: orderOf(seq), Amount: 4900, Currency: "KRW", Status: gateway.Approved}
}

// settle is a callback's transaction; it returns what is to be published.
func settle(ctx context.Context, tx statements, r gateway.Result, webhook string) (e paymentapi.Completed, err error) {
	var locked int
	if err := tx.QueryRowContext(ctx, `SELECT 1 FROM payment.charges WHERE transaction_key = $1 FOR UPDATE`, r.TransactionKey).Scan(&locked); err != nil {
		return e, err
	}
	var status string
	e = paymentapi.Completed{OrderKind: paymentapi.Goods, Provider: "gateway", TransactionKey: r.TransactionKey, OccurredAt: time.Now().UTC()}
	if err := tx.QueryRowContext(ctx, `SELECT p.payment_id, p.order_key, p.user_id, p.amount, p.currency, p.status
		FROM payment.charges c JOIN payment.payments p USING (payment_id) WHERE c.transaction_key = $1 FOR UPDATE OF p`, r.TransactionKey).
		Scan(&e.PaymentID, &e.OrderKey, &e.UserID, &e.Amount, &e.Currency, &status); err != nil {
		return e, err
	}
	if status != "pending" || e.OrderKey != r.OrderKey || e.Amount != r.Amount || e.Currency != r.Currency {
		return e, fmt.Errorf("%s is %s, of %d %s", e.OrderKey, status, e.Amount, e.Currency)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO payment.gateway_results (transaction_key, status, source, webhook_id) VALUES ($1, $2, 'callback', $3)
		ON CONFLICT (transaction_key, status) DO NOTHING`, r.TransactionKey, r.Status, webhook); err != nil {
		return e, err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE payment.charges SET gateway_status = $2 WHERE transaction_key = $1`, r.TransactionKey, r.Status); err != nil {
		return e, err
	}
	_, err = tx.ExecContext(ctx, `WITH p AS (UPDATE payment.payments SET status = 'completed', captured = amount, updated_at = now() WHERE payment_id = $1 RETURNING payment_id, status, captured)
		INSERT INTO payment.payment_history (payment_id, status, captured, cause) SELECT payment_id, status, captured, 'callback' FROM p`, e.PaymentID)
	return e, err
}

// prepare is delivery's handler; it returns what is to be published.
func prepare(ctx context.Context, tx statements, cause bus.Received, e paymentapi.Completed) (p deliveryapi.Prepared, err error) {
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('delivery of ' || $1, 0))`, e.OrderKey); err != nil {
		return p, err
	}
	var state string
	err = tx.QueryRowContext(ctx, `SELECT d.state FROM delivery.deliveries d WHERE order_key = $1 FOR UPDATE`, e.OrderKey).Scan(&state)
	if !errors.Is(err, sql.ErrNoRows) {
		return p, errors.Join(err, fmt.Errorf("%s has a delivery that is %q", e.OrderKey, state))
	}
	var name, line, country string
	if err := tx.QueryRowContext(ctx, `SELECT name, line1, country FROM delivery.addresses WHERE order_key = $1`, e.OrderKey).Scan(&name, &line, &country); err != nil {
		return p, err
	}
	id := uuid.Must(uuid.NewV7()).String()
	if _, err := tx.ExecContext(ctx, `INSERT INTO delivery.deliveries (id, order_key, user_id, payment_id, state, carrier) VALUES ($1, $2, $3, $4, 'prepared', 'hanjin')`,
		id, e.OrderKey, e.UserID, e.PaymentID); err != nil {
		return p, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO delivery.history (delivery_id, action, from_state, to_state, cause_id) VALUES ($1, 'prepare', '', 'prepared', $2)`, id, cause.ID.String())
	return deliveryapi.Prepared{DeliveryID: id, OrderKey: e.OrderKey, UserID: e.UserID}, err
}

// notify is notification's handler.
func notify(ctx context.Context, tx statements, cause bus.Received, e paymentapi.Completed) error {
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('contact of ' || $1, 0))`, e.UserID); err != nil {
		return err
	}
	var reachable bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM notification.contacts WHERE user_id = $1)`, e.UserID).Scan(&reachable); err != nil {
		return err
	}
	id := uuid.Must(uuid.NewV7()).String()
	params, err := json.Marshal(map[string]string{"orderKind": string(e.OrderKind), "amount": strconv.FormatInt(e.Amount, 10), "currency": e.Currency})
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO notification.notifications (id, cause_id, user_id, template, subject, params, state)
		VALUES ($1, $2, $3, 'payment_completed', $4, $5, 'queued') ON CONFLICT (cause_id) DO NOTHING`, id, cause.ID.String(), e.UserID, e.OrderKey, string(params)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO notification.outbound_calls (id, name, key, payload) VALUES ($1, 'mail', $2, $3)`,
		uuid.Must(uuid.NewV7()).String(), e.OrderKey, `{"notificationId":"`+id+`"}`)
	return err
}

// stage is the data platform's handler, of payments and deliveries.
func stage(ctx context.Context, tx statements, r bus.Received) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO dataplatform.record (message_id, type, source, key, time, topic, payload) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (message_id) DO NOTHING`, r.ID.String(), r.Type, r.Source, r.Key, r.Time, r.Topic, string(r.Data))
	return err
}

// payCounts are the rows that n callbacks must have left behind.
const payCounts = `SELECT (SELECT count(*) FROM payment.payments WHERE status = 'completed'), (SELECT count(*) FROM delivery.deliveries),
	(SELECT count(*) FROM notification.notifications), (SELECT count(*) FROM dataplatform.record) / 2.0`
