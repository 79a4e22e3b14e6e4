package payment

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// readPayment collects what there is to see of a payment. The parts are read
// one after the other, the payment first: the rest may be a moment newer.
func readPayment(ctx context.Context, db *bus.DB, id uuid.UUID) (paymentView, error) {
	var p payment
	err := db.QueryRowContext(ctx, `SELECT `+paymentColumns+` FROM payments p JOIN charges c USING (payment_id) WHERE p.payment_id = $1`, id).Scan(p.fields()...)
	if errors.Is(err, sql.ErrNoRows) {
		return paymentView{}, &errs.Error{Kind: errs.NotFound, Field: "id", Msg: "there is no such payment"}
	}
	if err != nil {
		return paymentView{}, err
	}
	v := paymentView{
		PaymentID: p.ID.String(), OrderKey: p.OrderKey, OrderKind: p.OrderKind, UserID: p.UserID, Amount: p.Amount, Currency: p.Currency,
		Decimals: decimals[p.Currency], Method: p.Method, Provider: p.Provider, Status: p.Status, FailedReason: p.FailedReason,
		Captured: p.Captured, Refunded: p.Refunded, TransactionKey: p.TransactionKey, CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
	v.History, err = list(ctx, db, `SELECT status, captured, refunded, cause, detail, coalesce(cause_id::text, ''), at FROM payment_history WHERE payment_id = $1 ORDER BY history_id`,
		id, func(h *changeView) []any {
			return []any{&h.Status, &h.Captured, &h.Refunded, &h.Cause, &h.Detail, &h.CauseID, &h.At}
		})
	if err != nil {
		return v, err
	}
	v.GatewayResults, err = list(ctx, db, `SELECT status, failed_reason, source, verdict, received_at FROM gateway_results WHERE transaction_key = $1 ORDER BY result_id`,
		p.TransactionKey, func(r *resultView) []any { return []any{&r.Status, &r.FailedReason, &r.Source, &r.Verdict, &r.At} })
	if err != nil {
		return v, err
	}
	v.Refunds, err = list(ctx, db, `SELECT refund_id, amount, reason, request_id, status, failed_reason FROM refunds WHERE payment_id = $1 ORDER BY created_at, refund_id`,
		id, func(r *refundView) []any {
			return []any{&r.RefundID, &r.Amount, &r.Reason, &r.RequestID, &r.Status, &r.FailedReason}
		})
	return v, err
}

// list reads rows; never nil, so that JSON says [].
func list[V any](ctx context.Context, db *bus.DB, query string, arg any, fields func(*V) []any) ([]V, error) {
	all := []V{}
	rows, err := db.QueryContext(ctx, query, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v V
		if err := rows.Scan(fields(&v)...); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
