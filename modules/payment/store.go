package payment

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"

	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// cause is why a payment changed, in its history.
type cause string

// byRefund is the cause of changes by our own refunds, byProvider of money that
// was returned at the provider without one. insertPayment writes "request", and a
// result's cause is its source.
const (
	byRefund   cause = "refund"
	byProvider cause = "provider"
)

// insertPayment stores a payment with its charge and first history row. It
// returns false and stores nothing if the order already has an open or successful
// payment. It waits for a concurrent transaction that is storing one.
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
		INSERT INTO charges (transaction_key, payment_id, callback_url, attempted_at) SELECT $10, payment_id, $11, NULL FROM p`,
		p.ID, p.OrderKey, p.OrderKind, p.UserID, p.Amount, p.Currency, p.Method, p.Provider, p.Status, p.TransactionKey, p.CallbackURL))
}

const paymentColumns = `p.payment_id, coalesce(p.released_order_key, p.order_key), p.released_order_key IS NOT NULL, p.order_kind, p.user_id, p.amount, p.currency, p.method, p.provider, p.status,
	p.failed_reason, p.captured, p.refunded, p.created_at, p.updated_at, c.transaction_key, c.gateway_status, c.checks`

func (p *payment) fields() []any {
	return []any{
		&p.ID, &p.OrderKey, &p.Released, &p.OrderKind, &p.UserID, &p.Amount, &p.Currency, &p.Method, &p.Provider, &p.Status,
		&p.FailedReason, &p.Captured, &p.Refunded, &p.CreatedAt, &p.UpdatedAt, &p.TransactionKey, &p.GatewayStatus, &p.Checks,
	}
}

// lockPayment returns the payment of a transaction key. It locks the row of the
// charge, then that of the payment.
func lockPayment(ctx context.Context, tx *bus.Tx, transactionKey string) (*payment, error) {
	// Lock the charge in a separate statement, so that the next one sees what the
	// previous holder of the lock committed.
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

// savePayment stores a payment's status and amounts and the matching history row
// in one statement, so that neither exists without the other.
func savePayment(ctx context.Context, tx *bus.Tx, p *payment, why cause, detail string) error {
	var message *uuid.UUID
	if id := tx.Cause().ID; id != uuid.Nil {
		message = &id
	}
	return changeOne(tx.ExecContext(ctx, `
		WITH p AS (
			UPDATE payments SET status = $2, failed_reason = $3, captured = $4, refunded = $5, updated_at = now(),
				order_key = CASE WHEN $9 THEN 'released-' || payment_id ELSE order_key END,
				released_order_key = CASE WHEN $9 THEN $10 END
			WHERE payment_id = $1
			RETURNING payment_id, status, captured, refunded
		)
		INSERT INTO payment_history (payment_id, status, captured, refunded, cause, detail, cause_id)
		SELECT payment_id, status, captured, refunded, $6, $7, $8 FROM p`,
		p.ID, p.Status, p.FailedReason, p.Captured, p.Refunded, why, detail, message, p.Released, p.OrderKey))
}

// insertResult stores a gateway result. It returns false if the same result was
// stored before. A stored result counts as new again if it had no strategy then
// and has one now, or if more money was returned.
func insertResult(ctx context.Context, tx *bus.Tx, r receivedResult, v verdict, canceled int64) (bool, error) {
	return changed(tx.ExecContext(ctx, `
		INSERT INTO gateway_results AS g (transaction_key, status, failed_reason, source, webhook_id, verdict, canceled_amount)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (transaction_key, status) DO UPDATE
		SET verdict = EXCLUDED.verdict, source = EXCLUDED.source, webhook_id = EXCLUDED.webhook_id,
			canceled_amount = EXCLUDED.canceled_amount, received_at = now()
		WHERE g.verdict = 'unknown' AND EXCLUDED.verdict <> 'unknown' OR g.canceled_amount < EXCLUDED.canceled_amount`,
		r.TransactionKey, r.Status, r.FailedReason, r.source, r.webhookID, v, canceled))
}

func saveGatewayStatus(ctx context.Context, tx *bus.Tx, transactionKey string, s gateway.Status) error {
	return changeOne(tx.ExecContext(ctx, `UPDATE charges SET gateway_status = $2 WHERE transaction_key = $1`, transactionKey, s))
}

// changed reports whether a statement changed a row.
func changed(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// changeOne returns an error unless the statement changed a row.
func changeOne(result sql.Result, err error) error {
	did, err := changed(result, err)
	if err == nil && !did {
		err = errors.New("the row to change is not there")
	}
	return err
}
