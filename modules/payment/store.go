package payment

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// cause is what changed a payment, in its history.
type cause string

// byRefund is the cause of everything about a refund; "request" is written by
// insertPayment, and a result's cause is its source.
const byRefund cause = "refund"

// insertKey claims an idempotency key; false when it was used before.
func insertKey(ctx context.Context, tx *bus.Tx, key string, hash []byte) (bool, error) {
	return changed(tx.ExecContext(ctx, `INSERT INTO idempotency_keys (key, request_hash) VALUES ($1, $2) ON CONFLICT DO NOTHING`, key, hash))
}

// readAnswer returns what the request with this key was answered. Another
// request's key is refused.
func readAnswer(ctx context.Context, tx *bus.Tx, key string, hash []byte) (a answer, err error) {
	var earlier, text []byte
	err = tx.QueryRowContext(ctx, `SELECT request_hash, answer FROM idempotency_keys WHERE key = $1`, key).Scan(&earlier, &text)
	if err != nil {
		return a, err
	}
	if !bytes.Equal(earlier, hash) {
		return a, errs.InvalidField("Idempotency-Key", "was used with another request: use a new key for a new payment")
	}
	return a, json.Unmarshal(text, &a)
}

func saveAnswer(ctx context.Context, tx *bus.Tx, key string, a answer) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return one(tx.ExecContext(ctx, `UPDATE idempotency_keys SET answer = $2 WHERE key = $1`, key, string(text)))
}

// insertPayment stores a payment with its charge and its first line of history,
// unless the order has a payment that is open or captured: then it reports
// false and stores nothing. It waits for a transaction that is about to store one.
func insertPayment(ctx context.Context, tx *bus.Tx, p *payment) (bool, error) {
	return changed(tx.ExecContext(ctx, `
		WITH p AS (
			INSERT INTO payments (payment_id, order_key, order_kind, user_id, amount, currency, method, provider, status)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (order_key) WHERE status <> 'failed' DO NOTHING
			RETURNING payment_id, status, captured, refunded
		), h AS (
			INSERT INTO payment_history (payment_id, status, captured, refunded, cause)
			SELECT payment_id, status, captured, refunded, 'request' FROM p
		)
		INSERT INTO charges (transaction_key, payment_id, callback_url) SELECT $10, payment_id, $11 FROM p`,
		p.ID, p.OrderKey, p.OrderKind, p.UserID, p.Amount, p.Currency, p.Method, p.Provider, p.Status, p.TransactionKey, p.CallbackURL))
}

const paymentColumns = `p.payment_id, p.order_key, p.order_kind, p.user_id, p.amount, p.currency, p.method, p.provider, p.status,
	p.failed_reason, p.captured, p.refunded, p.created_at, p.updated_at, c.transaction_key, c.gateway_status`

func (p *payment) fields() []any {
	return []any{
		&p.ID, &p.OrderKey, &p.OrderKind, &p.UserID, &p.Amount, &p.Currency, &p.Method, &p.Provider, &p.Status,
		&p.FailedReason, &p.Captured, &p.Refunded, &p.CreatedAt, &p.UpdatedAt, &p.TransactionKey, &p.GatewayStatus,
	}
}

// lockPayment returns the payment of a transaction key, with the rows of its
// charge and itself locked, in this order.
func lockPayment(ctx context.Context, tx *bus.Tx, transactionKey string) (*payment, error) {
	// The charge is locked by a statement of its own: the next one then sees
	// what the transaction that held the lock has committed.
	var locked int
	err := tx.QueryRowContext(ctx, `SELECT 1 FROM charges WHERE transaction_key = $1 FOR UPDATE`, transactionKey).Scan(&locked)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &errs.Error{Kind: errs.NotFound, Field: "transactionKey", Msg: "there is no such transaction"}
	}
	if err != nil {
		return nil, err
	}
	p := &payment{}
	return p, tx.QueryRowContext(ctx, `
		SELECT `+paymentColumns+` FROM charges c JOIN payments p USING (payment_id)
		WHERE c.transaction_key = $1 FOR UPDATE OF p`, transactionKey).Scan(p.fields()...)
}

