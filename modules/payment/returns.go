package payment

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"millrace/modules/payment/attention"
	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
)

// returnedMoney is what a result states about captured money that was returned at
// the provider, combined with earlier reports.
type returnedMoney struct {
	total  int64            // returned so far, all parts together; never falls
	isNew  bool             // this callback was recorded for the first time
	isCopy bool             // this callback had been recorded before
	fault  string           // why total may be wrong; "": no doubt
	reason attention.Reason // the attention reason for fault
}

// computeReturned combines a result with earlier reports into the amount that was
// returned, in minor units. captured is the captured amount. The caller must hold
// the charge's lock.
//
// A result can state a total, a part, or that everything was returned. A total is
// idempotent. A part is added once per webhook-id. REFUNDED and CANCELED mean
// everything, if their amount is the captured amount or what is left of it. A
// result that cannot be true sets fault; the total then stays, or is limited to
// the captured amount.
func computeReturned(ctx context.Context, tx *bus.Tx, p *payment, r receivedResult, captured int64) (b returnedMoney, err error) {
	states, amount := r.Back(captured)
	left := captured - p.Refunded
	switch {
	case states == gateway.Nothing:
		return returnedMoney{total: p.Refunded}, nil
	case states == gateway.Total:
		b, err = returnedByTotal(ctx, tx, p, r, amount, captured)
	case states == gateway.Whole && (amount == captured || amount == left || left == 0):
		return returnedMoney{total: captured}, nil
	default:
		b, err = returnedByPart(ctx, tx, p, r, captured)
	}
	if err != nil || b.isCopy || b.total == captured {
		return b, err
	}
	// The provider may have reported that the rest was returned before it reported
	// the parts. With this part the rest is complete.
	isAll, err := reportedWhole(ctx, tx, r.TransactionKey, captured-b.total)
	if isAll {
		b.total = captured
	}
	return b, err
}

// returnedByTotal handles a result that states the total of all parts.
func returnedByTotal(ctx context.Context, tx *bus.Tx, p *payment, r receivedResult, amount, captured int64) (returnedMoney, error) {
	later, err := partsAbove(ctx, tx, r.TransactionKey, amount, captured)
	b := returnedMoney{total: max(p.Refunded, min(amount+later, captured))}
	if amount+later > captured {
		b.reason, b.fault = attention.Contradiction, fmt.Sprintf("%s: %d in all, and parts of %d after it, of %d %s", r.Status, amount, later, captured, p.Currency)
	}
	return b, err
}

// returnedByPart handles a result that states one part, or that does not state an
// amount. An answer or lookup has no webhook-id and can repeat at any time, so it
// cannot report a new part.
func returnedByPart(ctx context.Context, tx *bus.Tx, p *payment, r receivedResult, captured int64) (returnedMoney, error) {
	states, amount := r.Back(captured)
	b := returnedMoney{total: p.Refunded}
	reused := false
	if r.webhookID != "" {
		var err error
		if b.isNew, reused, err = recordReturn(ctx, tx, r); err != nil || !b.isNew {
			b.isCopy = true
			return b, err
		}
	}
	left := captured - p.Refunded
	switch {
	case reused:
		b.reason, b.fault = attention.Contradiction, fmt.Sprintf("%s of %d: its webhook-id had come with something else", r.Status, r.Amount)
	case states == gateway.Unstated, states == gateway.Part && r.webhookID == "":
		b.reason, b.fault = attention.PartialCancel, "a part went back, and the provider does not report how much"
	case states == gateway.Whole, amount > left:
		b.reason, b.fault = attention.Contradiction, fmt.Sprintf("%s of %d, and %d of %d %s was left", r.Status, amount, left, captured, p.Currency)
	}
	if states == gateway.Part && b.isNew && !reused {
		b.total = min(p.Refunded+amount, captured)
	}
	return b, nil
}

// reportedWhole reports whether the provider has reported that everything was
// returned with this amount, while more was still left.
func reportedWhole(ctx context.Context, tx *bus.Tx, transactionKey string, amount int64) (is bool, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT FROM provider_returns WHERE transaction_key = $1 AND status IN ($2, $3) AND amount = $4 AND NOT reused)`,
		transactionKey, gateway.Refunded, gateway.Canceled, amount).Scan(&is)
	return is, err
}

// partsAbove returns the sum of the reported parts that are each larger than
// total. Such a part cannot be included in the total, so it was returned later,
// although its report arrived earlier.
func partsAbove(ctx context.Context, tx *bus.Tx, transactionKey string, total, captured int64) (sum int64, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT coalesce(sum(amount), 0)::bigint FROM provider_returns
		WHERE transaction_key = $1 AND status = $2 AND amount > $3 AND amount < $4 AND NOT reused`,
		transactionKey, gateway.PartialCanceled, total, captured).Scan(&sum)
	return sum, err
}

// recordReturn stores a callback by its webhook-id. isNew is false if the same
// callback was stored before. reused is true if the id came before with another
// status or amount.
func recordReturn(ctx context.Context, tx *bus.Tx, r receivedResult) (isNew, reused bool, err error) {
	err = tx.QueryRowContext(ctx, `
		INSERT INTO provider_returns (transaction_key, webhook_id, status, amount, reused)
		SELECT $1, $2, $3, $4, EXISTS (SELECT FROM provider_returns WHERE transaction_key = $1 AND webhook_id = $2)
		ON CONFLICT DO NOTHING RETURNING reused`, r.TransactionKey, r.webhookID, r.Status, r.Amount).Scan(&reused)
	if errors.Is(err, sql.ErrNoRows) {
		return false, false, nil
	}
	return err == nil, reused, err
}
