package payment

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/web"
)

// readPayment reads a payment with its history, gateway results, refunds and
// attention items. It reads the payment first and each list in its own query, so
// the lists may be slightly newer than the payment.
func readPayment(ctx context.Context, db *bus.DB, id uuid.UUID) (paymentView, error) {
	var p payment
	err := db.QueryRowContext(ctx, `SELECT `+paymentColumns+` FROM payments p JOIN charges c USING (payment_id) WHERE p.payment_id = $1`, id).Scan(p.fields()...)
	if errors.Is(err, sql.ErrNoRows) {
		return paymentView{}, &errs.Error{Kind: errs.NotFound, Field: "id", Msg: "there is no such payment"}
	}
	if err != nil {
		return paymentView{}, err
	}
	digits, _ := paymentapi.Decimals(p.Currency) // also known for withdrawn currencies
	v := paymentView{
		PaymentID: p.ID.String(), OrderKey: p.OrderKey, OrderKind: p.OrderKind, UserID: p.UserID, Amount: p.Amount, Currency: p.Currency,
		Decimals: digits, Method: p.Method, Provider: p.Provider, Status: p.Status, FailedReason: p.FailedReason,
		Captured: p.Captured, Refunded: p.Refunded, TransactionKey: p.TransactionKey, CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
	v.History, err = list(ctx, db, &v, "history", `SELECT status, captured, refunded, cause, detail, coalesce(cause_id::text, ''), at FROM payment_history WHERE payment_id = $1 ORDER BY history_id DESC LIMIT $2`,
		id, func(h *changeView) []any {
			return []any{&h.Status, &h.Captured, &h.Refunded, &h.Cause, &h.Detail, &h.CauseID, &h.At}
		})
	if err != nil {
		return v, err
	}
	v.GatewayResults, err = list(ctx, db, &v, "gatewayResults", `SELECT status, failed_reason, canceled_amount, source, verdict, received_at FROM gateway_results WHERE transaction_key = $1 ORDER BY result_id DESC LIMIT $2`,
		p.TransactionKey, func(r *resultView) []any {
			return []any{&r.Status, &r.FailedReason, &r.CanceledAmount, &r.Source, &r.Verdict, &r.At}
		})
	if err != nil {
		return v, err
	}
	v.Refunds, err = list(ctx, db, &v, "refunds", `SELECT refund_id, amount, reason, request_id, status, failed_reason FROM refunds WHERE payment_id = $1 ORDER BY created_at DESC, refund_id DESC LIMIT $2`,
		id, func(r *refundView) []any {
			return []any{&r.RefundID, &r.Amount, &r.Reason, &r.RequestID, &r.Status, &r.FailedReason}
		})
	if err != nil {
		return v, err
	}
	v.NeedsAttention, err = list(ctx, db, &v, "needsAttention", `SELECT attention_id, reason, detail, since, ended_at, ended_by, ended_why FROM attention WHERE payment_id = $1 ORDER BY attention_id DESC LIMIT $2`,
		id, func(a *attentionView) []any {
			return []any{&a.ID, &a.Reason, &a.Detail, &a.Since, &a.EndedAt, &a.EndedBy, &a.EndedWhy}
		})
	for i := range v.NeedsAttention {
		if v.NeedsAttention[i].EndedAt == nil {
			v.NeedsAttention[i].NextStep = v.NeedsAttention[i].Reason.NextStep()
		}
	}
	return v, err
}

// list reads the newest entries of one of the view's lists, oldest first. If older
// entries exist it adds the list's name to view.Truncated. It never returns a nil
// slice on success, so that the JSON is [] and not null.
func list[V any](ctx context.Context, db *bus.DB, view *paymentView, name, query string, arg any, fields func(*V) []any) ([]V, error) {
	all := []V{}
	rows, err := db.QueryContext(ctx, query, arg, web.MaxNested+1)
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
	shown, more := web.Newest(all)
	if more {
		view.Truncated = append(view.Truncated, name)
	}
	return shown, rows.Err()
}