// liveTransaction returns the transaction key of the order's payment that is
// open or captured.
func liveTransaction(ctx context.Context, tx *bus.Tx, orderKey string) (key string, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT c.transaction_key FROM payments p JOIN charges c USING (payment_id)
		WHERE p.order_key = $1 AND p.status <> 'failed'`, orderKey).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return "", errs.New(errs.NotFound, "order %s has no payment that is open or was captured: there is nothing to give back", orderKey)
	}
	return key, err
}

// savePayment stores a payment's status and amounts with the line of history
// that tells them, in one statement: neither is ever there without the other.
func savePayment(ctx context.Context, tx *bus.Tx, p *payment, why cause, detail string) error {
	var message *uuid.UUID
	if id := tx.Cause().ID; id != uuid.Nil {
		message = &id
	}
	return one(tx.ExecContext(ctx, `
		WITH p AS (
			UPDATE payments SET status = $2, failed_reason = $3, captured = $4, refunded = $5, updated_at = now()
			WHERE payment_id = $1
			RETURNING payment_id, status, captured, refunded
		)
		INSERT INTO payment_history (payment_id, status, captured, refunded, cause, detail, cause_id)
		SELECT payment_id, status, captured, refunded, $6, $7, $8 FROM p`,
		p.ID, p.Status, p.FailedReason, p.Captured, p.Refunded, why, detail, message))
}

// insertResult stores what the gateway said; false when it had said it before.
// A result that had no strategy then, and has one now, counts as new.
func insertResult(ctx context.Context, tx *bus.Tx, r heard, v verdict) (bool, error) {
	return changed(tx.ExecContext(ctx, `
		INSERT INTO gateway_results AS g (transaction_key, status, failed_reason, source, webhook_id, verdict)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (transaction_key, status) DO UPDATE
		SET verdict = EXCLUDED.verdict, source = EXCLUDED.source, webhook_id = EXCLUDED.webhook_id, received_at = now()
		WHERE g.verdict = 'unknown' AND EXCLUDED.verdict <> 'unknown'`,
		r.TransactionKey, r.Status, r.FailedReason, r.source, r.webhookID, v))
}

func saveGatewayStatus(ctx context.Context, tx *bus.Tx, transactionKey string, s gateway.Status) error {
	return one(tx.ExecContext(ctx, `UPDATE charges SET gateway_status = $2 WHERE transaction_key = $1`, transactionKey, s))
}

// takeUnanswered returns open payments about which nobody has asked for so
// long, at most 50, and notes that somebody does now.
func takeUnanswered(ctx context.Context, tx *bus.Tx, after time.Duration) ([]*payment, error) {
	rows, err := tx.QueryContext(ctx, `
		WITH c AS (
			SELECT c.transaction_key FROM payments p JOIN charges c USING (payment_id)
			WHERE p.status = 'pending' AND c.asked_at <= now() - $1 * interval '1 microsecond'
			ORDER BY c.asked_at LIMIT 50 FOR UPDATE OF c SKIP LOCKED
		)
		UPDATE charges SET asked_at = now() FROM c, payments p
		WHERE charges.transaction_key = c.transaction_key AND p.payment_id = charges.payment_id
		RETURNING charges.transaction_key, charges.callback_url, p.order_key, p.amount, p.currency, p.method`, after.Microseconds())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*payment
	for rows.Next() {
		p := &payment{}
		if err := rows.Scan(&p.TransactionKey, &p.CallbackURL, &p.OrderKey, &p.Amount, &p.Currency, &p.Method); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// chargeIsOver tells whether the payment of a charge is final.
func chargeIsOver(ctx context.Context, db *bus.DB, transactionKey string) (over bool, err error) {
	err = db.QueryRowContext(ctx, `
		SELECT p.status <> 'pending' FROM charges c JOIN payments p USING (payment_id) WHERE c.transaction_key = $1`, transactionKey).Scan(&over)
	return over, err
}

// changed tells whether a statement changed a row.
func changed(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// one fails unless the statement changed a row.
func one(result sql.Result, err error) error {
	did, err := changed(result, err)
	if err == nil && !did {
		err = errors.New("the row to change is not there")
	}
	return err
}
