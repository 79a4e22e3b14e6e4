package consultation

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"

	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/errs"
)

// depositState is the state of a deposit. A consultation may have several deposit
// payments, one after the other; each has its own row.
type depositState string

// The states; noDeposit means that the consultation has no deposit payment.
const (
	noDeposit       depositState = ""
	depositPaid     depositState = "paid"             // captured
	refundRequested depositState = "refund_requested" // payment was sent the command to refund
	depositRefunded depositState = "refunded"         // the money was returned
)

// deposit is one deposit payment, as shown in the API.
type deposit struct {
	PaymentID string       `json:"paymentId"`
	Amount    int64        `json:"amount" doc:"Minor units of the currency"`
	Currency  string       `json:"currency" doc:"ISO 4217"`
	State     depositState `json:"state" enum:"paid,refund_requested,refunded"`
}

// depositOf returns the state of a consultation's deposit. Of several payments,
// one that is paid takes precedence, then one being refunded, then a refunded one.
// The caller has locked the consultation.
func depositOf(ctx context.Context, tx *bus.Tx, id int64) (s depositState, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT state FROM deposit WHERE consultation_id = $1
		ORDER BY array_position('{paid,refund_requested,refunded}', state) LIMIT 1`, id).Scan(&s)
	if errors.Is(err, sql.ErrNoRows) {
		return noDeposit, nil
	}
	return s, err
}

// recordDeposit stores a deposit payment. It returns false if the payment was
// stored before. If it was stored with other facts the error is a Conflict, and a
// person must look.
func recordDeposit(ctx context.Context, tx *bus.Tx, id int64, paid paymentapi.Completed) (bool, error) {
	if err := isUUID("paymentId", paid.PaymentID); err != nil {
		return false, err
	}
	result, err := tx.ExecContext(ctx, `
		INSERT INTO deposit (payment_id, consultation_id, amount, currency, state, paid_at)
		VALUES ($1, $2, $3, $4, 'paid', $5) ON CONFLICT (payment_id) DO NOTHING`,
		paid.PaymentID, id, paid.Amount, paid.Currency, paid.OccurredAt)
	if err != nil {
		return false, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return n == 1, errors.Join(err, touch(ctx, tx, id))
	}
	_, _, err = knownDeposit(ctx, tx, id, paid.PaymentID, paid.Amount, paid.Currency)
	return false, err
}

// isUUID returns an error if the id is not a UUID, as the module's tables require.
func isUUID(field, id string) error {
	if _, err := uuid.Parse(id); err != nil {
		return errs.InvalidField(field, "must be a UUID")
	}
	return nil
}

// recordRefund marks a deposit as refunded. It identifies the deposit by payment
// id, so that the refund of an earlier payment does not affect a later one. The
// error is NotFound if the payment was never stored.
func recordRefund(ctx context.Context, tx *bus.Tx, id int64, back paymentapi.Refunded) error {
	if err := errors.Join(isUUID("paymentId", back.PaymentID), isUUID("refundId", back.RefundID)); err != nil {
		return err
	}
	d, found, err := knownDeposit(ctx, tx, id, back.PaymentID, back.Amount, back.Currency)
	switch {
	case err != nil:
		return err
	case !found:
		return errs.New(errs.NotFound, "payment %s of %s was refunded but never recorded as paid", back.PaymentID, back.OrderKey)
	case d.State == depositRefunded:
		return nil
	}
	_, err = tx.ExecContext(ctx, `UPDATE deposit SET state = 'refunded', refund_id = $2, refunded_at = $3 WHERE payment_id = $1`,
		back.PaymentID, back.RefundID, back.OccurredAt)
	return errors.Join(err, touch(ctx, tx, id))
}

// knownDeposit returns the stored deposit of a payment, if there is one, and
// returns a Conflict if a message about it contradicts the stored facts.
func knownDeposit(ctx context.Context, tx *bus.Tx, id int64, paymentID string, amount int64, currency string) (d deposit, found bool, err error) {
	var of int64
	err = tx.QueryRowContext(ctx, `SELECT payment_id, consultation_id, amount, currency, state FROM deposit WHERE payment_id = $1`, paymentID).
		Scan(&d.PaymentID, &of, &d.Amount, &d.Currency, &d.State)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return d, false, nil
	case err != nil:
		return d, false, err
	case of != id:
		return d, true, &errs.Error{Kind: errs.Conflict, Field: "orderKey", Msg: "payment " + paymentID + " is recorded for " + depositOrder(of)}
	case currency != d.Currency:
		return d, true, &errs.Error{Kind: errs.Conflict, Field: "currency", Msg: "payment " + paymentID + " was recorded with another currency"}
	case amount != d.Amount:
		return d, true, &errs.Error{Kind: errs.Conflict, Field: "amount", Msg: "payment " + paymentID + " was recorded with another amount; a deposit goes back as a whole"}
	}
	return d, true, nil
}

// requestRefunds marks the paid deposits of a consultation as being refunded and
// returns their payment ids. The caller has locked the consultation.
func requestRefunds(ctx context.Context, tx *bus.Tx, id int64) (payments []string, err error) {
	rows, err := tx.QueryContext(ctx, `
		UPDATE deposit SET state = 'refund_requested', refund_requested_at = clock_timestamp()
		WHERE consultation_id = $1 AND state = 'paid'
		RETURNING payment_id`, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var payment string
		if err := rows.Scan(&payment); err != nil {
			return nil, err
		}
		payments = append(payments, payment)
	}
	return payments, rows.Err()
}
